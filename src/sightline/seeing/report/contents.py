"""What the page of a network holds: plain bundles of numbers and pictures, filled by `gather.py`, written by `page.py`.

A part that could not be made is a `Missing`: a sentence that stands in its place. Axes as in the house: `n` neurons,
`y x` a map, `h w` the image; positions are (row, column), extents (height, width), all in pixels of the input unless
said otherwise.

Left out: any computation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Pair = tuple[float, float]


@dataclass(frozen=True)
class Missing:
    """Why a part is not there, in one sentence."""

    sentence: str


@dataclass(frozen=True)
class Layer:
    """One row of the table: the theoretical field of a layer, by its central neuron where it depends on the place."""

    name: str
    kind: str
    shape: tuple[int, ...]
    grid: tuple[int, int] | None
    """Extent of the map; None where the output does not lie over the image."""
    size: Pair | None
    """Unclipped; None where it is not known, infinity where it has no end."""
    stride: Pair | None
    padding: Pair | None
    """Effective padding: position u sees from stride * u - padding on."""
    clipped: Pair | None
    """Within the image."""
    share: float
    """Of the image that the clipped box covers, in [0, 1]."""
    dense: tuple[str, ...] = ()
    """Operations on the way that were taken to join everything with everything."""


@dataclass(frozen=True)
class Effect:
    """The effective field of a layer's central neuron: areas as shares of the image, in [0, 1]."""

    half: float
    """Smallest set of pixels that holds 50 % of the gradient."""
    most: float
    """The one that holds 95 %."""
    squares: Mapping[str, float] = field(default_factory=dict)
    """RepLKNet's metric: centred squares, by threshold in per cent."""
    within: float | None = None
    """Share of the theoretical set's pixels that the 95 % set needs."""


@dataclass(frozen=True)
class Neurons:
    """Neurons of one layer, on a lattice of its rows and columns, row by row: n = len(rows) * len(columns)."""

    layer: str
    grid: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    centres: tuple[tuple[float, ...], tuple[float, ...]]
    """Where their fields are centred, down and across, in pixels."""
    boxes: Int[np.ndarray, "n 4"]
    """Top, left, bottom, right (exclusive) of the unclipped box."""
    sets: Bool[np.ndarray, "n h w"]
    exact: bool = True
    """Whether the sets are exact; otherwise they are boxes around them."""
    heats: Float[np.ndarray, "n y x"] | None = None
    """Effective field, summed to any resolution; None where there is none."""


@dataclass(frozen=True)
class Look:
    """Where one attention layer looks from every query; head 0 is the mean over the heads where there are several."""

    layer: str
    heads: tuple[str, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    centres: tuple[tuple[float, ...], tuple[float, ...]]
    weights: Float[np.ndarray, "k n y x"]
    """By head and query, over the keys of the map."""
    distances: Float[np.ndarray, "k n"]
    """Mean distance from the query, weighted, in pixels."""


@dataclass(frozen=True)
class HeadDistances:
    """Mean attention distance of every head of every layer, and of attention that looks everywhere alike."""

    layers: tuple[str, ...]
    pixels: tuple[tuple[float, ...], ...]
    uniform: float
    entropies: tuple[tuple[float, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its words."""

    name: str
    """Of the PNG file, without ending."""
    title: str
    caption: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Report:
    """Everything that the page shows of one network on one image."""

    model: str
    image: str
    photo: UInt8[np.ndarray, "h w 3"]
    kind: str
    """"structural" or "value-aware"."""
    layers: tuple[Layer, ...] | Missing
    main: tuple[str, ...]
    """Layers that charts and strip walk through, shallow to deep."""
    effects: Mapping[str, Effect] | Missing
    neurons: Neurons | Missing
    heat_note: str
    """Why there is no heat, or how it was made."""
    steps: tuple[Neurons, ...] | Missing
    looks: tuple[Look, ...] | Missing
    distances: HeadDistances | Missing
    kernels: tuple[Picture, ...] | Missing
    features: tuple[Picture, ...] | Missing
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    original: tuple[int, int] | None = None
    """Height and width of the image's file."""
