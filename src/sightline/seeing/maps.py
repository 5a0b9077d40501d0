"""How a layer's output lies over the image: a map, a map with the channels last, or tokens in rows, with or without
prefix tokens (class, distillation, registers).

Left out: tokens in any other order than row by row, and windows that were cut out of a map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PREFIXES = range(17)  # as many class tokens and registers as a published network has, and some more
TOLERANCE = 0.06  # how far the proportions of a grid may be from those of the image, as a logarithm


@dataclass(frozen=True)
class Layout:
    """Where the positions of a layer's output stand."""

    shape: tuple[int, ...]
    kind: str  # "map", "channels last", "tokens" or "vector"
    grid: tuple[int, int]  # positions along the image's height and width; (1, 1) for a vector
    prefix: int = 0  # tokens before the grid
    items: int = 1  # entries of the first axis for each image: more where a map was cut into windows

    @property
    def axes(self) -> tuple[int, int]:
        """The axes of the output that walk over the image; for tokens twice the same, for a vector twice the last."""
        return {"map": (2, 3), "channels last": (1, 2), "tokens": (1, 1), "vector": (-1, -1)}[self.kind]

    def check(self, position: Sequence[int]) -> tuple[int, int]:
        """The position, if it lies on the grid.

        Raises:
            ValueError: it does not.
        """
        if len(position) != 2 or any(not 0 <= p < g for p, g in zip(position, self.grid, strict=True)):
            raise ValueError(
                f"position {tuple(position)} lies outside a map of {self.grid[0]} x {self.grid[1]}: "
                f"rows go from 0 to {self.grid[0] - 1}, columns from 0 to {self.grid[1] - 1}"
            )
        return position[0], position[1]

    def marked(self, position: Sequence[int]) -> Bool[Tensor, "..."]:
        """The elements of the output at one position of batch item 0, all channels; size 1 where nothing changes."""
        y, x = self.check(position)
        sizes = [1] * len(self.shape)
        sizes[0] = self.shape[0] if self.kind != "vector" or len(self.shape) > 1 else 1
        if self.kind in ("map", "channels last"):
            for axis in self.axes:
                sizes[axis] = self.shape[axis]
        elif self.kind == "tokens":
            sizes[1] = self.shape[1]
        marks = torch.zeros(sizes, dtype=torch.bool)
        if self.kind == "map":
            marks[0, :, y, x] = True
        elif self.kind == "channels last":
            marks[0, y, x] = True
        elif self.kind == "tokens":
            marks[0, self.prefix + y * self.grid[1] + x] = True
        else:
            marks[: self.items] = True
        return marks


def layout(
    shape: Sequence[int], image: tuple[int, int], *, batch: int | None = None, channels_last: bool | None = None
) -> Layout:
    """How an output of this shape lies over an image `(h, w)` of a batch of that many.

    Four axes are a map, `[b, c, y, x]` unless only `[b, y, x, c]` has the image's proportions, or `channels_last` says
    so. Three are tokens `[b, n, c]` where n, less a few prefix tokens, makes a grid of the image's proportions. All
    else is a vector, one position, and so are windows that stand where images do, on the first axis.
    """
    sizes = tuple(shape)
    if batch is not None and sizes and sizes[0] != batch and sizes[0] % batch == 0:
        return Layout(sizes, "vector", (1, 1), items=sizes[0] // batch)
    if len(sizes) == 4:
        last = channels_last
        if last is None:
            last = not _proportioned(sizes[2:], image) and _proportioned(sizes[1:3], image)
        return Layout(sizes, "channels last" if last else "map", (sizes[1], sizes[2]) if last else (sizes[2], sizes[3]))
    if len(sizes) == 3:
        for prefix in PREFIXES:
            grid = _grid(sizes[1] - prefix, image)
            if grid is not None:
                return Layout(sizes, "tokens", grid, prefix)
    return Layout(sizes, "vector", (1, 1))


def at(output: Float[Tensor, "..."], where: Layout, position: Sequence[int]) -> Float[Tensor, "b c"]:
    """The features of one position, of every batch item.

    Raises:
        ValueError: the position lies outside the map.
    """
    y, x = where.check(position)
    if where.kind == "map":
        return output[:, :, y, x]
    if where.kind == "channels last":
        return output[:, y, x]
    if where.kind == "tokens":
        return output[:, where.prefix + y * where.grid[1] + x]
    return output.flatten(1)


def as_map(output: Float[Tensor, "..."], where: Layout) -> Float[Tensor, "b c y x"]:
    """The output as a map, prefix tokens left out; a vector is a map of one position."""
    if where.kind == "map":
        return output
    if where.kind == "channels last":
        return output.movedim(-1, 1)
    if where.kind == "tokens":
        return output[:, where.prefix :].transpose(1, 2).unflatten(2, where.grid)
    return output.flatten(1)[:, :, None, None]


def _proportioned(grid: Sequence[int], image: tuple[int, int]) -> bool:
    """Whether one step of the grid is as wide as it is high, to the rounding that odd sizes bring."""
    steps = [s / g for s, g in zip(image, grid, strict=True)]
    rounding = math.log1p(1 / min(grid)) if min(grid) > 1 else math.log(2)
    return abs(math.log(steps[0] / steps[1])) <= max(TOLERANCE, rounding)


def _grid(tokens: int, image: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of that many positions whose proportions are nearest the image's, if any comes near enough."""
    if tokens < 1:
        return None
    columns = [c for c in range(1, tokens + 1) if tokens % c == 0]
    best = min(columns, key=lambda c: abs(math.log((image[0] * c * c) / (image[1] * tokens))))
    grid = (tokens // best, best)
    off = abs(math.log((image[0] / grid[0]) / (image[1] / grid[1])))
    return grid if off <= TOLERANCE or (tokens > 3 and min(grid) > 1 and off <= math.log1p(1 / max(grid))) else None
