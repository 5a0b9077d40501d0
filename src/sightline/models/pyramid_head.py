"""The head of PSPNet (Zhao et al., 2017, https://arxiv.org/abs/1612.01105, figure 3): the map joined with its means
over grids of a few cells, down to the whole image.

Left out: maximum pooling instead of means, which the paper's table 1 finds worse.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import make_norm
from sightline.models.heads import make_activation, quarter


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
        ValueError: no bins, or more of them than channels.
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
        self.channels, self.classes, self.bins = channels, classes, tuple(bins)
        width, narrow = quarter(channels, inner), channels // len(bins)
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
        """Logits on the map; in training with a batch norm, of two or more images: a grid of one cell needs them."""
        size = x.shape[2:]
        grids = [pool(F.adaptive_avg_pool2d(x, cells)) for pool, cells in zip(self.pools, self.bins, strict=True)]
        grown = [F.interpolate(grid, size=size, mode="bilinear", align_corners=False) for grid in grids]
        return self.bottleneck(torch.cat([x, *grown], 1))
