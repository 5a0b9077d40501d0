"""What the names and shapes of a state dict say about its network, in the words of the constructors here; and what a
built network says about itself that no weight holds.

Left out: whatever neither shapes nor modules tell.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sightline.layers.non_local import NonLocal
from sightline.models.resnet import ResNet
from sightline.models.vit import VisionTransformer

ACTIVATIONS = (nn.LeakyReLU, nn.ReLU)


def facts_of(kind: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Width, depth and the like, from a state dict under the names here."""
    if kind == "vit":
        return _vit(state)
    if kind == "non_local":
        g = state.get("g.0.weight", state.get("g.weight"))
        facts: dict[str, Any] = (
            {} if g is None else {"channels": g.shape[1], "inner": g.shape[0], "dimensions": g.dim() - 2}
        )
        facts["subsample"] = "2 or more" if "g.0.weight" in state else 1
        return facts
    if kind == "segmenter":
        head = state.get("head.bottleneck.3.weight")
        inside = {name.removeprefix("encoder."): t for name, t in state.items() if name.startswith("encoder.")}
        return {**_resnet(inside), **({} if head is None else {"inner": head.shape[1], "classes": head.shape[0]})}
    if kind == "resnet":
        return _resnet(state)
    convolutions = [t.shape[0] for name, t in state.items() if name.startswith("features.") and t.dim() == 4]
    norms = any(name.startswith("features.") and name.endswith(".running_mean") for name in state)
    return {
        "convolutions": convolutions, "norm": "batch" if norms else "none",
        "classes": state["classifier.6.weight"].shape[0] if "classifier.6.weight" in state else 0,
    }  # fmt: skip


def _count(pattern: str, state: Mapping[str, Tensor]) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _vit(state: Mapping[str, Tensor]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    patch = state.get("patch_embed.proj.weight")
    if patch is not None and patch.dim() == 4:
        facts |= {"width": patch.shape[0], "patch": patch.shape[2], "image_channels": patch.shape[1]}
    facts["blocks"] = _count(r"blocks\.(\d+)\.", state)
    wide = state.get("blocks.0.mlp.fc1.weight")
    if wide is not None:
        facts["mlp_ratio"] = wide.shape[0] / wide.shape[1]
    facts["class_token"], facts["distilled"] = "cls_token" in state, "dist_token" in state
    facts["registers"] = state["reg_token"].shape[1] if "reg_token" in state else 0
    facts["layer_scale"] = "blocks.0.ls1.gamma" in state
    facts["pool"] = "mean" if "fc_norm.weight" in state else "token"
    facts["classes"] = state["head.weight"].shape[0] if "head.weight" in state else 0
    return facts


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    first = state.get("conv1.weight")
    facts: dict[str, Any] = {"blocks": [_count(rf"layer{stage}\.(\d+)\.", state) for stage in (1, 2, 3, 4)]}
    if first is not None:
        third = state.get("conv3.weight")
        kernel = f"{first.shape[2]} x {first.shape[3]}"
        widths = [state[name].shape[0] for name in ("conv1.weight", "conv2.weight", "conv3.weight") if name in state]
        facts["stem"] = f"{kernel}, {first.shape[0]} wide" if third is None else f"{kernel} three times, {widths} wide"
        facts["image_channels"] = first.shape[1]
    narrow = state.get("layer1.0.conv2.weight")
    if narrow is not None:
        facts["width"] = narrow.shape[0]
    facts["bottleneck"] = "layer1.0.conv3.weight" in state
    facts["classes"] = state["fc.weight"].shape[0] if "fc.weight" in state else 0
    return facts


def built_with(network: nn.Module) -> dict[str, Any]:
    """Constructor arguments of a network that its weights do not show."""
    if isinstance(network, VisionTransformer):
        norms = {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)}
        block = network.blocks[0]
        return {"norm_eps": norms.pop() if len(norms) == 1 else sorted(norms), "heads": block.attn.heads}  # type: ignore[union-attr]
    if isinstance(network, NonLocal):
        return {
            "pairwise": network.pairwise, "dimensions": network.dimensions, "subsample": network.subsample,
            "pool": network.pool_when, "scale": "none" if network.scale == 1 else "inverse_sqrt",
            "norm": "batch" if isinstance(network.W, nn.Sequential) else "none",
        }  # fmt: skip
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, ResNet):
        return {}
    heads = [part for name, part in network.named_children() if name in ("head", "auxiliary")]
    leaky = {isinstance(m, nn.LeakyReLU) for part in heads for m in part.modules() if isinstance(m, ACTIVATIONS)}
    return {
        "activation": "both" if len(leaky) == 2 else "leaky_relu" if True in leaky else "relu",
        "align_corners": getattr(network, "align_corners", None),
        "output_stride": encoder.stride,
        "dilate_first": _dilate_first(encoder),
        "stem": encoder.stem_kind,
    }


def _dilate_first(resnet: ResNet) -> bool | str:
    """Whether the last stage begins at its own dilation; words where it has a multi-grid."""
    bottleneck = "layer4.0.conv3.weight" in resnet.state_dict()
    layers = [block.get_submodule("conv2" if bottleneck else "conv1") for block in resnet.layer4]
    first, *others = [int(layer.dilation[0]) for layer in layers if isinstance(layer, nn.Conv2d)]
    full = max(1, 32 // resnet.stride)
    if any(other != full for other in others) or first not in (full, max(full // 2, 1)):
        return f"dilations {(first, *others)} in the last stage"
    return first == full
