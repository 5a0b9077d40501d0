"""How the tokens of an attention layer lie over the image: on which grid, with how many tokens that stand nowhere.

A token count alone does not tell: 50 tokens are a 7 x 7 grid with a class token, or what a masked autoencoder left of
196. So the network is watched. Convolutions, pooling and resizing make maps, and the sizes of those shaped like the
image are grids; `torch.cat` puts tokens before and behind a grid. A count that neither explains has no place, and says
so. Only where no map was ever made (patches cut by hand) is a grid guessed: the one whose pitch divides the image.

Left out: the order within windows, and grids that are not row by row.
"""

import dataclasses
from collections.abc import Sequence

from torch import Tensor

Pixel = tuple[float | int, float | int]  # row and column; centres at whole numbers
MAP_MAKERS = frozenset(
    (
        "adaptive_avg_pool2d",
        "adaptive_max_pool2d",
        "avg_pool2d",
        "conv2d",
        "conv_transpose2d",
        "interpolate",
        "max_pool2d",
        "pixel_shuffle",
        "pixel_unshuffle",
    )
)


@dataclasses.dataclass(frozen=True)
class Place:
    """`count` tokens: `prefix` that stand nowhere, then the grid row by row, then `suffix` that stand nowhere."""

    count: int
    """number of tokens."""
    grid: tuple[int, int] | None
    """rows and columns, or None where the tokens could not be laid on the image."""
    prefix: int = 0
    """tokens before the grid: class token, registers, prompts."""
    suffix: int = 0
    """tokens behind it: detection tokens, keys that a layer adds."""


@dataclasses.dataclass
class Ground:
    """What is known, while a network runs, of the grids over an image."""

    image: tuple[int, int]
    """height and width in pixels."""
    prefix: int | None = None
    """the number of prefix tokens where the caller says it."""
    maps: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """number of positions -> size, of every map made so far that is shaped like the image."""
    joined: dict[int, Place] = dataclasses.field(default_factory=dict)
    """number of tokens -> place, of every grid that was joined with other tokens."""

    def saw_map(self, size: Sequence[int]) -> None:
        """A map of this size was made; one shaped otherwise than the image is channels or heads, not positions."""
        (h, w), (y, x) = self.image, size
        if y <= h and x <= w and abs(y * w - x * h) <= 1.5 * max(h, w) and min(y, x) >= 1:
            self.maps[y * x] = (y, x)

    def saw_join(self, parts: Sequence[Tensor], axis: int) -> None:
        """Tensors were joined along an axis: where one of them is a grid, the others stand before and behind it."""
        counts = [part.shape[axis] for part in parts]
        places = [self.place(count) for count in counts]
        laid = [i for i, place in enumerate(places) if place.grid is not None and place.count > 1]
        if not laid:
            return
        # Several may fit, a single class token a map of one position, say: the largest is the grid.
        i = max(laid, key=lambda j: counts[j])
        before, behind = sum(counts[:i]), sum(counts[i + 1 :])
        inner = places[i]
        self.joined[sum(counts)] = Place(sum(counts), inner.grid, before + inner.prefix, behind + inner.suffix)

    def place(self, count: int) -> Place:
        """Where so many tokens lie; a place without a grid where nothing explains the number."""
        if self.prefix is not None:
            grid = self._grid(count - self.prefix)
            if grid is not None:
                return Place(count, grid, self.prefix)
        if count in self.joined:
            return self.joined[count]
        return Place(count, self._grid(count))

    def _grid(self, count: int) -> tuple[int, int] | None:
        if self.maps:
            return self.maps.get(count)
        h, w = self.image
        pitches = [s for s in range(1, min(h, w) + 1) if h % s == 0 and w % s == 0 and (h // s) * (w // s) == count]
        return (h // pitches[0], w // pitches[0]) if pitches else None


def nearest(pixel: Pixel, image: Sequence[int], grid: Sequence[int]) -> tuple[int, int]:
    """The grid position whose cell holds a pixel, when the grid's cells tile the image; pixel (0, 0) is a centre."""
    y, x = (
        min(int((p + 0.5) * cells / pixels), cells - 1) for p, cells, pixels in zip(pixel, grid, image, strict=True)
    )
    return y, x
