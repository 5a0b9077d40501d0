"""Networks that turn an image into a map, and the contract that every one of them keeps (`encoder.py`)."""

from sightline.models.ccnet import CCNet, CrissCrossHead
from sightline.models.check import check_encoder
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.encoder import Encoder
from sightline.models.heads import ClassHead, Classifier, MaskHead, Segmenter
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.unet import UNet
from sightline.models.vit import VisionTransformer, vit_base, vit_large, vit_small, vit_tiny

__all__ = [
    "AlexNet",
    "CCNet",
    "ClassHead",
    "Classifier",
    "ConvNet",
    "CrissCrossHead",
    "Encoder",
    "MaskHead",
    "NonLocalNet",
    "ResNet",
    "Segmenter",
    "UNet",
    "VisionTransformer",
    "check_encoder",
    "vit_base",
    "vit_large",
    "vit_small",
    "vit_tiny",
]
