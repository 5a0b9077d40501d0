"""Modules with weights: attention, positions, residual and transformer blocks.

What looks can be asked where it looks: `.weights(x, query)`, and where it may look: `.pattern`.
"""

from sightline.layers.criss_cross import CrissCross, RecurrentCrissCross
from sightline.layers.multi_head import MultiHeadAttention
from sightline.layers.non_local import NonLocal
from sightline.layers.pooling import GlobalContext
from sightline.layers.residual import BasicBlock, BottleneckBlock
from sightline.layers.transformer import TransformerBlock

__all__ = [
    "BasicBlock",
    "BottleneckBlock",
    "CrissCross",
    "GlobalContext",
    "MultiHeadAttention",
    "NonLocal",
    "RecurrentCrissCross",
    "TransformerBlock",
]
