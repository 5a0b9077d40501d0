"""What an example goes through before it is evaluated: nothing is drawn.

It is resized by the shorter side, or kept; of that the middle may be cut, as is usual for classification; and pixels
may be added beyond the right and lower edge, until both sides are multiples of what the encoder needs. What was there
keeps its place then, and `[:h, :w]` of the answer is the image's.

Left out: windows and several scales (`prediction/predict.py`).
"""

import math
from dataclasses import dataclass

from torch import nn

from sightline.models.vit import VisionTransformer
from sightline.vision.augmentation.augment import MEAN_COLOUR
from sightline.vision.augmentation.windows import Window, centre, cut_image, cut_mask
from sightline.vision.data.examples import IGNORE, Example


@dataclass(frozen=True)
class Preparation:
    """How an example is brought to the size at which it is evaluated."""

    shorter_side: int | None = None
    """Pixels of the shorter side; None: as it is."""
    crop: tuple[int, int] | None = None
    """Height and width of the middle that is kept, after resizing; None: all of it."""
    multiple: int = 1
    """Of what both sides are made a multiple, after cropping, by adding pixels right and below."""
    fill: tuple[int, int, int] = MEAN_COLOUR
    """Red, green and blue of what lies beyond the image, 0 to 255."""
    ignore: int = IGNORE
    """The label of what lies beyond the mask."""

    def __post_init__(self) -> None:
        if self.multiple < 1 or (self.shorter_side is not None and self.shorter_side < 1):
            raise ValueError(
                f"a shorter side and a multiple are 1 pixel or more, got {self.shorter_side} and {self.multiple}"
            )
        if self.crop is not None and (len(self.crop) != 2 or min(self.crop) < 1):
            raise ValueError(f"a crop is a height and a width of 1 pixel or more, got {self.crop}")


def needed_multiple(network: nn.Module) -> int:
    """What height and width must be multiples of: the patch of the Vision Transformers inside, otherwise 1."""
    return math.lcm(1, *(module.stride for module in network.modules() if isinstance(module, VisionTransformer)))


def prepare(example: Example, preparation: Preparation) -> Example:
    """The example as it is evaluated; its mask, where it has one, goes the same way by the nearest label."""
    size = (example.image.shape[-2], example.image.shape[-1])
    if preparation.shorter_side is not None:
        new = resized(size, preparation.shorter_side)
        example = _cut(example, Window(0, 0, *size), new, preparation)
        size = new
    if preparation.crop is not None:
        example = _cut(example, centre(size, preparation.crop), preparation.crop, preparation)
        size = preparation.crop
    full = (_up(size[0], preparation.multiple), _up(size[1], preparation.multiple))
    return example if full == size else _cut(example, Window(0, 0, *full), full, preparation)


def resized(size: tuple[int, int], shorter_side: int) -> tuple[int, int]:
    """Height and width with the same proportions, to the nearest pixel."""
    h, w = size
    if h <= w:
        return shorter_side, max(shorter_side, round(w * shorter_side / h))
    return max(shorter_side, round(h * shorter_side / w)), shorter_side


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _cut(example: Example, window: Window, size: tuple[int, int], preparation: Preparation) -> Example:
    target = example.target
    if target.ndim == 2:
        target = cut_mask(target, window, size, preparation.ignore)
    return Example(cut_image(example.image, window, size, preparation.fill), target)
