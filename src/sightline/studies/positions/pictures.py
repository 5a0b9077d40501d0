"""The pictures of the position study: the task with its answers, and the strip of what several schemes say.

Left out: choosing a canvas that tells a better story; it is the first of the test canvases.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sightline.run.checkpoint import load_weights
from sightline.studies.page import png_of
from sightline.studies.positions import grids, schemes
from sightline.studies.positions.grids import CELL, Grids
from sightline.studies.positions.training import TEST_SEED, Training, answers, served_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = (
    "none",
    "ALiBi 2-D",
    "learned 2-D",
    "relative clipped",
    "rotary mixed",
    "conditional",
)  # in the strip, where trained
STRIP_SIZE = (8, 8)  # cells; larger than what was trained
ARROWS = ("↖", "↗", "↙", "↘")
STRIKE = "#ff9d3c"
TINT = {"left": "#5dff7a", "row": "#ff6b6b", "quadrant": "#8ab4ff"}  # of arrows, light enough for black


def draw_task(cells: tuple[int, int] = (6, 6)) -> bytes:
    """A small canvas with an arrow from questions of each kind to where their answers stand."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    grid = grids.draw(1, cells, "test", torch.Generator().manual_seed(5))
    figure = Figure(figsize=(6.4, 6.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    _canvas(axes, grid.image[0])
    rows, columns = cells
    for number, kind in enumerate(grids.QUESTIONS):
        here = (grid.question[0] == number).nonzero().tolist()
        for y, x in here[: 4 if kind == "left" else 3]:
            if kind == "quadrant":
                top, left = (y >= rows // 2) * rows // 2 * CELL, (x >= columns // 2) * columns // 2 * CELL
                corner, size = (left - 0.5, top - 0.5), (columns // 2 * CELL, rows // 2 * CELL)
                axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=TINT[kind], linewidth=2.5, zorder=3))
                continue
            to = x - 1 if kind == "left" else int(grid.red[0, y].nonzero()[0])
            _arrow(axes, _middle(y, x), _middle(y, to), TINT[kind])
    axes.set_title("green: the digit to my left; red: the red digit of my row; blue: my quadrant", fontsize=11)
    return png_of(figure)


def _middle(y: int, x: int) -> tuple[float, float]:
    return (x + 0.5) * CELL - 0.5, (y + 0.5) * CELL - 0.5


def _arrow(axes: "Axes", start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.4, "shrinkA": 2, "shrinkB": 10}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def _canvas(axes: "Axes", image: Tensor) -> None:
    axes.imshow(image.movedim(0, -1).numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def strip(folder: Path, done: Sequence[Training]) -> tuple[bytes, tuple[int, int]] | None:
    """The strip `image | schemes | ground truth`, and its size in cells; None where no scheme has been trained."""
    from matplotlib.figure import Figure

    trained = {
        name: training
        for training in done
        if training.task == "image" and training.seed == 0
        for name in served_by(training.scheme, training.task)
    }
    names = [name for name in SHOWN if name in trained] or list(trained)[: len(SHOWN)]
    if not names:
        return None
    grid = grids.draw(1, STRIP_SIZE, "test", torch.Generator().manual_seed(TEST_SEED))
    panels: list[tuple[str, Tensor | None]] = [("image", None)]
    for name in names:
        network = schemes.GridNetwork(name, trained[name].budget.cells)
        load_weights(folder / trained[name].folder, network)
        panels.append((name, answers(network, "image", grid.image)[0]))
    panels.append(("ground truth", grid.label[0]))
    columns = -(-len(panels) // 2) if len(panels) > 4 else len(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 4.0 * rows), layout="constrained", facecolor="white")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for (name, said), axes in zip(panels, places, strict=False):
        _canvas(axes, grid.image[0])
        title = name
        if said is not None:
            right = _write_answers(axes, grid, said)
            title = name if name == "ground truth" else f"{name}\n{right:.0%} right"
        axes.set_title(title, fontsize=13)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    return png_of(figure, dpi=100), STRIP_SIZE


def _write_answers(axes: "Axes", grid: Grids, said: Tensor) -> float:
    """Write what was said on every question, and return the share that is right."""
    from matplotlib.patches import Rectangle

    asked = (grid.question[0] != grids.NONE).nonzero().tolist()
    right = 0
    for y, x in asked:
        one, truth = int(said[y, x]), int(grid.label[0, y, x])
        colour = "#" + "".join(f"{round(255 * float(part)):02x}" for part in grids.COLOURS[grid.question[0, y, x]])
        back, ink = ("white", "black") if one == truth else ("black", "white")
        corner = (x * CELL, y * CELL)
        axes.add_patch(Rectangle(corner, CELL - 1, CELL - 1, facecolor=back, edgecolor=colour, linewidth=1.6))
        words = str(one) if one < grids.DIGITS else ARROWS[one - grids.DIGITS]
        axes.text(*_middle(y, x), words, ha="center", va="center_baseline", size=10, weight="bold", color=ink)
        if one != truth:
            axes.plot([corner[0], corner[0] + CELL - 1], [corner[1] + CELL - 1, corner[1]], color=STRIKE, linewidth=1.4)
        right += one == truth
    return right / max(len(asked), 1)
