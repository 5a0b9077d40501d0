"""Augmentation: one example becomes another one, by what a generator draws; image and mask stay together.

In this order: a window of the image is brought to the size of the crop (`windows`), changes of colour, RandAugment's
changes, a mirror image. Where the window reaches beyond the image, the image has a fill colour, by default ImageNet's
mean, which is 0 once normalised, and the mask the label that does not count. The image is uint8 before and after;
`normalise` turns it into what networks read.

Left out: rotation and blur of their own, vertical flips, cutout.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Generator, Tensor

from sightline.ops.arguments import choose
from sightline.vision.augmentation.colour import change_colour
from sightline.vision.augmentation.random_augment import LARGEST, random_augment
from sightline.vision.augmentation.windows import (
    TRIES,
    Window,
    cut_image,
    cut_mask,
    draw_area_size,
    draw_between,
    draw_place,
    inside_image,
    scaled_size,
)
from sightline.vision.data.examples import IGNORE, Example

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = (124, 116, 104)  # ImageNet's mean in 0 .. 255


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for each example; the defaults are for segmentation, `for_classification` has the others."""

    crop: tuple[int, int] = (512, 512)
    """Height and width of every result, in pixels."""
    window: str = "scale"
    """"scale": the image is magnified by a number from `scale`, and the crop taken anywhere. "area": a part of the
    image's area, of a shape from `ratio`, is brought to the crop (Inception)."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Least and largest magnification, drawn evenly."""
    shorter_side: int | None = None
    """Pixels to which the image's shorter side comes at a magnification of 1; None: as it is in the file."""
    area: tuple[float, float] = (0.08, 1.0)
    """Least and largest part of the image's area, drawn evenly."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width over height, drawn evenly on a logarithmic scale."""
    category_max_ratio: float = 1.0
    """In (0, 1]: a crop in which one class has a larger part of the pixels that count is placed again, up to ten times;
    1 takes any crop. MMSegmentation's is 0.75."""
    flip: float = 0.5
    """Probability of the mirror image, left for right."""
    brightness: float = 0.25
    """The factor is drawn evenly from 1 plus or minus this; so are the next two."""
    contrast: float = 0.25
    """See `brightness`."""
    saturation: float = 0.25
    """See `brightness`."""
    hue: float = 0.02
    """Whole turns of the colours, drawn evenly from plus or minus this."""
    random_augment: int = 0
    """RandAugment's number of changes."""
    magnitude: float = 9.0
    """RandAugment's magnitude, from 0 to 10."""
    magnitude_spread: float = 0.0
    """Standard deviation of RandAugment's magnitude; DeiT's is 0.5."""
    fill: tuple[int, int, int] = MEAN_COLOUR
    """Red, green and blue of what lies beyond the image, 0 to 255."""
    ignore: int = IGNORE
    """The label of pixels that do not count, and of what lies beyond the mask."""

    def __post_init__(self) -> None:
        choose("window", self.window, ("scale", "area"))
        if len(self.crop) != 2 or min(self.crop) < 1:
            raise ValueError(f"a crop is a height and a width of 1 pixel or more, got {self.crop}")
        for name in ("scale", "area", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name == "area" and high > 1):
                limit = " of at most 1" if name == "area" else ""
                raise ValueError(f"{name} is a least and a largest number above 0{limit}, got {low} and {high}")
        for name, largest in (("flip", 1), ("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= largest:
                raise ValueError(f"{name} lies in [0, {largest}], got {getattr(self, name)}")
        if not 0 < self.category_max_ratio <= 1:
            raise ValueError(f"category_max_ratio lies in (0, 1], got {self.category_max_ratio}: 1 takes any crop")
        if self.random_augment < 0 or not 0 <= self.magnitude <= LARGEST or self.magnitude_spread < 0:
            raise ValueError(
                f"RandAugment takes a number of changes and a spread from 0 on, and a magnitude from 0 to {LARGEST}, "
                f"got {self.random_augment}, {self.magnitude_spread} and {self.magnitude}"
            )
        if self.shorter_side is not None and self.shorter_side < 1:
            raise ValueError(f"the shorter side is 1 pixel or more, or None to keep it, got {self.shorter_side}")
        if len(self.fill) != 3 or not all(0 <= value <= 255 for value in self.fill):
            raise ValueError(f"fill is red, green and blue from 0 to 255, got {self.fill}")


def for_classification(crop: tuple[int, int] = (224, 224), random_augment: int = 2) -> Augmentation:
    """Inception crops, mirror images and RandAugment, without changes of colour beside it, as DeiT trains."""
    return Augmentation(
        crop=crop,
        window="area",
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        hue=0.0,
        random_augment=random_augment,
        magnitude_spread=0.5,
    )


def augment(example: Example, augmentation: Augmentation, generator: Generator) -> Example:
    """Another example of the crop's size; all that is random is drawn from the generator, on the CPU.

    Args:
        example: An image with its mask or class. A class stays what it is.
        augmentation: What to draw.
        generator: The same state gives the same result.

    Raises:
        ValueError: the mask has another size than the image.
    """
    size = (example.image.shape[-2], example.image.shape[-1])
    mask = example.target if example.target.ndim == 2 else None
    if mask is not None and mask.shape != size:
        raise ValueError(
            f"an image of {size[0]} x {size[1]} pixels has a mask of {' x '.join(map(str, mask.shape))}: make both of "
            f"one size"
        )
    window = _draw_window(size, mask, augmentation, generator)
    image = cut_image(example.image, window, augmentation.crop, augmentation.fill)
    if mask is not None:
        mask = cut_mask(mask, window, augmentation.crop, augmentation.ignore)
    rows, columns = inside_image(window, augmentation.crop, size)
    image = _change_colour(image, (slice(None), rows, columns), augmentation, generator)
    if augmentation.random_augment:
        image, mask = _random_augment(image, mask, augmentation, generator)
    if draw_between(0.0, 1.0, generator) < augmentation.flip:
        image, mask = image.flip(-1), None if mask is None else mask.flip(-1)
    return Example(image, example.target if mask is None else mask)


def normalise(
    image: UInt8[Tensor, "*b 3 h w"],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Float32[Tensor, "*b 3 h w"]:
    """(image / 255 - mean) / std for each of red, green and blue, with mean and std in [0, 1]."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=image.device)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=image.device)
    return image.float().mul_(scale[:, None, None]).sub_(shift[:, None, None])


def _draw_window(
    size: tuple[int, int], mask: Tensor | None, augmentation: Augmentation, generator: Generator
) -> Window:
    if augmentation.window == "area":
        window_size = draw_area_size(size, augmentation.area, augmentation.ratio, generator)
    else:
        scale = draw_between(*augmentation.scale, generator)
        if augmentation.shorter_side is not None:
            scale *= augmentation.shorter_side / min(size)
        window_size = scaled_size(augmentation.crop, scale)
    window = draw_place(size, window_size, generator)
    if mask is None or augmentation.category_max_ratio == 1:
        return window
    for _ in range(TRIES - 1):
        crop = cut_mask(mask, window, augmentation.crop, augmentation.ignore)
        pixels = crop[crop != augmentation.ignore].bincount()
        if len(pixels) and int(pixels.max()) <= augmentation.category_max_ratio * int(pixels.sum()):
            break
        window = draw_place(size, window_size, generator)
    return window


def _change_colour(
    image: Tensor, inside: tuple[slice, slice, slice], augmentation: Augmentation, generator: Generator
) -> Tensor:
    """Of the image alone, not of what lies beyond it."""
    amounts = (augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)
    if not any(amounts):
        return image
    brightness, contrast, saturation, hue = (draw_between(-a, a, generator) for a in amounts)
    changed = change_colour(
        image[inside], brightness=1 + brightness, contrast=1 + contrast, saturation=1 + saturation, hue=hue
    )
    if changed.shape == image.shape:
        return changed
    image[inside] = changed  # onto a canvas that was made for this crop: it reaches beyond the image
    return image


def _random_augment(
    image: Tensor, mask: Tensor | None, augmentation: Augmentation, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """Through Pillow and back."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    labels = None if mask is None else Image.fromarray(mask.to(torch.int32).numpy())
    picture, labels = random_augment(
        picture,
        generator,
        number=augmentation.random_augment,
        magnitude=augmentation.magnitude,
        spread=augmentation.magnitude_spread,
        mask=labels,
        fill=augmentation.fill,
        ignore=augmentation.ignore,
    )
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return image, None if labels is None else torch.from_numpy(np.array(labels)).long()
