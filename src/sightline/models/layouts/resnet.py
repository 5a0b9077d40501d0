"""Residual networks: torchvision's and timm's names, CCNet's backbone alone, and Hugging Face's names.

    conv1 bn1 [conv2 bn2 conv3 bn3] layeri.j.{conv1, bn1, conv2, bn2, [conv3, bn3], [downsample.0, downsample.1]} fc

timm's plain ResNets have torchvision's names. Where timm's differ: a deep stem is one sequence, `conv1.{0, 1, 3, 4,
6}` and `bn1` (renamed here), and networks of the "d" kind average before the shortcut's convolution, `downsample.1`
and `.2` (refused). mmsegmentation's deep stem is `stem.{0, 1, 3, 4, 6, 7}`.

Left out: networks whose first 1 x 1 convolution strides (Caffe's): nothing in the names tells them.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation

STEM = {"stem.0": "conv1", "stem.1": "bn1", "stem.3": "conv2", "stem.4": "bn2", "stem.6": "conv3", "stem.7": "bn3"}
TIMM_STEM = {"conv1.0": "conv1", "conv1.1": "bn1", "conv1.3": "conv2", "conv1.4": "bn2", "conv1.6": "conv3",
             "bn1": "bn3"}  # fmt: skip
EMBEDDER = "embedder.embedder.convolution.weight"
LAYER = re.compile(r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.(convolution|normalization)\.(\w+)$")
SHORTCUT = re.compile(r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.(convolution|normalization)\.(\w+)$")


def is_resnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are torchvision's or timm's names of a ResNet."""
    return "layer1.0.conv1.weight" in names and "layer4.0.conv1.weight" in names


def is_hugging_face_resnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a ResNet of transformers."""
    return any(name.removeprefix("resnet.") == EMBEDDER for name in names)


def backbone_place(name: str, timm_stem: bool) -> str:
    """The name here of one entry of a ResNet."""
    stem, _, kind = name.rpartition(".")
    return f"{place}.{kind}" if (place := (TIMM_STEM if timm_stem else STEM).get(stem)) else name


def refuse_averaged(names: Mapping[str, Tensor]) -> None:
    """Say that a shortcut which averages first cannot be loaded."""
    if any(re.search(r"layer\d\.0\.downsample\.2\.", name) for name in names):
        raise ValueError(
            "the file's shortcuts average before their convolution (a ResNet of the 'd' kind), ResNet here does not:"
            " take a plain ResNet's file"
        )


def from_resnet(state: Mapping[str, Tensor]) -> Translation:
    """torchvision's ResNet, timm's, or a backbone of CCNet or mmsegmentation alone."""
    refuse_averaged(state)
    draft, timm_stem = Draft(state), "conv1.0.weight" in state
    for name in state:
        draft.move(name, backbone_place(name, timm_stem))
    return draft.finish("timm ResNet with a deep stem" if timm_stem else "torchvision ResNet", "resnet")


def from_hugging_face_resnet(state: Mapping[str, Tensor]) -> Translation:
    """A ResNet of transformers, whose bottlenecks stride in their 3 x 3 convolution (the class's default)."""
    draft = Draft(state)
    for file_name in state:
        name = file_name.removeprefix("resnet.")
        layer, shortcut = LAYER.match(name), SHORTCUT.match(name)
        if layer:
            stage, block, number, what, kind = layer.groups()
            short = "conv" if what == "convolution" else "bn"
            draft.move(file_name, f"layer{int(stage) + 1}.{block}.{short}{int(number) + 1}.{kind}")
        elif shortcut:
            stage, block, what, kind = shortcut.groups()
            draft.move(file_name, f"layer{int(stage) + 1}.{block}.downsample.{int(what != 'convolution')}.{kind}")
        elif name.startswith("embedder.embedder."):
            what, kind = name.split(".")[2:]
            draft.move(file_name, f"{'conv1' if what == 'convolution' else 'bn1'}.{kind}")
        elif name.startswith("classifier.1."):
            draft.move(file_name, name.replace("classifier.1.", "fc."))
    return draft.finish("Hugging Face ResNet", "resnet")
