"""torchvision's Vision Transformer.

    class_token conv_proj encoder.pos_embedding encoder.layers.encoder_layer_i.{ln_1, self_attention.in_proj_{weight,
    bias}, self_attention.out_proj, ln_2, mlp.0, mlp.3 | mlp.linear_1, mlp.linear_2} encoder.ln heads.head

The rows of `in_proj_weight` are queries, keys, values, as in timm's `qkv`. torchvision resizes the table of positions
with corners on corners (`interpolate_embeddings`).

Left out: `heads.pre_logits` (the classifier behind it is then left as well), and convolutional stems.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation

PLACES = {
    "class_token": "cls_token",
    "encoder.pos_embedding": "pos_embed",
    "conv_proj": "patch_embed.proj",
    "encoder.ln": "norm",
    "heads.head": "head",
}
INSIDE = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.in_proj": "attn.qkv",
    "self_attention.out_proj": "attn.proj",
    "mlp.0": "mlp.fc1",
    "mlp.linear_1": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_2": "mlp.fc2",
}
BLOCK = re.compile(r"^encoder\.layers\.encoder_layer_(\d+)\.(.+?)[._](weight|bias)$")


def is_torchvision_vit(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of torchvision's ViT."""
    return "encoder.pos_embedding" in names and "conv_proj.weight" in names


def from_torchvision_vit(state: Mapping[str, Tensor]) -> Translation:
    """torchvision's ViT, the names before and after the renaming of its MLP."""
    draft = Draft(state)
    before_logits = any(name.startswith("heads.pre_logits.") for name in state)
    for name in state:
        block = BLOCK.match(name)
        stem, _, kind = name.rpartition(".")
        if block and block[2] in INSIDE:
            draft.move(name, f"blocks.{block[1]}.{INSIDE[block[2]]}.{block[3]}")
        elif before_logits and name.startswith("heads."):
            draft.leave(name, "a layer before the classifier that networks here do not have, or the classifier on it")
        elif name in PLACES:
            draft.move(name, PLACES[name])
        elif stem in PLACES:
            draft.move(name, f"{PLACES[stem]}.{kind}")
    return draft.finish("torchvision ViT", "vit", needs={"norm_eps": 1e-6}, resize="align_corners", prefix_rows=(1,))
