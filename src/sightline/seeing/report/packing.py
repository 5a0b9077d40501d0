"""Sets, heat maps and attention as text that a page can hold: bytes, deflated, in base64.

A set is one bit per pixel; a heat map is one byte per cell, the square root of its share of the largest cell, so that
faint cells keep their order (a value v in [0, 1] is stored as round(255 sqrt(v))). The browser inflates them with
`DecompressionStream("deflate")`, which reads zlib's format.

Left out: reading them back in Python, and any loss beyond the eight bits.
"""

import base64
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

HEAT_SIDE = 40  # cells of a heat map's longer side, at most, where fields are as large as the image
FIELD_SIDE = 28  # cells of a field's longer side, at least, where the pixels and the page allow it
MOST_CELLS = 12_000_000  # of all heat maps together


def deflated(values: UInt8[np.ndarray, "..."]) -> str:
    """Bytes as text."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def packed_sets(sets: Bool[np.ndarray, "n h w"]) -> str:
    """Every set as h * w bits, the first pixel in the highest bit, each set starting a new byte."""
    return deflated(np.packbits(sets.reshape(len(sets), -1), axis=1))


def as_bytes(maps: Float[np.ndarray, "*n y x"]) -> UInt8[np.ndarray, "*n y x"]:
    """Each map on its own scale from zero to its largest value, by square roots; a map of zeros stays zero."""
    shown = np.clip(np.nan_to_num(maps), 0, None)
    top = shown.max(axis=(-2, -1), keepdims=True)
    return np.round(255 * np.sqrt(shown / np.where(top > 0, top, 1))).astype(np.uint8)


def cell_of(count: int, extent: tuple[int, int], field: int) -> int:
    """Pixels of a cell's side for `count` heat maps of an image (h, w), whose fields are `field` pixels long.

    Small fields get small cells, so that they are more than a blot.
    """
    coarse = -(-max(extent) // HEAT_SIDE)
    cell = max(1, min(coarse, field // FIELD_SIDE))
    while cell < coarse and count * -(-extent[0] // cell) * -(-extent[1] // cell) > MOST_CELLS:
        cell += 1
    return cell


def smaller(maps: Float[np.ndarray, "*n h w"], cell: int) -> Float[np.ndarray, "*n y x"]:
    """Maps summed over cells of about `cell` pixels a side, as equal as whole pixels allow."""
    h, w = maps.shape[-2:]
    rows = np.linspace(0, h, -(-h // cell) + 1).round().astype(int)[:-1]
    columns = np.linspace(0, w, -(-w // cell) + 1).round().astype(int)[:-1]
    return np.add.reduceat(np.add.reduceat(maps, rows, axis=-2), columns, axis=-1)


def level_of(amounts: Float[np.ndarray, "y x"], share: float) -> float:
    """The value at or above which the cells hold `share` of the whole: the edge of the smallest set that does.

    Infinity for a map of zeros, which no cell reaches.
    """
    order = np.sort(np.clip(np.nan_to_num(amounts).ravel(), 0, None).astype(float))[::-1]
    total = order.sum()
    if not total > 0:
        return float("inf")
    return float(order[min(int(np.searchsorted(np.cumsum(order), share * total * (1 - 1e-12))), len(order) - 1)])


def area_of(amounts: Float[np.ndarray, "y x"], share: float) -> float:
    """The part of all cells, in [0, 1], that the smallest set holding `share` of the whole needs."""
    order = np.sort(np.clip(np.nan_to_num(amounts).ravel(), 0, None).astype(float))[::-1]
    total = order.sum()
    if not total > 0:
        return 0.0
    return float(min(int(np.searchsorted(np.cumsum(order), share * total * (1 - 1e-12))) + 1, len(order))) / len(order)


def level_bytes(heats: Float[np.ndarray, "n y x"], share: float) -> list[float]:
    """The level of each map on the scale of `as_bytes`; 256 where nothing reaches it."""
    levels = []
    for heat in heats:
        top, level = float(np.nan_to_num(heat).max(initial=0)), level_of(heat, share)
        # Half a step lower, so that rounding never leaves out the cell on the edge.
        levels.append(256.0 if not top > 0 else max(round(255 * (level / top) ** 0.5 - 0.5, 2), 0.5))
    return levels


def rounded(values: Sequence[float | int], digits: int = 2) -> list[float]:
    """Numbers short enough for a page."""
    return [round(float(value), digits) for value in values]
