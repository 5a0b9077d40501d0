"""The strip `image | R=1 | R=2 | ground truth`: what each network answers at every question of a test canvas.

A question is a cell of the canvas that holds labelled pixels. Its answer is the class that most of those pixels were
given. A right answer is drawn dark on white, a wrong one struck through, white on black, so that right and wrong can be
told apart in grey and at thumbnail size; the frame keeps the question's colour, by which the reader finds the digit.

The same geometry is drawn twice: as SVG for the page, and as `strip.png` for everything else. Left out: disagreement
between the pixels of one question; the score counts pixels, the strip counts questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from markupsafe import Markup, escape

from sightline.studies.long_range.scenes import Scene

UNLABELLED = -100
TRUTH = "ground truth"
STRIKE = "#ff9d3c"  # orange: visible on black and on white


@dataclass(frozen=True)
class Answer:
    """What was answered at one question: the class, whether it is right, and where (a box in pixels)."""

    top: int
    left: int
    height: int
    width: int
    colour: str  # "#rrggbb", the brightest pixel of the question
    said: int
    truth: int

    @property
    def right(self) -> bool:
        """Whether it is the true class."""
        return self.said == self.truth


def cell_boxes(scene: Scene) -> list[tuple[int, int, int, int]]:
    """Every cell of the canvas as (top, left, height, width) in pixels, row by row."""
    rows, columns = scene.reach.shape[2:]
    h, w = scene.truth.shape
    return [(y * h // rows, x * w // columns, h // rows, w // columns) for y in range(rows) for x in range(columns)]


def most_common(values: Int[np.ndarray, "n"]) -> int:
    """The most frequent value; the smallest of equals."""
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def brightest(patch: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "3"]:
    """The colour of the brightest pixel."""
    flat = patch.reshape(-1, 3)
    return flat[flat.astype(int).sum(axis=1).argmax()]


def answers(scene: Scene, network: str) -> list[Answer]:
    """What a network answers at every question; `TRUTH` for a name gives the right answers."""
    says = scene.truth if network == TRUTH else scene.prediction[scene.networks.index(network)]
    found = []
    for top, left, height, width in cell_boxes(scene):
        box = (slice(top, top + height), slice(left, left + width))
        labelled = scene.truth[box] != UNLABELLED
        if labelled.any():
            colour = "#" + "".join(f"{int(part):02x}" for part in brightest(scene.image[box]))
            said, truth = most_common(says[box][labelled]), most_common(scene.truth[box][labelled])
            found.append(Answer(top, left, height, width, colour, said, truth))
    return found


def patches_of(scene: Scene) -> list[UInt8[np.ndarray, "y x 3"]]:
    """The image of every cell, row by row."""
    return [scene.image[top : top + h, left : left + w] for top, left, h, w in cell_boxes(scene)]


def asking_cells(scene: Scene) -> list[bool]:
    """For every cell, row by row, whether it asks a question."""
    labelled = scene.truth != UNLABELLED
    return [bool(labelled[top : top + h, left : left + w].any()) for top, left, h, w in cell_boxes(scene)]


def digit_cells(scene: Scene) -> list[int]:
    """The cells, counted row by row, of digits that nothing is asked about: those that hold answers."""
    asked = asking_cells(scene)
    return [cell for cell, patch in enumerate(patches_of(scene)) if patch.any() and not asked[cell]]


def digits_of(scene: Scene) -> int:
    """How many digits hold answers on this canvas."""
    return len(digit_cells(scene))


def answer_cells(scene: Scene) -> list[int | None]:
    """For every cell, row by row: the cell that holds the answer to its question, None where nothing is asked.

    The answer to a question is the digit of its colour; where no digit has its colour, the only coloured one (the key).
    """
    hues = [brightest(patch).astype(float) for patch in patches_of(scene)]
    hues = [hue / max(hue.max(), 1.0) for hue in hues]
    asked, digits = asking_cells(scene), digit_cells(scene)

    def nearest(cell: int) -> int:
        return min(digits, key=lambda digit: float(abs(hues[digit] - hues[cell]).sum()))

    return [nearest(cell) if asks and digits else None for cell, asks in enumerate(asked)]


def strip_networks(names: Sequence[str]) -> list[str]:
    """Criss-cross with one pass and with two, where both are there; else the first two networks."""
    pair = [[name for name in names if passes in name][:1] for passes in ("R=1", "R=2")]
    return pair[0] + pair[1] if all(pair) else list(names[:2])


def score_words(found: Sequence[Answer]) -> str:
    """How many questions are answered rightly, in words."""
    return f"{sum(answer.right for answer in found)} of {len(found)} right"


def answers_svg(found: Sequence[Answer]) -> Markup:
    """The answers as SVG elements in pixel coordinates of the canvas, to lie on its image."""
    parts = []
    for one in found:
        x, y, s = one.left, one.top, min(one.height, one.width)
        back, ink = ("#fff", "#000") if one.right else ("#000", "#fff")
        parts.append(
            f'<rect x="{x + 0.6}" y="{y + 0.6}" width="{one.width - 1.2}" height="{one.height - 1.2}" rx="1" '
            f'fill="{back}" stroke="{escape(one.colour)}" stroke-width="1.2"/>'
            f'<text x="{x + one.width / 2}" y="{y + 0.75 * one.height}" text-anchor="middle" font-size="{0.7 * s:.1f}" '
            f'font-weight="700" fill="{ink}">{one.said}</text>'
        )
        if not one.right:
            line = f"M{x + 1.2} {y + one.height - 1.2}L{x + one.width - 1.2} {y + 1.2}"
            parts.append(f'<path d="{line}" stroke="{STRIKE}"/>')
    return Markup("".join(parts))


def draw_strip(folder: Path, scenes: Sequence[Scene], rows: int = 2) -> Path:
    """Draw the strip of the first few scenes into `folder / strip.png` and return that path."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    shown = list(scenes[:rows])
    columns = ["image", *strip_networks(shown[0].networks), TRUTH]
    figure = Figure(figsize=(2.6 * len(columns), 2.95 * len(shown)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(shown), len(columns), squeeze=False)
    for scene, line in zip(shown, grid, strict=True):
        for name, axes in zip(columns, line, strict=True):
            h, w = scene.truth.shape
            axes.imshow(scene.image, interpolation="nearest", extent=(0, w, h, 0))
            axes.set(xticks=[], yticks=[])
            found = [] if name == "image" else answers(scene, name)
            for one in found:
                back, ink = ("white", "black") if one.right else ("black", "white")
                corner = (one.left + 0.6, one.top + 0.6)
                size = (one.width - 1.2, one.height - 1.2)
                axes.add_patch(Rectangle(corner, *size, facecolor=back, edgecolor=one.colour, linewidth=2.2))
                middle = (one.left + one.width / 2, one.top + one.height / 2)
                axes.text(*middle, str(one.said), ha="center", va="center_baseline", size=15, weight="bold", color=ink)
                if not one.right:
                    ends = ([corner[0], corner[0] + size[0]], [corner[1] + size[1], corner[1]])
                    axes.plot(*ends, color=STRIKE, linewidth=1.8)
            axes.set_title(name if name in ("image", TRUTH) else f"{name}\n{score_words(found)}", fontsize=12)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "strip.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path
