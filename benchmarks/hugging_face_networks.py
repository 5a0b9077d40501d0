"""Small, unmodified vision networks of Hugging Face's transformers, with random weights: what the certificate asks.

Each entry is a name, the side of the image in pixels, and a function that builds the network from a configuration of
its own; nothing is downloaded. Few channels and few blocks keep them quick, the operations are those of the published
networks.

Left out: architectures whose configuration asks for a network from timm.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

SIDE = 64


def architectures() -> dict[str, tuple[int, Callable[[], nn.Module]]]:
    """Name, side of the image, and what builds the network.

    Raises:
        ImportError: transformers is not installed; it comes with `pip install -e '.[develop]'`.
    """
    import transformers as hf

    small: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": SIDE,
        "patch_size": 16,
    }
    four: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
    heads: dict[str, Any] = {**four, "num_attention_heads": [1, 1, 2, 2]}
    swin: dict[str, Any] = {
        "image_size": SIDE,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [1, 2],
        "window_size": 4,
    }
    depth = {**small, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8] * 4}
    stages = ["stage1", "stage2", "stage3", "stage4"]

    def at(side: int, kind: str, configuration: str, **settings: Any) -> tuple[int, Callable[[], nn.Module]]:
        return side, lambda: getattr(hf, kind)(getattr(hf, configuration)(**settings))

    def usual(name: str, **settings: Any) -> tuple[int, Callable[[], nn.Module]]:
        return at(SIDE, f"{name}Model", f"{name}Config", **settings)

    return {
        "ViT": usual("ViT", **small),
        "DeiT": usual("DeiT", **small),
        "BEiT": usual("Beit", **small, use_relative_position_bias=True),
        "Data2Vec": usual("Data2VecVision", **small),
        "DINOv2": usual("Dinov2", **small, mlp_ratio=2),
        "DINOv2 with registers": usual("Dinov2WithRegisters", **small, mlp_ratio=2),
        "DINOv3": usual("DINOv3ViT", **small),
        "I-JEPA": usual("IJepa", **small),
        "ViT-MSN": usual("ViTMSN", **small),
        "YOLOS": usual("Yolos", **{**small, "image_size": [SIDE, SIDE]}, num_detection_tokens=3),
        "ViTDet": usual(
            "VitDet",
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=2,
            image_size=SIDE,
            patch_size=8,
            window_size=4,
            window_block_indices=[0],
        ),
        "CLIP": usual("CLIPVision", **small),
        "SigLIP": usual("SiglipVision", **small),
        "DPT": at(
            SIDE,
            "DPTForDepthEstimation",
            "DPTConfig",
            **depth,
            fusion_hidden_size=8,
            reassemble_factors=[4, 2, 1, 0.5],
        ),
        "Swin": usual("Swin", **swin),
        "Swin v2": usual("Swinv2", **swin),
        "Swin2SR": at(
            16,
            "Swin2SRModel",
            "Swin2SRConfig",
            **{**swin, "depths": [2], "num_heads": [2], "image_size": 16, "patch_size": 1},
        ),
        "Hiera": usual(
            "Hiera",
            image_size=[SIDE, SIDE],
            embed_dim=8,
            depths=[1, 1, 2, 1],
            num_heads=[1, 1, 2, 2],
            embed_dim_multiplier=2,
        ),
        "FocalNet": usual(
            "FocalNet",
            image_size=SIDE,
            embed_dim=8,
            depths=[1, 1],
            hidden_sizes=[8, 16],
            focal_levels=[2, 2],
            focal_windows=[3, 3],
        ),
        "SegFormer": usual("Segformer", **heads, decoder_hidden_size=8),
        "PVT": usual("Pvt", **heads, image_size=SIDE),
        "PVT v2": usual("PvtV2", **heads, image_size=SIDE),
        "CvT": usual("Cvt", embed_dim=[8, 8, 16], num_heads=[1, 1, 2], depth=[1, 2, 3]),
        "GLPN": usual("GLPN", **heads, decoder_hidden_size=8),
        "LeViT": usual(
            "Levit",
            image_size=SIDE,
            hidden_sizes=[16, 16, 32],
            num_attention_heads=[2, 2, 2],
            depths=[1, 1, 1],
            key_dim=[4, 4, 4],
            attention_ratio=[2, 2, 2],
        ),
        "MobileViT": usual(
            "MobileViT",
            image_size=SIDE,
            hidden_sizes=[8, 8, 8],
            neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 16],
            num_attention_heads=2,
        ),
        "MobileViT v2": usual(
            "MobileViTV2",
            image_size=SIDE,
            width_multiplier=0.25,
            n_attn_blocks=[1, 1, 1],
            base_attn_unit_dims=[32, 32, 32],
        ),
        "SwiftFormer": usual("SwiftFormer", depths=[1, 1, 1, 1], embed_dims=[8, 8, 16, 16]),
        "PoolFormer": usual("PoolFormer", **four),
        "ConvNeXt": usual("ConvNext", **four),
        "ConvNeXt v2": usual("ConvNextV2", **four),
        "UperNet": at(
            SIDE,
            "UperNetForSemanticSegmentation",
            "UperNetConfig",
            backbone_config=hf.ConvNextConfig(**four, out_features=stages),
            hidden_size=8,
            use_auxiliary_head=False,
            num_labels=3,
        ),
        "ResNet": usual("ResNet", embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1]),
        "BiT": usual("Bit", embedding_size=8, hidden_sizes=[32] * 4, depths=[1, 1, 1, 1], num_groups=4),
        "RegNet": usual("RegNet", embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], groups_width=4),
        "MobileNet v1": usual("MobileNetV1", image_size=SIDE, depth_multiplier=0.25),
        "MobileNet v2": usual("MobileNetV2", image_size=SIDE, depth_multiplier=0.25),
    }
