"""CCNet: the authors' own files, and mmsegmentation's.

    own:              conv1..3 bn1..3 layeri...  head.{conva, cca, convb, bottleneck}  dsn.{0, 1, 3}
    mmsegmentation's: backbone.{stem, layeri}...  decode_head.{convs.0, cca, convs.1, conv_cat, conv_seg}
                      auxiliary_head.{convs.0, conv_seg}

They are two different networks. The authors' norm computes with |weight| + 1e-5, whatever sign it stores, and has a
leaky ReLU of slope 0.01 in it (in the backbone: none, a ReLU follows); the logits grow with corners on corners; the
first block of a dilated stage is dilated. mmsegmentation has batch norms, ReLUs, edges on edges, a narrower stem, and
a first block at the dilation before. So each is loaded only into a network built the same way.

Left out: the first layout of the authors' code (`head.conv1a`, `head.pc`), and resizing of any kind.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation
from sightline.models.layouts.resnet import backbone_place, refuse_averaged

EPS = 1e-5  # of the in-place norm, added to the weight's magnitude
BLUE_FIRST = "its images are blue, green, red in 0..255, less (104.007, 116.669, 122.679), not divided"
RED_FIRST = "its images are red, green, blue, normalised with ImageNet's mean and deviation"
HEAD = {
    "decode_head.convs.0.conv": "head.conva.0",
    "decode_head.convs.0.bn": "head.conva.1",
    "decode_head.convs.1.conv": "head.convb.0",
    "decode_head.convs.1.bn": "head.convb.1",
    "decode_head.conv_cat.conv": "head.bottleneck.0",
    "decode_head.conv_cat.bn": "head.bottleneck.1",
    "decode_head.conv_seg": "head.bottleneck.3",
    "auxiliary_head.convs.0.conv": "auxiliary.0",
    "auxiliary_head.convs.0.bn": "auxiliary.1",
    "auxiliary_head.conv_seg": "auxiliary.3",
}


def is_ccnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of the authors' CCNet."""
    return "head.conva.0.weight" in names and "head.cca.gamma" in names


def is_mmsegmentation_ccnet(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of mmsegmentation's CCNet."""
    return "decode_head.cca.query_conv.weight" in names and any(name.startswith("backbone.") for name in names)


def from_ccnet(state: Mapping[str, Tensor]) -> Translation:
    """The authors' file, with its norms made batch norms."""
    draft = Draft(state)
    for name, tensor in state.items():
        if name.startswith("head."):
            here = name
        elif name.startswith("dsn."):
            here = f"auxiliary.{name.removeprefix('dsn.')}"
        else:
            here = f"encoder.{name}"
        if name.endswith(".weight") and tensor.dim() == 1:  # no other layer has a weight of one axis
            draft.put(here, tensor.abs() + EPS, name, done=f"in-place norm: |weight| + {EPS:g}")
        else:
            draft.move(name, here)
    needs = {
        "activation": "leaky_relu", "align_corners": True, "output_stride": 8, "dilate_first": True, "stem": "deep",
    }  # fmt: skip
    return draft.finish("CCNet, the authors'", "segmenter", needs=needs, notes=(BLUE_FIRST,))


def from_mmsegmentation_ccnet(state: Mapping[str, Tensor]) -> Translation:
    """mmsegmentation's CCHead on its ResNetV1c."""
    refuse_averaged(state)
    draft = Draft(state)
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".")
        if name.startswith("backbone."):
            draft.move(name, "encoder." + backbone_place(name.removeprefix("backbone."), timm_stem=False))
        elif name == "decode_head.cca.gamma.scale":
            draft.put("head.cca.gamma", tensor.reshape(1), name, done="a scalar made a vector of one")
        elif match := re.match(r"^decode_head\.cca\.((?:query|key|value)_conv\.\w+)$", name):
            draft.move(name, f"head.cca.{match[1]}")
        elif stem in HEAD:
            draft.move(name, f"{HEAD[stem]}.{kind}")
    deep = "backbone.stem.0.weight" in state
    needs = {
        "activation": "relu", "align_corners": False, "output_stride": 8, "dilate_first": False,
        "stem": "narrow" if deep else "plain",
    }  # fmt: skip
    return draft.finish("mmsegmentation's CCNet", "segmenter", needs=needs, notes=(RED_FIRST,))
