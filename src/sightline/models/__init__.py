"""Networks that turn an image into a map, and the contract that every one of them keeps (`encoder.py`)."""

from sightline.models.ccnet import CrissCrossHead, ccnet
from sightline.models.check import check_encoder
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.encoder import Encoder
from sightline.models.heads import ClassHead, Classifier, ConvolutionHead, LinearHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.unet import UNet
from sightline.models.vit import VisionTransformer, vit_base, vit_large, vit_small, vit_tiny

__all__ = [
    "AlexNet",
    "ClassHead",
    "Classifier",
    "ConvNet",
    "ConvolutionHead",
    "CrissCrossHead",
    "Encoder",
    "LinearHead",
    "NonLocalNet",
    "ResNet",
    "Segmenter",
    "UNet",
    "VisionTransformer",
    "ccnet",
    "check_encoder",
    "vit_base",
    "vit_large",
    "vit_small",
    "vit_tiny",
]
