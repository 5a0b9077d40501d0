"""Windows: rectangles of an image brought to a given size, for images and masks alike.

A window is a rectangle of whole pixels, and may reach beyond the image. Pixels are squares whose centres lie at 1/2,
3/2, and so on: row i of n result rows stands at top + (i + 1/2) height / n. There an image is read bilinearly, with
antialiasing where it shrinks, and a mask at the pixel in which the point lies; so both keep the same edges. Where the
point lies beyond the image, an image has a fill colour and a mask the label that does not count.

The kernel reads no pixel beyond the window, and repeats the image's border beyond it, so that no fill colour bleeds in.
Images stay uint8: PyTorch resizes those faster than floats, and than Pillow does (docs/augmentation.md).

Left out: windows between pixels, rotation (see `random_augment`).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor

TRIES = 10  # windows drawn before the last one is taken as it is, as in the Inception crop


class Window(NamedTuple):
    """A rectangle of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def cut_image(
    image: UInt8[Tensor, "3 h w"], window: Window, size: tuple[int, int], fill: tuple[int, int, int]
) -> UInt8[Tensor, "3 y x"]:
    """The window of an image, brought to `size`."""
    h, w = image.shape[-2:]
    rows = range(window.top, window.top + window.height)
    columns = range(window.left, window.left + window.width)
    if rows[0] >= 0 and rows[-1] < h and columns[0] >= 0 and columns[-1] < w:
        source = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    else:
        source = image.index_select(1, torch.tensor(rows).clamp(0, h - 1))
        source = source.index_select(2, torch.tensor(columns).clamp(0, w - 1))
    if source.shape[-2:] != size:
        source = F.interpolate(source[None], size, mode="bilinear", antialias=True)[0]
    inside = inside_image(window, size, (h, w))
    if inside == (slice(0, size[0]), slice(0, size[1])):
        return source.contiguous()
    canvas = torch.tensor(fill, dtype=torch.uint8)[:, None, None].repeat(1, *size)
    canvas[:, inside[0], inside[1]] = source[:, inside[0], inside[1]]
    return canvas


def cut_mask(mask: Int64[Tensor, "h w"], window: Window, size: tuple[int, int], ignore: int) -> Int64[Tensor, "y x"]:
    """The window of a mask, brought to `size`: the nearest label everywhere."""
    h, w = mask.shape
    rows, columns = _nearest(window, size)
    result = mask.index_select(0, rows.clamp(0, h - 1)).index_select(1, columns.clamp(0, w - 1))
    inside = inside_image(window, size, (h, w))
    if inside == (slice(0, size[0]), slice(0, size[1])):
        return result
    canvas = torch.full(size, ignore, dtype=mask.dtype)
    canvas[inside] = result[inside]
    return canvas


def inside_image(window: Window, size: tuple[int, int], image_size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the result that stand inside the image."""
    found = []
    for places, length in zip(_nearest(window, size), image_size, strict=True):
        inside = ((places >= 0) & (places < length)).nonzero()[:, 0]
        found.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
    return found[0], found[1]


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of the window that becomes `size` when it is magnified by `scale`, to the nearest pixel."""
    return max(1, round(size[0] / scale)), max(1, round(size[1] / scale))


def draw_area_size(
    image_size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> tuple[int, int]:
    """Height and width of an Inception crop (Szegedy et al., 2015, https://arxiv.org/abs/1409.4842, section 6).

    A part of the image's area, evenly from `area`, and width over height, evenly on a logarithmic scale from `ratio`.
    After ten that do not fit, the largest window of an allowed ratio, as in torchvision.
    """
    h, w = image_size
    for _ in range(TRIES):
        pixels = h * w * draw_between(area[0], area[1], generator)
        shape = math.exp(draw_between(math.log(ratio[0]), math.log(ratio[1]), generator))
        height, width = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
        if 0 < height <= h and 0 < width <= w:
            return height, width
    shape = min(max(w / h, ratio[0]), ratio[1])
    return min(h, max(1, round(w / shape))), min(w, max(1, round(h * shape)))


def draw_place(image_size: tuple[int, int], window_size: tuple[int, int], generator: Generator) -> Window:
    """A window that lies inside the image, or has the image inside where it is larger; all places equally likely."""
    corner = []
    for image, window in zip(image_size, window_size, strict=True):
        spare = image - window
        corner.append(min(0, spare) + int(torch.randint(abs(spare) + 1, (), generator=generator)))
    return Window(corner[0], corner[1], *window_size)


def centre(image_size: tuple[int, int], window_size: tuple[int, int]) -> Window:
    """The window in the middle of the image; half a pixel up and left of it where the spare pixels are odd."""
    return Window(
        (image_size[0] - window_size[0]) // 2, (image_size[1] - window_size[1]) // 2, window_size[0], window_size[1]
    )


def draw_between(low: float, high: float, generator: Generator) -> float:
    """A number drawn evenly from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _nearest(window: Window, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column of the image in which each row and column of the result stands, maybe beyond it."""
    rows = window.top + (2 * torch.arange(size[0]) + 1) * window.height // (2 * size[0])
    columns = window.left + (2 * torch.arange(size[1]) + 1) * window.width // (2 * size[1])
    return rows, columns
