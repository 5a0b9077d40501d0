"""Probabilities of every pixel: the whole image at once, or window by window, at several sizes, mirrored as well.

What is averaged is probabilities, never logits: every view (a window, a size, a mirror image) votes with what it
believes, and the result still sums to one. Windows weigh the same everywhere, cover every pixel, and the last one of a
row or column stands flush with the border, as in the evaluation of CCNet's published code. What is too small for a
window, or no multiple of a Vision Transformer's patch, is filled up with zeros, the mean colour of a normalised image,
and cut back.

Left out: windows weighted by the distance from their middle, and crops of an image for its class.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sightline.vision.augmentation.prepare import needed_multiple

OVERLAP = 1 / 3  # of one window with the next, as in the evaluation of CCNet's published code


def starts(length: int, window: int, overlap: float = OVERLAP) -> list[int]:
    """Where windows start along one side, so that every pixel is covered and the last is flush with the border.

    Args:
        length: pixels of the side, at least `window`.
        window: pixels of a window.
        overlap: the share of a window, in [0, 1), that the next one covers again (more for the last).
    """
    step = max(1, math.ceil(round(window * (1 - overlap), 6)))  # rounded: 9 x (1 - 1/3) is a hair more than 6
    return [min(step * i, length - window) for i in range(1 + math.ceil((length - window) / step))]


def probabilities(
    network: nn.Module,
    image: Float[Tensor, "b c h w"],
    *,
    window: int | tuple[int, int] | None = None,
    overlap: float = OVERLAP,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    multiple: int | None = None,
    batch: int = 1,
    keep_on: torch.device | str | None = None,
) -> Float[Tensor, "b k h w"]:
    """The probability of every class at every pixel; classes sum to one. No gradient is kept.

    Args:
        network: logits `[b, k, h, w]` of an image; used in the mode in which it is, so put it into evaluation mode.
        image: normalised as in training.
        window: height and width of the windows (one number for both); None for the whole image at once.
        overlap: of neighbouring windows, in [0, 1).
        scales: the image is also shown at these sizes, 1.0 its own.
        flip: whether every view is also shown mirrored left to right.
        multiple: the network takes heights and widths that are multiples of this; found out where None.
        batch: windows shown at once.
        keep_on: device of sums and result; the network's where None. The CPU has room for large images.

    Raises:
        ValueError: an option out of range, or a network that answers in another shape.
    """
    _check(image, window, overlap, scales, batch)
    size = (window, window) if isinstance(window, int) else window
    multiple = needed_multiple(network) if multiple is None else multiple
    first = next(network.parameters(), image)
    keep = torch.device(first.device if keep_on is None else keep_on)
    h, w = image.shape[2:]
    total: Tensor | None = None
    with torch.no_grad():
        for scale in scales:
            grown = (max(1, round(h * scale)), max(1, round(w * scale)))
            shown = image if grown == (h, w) else F.interpolate(image, grown, mode="bilinear", antialias=True)
            view = _slide(network, shown, size, overlap, flip, multiple, batch, first.device, keep)
            if grown != (h, w):
                # Bilinear weights are positive and sum to one, so that probabilities stay what they are.
                view = F.interpolate(view, (h, w), mode="bilinear", antialias=True)
            total = view if total is None else total.add_(view)
    assert total is not None
    return total.div_(len(scales)) if len(scales) > 1 else total


def class_probabilities(
    network: nn.Module, image: Float[Tensor, "b c h w"], *, flip: bool = False
) -> Float[Tensor, "b k"]:
    """The probability of every class of whole images; with `flip` the mean with their mirror images.

    Raises:
        ValueError: a network that does not answer with one row of logits for each image.
    """
    with torch.no_grad():
        logits = network(image)
        if logits.dim() != 2 or len(logits) != len(image):
            raise ValueError(
                f"a class needs logits [{len(image)}, k], the network answers {tuple(logits.shape)}: is it one that"
                " segments?"
            )
        said = _softmax(logits)
        return (said + _softmax(network(image.flip(-1)))) / 2 if flip else said


def _check(
    image: Tensor, window: int | tuple[int, int] | None, overlap: float, scales: Sequence[float], batch: int
) -> None:
    if image.dim() != 4:
        raise ValueError(f"probabilities takes images [b, c, h, w], got a tensor of shape {tuple(image.shape)}")
    if not 0 <= overlap < 1:
        raise ValueError(f"windows overlap by a share in [0, 1), got {overlap}")
    if not scales or any(not scale > 0 for scale in scales):
        raise ValueError(f"scales are one or more positive numbers, 1.0 the image's own size, got {tuple(scales)}")
    if window is not None and min(window if isinstance(window, tuple) else (window,)) < 1:
        raise ValueError(f"a window is one or more pixels high and wide, got {window}")
    if batch < 1:
        raise ValueError(f"one or more windows are shown at once, got batch={batch}")


def _slide(
    network: nn.Module,
    image: Tensor,
    window: tuple[int, int] | None,
    overlap: float,
    flip: bool,
    multiple: int,
    batch: int,
    device: torch.device,
    keep: torch.device,
) -> Tensor:
    h, w = image.shape[2:]
    if window is None:
        return _view(network, image.to(device), flip, multiple).to(keep)
    high, wide = window
    image = F.pad(image, (0, max(0, wide - w), 0, max(0, high - h)))
    rows, columns = (starts(n, m, overlap) for n, m in zip(image.shape[2:], window, strict=True))
    if len(rows) == len(columns) == 1:
        return _view(network, image.to(device), flip, multiple).to(keep)[..., :h, :w]
    total: Tensor | None = None
    for places in _groups([(y, x) for y in rows for x in columns], batch):
        crops = torch.cat([image[..., y : y + high, x : x + wide] for y, x in places])
        said = _view(network, crops.to(device), flip, multiple).to(keep)
        if total is None:
            total = said.new_zeros(len(image), said.shape[1], *image.shape[2:])
        for (y, x), one in zip(places, said.split(len(image)), strict=True):
            total[..., y : y + high, x : x + wide] += one
    assert total is not None
    counts = [
        _covered(n, at, size, total) for n, at, size in zip(image.shape[2:], (rows, columns), window, strict=True)
    ]
    return total.div_(counts[0][:, None] * counts[1])[..., :h, :w]


def _groups(places: list[tuple[int, int]], batch: int) -> Iterator[list[tuple[int, int]]]:
    for i in range(0, len(places), batch):
        yield places[i : i + batch]


def _covered(length: int, at: list[int], size: int, like: Tensor) -> Tensor:
    """How many windows cover each pixel of one side."""
    count = like.new_zeros(length)
    for start in at:
        count[start : start + size] += 1
    return count


def _view(network: nn.Module, image: Tensor, flip: bool, multiple: int) -> Tensor:
    """The probabilities of one view, its mirror image counted in."""
    said = _softmax(_logits(network, image, multiple))
    return said.add_(_softmax(_logits(network, image.flip(-1), multiple)).flip(-1)).div_(2) if flip else said


def _logits(network: nn.Module, image: Tensor, multiple: int) -> Tensor:
    h, w = image.shape[2:]
    filled = F.pad(image, (0, -w % multiple, 0, -h % multiple))
    logits = network(filled)
    if logits.dim() != 4 or logits.shape[2:] != filled.shape[2:]:
        raise ValueError(
            f"a mask needs logits [b, k, {filled.shape[2]}, {filled.shape[3]}] for an image of that size, the network"
            f" answers {tuple(logits.shape)}: is it one that classifies?"
        )
    return logits[..., :h, :w]


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
