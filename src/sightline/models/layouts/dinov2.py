"""DINOv2's own files (Oquab et al., 2023, https://arxiv.org/abs/2304.07193): timm's names but for the register tokens.

    cls_token [register_tokens] mask_token pos_embed patch_embed.proj blocks[.chunk].i.{norm1, attn.qkv, attn.proj,
    ls1.gamma, norm2, mlp.fc1, mlp.fc2, ls2.gamma} norm

The table has a row for the class token and none for the registers. It is resized by the scale factor (new + 0.1) / old
in the files without registers, and to the plain size, antialiased, in those with registers: their hub entries say so.

Left out: the gated MLP of the giant network (SwiGLU), and heads, which come in files of their own.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation
from sightline.models.layouts.timm_vit import EPS, put_zero_bias

CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")  # blocks of a network split for sharding keep their own number


def is_dinov2(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of DINOv2."""
    own = "register_tokens" in names or ("mask_token" in names and names["mask_token"].dim() == 2)
    return own and "patch_embed.proj.weight" in names and "decoder_pos_embed" not in names


def from_dinov2(state: Mapping[str, Tensor]) -> Translation:
    """DINOv2 with or without registers."""
    refuse_gated(state, ".mlp.w12.")
    draft = Draft(state)
    for name in state:
        if name == "mask_token":
            draft.leave(name, "of the pre-training")
        else:
            draft.move(name, "reg_token" if name == "register_tokens" else CHUNK.sub(r"blocks.\1.", name))
    put_zero_bias(draft)
    registers = "register_tokens" in state
    return draft.finish(
        "DINOv2 with registers" if registers else "DINOv2",
        "vit",
        needs={"norm_eps": EPS},
        resize="antialias" if registers else "offset",
        prefix_rows=(1,),
    )


def refuse_gated(state: Mapping[str, Tensor], *parts: str) -> None:
    """Say that a gated MLP cannot be loaded."""
    if any(part in name for name in state for part in parts):
        raise ValueError(
            "the file's MLPs are gated (SwiGLU, as in DINOv2's giant network), which VisionTransformer does not have:"
            " take a smaller network of the family"
        )
