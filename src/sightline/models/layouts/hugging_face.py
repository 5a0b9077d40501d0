"""Vision Transformers of Hugging Face's transformers: ViT, DeiT, DINOv2, DINOv2 with registers, and MAE's encoder.

    [vit.|deit.|dinov2.|...]embeddings.{cls_token, [distillation_token], [register_tokens], [mask_token],
    position_embeddings, patch_embeddings.projection}  encoder.layer.i.{...}  layernorm  [pooler.dense]  classifier

Files on the hub have the names above, and version 5 still writes them; in memory it has `layers.i` with `q_proj`,
`k_proj`, `v_proj`, `o_proj`, `mlp.fc1`, `mlp.fc2`. Both load. Queries, keys and values are three layers there and one
here. The norms' eps is in `config.json`, not in the weights: where it lies beside the file, it and the number of heads
are held against the network; where it does not, the class's default is: 1e-12 (DINOv2: 1e-6).

Left out: `pooler`, DINOv2's classifier (it reads the class token and the mean side by side), and gated MLPs.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sightline.models.layouts.dinov2 import refuse_gated
from sightline.models.layouts.draft import Draft, Translation
from sightline.models.layouts.timm_vit import put_zero_bias

PATCHES = "embeddings.patch_embeddings.projection.weight"
FAMILY = re.compile(r"^(vit|deit|dinov2|dinov2_with_registers)\.")
PLACES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.distillation_token": "dist_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
}
BLOCK = re.compile(r"^(?:encoder\.layer|encoder\.layers|layers)\.(\d+)\.(.+)$")
INSIDE = {
    "layernorm_before": "norm1", "norm1": "norm1", "layernorm_after": "norm2", "norm2": "norm2",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1", "mlp.fc1": "mlp.fc1", "output.dense": "mlp.fc2", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
SCALE = {"layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma"}
PART = re.compile(r"^attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.(weight|bias)$")
ORDER = {"query": 0, "q_proj": 0, "key": 1, "k_proj": 1, "value": 2, "v_proj": 2}


def is_hugging_face_vit(names: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a ViT of transformers."""
    return any(FAMILY.sub("", name) == PATCHES for name in names)


def from_hugging_face(state: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Translation:
    """Any ViT of transformers.

    Raises:
        ValueError: a gated MLP, another activation than the exact GELU, or queries without their keys.
    """
    config = config or {}
    refuse_gated(state, ".mlp.weights_in.", ".mlp.gate_proj.")
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(
            f"config.json beside the file says hidden_act '{config['hidden_act']}', VisionTransformer has the exact"
            " 'gelu': these weights need another network"
        )
    draft = Draft(state)
    projections: dict[str, list[str]] = {}
    names = {FAMILY.sub("", name) for name in state}
    dinov2 = any(name.endswith("layer_scale1.lambda1") for name in names)
    for file_name in state:
        name = FAMILY.sub("", file_name)
        stem, _, kind = name.rpartition(".")
        block = BLOCK.match(name)
        if block:
            part = PART.match(block[2])
            stem, _, kind = block[2].rpartition(".")
            if part:
                here = f"blocks.{block[1]}.attn.qkv.{part[2]}"
                projections.setdefault(here, [""] * 3)[ORDER[part[1]]] = file_name
            elif block[2] in SCALE:
                draft.move(file_name, f"blocks.{block[1]}.{SCALE[block[2]]}")
            elif stem in INSIDE:
                draft.move(file_name, f"blocks.{block[1]}.{INSIDE[stem]}.{kind}")
        elif name.startswith("pooler."):
            draft.leave(file_name, "a layer on the class token that networks here do not have")
        elif name.startswith("decoder.") or name == "embeddings.mask_token":
            draft.leave(file_name, "of the pre-training")
        elif dinov2 and stem == "classifier":
            draft.leave(file_name, "it reads the class token and the mean side by side, classifiers here do not")
        elif name in PLACES:
            draft.move(file_name, PLACES[name])
        elif stem in PLACES:
            draft.move(file_name, f"{PLACES[stem]}.{kind}")
    for here, parts in projections.items():
        if "" in parts:
            raise ValueError(f"the file has {', '.join(filter(None, parts))} alone of queries, keys and values")
        draft.put(here, torch.cat([state[part] for part in parts]), *parts, done="query, key and value fused")
    put_zero_bias(draft)
    registers, distilled = "reg_token" in draft.state, "dist_token" in draft.state
    family = "DINOv2 with registers" if registers else "DINOv2" if dinov2 else "DeiT" if distilled else "ViT"
    needs: dict[str, Any] = {"norm_eps": config.get("layer_norm_eps", 1e-6 if dinov2 else 1e-12)}
    if "num_attention_heads" in config:
        needs["heads"] = config["num_attention_heads"]
    return draft.finish(
        f"Hugging Face {family}",
        "vit",
        needs=needs,
        resize="antialias" if registers else "bicubic",
        prefix_rows=(2 if distilled else 1,),
        grid=_grid(config),
    )


def _grid(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The grid of the table by the settings beside the file."""
    image, patch = config.get("image_size"), config.get("patch_size")
    if image is None or not isinstance(patch, int):
        return None
    h, w = (image, image) if isinstance(image, int) else image
    return h // patch, w // patch
