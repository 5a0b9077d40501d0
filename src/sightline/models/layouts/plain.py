"""torchvision's AlexNet and VGG: `features.i` and `classifier.i`, the names here as well.

Left out: VGG's and AlexNet's files of other origin.
"""

from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation


def is_alexnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are torchvision's names of AlexNet, whose first kernel is 11 pixels wide."""
    return "features.0.weight" in names and names["features.0.weight"].shape[2:] == (11, 11)


def is_vgg(names: Mapping[str, Tensor]) -> bool:
    """Whether these are torchvision's names of a VGG."""
    first = names.get("features.0.weight")
    return first is not None and first.shape[2:] == (3, 3) and "features.0.bias" in names


def from_alexnet(state: Mapping[str, Tensor]) -> Translation:
    """AlexNet of 2014."""
    return Draft(state).finish("torchvision AlexNet", "alexnet")


def from_vgg(state: Mapping[str, Tensor]) -> Translation:
    """VGG with or without batch norms."""
    return Draft(state).finish("torchvision VGG", "vgg")
