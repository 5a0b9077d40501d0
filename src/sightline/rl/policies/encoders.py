"""Encoders of what an agent sees, by a short name; sized for small pictures and few processors.

`convolution`, `non-local`, `criss-cross` share stem and width: they differ in whether a position can ask all others.
The coordinates of every position join the map before the attention, as in relational networks (Zambaldi et al., 2018,
https://arxiv.org/abs/1806.01830, section 2). `nature` is the network of Mnih et al., 2015
(https://doi.org/10.1038/nature14236), for 84 x 84 pixels. None has a batch norm: what an agent sees changes as it
learns.

Left out: large networks; any encoder of `models/` or your own goes by `package.module:object`.
"""

import json
import math
from typing import Any

from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.layers.non_local import NonLocal
from sightline.layers.positions import CoordinateChannels
from sightline.models.convnet import ConvNet
from sightline.models.encoder import check_image
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.arguments import choose
from sightline.rl.policies.body import image_sides
from sightline.run.config import rebuild, resolve

NAMES = ("convolution", "nature", "non-local", "criss-cross", "vit")
WIDTH = 16  # channels of a map
SIDE = 16  # positions along a map's longer side, at most
TOKENS = 256  # of a Vision Transformer, at most


class Attending(nn.Module):
    """A convolutional stem, coordinates, and one attention over the whole map, with its residual and a ReLU.

    Args:
        image_channels: of the image.
        width: channels of the map.
        stride: of the stem, a power of two.
        attention: "non_local" or "criss_cross" (two passes, which reach the whole map).
    """

    def __init__(
        self, image_channels: int = 3, width: int = WIDTH, *, stride: int = 1, attention: str = "non_local"
    ) -> None:
        super().__init__()
        choose("attention", attention, ("non_local", "criss_cross"))
        self.image_channels, self.channels, self.stride = image_channels, width, stride
        self.stem = ConvNet(image_channels, width, dilations=(1,), stride=stride, norm="none")
        self.coordinates = CoordinateChannels()
        self.join = nn.Conv2d(width + 2, width, 1)
        self.attention: nn.Module
        if attention == "non_local":
            self.attention = NonLocal(width, norm="none", scale="inverse_sqrt", zero_initialised=False)
        else:
            self.attention = RecurrentCrissCross(width, reduction=4, gamma=1.0)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map after the attention."""
        check_image("Attending", image, self.image_channels)
        return self.attention(self.join(self.coordinates(self.stem(image)))).relu()


class NatureCNN(nn.Module):
    """Three unpadded convolutions, `[b, c, 84, 84] -> [b, 64, 7, 7]`; smaller and larger images as far as they fit.

    Without padding the map has three or four positions fewer than the stride says, more than the contract of
    `models/encoder.py` allows: it serves policies, and not a decoder that leads back to pixels.
    """

    channels, stride = 64, 8

    def __init__(self, image_channels: int = 4) -> None:
        super().__init__()
        self.image_channels = image_channels
        self.layers = nn.Sequential(
            nn.Conv2d(image_channels, 32, 8, 4), nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 4, 2), nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3), nn.ReLU(inplace=True),
        )  # fmt: skip
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, math.sqrt(2))
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the third convolution."""
        check_image("NatureCNN", image, self.image_channels)
        if min(image.shape[2:]) < 36:
            raise ValueError(
                f"nature convolves {image.shape[2]} x {image.shape[3]} pixels to nothing: give 36 or more, or take "
                "another encoder (convolution)"
            )
        return self.layers(image)


def build_encoder(asked: str, space: spaces.Space[Any], channels: int, *, trust: bool = False) -> nn.Module:
    """The encoder of a short name, or of `package.module:object` with its arguments as JSON.

    Args:
        asked: one of `NAMES`; or `package.module:object`, which gets `image_channels`; or the JSON of both,
            `{"object": ..., "arguments": {...}}`.
        space: the part of the observation that it reads.
        channels: of the image that it gets.
        trust: whether it may come from outside sightline.

    Raises:
        ValueError: there is none of this name, or it cannot be built.
    """
    if asked.lstrip().startswith("{"):
        try:
            described = json.loads(asked)
        except ValueError as error:
            raise ValueError(f"the encoder {asked} is no JSON ({error}): name it, or correct it") from None
        return _network(rebuild(described, trust), asked)
    if ":" in asked:
        build = resolve(asked, trust)
        try:
            found = build(image_channels=channels)
        except TypeError as error:
            raise ValueError(
                f"the encoder {asked} cannot be built from image_channels={channels} alone ({error}): give its "
                'arguments as JSON, {"object": ..., "arguments": {...}}'
            ) from error
        return _network(found, asked)
    choose("encoder", asked, NAMES)
    height, width = image_sides(space)
    if asked == "nature":
        return NatureCNN(channels)
    if asked == "vit":
        patch = _patch(height, width)
        return VisionTransformer(
            Size(32, 2, 2), image_size=(height, width), patch=patch, image_channels=channels, class_token=False,
            pool="mean", mlp_ratio=2.0,
        )  # fmt: skip
    stride = 1
    while max(height, width) / stride > SIDE:
        stride *= 2
    if asked == "convolution":
        return ConvNet(channels, WIDTH, dilations=(1, 1), stride=stride, norm="none")
    return Attending(channels, stride=stride, attention=asked.replace("-", "_"))


def _patch(height: int, width: int) -> int:
    """The smallest patch that divides both sides and leaves no more tokens than a small network likes."""
    both = math.gcd(height, width)
    for patch in range(1, both + 1):
        if both % patch == 0 and height * width / patch**2 <= TOKENS:
            return patch
    raise ValueError(
        f"no patch divides {height} x {width} pixels into {TOKENS} or fewer: resize the image, or take another encoder"
    )


def _network(found: Any, asked: str) -> nn.Module:
    if not isinstance(found, nn.Module):
        raise ValueError(f"the encoder {asked} is a {type(found).__name__} and no network")
    return found
