"""RandAugment (Cubuk et al., 2020, https://arxiv.org/abs/1909.13719): a few random changes, all of one magnitude.

Each change is one of the paper's fourteen, all equally likely, with replacement. The magnitude goes from 0 to 10, as
in the paper's code and timm; torchvision's 0 to 30 is three times as fine. Every change that has a magnitude changes
nothing at 0 and more the larger it is (timm's "increasing" set), in a direction drawn by a coin where it has two:

| change | at magnitude 10 |
|---|---|
| rotate | 30 degrees, about the centre |
| shear_x, shear_y | 0.3 pixels a pixel, about the centre (originally about the corner, which moves all as well) |
| translate_x, translate_y | 0.45 of the width or height |
| brightness, colour, contrast, sharpness | factors 0.1 or 1.9 |
| posterize | 4 bits are left |
| solarize | all values inverted; at less, those from 256 (1 - magnitude / 10) on |
| identity, auto_contrast, equalize | no magnitude |

With a mask, the five geometric changes move image and mask alike: the mask by its nearest label, with the label that
does not count where nothing was. The others leave it alone.

Left out: AutoAugment's policies, the operations that only timm has, cutout.
"""

import math

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator

from sightline.ops.arguments import choose

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
FACTORS = {
    "brightness": ImageEnhance.Brightness,
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}
CHANGES = ("identity", "auto_contrast", "equalize", *GEOMETRIC, *FACTORS, "posterize", "solarize")
LARGEST = 10  # magnitude


def random_augment(
    image: Image.Image,
    generator: Generator,
    *,
    number: int = 2,
    magnitude: float = 9.0,
    spread: float = 0.0,
    mask: Image.Image | None = None,
    fill: tuple[int, int, int] = (124, 116, 104),
    ignore: int = 255,
) -> tuple[Image.Image, Image.Image | None]:
    """An RGB image after `number` random changes, and its mask (of Pillow's mode "L" or "I") after the geometric ones.

    Args:
        image: Mode "RGB".
        generator: All randomness is drawn from it.
        number: How many changes, one after the other.
        magnitude: From 0 to 10.
        spread: Standard deviation of the magnitude, drawn anew for each change and cut to 0 .. 10; DeiT has 0.5.
        mask: Labels, as large as the image.
        fill: Colour of what lies beyond the image.
        ignore: Label of what lies beyond the mask.

    Raises:
        ValueError: a magnitude out of range, or a negative number.
    """
    if not 0 <= magnitude <= LARGEST or number < 0 or spread < 0:
        raise ValueError(
            f"RandAugment takes a number of changes and a spread from 0 on, and a magnitude from 0 to {LARGEST}, got "
            f"{number}, {spread} and {magnitude}: 2 changes of magnitude 9 are usual"
        )
    for _ in range(number):
        name = CHANGES[int(torch.randint(len(CHANGES), (), generator=generator))]
        sign = 1 - 2 * int(torch.randint(2, (), generator=generator))
        strength = magnitude + spread * float(torch.randn((), generator=generator)) if spread else magnitude
        strength = min(max(strength, 0.0), LARGEST)
        image = change(name, image, sign * strength, fill=fill)
        if mask is not None and name in GEOMETRIC:
            mask = change(name, mask, sign * strength, fill=ignore)
    return image, mask


def change(
    name: str, image: Image.Image, magnitude: float, *, fill: int | tuple[int, int, int] = (124, 116, 104)
) -> Image.Image:
    """One change. The sign of the magnitude, in [-10, 10], is its direction where it has one.

    An image of mode "RGB" is read bilinearly, a mask at the nearest pixel.
    """
    choose("change", name, CHANGES)
    part = magnitude / LARGEST
    if name in FACTORS:
        return FACTORS[name](image).enhance(1 + 0.9 * part)
    if name == "auto_contrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(part)))
    if name == "solarize":
        return ImageOps.solarize(image, round(256 * (1 - abs(part))))
    if name == "identity":
        return image
    return _move(name, image, part, fill)


def _move(name: str, image: Image.Image, part: float, fill: int | tuple[int, int, int]) -> Image.Image:
    """Where each point of the result is read: Pillow takes the point (x, y) from (a x + b y + c, d x + e y + f)."""
    a, b, d, e = 1.0, 0.0, 0.0, 1.0
    shift_x = shift_y = 0.0
    if name == "rotate":
        angle = math.radians(30 * part)
        a, b, d, e = math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
    elif name == "shear_x":
        b = 0.3 * part
    elif name == "shear_y":
        d = 0.3 * part
    elif name == "translate_x":
        shift_x = 0.45 * part * image.width
    else:
        shift_y = 0.45 * part * image.height
    x, y = image.width / 2, image.height / 2
    matrix = (a, b, x - a * x - b * y + shift_x, d, e, y - d * x - e * y + shift_y)
    how = Image.Resampling.BILINEAR if image.mode == "RGB" else Image.Resampling.NEAREST
    return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=fill)
