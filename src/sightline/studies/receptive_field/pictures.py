"""The pictures of the receptive-field study: 7 x 7 becoming 3 x 3, fields and heats on a photograph, and kernels.

Left out: charts (`charts.py`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sightline.seeing.effective_size import HALF, MOST, level
from sightline.seeing.kernel_pictures import grid
from sightline.studies.field_picture import lit, outline
from sightline.studies.page import png_bytes, png_of
from sightline.studies.receptive_field.repairs import EVEN, Sight

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, yellow darkened to stand out on white, and two greys; neighbours differ in lightness as well.
NINE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#a08a00", "#7a5195")
SHADES = {1: "#ffffff", 2: "#e4e8ec", 4: "#c3cad2"}  # by how many outputs read a pixel
INSETS = (0.06, 0.15)  # of the outlines, neighbours in turn, so that none covers another
ACROSS, ENLARGED = 8, 5
HEAT_LINES = ((MOST, "#ffd54a"), (HALF, "#ff5a36"))
SMOOTHED, HOLES_SMOOTHED = 1.5, float(EVEN)  # pixels, for the lines alone


def draw_seven(seven: Mapping[str, Any]) -> bytes:
    """Input and output side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (7, 3.6)})
    paint_input(left, seven)
    paint_output(right, seven)
    left.set_title(f"input, {seven['side']} x {seven['side']} pixels", fontsize=14)
    right.set_title(f"output, {seven['grid'][0]} x {seven['grid'][1]}", fontsize=14)
    return png_of(figure)


def draw_seven_apart(seven: Mapping[str, Any]) -> list[bytes]:
    """Input and output as a picture each."""
    from matplotlib.figure import Figure

    found = []
    for paint in (paint_input, paint_output):
        figure = Figure(figsize=(4.4, 4.4), facecolor="white")
        paint(figure.add_axes((0.01, 0.01, 0.98, 0.98)), seven)
        found.append(png_of(figure))
    return found


def paint_input(axes: "Axes", seven: Mapping[str, Any]) -> None:
    """Every pixel shaded by how many outputs read it, and the field of every output outlined and numbered."""
    from matplotlib.patches import Rectangle

    side = seven["side"]
    for y in range(side):
        for x in range(side):
            colour = SHADES.get(seven["read"][y][x], "#ffffff")
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="#aab2bb", linewidth=0.7))
    columns = seven["grid"][1]
    for place, (top, bottom, first, last) in enumerate(seven["boxes"]):
        inset = INSETS[(place // columns + place % columns) % 2]
        size = (last - first + 1 - 2 * inset, bottom - top + 1 - 2 * inset)
        colour = NINE[place % len(NINE)]
        axes.add_patch(Rectangle((first + inset, top + inset), *size, fill=False, edgecolor=colour, linewidth=3.2))
        middle = ((first + last + 1) / 2, (top + bottom + 1) / 2)
        axes.text(*middle, str(place + 1), ha="center", va="center", size=17, weight="bold", color=colour)
    _frame(axes, side, side)


def paint_output(axes: "Axes", seven: Mapping[str, Any]) -> None:
    """Every output in the colour and with the number of its field."""
    from matplotlib.patches import Rectangle

    rows, columns = seven["grid"]
    for place in range(rows * columns):
        y, x = divmod(place, columns)
        colour = NINE[place % len(NINE)]
        box = Rectangle((x + 0.06, y + 0.06), 0.88, 0.88, facecolor="white", edgecolor=colour, linewidth=3.2)
        axes.add_patch(box)
        axes.text(x + 0.5, y + 0.5, str(place + 1), ha="center", va="center", size=20, weight="bold", color=colour)
    _frame(axes, rows, columns)


def _frame(axes: "Axes", rows: int, columns: int) -> None:
    axes.set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05), aspect="equal")
    axes.set_axis_off()


def photograph(piece: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A crop as it looks, from dark to bright."""
    low, high = float(piece.min()), float(piece.max())
    shown = (piece - low) / max(high - low, 1e-6)
    return (255 * shown).round().byte().permute(1, 2, 0).numpy()


def paint_sight(axes: "Axes", photo: UInt8[np.ndarray, "h w 3"], sight: Sight) -> None:
    """The photograph, dim where nothing reaches the neuron; around what holds 95 % and 50 % of its heat a line each."""
    from matplotlib.collections import LineCollection

    axes.imshow(lit(photo, sight.field), interpolation="nearest")
    if not sight.field.all() and not sight.has_holes:
        axes.add_collection(LineCollection(outline(sight.field), colors="white", linewidths=0.9))
    heat = smoothed(sight.heat, HOLES_SMOOTHED if sight.has_holes else SMOOTHED)
    for share, colour in HEAT_LINES:
        height = level(torch.from_numpy(heat), share)
        for back, line in (("black", 3.6), (colour, 2.0)):
            axes.contour(heat, levels=[height], colors=back, linewidths=line)
    axes.set(xticks=[], yticks=[])


def smoothed(heat: Float[np.ndarray, "h w"], deviation: float) -> Float[np.ndarray, "h w"]:
    """The heat after a Gaussian blur: a line around a heat of few seeds would be frayed."""
    reach = torch.arange(-round(3 * deviation), round(3 * deviation) + 1, dtype=torch.float64)
    weights = torch.exp(-(reach**2) / (2 * deviation**2))
    weights = weights / weights.sum()
    blurred = torch.from_numpy(heat).double()[None, None]
    for shape in ((-1, 1), (1, -1)):
        kernel = weights.reshape(1, 1, *shape)
        blurred = torch.nn.functional.conv2d(blurred, kernel, padding="same")
    return blurred[0, 0].numpy()


def paint_heat(axes: "Axes", sight: Sight) -> None:
    """The heat itself, black to white by its root: a small share must still be seen."""
    axes.imshow(np.sqrt(sight.heat / sight.heat.max()), cmap="inferno", interpolation="nearest", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def draw_sights(photo: UInt8[np.ndarray, "h w 3"], sights: Sequence[Sight], words: Sequence[str]) -> bytes:
    """All networks in two lines: fields with their contours, and heats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(sights), 6.1), layout="constrained", facecolor="white")
    lines = figure.subplots(2, len(sights), squeeze=False)
    for place, (sight, said) in enumerate(zip(sights, words, strict=True)):
        paint_sight(lines[0, place], photo, sight)
        paint_heat(lines[1, place], sight)
        lines[0, place].set_title(f"{sight.name}\n{said}", fontsize=12)
    lines[0, 0].set_ylabel("can see (bright)", fontsize=12)
    lines[1, 0].set_ylabel("sees in effect", fontsize=12)
    return png_of(figure)


def draw_alone(photo: UInt8[np.ndarray, "h w 3"], sight: Sight) -> tuple[bytes, bytes]:
    """One network's field and heat, without words."""
    from matplotlib.figure import Figure

    found = []
    for heat in (False, True):
        figure = Figure(figsize=(2.6, 2.6))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        if heat:
            paint_heat(axes, sight)
        else:
            paint_sight(axes, photo, sight)
        found.append(png_of(figure))
    return found[0], found[1]


def draw_kernels(kernels: Float[Tensor, "k 3 h w"], scale: float) -> bytes:
    """Kernels as a grid of tiles, on a scale that several pictures may share: grey is zero."""
    tiles = grid(kernels, scale=scale, across=ACROSS, enlarged=ENLARGED)
    return png_bytes((255 * tiles).round().byte().numpy())


def draw_sets(sets: Sequence[tuple[str, Float[Tensor, "k 3 y x"]]], scale: float) -> bytes:
    """Several sets of kernels side by side on one scale, each with its words above."""
    from matplotlib.figure import Figure

    columns = min(len(sets), 3)
    rows = -(-len(sets) // columns)
    figure = Figure(figsize=(4.4 * columns, 4.9 * rows), layout="constrained", facecolor="white")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (words, kernels) in zip(places, sets, strict=False):
        axes.imshow(grid(kernels, scale=scale, across=ACROSS, enlarged=ENLARGED).numpy(), interpolation="nearest")
        axes.set_title(words, fontsize=13)
    for axes in places:
        axes.set_axis_off()
    return png_of(figure)
