"""Networks that turn an image into a map, and the contract that every one of them keeps (`encoder.py`); heads that turn
the map into an answer (`heads.py`)."""

from sightline.models.ccnet import CrissCrossHead, ccnet
from sightline.models.check import check_encoder
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.encoder import Encoder, map_widths
from sightline.models.heads import ClassHead, Classifier, ConvolutionHead, LinearHead
from sightline.models.non_local_head import NonLocalHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.pyramid_head import PyramidHead
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Answers, Segmenter
from sightline.models.unet import UNet
from sightline.models.vgg import VGG
from sightline.models.vit import VisionTransformer, vit_base, vit_huge, vit_large, vit_small, vit_tiny

__all__ = [
    "VGG",
    "AlexNet",
    "Answers",
    "ClassHead",
    "Classifier",
    "ConvNet",
    "ConvolutionHead",
    "CrissCrossHead",
    "Encoder",
    "LinearHead",
    "NonLocalHead",
    "NonLocalNet",
    "PyramidHead",
    "ResNet",
    "Segmenter",
    "UNet",
    "VisionTransformer",
    "ccnet",
    "check_encoder",
    "map_widths",
    "vit_base",
    "vit_huge",
    "vit_large",
    "vit_small",
    "vit_tiny",
]
