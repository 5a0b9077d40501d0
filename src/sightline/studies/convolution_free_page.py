"""The page and the pictures of the convolution-free study: patches -> matrix -> tokens, the kernels, and what moves.

Left out: measuring anything (`convolution_free.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from markupsafe import Markup
from torch import Tensor

from sightline.studies.convolution_free import embedding, patches_of
from sightline.studies.page import (
    Section,
    Table,
    in_thousands,
    picture,
    png_bytes,
    png_of,
    side_by_side,
    write_page,
)
from sightline.vision.drawing import svg_charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = (6, 8)  # patches of the part of the photograph on which the steps are drawn: rows stay thick enough to see
COLUMNS = 24  # of the tokens that are drawn
WIDTHS = (1.35, 2.0, 0.9, 1.35)  # of the four steps side by side
KERNELS, ACROSS = 64, 16
ENLARGED = 5  # screen pixels for each of a kernel's
GAP = 4
MARK = "#ff7a00"
STATES = ("unseen", "unlearned", "unknown", "learned")  # line styles, from the patch embedding to a convolution


def write(
    out: Path, results: Mapping[str, Any], image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]
) -> Path:
    """Draw the pictures beside the page and return the page's path."""
    steps, alone = draw_steps(image, kernels)
    grid = png_bytes(kernel_grid(kernels))
    (out / "steps.png").write_bytes(steps)
    (out / "kernels.png").write_bytes(grid)
    patch, rows = results["settings"]["patch"], results["strides"]
    half = max(patch // 2, 1)
    numbers = results["operations"]["numbers_of_a_patch"]
    shown = f"{SHOWN[0]} x {SHOWN[1]} patches"
    said = ("The photograph in patches", f"The matrix, {numbers} columns", "The tokens", "The tokens on their map")
    sections = [
        Section(
            "Patches, a matrix, tokens",
            f"A part of the photograph, {shown}. Every patch is laid out as one row of a matrix; one linear layer "
            "makes "
            "each row a token; the tokens lie on the map where their patches lay. What is framed is the same patch.",
            side_by_side([picture(png, alt) for png, alt in zip(alone, said, strict=True)]),
        ),
        Section(
            "The kernels",
            f"The first {min(KERNELS, len(kernels))} of {len(kernels)}, each {patch} x {patch} pixels, on one common "
            "scale: grey is zero. These are the principal components of the photograph's own patches, most important "
            "first: coarse shapes, then finer and finer waves.",
            side_by_side([picture(grid, "The kernels as an image grid", pixels=True)], kind="wide"),
        ),
        Section(
            "What would make it a true convolution: overlap",
            "The same kernels at shorter strides. The chart: the picture moves to the left by so many pixels; by how "
            "much do the tokens change, beyond moving along? A patch embedding follows whole patches only; overlap "
            "makes it follow smaller moves, and stride 1 every move. The pictures: the windows of four neighbouring "
            "tokens, and how often each pixel is read.",
            side_by_side(
                [
                    shift_chart(rows, patch),
                    picture(draw_overlap(patch, patch), "Windows side by side: each pixel is read once"),
                    picture(draw_overlap(patch, half), "Windows that overlap by half"),
                ]
            ),
        ),
    ]
    return write_page(
        out,
        title="Is a Vision Transformer convolution-free?",
        question="Its first layer, the patch embedding, is written as a convolution in every library. Is it one?",
        answer=answer_of(results),
        sections=sections,
        tables=tables_of(results),
        results=results,
    )


def answer_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The page's first lines."""
    patch, count, one = results["settings"]["patch"], results["operations"], results["one_patch"]
    double, single = (
        max(row["absolute"] for row in results["differences"] if row["dtype"] == dtype)
        for dtype in ("float64", "float32")
    )
    return [
        (
            "In all but name.",
            f"A convolution of kernel {patch} and stride {patch} gives the {count['patches']} tokens that unfold and "
            "one "
            f"linear layer give: they differ by at most {double:.0e} in float64 and {single:.0e} in float32, by "
            "rounding "
            f"alone, at the same {in_thousands(count['formula'])} operations.",
        ),
        (
            "No two of its windows overlap.",
            f"Each pixel is read once, and changing one patch changes {one['changed']} token of {one['tokens']}.",
        ),
        (
            f"So it follows the picture only by whole patches of {patch} pixels.",
            "Moved by fewer, the same picture gives other tokens, up to "
            f"{100 * max(results['strides'][0]['moved']):.0f} % "
            "other. At stride 1, a true convolution, they move along exactly.",
        ),
    ]


def part_of(image: Float[Tensor, "1 c h w"], patch: int) -> Float[Tensor, "1 c y x"]:
    """The part of the photograph that the steps are drawn on: its middle, as many patches as are shown."""
    rows, columns = (min(shown, size // patch) for shown, size in zip(SHOWN, image.shape[2:], strict=True))
    top, left = ((size // patch - n) // 2 * patch for size, n in zip(image.shape[2:], (rows, columns), strict=True))
    return image[:, :, top : top + rows * patch, left : left + columns * patch]


def draw_steps(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> tuple[bytes, list[bytes]]:
    """Photograph, matrix, tokens and map, one patch marked in all four: side by side, and each alone."""
    from matplotlib.figure import Figure

    painters = (paint_photograph, paint_matrix, paint_tokens, paint_map)
    whole = Figure(figsize=(13, 3.9), layout="constrained", facecolor="white")
    for paint, axes in zip(painters, whole.subplots(1, 4, gridspec_kw={"width_ratios": WIDTHS}), strict=True):
        paint(axes, image, kernels)
    alone = []
    for paint in painters:
        figure = Figure(figsize=(4.2, 3.9), layout="constrained", facecolor="white")
        paint(figure.subplots(), image, kernels)
        alone.append(png_of(figure))
    return png_of(whole), alone


def marked_patch(image: Float[Tensor, "1 c h w"], patch: int) -> tuple[int, int, int, int]:
    """Row and column of the marked patch of the part that is drawn, and the part's rows and columns."""
    part = part_of(image, patch)
    rows, columns = part.shape[2] // patch, part.shape[3] // patch
    return rows // 2, columns // 4, rows, columns


def paint_photograph(axes: "Axes", image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> None:
    """The part of the photograph, cut into patches."""
    patch = kernels.shape[2]
    y, x, rows, columns = marked_patch(image, patch)
    axes.imshow(part_of(image, patch)[0].movedim(0, -1).numpy(), interpolation="nearest")
    for line in range(1, rows):
        axes.axhline(line * patch - 0.5, color="white", linewidth=0.8)
    for line in range(1, columns):
        axes.axvline(line * patch - 0.5, color="white", linewidth=0.8)
    _frame(axes, (x * patch - 0.5, y * patch - 0.5), patch, patch)
    axes.set_title(f"{rows} x {columns} patches\nof {patch} x {patch} pixels", fontsize=12)


def paint_matrix(axes: "Axes", image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> None:
    """A row for each patch."""
    y, x, _, columns = marked_patch(image, kernels.shape[2])
    matrix = patches_of(part_of(image, kernels.shape[2]), kernels.shape[2])
    axes.imshow(matrix.numpy(), aspect="auto", cmap="gray", interpolation="nearest")
    for place, colour in enumerate(("red", "green", "blue")):
        middle = (place + 0.5) * matrix.shape[1] / 3
        axes.text(middle, len(matrix) + 0.4, colour, ha="center", va="top", fontsize=11)
        if place:
            axes.axvline(place * matrix.shape[1] / 3 - 0.5, color="white", linewidth=1)
    _frame(axes, (-0.5, y * columns + x - 0.5), matrix.shape[1], 1)
    axes.set_title(f"unfold: a row for each patch\n{len(matrix)} x {matrix.shape[1]}", fontsize=12)


def paint_tokens(axes: "Axes", image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> None:
    """A token for each row."""
    y, x, _, columns = marked_patch(image, kernels.shape[2])
    tokens = tokens_of_part(image, kernels)
    axes.imshow(tokens.numpy(), aspect="auto", cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    _frame(axes, (-0.5, y * columns + x - 0.5), tokens.shape[1], 1)
    axes.set_title(f"linear: a token for each row\nfirst {tokens.shape[1]} of {len(kernels)} numbers", fontsize=12)


def paint_map(axes: "Axes", image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> None:
    """The tokens where their patches lay, their first three numbers as red, green and blue."""
    y, x, rows, columns = marked_patch(image, kernels.shape[2])
    tokens = tokens_of_part(image, kernels)
    three = tokens[:, [0, min(1, tokens.shape[1] - 1), min(2, tokens.shape[1] - 1)]]
    axes.imshow((three / 2 + 0.5).unflatten(0, (rows, columns)).numpy(), interpolation="nearest")
    _frame(axes, (x - 0.5, y - 0.5), 1, 1)
    axes.set_title(f"the tokens on their map, {rows} x {columns}\nthree numbers as colours", fontsize=12)


def tokens_of_part(image: Float[Tensor, "1 c h w"], kernels: Float[Tensor, "k c p p"]) -> Float[Tensor, "n few"]:
    """The first numbers of each token of the part, each number about its mean and within -1 and 1."""
    with torch.no_grad():
        tokens = embedding(kernels)(part_of(image, kernels.shape[2]))[0][:, :COLUMNS]
    about = tokens - tokens.mean(0)
    return about / about.abs().amax(0).clamp_min(1e-12)


def _frame(axes: "Axes", corner: tuple[float, float], width: int, height: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=MARK, linewidth=2.6, clip_on=False, zorder=3))
    axes.set(xticks=[], yticks=[])


def draw_overlap(patch: int, stride: int) -> bytes:
    """How often each pixel of a small image is read, and the windows of four neighbouring tokens."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    side = 4 * patch
    windows = F.unfold(torch.ones(1, 1, side, side), patch, stride=stride)
    reads = F.fold(windows, (side, side), patch, stride=stride)[0, 0]
    figure = Figure(figsize=(4.2, 4.5), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.imshow(reads.numpy(), cmap="Blues", vmin=0, vmax=2.2 * (patch / max(patch // 2, 1)) ** 2)
    first = (side // 2 - patch) // stride * stride
    for place, colour in enumerate(("#d62728", "#2ca02c", "#ff7a00", "#000000")):
        corner = (first + place % 2 * stride - 0.5, first + place // 2 * stride - 0.5)
        axes.add_patch(Rectangle(corner, patch, patch, fill=False, edgecolor=colour, linewidth=2.6))
    axes.set(xticks=[], yticks=[])
    middle = int(reads[side // 2, side // 2])
    axes.set_title(f"stride {stride}: a pixel is read {'once' if middle == 1 else f'{middle} times'}", fontsize=13)
    return png_of(figure)


def kernel_grid(kernels: Float[Tensor, "k c p p"]) -> UInt8[np.ndarray, "h w 3"]:
    """Kernels as tiles on one common scale, grey for zero, enlarged pixel by pixel."""
    few = kernels[:KERNELS]
    across = min(ACROSS, len(few))
    tiles = (0.5 + few / (2 * few.abs().max().clamp_min(1e-12))).mul(255).round().byte().movedim(1, -1).numpy()
    side = tiles.shape[1] * ENLARGED
    lines = -(-len(tiles) // across)
    grid = np.full((lines * (side + GAP) - GAP, across * (side + GAP) - GAP, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // across) * (side + GAP), (place % across) * (side + GAP)
        grid[top : top + side, left : left + side] = tile.repeat(ENLARGED, 0).repeat(ENLARGED, 1)
    return grid


def shift_chart(rows: Sequence[Mapping[str, Any]], patch: int) -> Markup:
    """How much the tokens change over how far the picture moved, one line for each stride."""
    lines = [
        svg_charts.Curve(f"stride {row['stride']}", state, [float(s) for s in range(len(row["moved"]))], row["moved"])
        for row, state in zip(rows, STATES, strict=False)
    ]
    highest = max(max(row["moved"]) for row in rows)
    title = f"Change of the tokens over the move in pixels; the patch embedding has stride {patch}"
    return svg_charts.curves(lines, title, "pixels that the picture moves", (0.0, max(highest, 0.1)))


def tables_of(results: Mapping[str, Any]) -> list[Table]:
    """All numbers in words."""
    apart = ("tokens", "gradient_image", "gradient_kernels", "gradient_bias")
    return [
        Table(
            "Largest difference between the convolution and unfold + linear, over the largest number",
            ["Kernels", "Precision", "Tokens", "Gradient of the image", "Of the kernels", "Of the bias"],
            [[row["kernels"], row["dtype"], *(f"{row[name]:.1e}" for name in apart)] for row in results["differences"]],
            names=2,
        ),
        Table(
            "What it costs",
            ["", "Operations"],
            [
                ["by formula: 2 x patches x numbers of a patch x kernels", str(results["operations"]["formula"])],
                ["convolution, counted", str(results["operations"]["convolution"])],
                ["unfold + linear, counted", str(results["operations"]["unfold_and_linear"])],
            ],
        ),
        Table(
            "The same kernels at other strides",
            ["Stride", "Tokens", "Reads of a pixel", "Operations", "Moves followed exactly", "Largest change"],
            [
                [
                    str(row["stride"]),
                    str(row["tokens"]),
                    f"{row['reads']:.4g}",
                    in_thousands(row["operations"]),
                    f"{row['followed']} of {row['shifts']}",
                    f"{100 * max(row['moved']):.0f} %",
                ]
                for row in results["strides"]
            ],
        ),
    ]
