"""A U-Net as an encoder (Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597, figure 1): down, then up again
with the maps of the way down joined in, so that the map is fine and has seen far.

Differences, as usual since: padded convolutions (any size serves, odd ones too), nearest-neighbour growth instead of
transposed convolutions, and, by default, one width throughout, so that networks of equal width can be compared.

Left out: the paper's crops, elastic deformations and border weights.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.convolution import conv_norm
from sightline.models.convnet import make_stem
from sightline.models.encoder import check_image


class UNet(nn.Module):
    """A stem, `levels` halvings and as many doublings, `[b, c, h, w] -> [b, width, h / stride, w / stride]`.

    Args:
        image_channels: channels of the image.
        width: channels of the finest level, the output's.
        levels: number of halvings after the stem.
        growth: factor of the width per halving; 2 in the paper, 1 keeps one width.
        stride: of the stem, a power of two; the paper's is 1.
        norm: "batch", "group" or "none".

    Raises:
        ValueError: no level, or a stride that is no power of two.
    """

    def __init__(
        self,
        image_channels: int = 3,
        width: int = 64,
        *,
        levels: int = 3,
        growth: int = 1,
        stride: int = 1,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"a U-Net goes down at least one level, got levels={levels}")
        self.image_channels, self.channels, self.stride = image_channels, width, stride
        self.stem = make_stem(image_channels, width, stride, norm=norm)
        widths = [width * growth**level for level in range(levels + 1)]
        self.down = nn.ModuleList(conv_norm(fine, coarse, stride=2, norm=norm) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(
            conv_norm(coarse + fine, fine, norm=norm) for fine, coarse in reversed(list(pairwise(widths)))
        )

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The maps of the way down, finest first: the last is the coarsest, not the output."""
        check_image("UNet", image, self.image_channels)
        stages = [self.stem(image)]
        for layer in self.down:
            stages.append(layer(stages[-1]))
        return stages

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """Down and up again."""
        return self.decode(self.maps(image))

    def decode(self, maps: list[Tensor]) -> Float[Tensor, "b channels y x"]:
        """The way up, from the maps of the way down."""
        *kept, x = maps
        for layer, fine in zip(self.up, reversed(kept), strict=True):
            x = layer(torch.cat([F.interpolate(x, size=fine.shape[2:], mode="nearest"), fine], 1))
        return x
