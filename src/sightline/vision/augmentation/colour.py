"""Changes of colour: brightness, contrast, saturation and hue of an image in one affine map.

With Y = 0.299 r + 0.587 g + 0.114 b, the luma of a colour, and m the image's mean luma, all four are affine in the
colour x:

- brightness: b x
- contrast: c x + (1 - c) m
- saturation: Y + s (x - Y)
- hue: x - Y turned by an angle in the plane of equal luma (that of I and Q in the YIQ colours of analogue television)

They commute, so that there is no order to draw, and are applied in one product, rounded and cut to 0 .. 255 once. The
first three are Pillow's (`ImageEnhance`), but for its rounding and cutting after each. The hue of others (torchvision,
timm) turns around the hexagon of HSV instead, which changes luma, and costs more (docs/augmentation.md).
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
YIQ = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)


def change_colour(
    image: UInt8[Tensor, "3 h w"],
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> UInt8[Tensor, "3 h w"]:
    """The image with its colours changed; factors of 1 and a hue of 0 change nothing.

    Args:
        image: Red, green and blue.
        brightness: Factor from 0 (black).
        contrast: Factor from 0 (a grey image of the mean luma).
        saturation: Factor from 0 (grey).
        hue: How far colours turn, in whole turns.
    """
    colours = image.reshape(3, -1).float()
    matrix = brightness * contrast * chroma_matrix(saturation, hue)
    mean = colours.mean(1) @ torch.tensor(LUMA)
    shift = (brightness * (1 - contrast) * mean).expand(3, 1)
    return torch.addmm(shift, matrix, colours).round_().clamp_(0, 255).to(torch.uint8).reshape(image.shape)


def chroma_matrix(saturation: float, hue: float) -> Float[Tensor, "3 3"]:
    """Scales and turns what a colour has beside its luma; greys stay as they are."""
    turned = saturation * math.cos(2 * math.pi * hue), saturation * math.sin(2 * math.pi * hue)
    turn = torch.tensor(
        [[1, 0, 0], [0, turned[0], -turned[1]], [0, turned[1], turned[0]]],
        dtype=torch.float64,
    )
    return (torch.linalg.inv(YIQ) @ turn @ YIQ).float()
