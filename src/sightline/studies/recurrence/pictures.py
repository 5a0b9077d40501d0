"""The pictures of the recurrence study: a query's sight that grows from a cross to everything, and the two strips.

All lie on the first of the test canvases, whichever it is; of its questions whose answer stands neither in their row
nor in their column the one nearest the middle is the query. Fields dim what cannot reach the query; yellow squares show
where what arrives at the query comes from, its own cell left out, their area in proportion to the weight
(`sight.arrivals`).

Left out: choosing what tells a better story.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.studies.field_picture import lit, outline
from sightline.studies.long_range.scenes import Scene
from sightline.studies.long_range.strip import STRIKE, TRUTH, answer_cells, answers, asking_cells, score_words
from sightline.studies.page import png_of
from sightline.studies.recurrence.sight import passes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOK = "#ffd54a"
Panel = tuple[str, str, Callable[["Axes"], None]]  # title, what it shows in words, and how it is painted


def telling_query(scene: Scene) -> int:
    """The cell of the question nearest the middle whose answer stands off its cross; of any where none does."""
    rows, columns = scene.reach.shape[2:]
    asked = [cell for cell, asks in enumerate(asking_cells(scene)) if asks]
    answer = answer_cells(scene)

    def off_cross(cell: int) -> bool:
        at = answer[cell]
        return at is not None and cell // columns != at // columns and cell % columns != at % columns

    def from_middle(cell: int) -> float:
        return abs(cell // columns - (rows - 1) / 2) + abs(cell % columns - (columns - 1) / 2)

    return min([cell for cell in asked if off_cross(cell)] or asked or [0], key=from_middle)


def _show(axes: "Axes", image: np.ndarray) -> None:
    h, w = image.shape[:2]
    axes.imshow(image, interpolation="nearest", extent=(0, w, h, 0))
    axes.set(xticks=[], yticks=[])


def _mark(axes: "Axes", scene: Scene, query: int) -> None:
    """The query ringed, and a dashed frame where its answer stands."""
    from matplotlib.patches import Circle, Rectangle

    rows, columns = scene.reach.shape[2:]
    h, w = scene.truth.shape[0] / rows, scene.truth.shape[1] / columns
    y, x = divmod(query, columns)
    for colour, line in (("black", 5.0), ("white", 2.4)):
        middle = ((x + 0.5) * w, (y + 0.5) * h)
        axes.add_patch(Circle(middle, 0.75 * w, fill=False, color=colour, linewidth=line, zorder=4))
    answer = answer_cells(scene)[query]
    if answer is not None:
        row, column = divmod(answer, columns)
        for colour, style in (("black", "-"), ("white", (0, (3, 2)))):
            box = Rectangle(
                (column * w, row * h), w, h, fill=False, edgecolor=colour, linestyle=style, linewidth=2.2, zorder=4
            )
            axes.add_patch(box)
    axes.set(xlim=(0, scene.truth.shape[1]), ylim=(scene.truth.shape[0], 0))  # a ring at the edge widens nothing


def paint_field(axes: "Axes", scene: Scene, network: str, query: int) -> None:
    """The canvas, dim where nothing can reach the query."""
    seen = scene.reach[scene.networks.index(network), query]
    scale = (scene.truth.shape[0] // seen.shape[0], scene.truth.shape[1] // seen.shape[1])
    wide = seen.repeat(scale[0], 0).repeat(scale[1], 1)
    bright = np.maximum(scene.image, 70)  # black cells must tell seen from unseen as well
    _show(axes, np.where(wide[..., None], bright, lit(scene.image, wide)))
    from matplotlib.collections import LineCollection

    lines = [[(a + 0.5, b + 0.5), (c + 0.5, d + 0.5)] for (a, b), (c, d) in outline(wide)]
    axes.add_collection(LineCollection(lines, colors="white", linewidths=1.4))
    _mark(axes, scene, query)


def paint_looks(axes: "Axes", scene: Scene, network: str, query: int) -> None:
    """The canvas, with a square wherever the query's attention looks."""
    from matplotlib.patches import Rectangle

    _show(axes, (scene.image * 0.55).astype(np.uint8))
    looks = scene.looks[scene.networks.index(network), query].astype(float)
    rows, columns = looks.shape
    h, w = scene.truth.shape[0] / rows, scene.truth.shape[1] / columns
    if not np.isnan(looks).any():
        for y in range(rows):
            for x in range(columns):
                side = np.sqrt(looks[y, x] / looks.max())
                if side > 0.1:
                    corner = ((x + (1 - side) / 2) * w, (y + (1 - side) / 2) * h)
                    axes.add_patch(
                        Rectangle(
                            corner, side * w, side * h, facecolor=LOOK, edgecolor="black", linewidth=0.4, alpha=0.9
                        )
                    )
    _mark(axes, scene, query)


def paint_answers(axes: "Axes", scene: Scene, name: str) -> None:
    """The canvas, each question with what was answered: dark on white right, white on black and struck through "
    "wrong."""
    from matplotlib.patches import Rectangle

    _show(axes, scene.image)
    for one in answers(scene, name):
        back, ink = ("white", "black") if one.right else ("black", "white")
        corner, size = (one.left + 0.6, one.top + 0.6), (one.width - 1.2, one.height - 1.2)
        axes.add_patch(Rectangle(corner, *size, facecolor=back, edgecolor=one.colour, linewidth=2.2))
        middle = (one.left + one.width / 2, one.top + one.height / 2)
        axes.text(*middle, str(one.said), ha="center", va="center_baseline", size=15, weight="bold", color=ink)
        if not one.right:
            ends = ([corner[0], corner[0] + size[0]], [corner[1] + size[1], corner[1]])
            axes.plot(*ends, color=STRIKE, linewidth=1.8)


def look_words(scene: Scene, network: str, query: int) -> str:
    """How much of what arrives comes from the answer, in words."""
    looks = scene.looks[scene.networks.index(network), query].astype(float)
    answer = answer_cells(scene)[query]
    if np.isnan(looks).any():
        return "no attention"
    return "" if answer is None else f"{100 * looks.flatten()[answer]:.0f} % from the answer"


def field_words(scene: Scene, network: str, query: int) -> str:
    """How much of the canvas can reach the query, in words."""
    seen = scene.reach[scene.networks.index(network), query]
    return f"sees {int(seen.sum())} of {seen.size} cells"


def sight_panels(scene: Scene) -> tuple[list[Panel], list[Panel]]:
    """The exact fields of one query, and what arrives there in the trained networks, from R = 0 on."""
    query = telling_query(scene)
    names = sorted(scene.networks, key=passes_of)
    fields: list[Panel] = [
        (f"R={passes_of(name)}", field_words(scene, name, query), _painter(paint_field, scene, name, query))
        for name in names
    ]
    looks: list[Panel] = [
        (f"R={passes_of(name)}", look_words(scene, name, query), _painter(paint_looks, scene, name, query))
        for name in names
    ]
    return fields, looks


def strip_panels(scene: Scene) -> tuple[list[Panel], list[Panel]]:
    """`image | R=1 | R=2 | ground truth`, for what is answered and for where is looked."""
    query = telling_query(scene)
    shown = [name for name in sorted(scene.networks, key=passes_of) if passes_of(name) in (1, 2)]
    plain: Panel = ("image", "digits and squares", lambda axes: _show(axes, scene.image))
    said: list[Panel] = [plain]
    looked: list[Panel] = [("image", "the query, ringed", lambda axes: _plain(axes, scene, query))]
    for name in shown:
        said.append((f"R={passes_of(name)}", score_words(answers(scene, name)), _answers_of(scene, name)))
        looks = _painter(paint_looks, scene, name, query)
        looked.append((f"R={passes_of(name)}", look_words(scene, name, query), looks))
    said.append((TRUTH, "", _answers_of(scene, TRUTH)))
    looked.append((TRUTH, "where the answer stands", lambda axes: _truth(axes, scene, query)))
    return said, looked


def _painter(
    paint: Callable[["Axes", Scene, str, int], None], scene: Scene, name: str, query: int
) -> Callable[["Axes"], None]:
    return lambda axes: paint(axes, scene, name, query)


def _answers_of(scene: Scene, name: str) -> Callable[["Axes"], None]:
    return lambda axes: paint_answers(axes, scene, name)


def _plain(axes: "Axes", scene: Scene, query: int) -> None:
    _show(axes, scene.image)
    _mark(axes, scene, query)


def _truth(axes: "Axes", scene: Scene, query: int) -> None:
    """All attention on the answer's cell: what a look-up would be."""
    from matplotlib.patches import Rectangle

    _show(axes, (scene.image * 0.55).astype(np.uint8))
    rows, columns = scene.reach.shape[2:]
    answer = answer_cells(scene)[query]
    if answer is not None:
        h, w = scene.truth.shape[0] // rows, scene.truth.shape[1] // columns
        y, x = divmod(answer, columns)
        axes.add_patch(Rectangle((x * w, y * h), w, h, facecolor=LOOK, edgecolor="black", linewidth=0.4, alpha=0.9))
    _mark(axes, scene, query)


def draw_lines(lines: Sequence[tuple[str, Sequence[Panel]]]) -> bytes:
    """Several lines of panels in one picture, each line with its name at its left."""
    from matplotlib.figure import Figure

    columns = max(len(panels) for _, panels in lines)
    figure = Figure(figsize=(2.9 * columns + 0.4, 3.35 * len(lines)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for (name, panels), places in zip(lines, grid, strict=True):
        for (title, words, paint), axes in zip(panels, places, strict=False):
            paint(axes)
            axes.set_title(f"{title}\n{words}" if words else title, fontsize=12)
        places[0].set_ylabel(name, fontsize=12)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
    return png_of(figure)


def draw_panel(panel: Panel) -> bytes:
    """One panel without words: a page puts its own below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2, 3.2))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    panel[2](axes)
    return png_of(figure)
