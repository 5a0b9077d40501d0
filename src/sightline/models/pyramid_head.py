"""The head of PSPNet (Zhao et al., 2017, https://arxiv.org/abs/1612.01105, figure 3): the map joined with its means
over grids of a few cells, down to the whole image.

Cells are those of `F.adaptive_avg_pool2d`, which overlap where they do not divide the map. The means are two matrix
products: they have a deterministic gradient on a GPU, and one graph for maps of every size.

Left out: maximum pooling instead of means, which the paper's table 1 finds worse.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import GROUPS, make_norm
from sightline.models.heads import make_activation, quarter


def pool_to_cells(x: Float[Tensor, "b c y x"], cells: int) -> Float[Tensor, "b c cells cells"]:
    """Means over cells x cells parts of a map; along an axis of n positions, cell i has those from floor(i n / cells)
    to ceil((i + 1) n / cells), the latter not included."""
    rows, columns = (_means(n, cells, x) for n in x.shape[2:])
    return torch.einsum("iy,bcyx,jx->bcij", rows, x, columns)


def _means(length: int, cells: int, like: Tensor) -> Float[Tensor, "cells n"]:
    at = torch.arange(length, device=like.device)
    cell = torch.arange(cells, device=like.device)[:, None]
    inside = (cell * length // cells <= at) & (at * cells < (cell + 1) * length)
    return inside.to(like.dtype) / inside.sum(1, keepdim=True)


class PyramidHead(nn.Module):
    """Pooling at several grains, joined with the map, and a classifier, `[b, channels, y, x] -> [b, classes, y, x]`.

    Args:
        channels: width of the map.
        classes: number of classes.
        inner: width of the convolution that joins; a quarter of the channels where None.
        bins: cells along each side of the grids; each grid is reduced to `channels / len(bins)` channels.
        norm: "batch", "group" or "none".
        activation: "relu" or "leaky_relu".
        dropout: probability of dropping a channel before the classifier.

    Raises:
        ValueError: no bins, or more of them than channels; a norm over a single number, which a grid of one cell leaves
            to a group norm of few channels, and to a batch norm in training on one image.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        inner: int | None = None,
        bins: Sequence[int] = (1, 2, 3, 6),
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 < len(bins) <= channels or min(bins) < 1:
            raise ValueError(f"bins are one or more positive numbers, at most as many as channels, got {tuple(bins)}")
        self.channels, self.classes, self.bins, self.norm = channels, classes, tuple(bins), norm
        width, narrow = quarter(channels, inner), channels // len(bins)
        if norm == "group" and 1 in bins and narrow <= GROUPS:
            raise ValueError(
                f"a group norm of {narrow} channels has one in each group, a single number on a grid of one cell: give"
                f" more than {GROUPS * len(bins)} channels, bins without 1, or another norm"
            )
        self.pools = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, narrow, 1, bias=False), make_norm(norm, narrow), make_activation(activation)
            )
            for _ in bins
        )
        joined = channels + len(bins) * narrow
        last = nn.Sequential(make_activation(activation), nn.Dropout2d(dropout))
        self.bottleneck = nn.Sequential(
            nn.Conv2d(joined, width, 3, padding=1, bias=False),
            make_norm(norm, width),
            last,
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, x: Float[Tensor, "b channels y x"]) -> Float[Tensor, "b k y x"]:
        """Logits on the map."""
        if self.training and self.norm == "batch" and 1 in self.bins and x.shape[0] == 1:
            raise ValueError(
                "a batch norm cannot train on one image whose grid has one cell, a single number for each channel: give"
                " two or more images, or norm='group'"
            )
        size = x.shape[2:]
        grids = [pool(pool_to_cells(x, cells)) for pool, cells in zip(self.pools, self.bins, strict=True)]
        grown = [F.interpolate(grid, size=size, mode="bilinear", align_corners=False) for grid in grids]
        return self.bottleneck(torch.cat([x, *grown], 1))
