"""The first picture: what can each of them see? Exact fields of one output position, on a photograph, with no training.

Each panel is `ops.patterns.field`, the exact set of input pixels that can reach one output pixel through a stack of
patterns: a convolution stack grows by kernel - 1 a layer; criss-cross attention (Huang et al., 2019,
https://arxiv.org/abs/1811.11721, section 3.2) sees its row and its column, and applied twice everything; non-local
attention (Wang et al., 2018, https://arxiv.org/abs/1711.07971) sees everything at once. Networks work at one position
per pixel here.

Left out: how much each pixel counts. The effective field of the stack is smaller than what is drawn.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8

from sightline.ops.patterns import criss_cross, everything, field, window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look
DIM = 0.3  # unseen pixels keep this share of their brightness, and no colour: it must read in grey too


@dataclass(frozen=True)
class Field:
    """What one network can see from one position."""

    name: str
    detail: str
    seen: Bool[np.ndarray, "h w"]

    @property
    def share(self) -> float:
        """The share of the picture that can reach the position, in [0, 1]."""
        return float(self.seen.mean())

    @property
    def sentence(self) -> str:
        """The share in words; 100 % is said of a complete field only."""
        if self.seen.all():
            return "sees every pixel (100 %)"
        return f"sees {min(100 * self.share, 99.9):.1f} % of the pixels"


def photograph(width: int = 120) -> UInt8[np.ndarray, "h w 3"]:
    """scikit-learn's photograph of a pagoda, which needs no download, `width` pixels wide."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    whole = Image.fromarray(load_sample_image("china.jpg"))
    return np.asarray(whole.resize((width, max(1, round(width * whole.height / whole.width)))))


def fields(size: tuple[int, int], query: tuple[int, int], depth: int = 16, kernel: int = 3) -> list[Field]:
    """The exact fields of one query pixel `(y, x)` on a map of `size` (h, w), from the narrowest idea to the widest.

    Raises ValueError when the query does not lie on the map.
    """
    if not all(0 <= position < extent for position, extent in zip(query, size, strict=True)):
        raise ValueError(
            f"asked for the field of pixel {query}, but the picture has {size[0]} rows and {size[1]} columns: "
            "choose a pixel inside"
        )
    stacks = [
        ("convolutions", f"{depth} layers of {kernel} x {kernel}", [window(kernel)] * depth),
        ("criss-cross, R=1", "one pass: row and column", [criss_cross]),
        ("criss-cross, R=2", "two passes", [criss_cross, criss_cross]),
        ("non-local", "one pass: all pairs", [everything]),
    ]
    return [Field(name, detail, field(patterns, query, size).numpy()) for name, detail, patterns in stacks]


def lit(photo: UInt8[np.ndarray, "h w 3"], seen: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph as it is where seen; grey and dim elsewhere."""
    grey = (photo @ np.array(LUMINANCE))[..., None] * DIM
    return np.where(seen[..., None], photo, grey.round()).astype(np.uint8)


def middle_of_the_pagoda(size: tuple[int, int]) -> tuple[int, int]:
    """A query pixel on the building, off the centre, so that a cross can be told from a window."""
    return round(0.56 * (size[0] - 1)), round(0.32 * (size[1] - 1))


def outline(seen: Bool[np.ndarray, "h w"]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The border between seen and unseen as segments ((x0, y0), (x1, y1)), pixel (y, x) covering x - 0.5 to x + 0.5."""
    padded = np.pad(seen, 1)
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # row r against row r - 1
    along = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    segments = [((x - 0.5, y - 0.5), (x + 0.5, y - 0.5)) for y, x in across.tolist()]
    return segments + [((x - 0.5, y - 0.5), (x - 0.5, y + 0.5)) for y, x in along.tolist()]


def paint(axes: "Axes", photo: UInt8[np.ndarray, "h w 3"], one: Field, query: Sequence[int]) -> None:
    """One panel: the lit photograph, its field outlined, the query ringed in black and white to stand out anywhere."""
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    axes.imshow(lit(photo, one.seen), interpolation="nearest")
    axes.add_collection(LineCollection(outline(one.seen), colors="white", linewidths=1.0))
    for colour, line in (("black", 5.0), ("white", 2.4)):
        radius = 0.025 * photo.shape[1]
        axes.add_patch(Circle((query[1], query[0]), radius, fill=False, color=colour, linewidth=line, zorder=3))
    axes.set(xticks=[], yticks=[])


def panel_png(photo: UInt8[np.ndarray, "h w 3"], one: Field, query: Sequence[int]) -> bytes:
    """One panel without words, as a PNG file: a page puts its own words below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4 * photo.shape[0] / photo.shape[1]))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    paint(axes, photo, one, query)
    file = BytesIO()
    figure.savefig(file, dpi=120, metadata={"Software": None})
    return file.getvalue()


def draw(
    folder: Path,
    *,
    width: int = 120,
    query: tuple[int, int] | None = None,
    depth: int = 16,
    kernel: int = 3,
    columns: int = 4,
    name: str = "fields.png",
) -> Path:
    """Draw the four fields side by side into `folder / name` and return that path; seconds, no training.

    `width` in pixels; `query` is (y, x), a pixel of the pagoda when None.
    """
    from matplotlib.figure import Figure

    photo = photograph(width)
    size = (photo.shape[0], photo.shape[1])
    query = middle_of_the_pagoda(size) if query is None else query
    shown = fields(size, query, depth, kernel)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.3 * columns, 3.05 * rows + 0.45), layout="constrained", facecolor="white")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, one in zip(grid, shown, strict=False):
        paint(axes, photo, one, query)
        axes.set_title(f"{one.name}\n{one.detail}", fontsize=13)
        axes.set_xlabel(one.sentence, fontsize=13, fontweight="bold")
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    figure.suptitle(
        "What can the circled pixel see? Bright pixels can change its output, dim ones cannot.", fontsize=15
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    figure.savefig(path, dpi=130, metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(draw(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
