"""Which pieces of real images does a channel respond to most? From any number of images, each piece cut to exactly
what the unit can see (Zeiler & Fergus, 2014, https://arxiv.org/abs/1311.2901, section 4, show features so).

Images stream through the network; only the best patches so far are kept. Every image is brought to one size first:
scaled until it just covers that size, smoothly, and its middle is cut out, so that shapes keep their proportions. Of
one image the strongest position counts, then the strongest whose field does not overlap it, and so on.

A crop is as large as the unit's field before the image clips it, and grey where that passes the image; except along an
axis where the field is as large as the image or larger: there the crop ends with the image.

Left out: pixels inside the crop that the unit cannot see (holes, the corners of a cross); the receptive field's own
set tells them.
"""

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.layers.modes import evaluated
from sightline.seeing.deconvnet import Prepare
from sightline.seeing.maps import as_map, layout
from sightline.seeing.receptive import receptive_fields
from sightline.seeing.running import check_unit, output_of, runs_of

Box = tuple[int, int, int, int]
Named = tuple[str, Float[Tensor, "_ _ _"]]  # [c, h, w], of any size
GREY = 0.5
# What Pillow raises where a file is not what its head says.
BROKEN = (OSError, SyntaxError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, struct.error, zlib.error)


@runtime_checkable
class Sees(Protocol):
    """What is asked of receptive fields here."""

    def hull(self, layer: str, position: tuple[int, int], /) -> Box | None:
        """Top, bottom, left and right of the unit's field within the image, inclusive; None where it sees nothing."""
        ...


@dataclass(frozen=True)
class Patch:
    """A piece of an image, and how much a unit that sees just this piece responds."""

    image: str
    channel: int
    position: tuple[int, int]
    """(y, x) on the layer's map."""
    response: float
    box: Box
    """Top, bottom, left, right of what the unit sees of the resized image, inclusive."""
    crop: Float[Tensor, "c y x"]
    """In [0, 1], with grey where the field passes the image."""


def top_patches(
    network: nn.Module,
    images: Iterable[Named | str | Path],
    layer: str,
    channel: int | Sequence[int],
    count: int = 9,
    *,
    size: tuple[int, int] | None = None,
    inputs: int = 3,
    overlap: bool = False,
    batch: int = 8,
    prepare: Prepare | None = None,
    fields: Sees | None = None,
    complain: Callable[[str], object] | None = None,
) -> list[Patch]:
    """The patches to which each channel responds most: channel by channel as asked, the strongest first.

    Args:
        network: any module that takes `[b, inputs, h, w]`; it runs in evaluation mode and is left as it was.
        images: names with images in [0, 1], or paths of image files; one that cannot be used is left out.
        layer: the name of a module of the network, whose output is a map, tokens or a vector.
        channel: one, or several.
        count: of patches for each channel.
        size: to which every image is brought, (h, w); None: that of the first image.
        inputs: channels of the images; files are read in colour, or in grey when this is 1.
        overlap: whether fields of patches of one image may overlap.
        batch: of images that go through the network at once.
        prepare: applied to the batch before the network, such as its normalisation.
        fields: the receptive fields of the network at this size; None: they are found.
        complain: is given a sentence for each image that is left out; None: a warning.

    Raises:
        ValueError: the layer or the channel does not exist, or there is no image.
    """
    channels = [channel] if isinstance(channel, int) else list(channel)
    best: dict[int, list[Patch]] = {one: [] for one in channels}
    usable = _usable(images, inputs, complain if complain is not None else _warn)
    cutter = None
    for names, pixels in _batches(usable, size, batch):
        extent = (pixels.shape[-2], pixels.shape[-1])
        with torch.no_grad(), evaluated(network):
            seen = pixels.to(next(network.parameters(), pixels))
            seen = seen if prepare is None else prepare(seen)
            output = output_of(network, layer, seen)
            responses = as_map(output, layout(output.shape, extent))
            check_unit(layer, responses.shape[1:], channels, None)
            if cutter is None:
                fields = fields if fields is not None else fields_of(network, seen[:1])
                cutter = _Cutter(fields, run_name(network, layer, seen[:1], fields), extent)
        for name, image, response in zip(names, pixels, responses[:, channels].double().cpu().numpy(), strict=True):
            for one, values in zip(channels, response, strict=True):
                least = best[one][-1].response if len(best[one]) == count else -math.inf
                for place, box in _peaks(values, cutter.hull, count, least, overlap):
                    crop = cutter.crop(image, place, box)
                    best[one].append(Patch(name, one, place, float(values[place]), box, crop))
                best[one] = sorted(best[one], key=lambda patch: -patch.response)[:count]  # stable: of equals the first
    if cutter is None:
        raise ValueError("top patches were asked of no image that can be used: name some")
    return [patch for one in channels for patch in best[one]]


def run_name(network: nn.Module, layer: str, batch: Float[Tensor, "b c h w"], fields: Sees) -> str:
    """What the fields call the last run of a module, which is the one that is looked at: the third is "layer #3"."""
    last = f"{layer} #{runs_of(network, layer, batch)}"
    return last if last in getattr(fields, "layers", {}) else layer


def fields_of(network: nn.Module, image: Float[Tensor, "b c h w"]) -> Sees:
    """The receptive fields of the network for images of this size."""
    return receptive_fields(network, image)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


def _peaks(
    response: Float[np.ndarray, "y x"],
    hull: Callable[[tuple[int, int]], Box | None],
    count: int,
    least: float,
    overlap: bool,
) -> list[tuple[tuple[int, int], Box]]:
    """The strongest positions above `least`, from the top, whose fields do not overlap one another.

    A response of nan is none; a unit that sees nothing of the image says nothing about it.
    """
    chosen: list[tuple[tuple[int, int], Box]] = []
    for flat in np.argsort(-response, axis=None, kind="stable").tolist():
        place = divmod(flat, response.shape[1])
        if len(chosen) == count or not response[place] > least:
            break
        box = hull(place)
        if box is not None and (overlap or not any(_meet(box, other) for _, other in chosen)):
            chosen.append((place, box))
    return chosen


def _meet(one: Box, other: Box) -> bool:
    return one[0] <= other[1] and other[0] <= one[1] and one[2] <= other[3] and other[2] <= one[3]


class _Cutter:
    """Cuts what a unit sees out of images of one size."""

    def __init__(self, fields: Sees, layer: str, size: tuple[int, int]) -> None:
        self.size = size
        self.rule = getattr(fields, "layers", {}).get(layer)
        self.hull: Callable[[tuple[int, int]], Box | None] = cache(lambda place: fields.hull(layer, place))

    def crop(self, image: Float[Tensor, "c h w"], place: tuple[int, int], box: Box) -> Float[Tensor, "c y x"]:
        """The part of the image in the unit's field, with grey around it where the field passes the image."""
        top, bottom, left, right = box
        inside = image[:, top : bottom + 1, left : right + 1].clone()
        up, down = self._beyond(0, place[0], top, bottom)
        before, after = self._beyond(1, place[1], left, right)
        return F.pad(inside, (before, after, up, down), value=GREY)

    def _beyond(self, axis: int, place: int, first: int, last: int) -> tuple[int, int]:
        """How many pixels of the field lie before and after the image; 0 where no affine rule gives just this hull."""
        if self.rule is None or self.rule.stride[axis] is None or self.rule.size[axis] >= self.size[axis]:
            return 0, 0
        start = self.rule.stride[axis] * place - self.rule.padding[axis]
        extent = self.rule.size[axis]
        if not float(start).is_integer():
            return 0, 0
        begin, end = int(start), int(start + extent) - 1
        if (max(begin, 0), min(end, self.size[axis] - 1)) != (first, last):
            return 0, 0
        return first - begin, end - last


def _batches(
    images: Iterable[Named], size: tuple[int, int] | None, batch: int
) -> Iterator[tuple[list[str], Float[Tensor, "b c h w"]]]:
    names: list[str] = []
    pixels: list[Tensor] = []
    for name, image in images:
        size = (image.shape[-2], image.shape[-1]) if size is None else size
        names.append(name)
        pixels.append(fitted(image, size))
        if len(names) == batch:
            yield names, torch.stack(pixels)
            names, pixels = [], []
    if names:
        yield names, torch.stack(pixels)


def fitted(image: Float[Tensor, "c h w"], size: tuple[int, int]) -> Float[Tensor, "c {size[0]} {size[1]}"]:
    """The middle of the image, scaled until it just covers the size: bilinear, smoothed first where it shrinks."""
    height, width = image.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    rows, columns = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    if (rows, columns) != (height, width):
        image = F.interpolate(image[None], (rows, columns), mode="bilinear", antialias=True)[0]
    top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]]


def _usable(images: Iterable[Named | str | Path], inputs: int, complain: Callable[[str], object]) -> Iterator[Named]:
    for one in images:
        if isinstance(one, str | Path):
            try:
                pixels = read(one, inputs)
            except BROKEN as problem:
                complain(f"{one} is left out, it cannot be read as an image: {problem}")
            else:
                yield Path(one).name, pixels
            continue
        name, image = one
        if image.dim() == 3 and len(image) == inputs and image.numel() and image.is_floating_point():
            yield name, image.detach()
        else:
            complain(
                f"{name} is left out: an image of {inputs} channels is a float tensor [{inputs}, h, w], this is "
                f"{str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
            )


def read(path: str | Path, channels: int = 3) -> Float[Tensor, "{channels} h w"]:
    """An image file in [0, 1], upright as its camera says: red, green and blue, or grey if one channel is asked."""
    from PIL import Image, ImageOps

    if channels not in (1, 3):
        raise ValueError(f"a file has 1 or 3 channels, {channels} were asked: give tensors instead")
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith("I"):  # 16 bits of grey
                upright = Image.fromarray((np.asarray(upright) / 257).clip(0, 255).round().astype(np.uint8))
            if "transparency" in upright.info:
                upright = upright.convert("RGBA")
            pixels = np.array(upright.convert("RGB" if channels == 3 else "L"), dtype=np.float32) / 255
    except Image.DecompressionBombError as problem:
        raise ValueError(str(problem)) from problem
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1).copy())
