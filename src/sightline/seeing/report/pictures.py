"""Still pictures of the central neuron, for slides and papers: what the page draws when it is opened.

Left out: contours and attention, which the page draws.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from sightline.seeing.report.contents import Neurons
from sightline.seeing.report.packing import as_bytes
from sightline.seeing.report.sentences import middle

DIM = 0.3  # outside of the set the image keeps this share of its brightness
HEAT = (255, 194, 31)
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
GAP = 6  # pixels between two pictures


def edge(seen: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the set with a neighbour, or the image's border, that is not in it."""
    padded = np.pad(seen, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return seen & ~inner


def field_picture(
    photo: UInt8[np.ndarray, "h w 3"],
    seen: Bool[np.ndarray, "h w"],
    heat: Float[np.ndarray, "y x"] | None = None,
    *,
    scale: int = 1,
) -> UInt8[np.ndarray, "hh ww 3"]:
    """The grey image, dark outside of the set, with the heat in amber and a white line around the set."""
    grey = np.repeat((photo @ np.array(LUMINANCE))[..., None], 3, axis=2) * 0.72
    lit = np.where(seen[..., None], grey, grey * DIM)
    if heat is not None:
        h, w = seen.shape
        rows, columns = np.arange(h) * heat.shape[0] // h, np.arange(w) * heat.shape[1] // w
        share = (as_bytes(heat) / 255)[rows][:, columns, None] * 0.88
        lit = lit * (1 - share) + np.array(HEAT) * share
    large = lit.repeat(scale, 0).repeat(scale, 1)
    large[edge(seen.repeat(scale, 0).repeat(scale, 1))] = 255
    return large.round().astype(np.uint8)


def central_picture(photo: UInt8[np.ndarray, "h w 3"], neurons: Neurons) -> UInt8[np.ndarray, "hh ww 3"]:
    """The central neuron of a layer; small images are enlarged by a whole factor."""
    place = middle(neurons)
    heat = None if neurons.heats is None else neurons.heats[place]
    return field_picture(photo, neurons.sets[place], heat, scale=max(1, 448 // max(photo.shape[:2])))


def strip_picture(photo: UInt8[np.ndarray, "h w 3"], steps: Sequence[Neurons]) -> UInt8[np.ndarray, "hh ww 3"]:
    """The central neuron of each layer, from left to right, on one scale."""
    tiles = [central_picture(photo, step) for step in steps]
    white = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (tile, white)][:-1], axis=1)
