"""From a map to an answer: one class per image, or one class per pixel; and a network made of an encoder and a head.

Left out: decoders that join shallow maps (`models/unet.py` is an encoder), and losses.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.models.encoder import Encoder


class ClassHead(nn.Module):
    """The mean over a map and one linear layer: `[b, channels, y, x]` or a summary `[b, channels]` `-> [b,
    classes]`."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Float[Tensor, "b channels *positions"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.linear(features.flatten(2).mean(2) if features.dim() > 2 else features)


class MaskHead(nn.Module):
    """A 1 x 1 convolution and bilinear growth: `[b, channels, y, x] -> [b, classes, h, w]`.

    Args:
        channels: width of the map.
        classes: number of classes.
        align_corners: whether corner positions are put on corner pixels, as CCNet does; otherwise edges on edges.
    """

    def __init__(self, channels: int, classes: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, classes, 1)
        self.align_corners = align_corners

    def forward(self, features: Float[Tensor, "b channels y x"], size: Sequence[int]) -> Float[Tensor, "b k h w"]:
        """Logits of every pixel of an image of this size."""
        return F.interpolate(
            self.convolution(features), size=tuple(size), mode="bilinear", align_corners=self.align_corners
        )


class Classifier(nn.Module):
    """An encoder and a class head: `[b, c, h, w] -> [b, classes]`, from the encoder's summary where it has one."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ClassHead(encoder.channels, classes)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of every image."""
        summary = getattr(self.encoder, "summary", None)
        return self.head(self.encoder(image) if summary is None else summary(image))


class Segmenter(nn.Module):
    """An encoder and a mask head: `[b, c, h, w] -> [b, classes, h, w]`."""

    def __init__(self, encoder: Encoder, classes: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = MaskHead(encoder.channels, classes, align_corners=align_corners)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Logits of every pixel."""
        return self.head(self.encoder(image), image.shape[2:])
