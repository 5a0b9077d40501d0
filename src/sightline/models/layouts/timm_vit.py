"""Vision Transformers under timm's names: timm's own files, and those of DeiT, DeiT III and MAE.

    cls_token [dist_token] [reg_token] pos_embed patch_embed.proj blocks.i.{norm1, attn.qkv, attn.proj, norm2,
    mlp.fc1, mlp.fc2} [ls1.gamma, ls2.gamma] norm | fc_norm  head [head_dist]

The families share names and differ in how they resize the table of positions: timm with antialiasing, DeiT and MAE
without. DeiT and MAE put their tensors under "model" in the file, timm does not: that is what tells them apart where
nothing else does. Old files have flat patch weights and `pre_logits`, DeiT III has `gamma_1` and `gamma_2`.

Left out: `pre_logits` itself (the classifier behind it is then left as well), and every other variant of timm's
class: the names of its extra layers are found to have no place.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation

EPS = 1e-6


def is_timm_vit(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a ViT in timm's manner; DINOv2's own files are told apart before."""
    return "patch_embed.proj.weight" in names and any(name.startswith("blocks.0.") for name in names)


def is_mae(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a pre-training file of MAE."""
    return is_timm_vit(names) and "decoder_pos_embed" in names


def is_deit_three(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of DeiT III; a DeiT before it has timm's own."""
    return is_timm_vit(names) and any(name.endswith(".gamma_1") for name in names)


def from_timm(state: Mapping[str, Tensor]) -> Translation:
    """A file of timm's: the table of positions has rows for all prefix tokens or, by `no_embed_class`, for none."""
    return _translated(state, "timm ViT", "antialias")


def from_deit(state: Mapping[str, Tensor]) -> Translation:
    """A file of DeiT, distilled or not, of DeiT III, or of a fine-tuned MAE (`fc_norm`)."""
    name = "distilled DeiT" if "dist_token" in state else "DeiT"
    if any(key.endswith(".gamma_1") for key in state):
        name = "DeiT III"
    elif "fc_norm.weight" in state:
        name = "fine-tuned MAE or DeiT"
    return _translated(state, name, "bicubic")


def from_mae(state: Mapping[str, Tensor]) -> Translation:
    """The encoder in a pre-training file of MAE."""
    return _translated(state, "MAE", "bicubic")


def image_patches(weight: Tensor) -> Tensor:
    """A patch embedding stored flat, `[d, c p p]`, as the weight of a convolution, `[d, c, p, p]`."""
    for channels in (3, 1):
        patch = round((weight.shape[1] / channels) ** 0.5)
        if channels * patch * patch == weight.shape[1]:
            return weight.reshape(len(weight), channels, patch, patch)
    raise ValueError(
        f"patch_embed.proj.weight is {list(weight.shape)}, which is no square patch of one or three channels: reshape"
        " it to [d, c, p, p] first"
    )


def put_zero_bias(draft: Draft) -> None:
    """Where the queries, keys and values have no bias in the file, zeros say the same."""
    for here in list(draft.state):
        bias = re.sub(r"\.attn\.qkv\.weight$", ".attn.qkv.bias", here)
        if bias != here and bias not in draft.state:
            weight = draft.state[here]
            draft.put(bias, weight.new_zeros(len(weight)), done="zeros: the file has no bias there")


def _translated(state: Mapping[str, Tensor], layout: str, resize: str) -> Translation:
    draft, notes = Draft(state), ()
    before_logits = any(name.startswith("pre_logits.") for name in state)
    for name, tensor in state.items():
        here = re.sub(r"\.gamma_([12])$", r".ls\1.gamma", name)
        if name.startswith("decoder_") or name == "mask_token":
            draft.leave(name, "of the pre-training")
        elif before_logits and name.startswith(("pre_logits.", "head.")):
            draft.leave(name, "a layer before the classifier that networks here do not have, or the classifier on it")
        elif name == "patch_embed.proj.weight" and tensor.dim() == 2:
            draft.put(here, image_patches(tensor), name, done="flat patches made a convolution's weight")
        else:
            draft.move(name, here)
    put_zero_bias(draft)
    tokens = sum(state[name].shape[1] for name in ("cls_token", "dist_token", "reg_token") if name in state)
    return draft.finish(
        layout, "vit", needs={"norm_eps": EPS}, notes=notes, resize=resize, prefix_rows=tuple(sorted({tokens, 0}))
    )
