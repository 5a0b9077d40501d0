"""Pictures of kernels: filters as a grid of tiles, one unit's slices, the waves in filters, tables of positions.

All tiles of a picture share one symmetric scale, which is written beside it: zero is the same grey (white, where the
tiles have one channel) everywhere. With a scale for each tile, as many figures have it, a dead filter's noise looks as
strong as the strongest filter, and nobody can see that it is dead.

Filters over an RGB image are shown as RGB; all others from blue (negative) through white to orange-red (positive), two
colours that all kinds of colour vision tell apart.

Left out: how the numbers are found (`kernels.py`, `position_tables.py`).
"""

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sightline.seeing.kernels import Slices, Waves
from sightline.seeing.position_tables import Similarity

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

NEGATIVE, ZERO, POSITIVE = (0, 114, 178), (255, 255, 255), (213, 94, 0)  # Okabe and Ito's blue and vermilion
INK, QUIET, PAPER, FRAME = (22, 25, 29), (89, 97, 107), (255, 255, 255), (150, 156, 163)
TILE, GAP, MARGIN, TEXT, LINE = 44, 4, 12, 15, 21  # pixels
BAR = 160
NARROWEST = 500  # for the key


def grid(
    filters: Float[Tensor, "k c h w"],
    *,
    scale: float | None = None,
    per_filter: bool = False,
    rgb: bool | None = None,
    across: int | None = None,
    enlarged: int | None = None,
) -> Float[Tensor, "height width 3"]:
    """Filters as tiles, row by row, in [0, 1].

    Filters of several channels that are not RGB take a row each, a tile for every channel.

    Args:
        filters: signed.
        scale: the magnitude that gets full colour; None: the largest of all filters.
        per_filter: whether each filter gets a scale of its own: only to see the shape of weak ones.
        rgb: whether the channels are red, green, blue; None: where there are three.
        across: tiles side by side; None: what makes a rectangle a little wider than high.
        enlarged: picture's pixels for each of a filter's; None: so that a tile is about 44 wide.

    Raises:
        ValueError: there is no filter, or RGB is asked of filters that do not have three channels.
    """
    _, channels, h, w = filters.shape
    if filters.numel() == 0:
        raise ValueError(f"a grid needs filters, got a tensor of shape {tuple(filters.shape)}")
    rgb = channels == 3 if rgb is None else rgb
    if rgb and channels != 3:
        raise ValueError(f"RGB was asked of filters that have {channels} channels: leave rgb=None")
    signed = filters.detach().cpu().double()
    each = signed.abs().amax((1, 2, 3), keepdim=True) if per_filter else signed.abs().max()
    signed = signed / (each if scale is None else torch.tensor(scale)).clamp_min(torch.finfo(torch.float64).tiny)
    if rgb:
        tiles = (0.5 + signed.clamp(-1, 1) / 2).movedim(1, -1)
    else:
        tiles = colours(signed.flatten(0, 1))
        across = channels if across is None and channels > 1 else across
    across = _across(len(tiles), w / h) if across is None else min(across, len(tiles))
    enlarged = max(1, TILE // max(h, w)) if enlarged is None else enlarged
    tiles = tiles.repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)
    lines = -(-len(tiles) // across)
    down, right = tiles.shape[1] + GAP, tiles.shape[2] + GAP
    between = torch.tensor(PAPER if rgb else FRAME, dtype=tiles.dtype) / 255
    sheet = torch.tensor(PAPER, dtype=tiles.dtype).div(255).repeat(lines * down + GAP, across * right + GAP, 1)
    for place, tile in enumerate(tiles):
        top, left = GAP + place // across * down, GAP + place % across * right
        sheet[top - 1 : top + down - GAP + 1, left - 1 : left + right - GAP + 1] = between
        sheet[top : top + down - GAP, left : left + right - GAP] = tile
    return sheet


def colours(signed: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """Numbers in [-1, 1] (others are cut off) from blue through white to orange-red."""
    negative, zero, positive = (torch.tensor(one, dtype=torch.float64) / 255 for one in (NEGATIVE, ZERO, POSITIVE))
    strength = signed.double().clamp(-1, 1)[..., None]
    return zero + strength.clamp(min=0) * (positive - zero) - strength.clamp(max=0) * (negative - zero)


def _across(count: int, shape: float) -> int:
    """So many columns that the grid is about 3 : 2, and without an empty place in the last row where that is near."""
    wanted = max(1.0, math.sqrt(1.5 * count / shape))
    full = [columns for columns in range(1, count + 1) if count % columns == 0 and 0.6 < columns / wanted < 1.6]
    return min(full, key=lambda columns: abs(columns - wanted)) if full else min(count, round(wanted))


def draw_filters(
    filters: Float[Tensor, "k c h w"], title: str, *, per_filter: bool = False, rgb: bool | None = None
) -> bytes:
    """A grid of filters with its title and its scale, as a PNG file."""
    coloured = filters.shape[1] == 3 if rgb is None else rgb
    scale = None if per_filter else float(filters.detach().abs().max())
    words, channels = [title], filters.shape[1]
    if channels > 1 and not coloured:
        words.append(f"a row for each filter, a column for each of its {channels} channels")
    return _sheet(grid(filters, per_filter=per_filter, rgb=rgb), words, scale, grey=coloured)


def draw_slices(found: Slices, title: str) -> bytes:
    """One unit's strongest slices on one scale, strongest first, as a PNG file."""
    rest = f"{len(found.channels)} strongest input channels, {100 * found.share:.0f} % of the unit's energy"
    named = ", ".join(map(str, found.channels[:8])) + (", …" if len(found.channels) > 8 else "")
    tiles = grid(found.kernels, scale=found.scale, rgb=False)
    return _sheet(tiles, [title, rest, f"row by row, strongest first: channels {named}"], found.scale)


def draw_similarity(found: Similarity, title: str) -> bytes:
    """A tile for every position, in its place: its cosine with all positions, as a PNG file; the prefix's rows below.

    The scale is that of cosines, from -1 to 1, whatever the table.
    """
    rows, columns = found.grid.shape[:2]
    size = max(2, 48 // max(rows, columns)) if max(rows, columns) <= 20 else 1
    tiles = grid(found.grid.flatten(0, 1)[:, None], scale=1.0, across=columns, enlarged=size)
    words = [title, f"{rows} x {columns} tiles, one for each position: its cosine with every position"]
    if len(found.prefix):
        before = grid(found.prefix[:, None], scale=1.0, across=columns, enlarged=size)
        wide = max(tiles.shape[1], before.shape[1])
        tiles = torch.cat([_widened(tiles, wide), tiles.new_ones(2 * MARGIN, wide, 3), _widened(before, wide)])
        words.append(f"below, apart: rows of the table before the grid, {len(found.prefix)}")
    return _sheet(tiles, words, 1.0)


def draw_waves(found: Waves, title: str) -> bytes:
    """Each filter as a dot by the direction of its wave and its frequency, larger the more oriented; a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 4.2), layout="constrained", facecolor="white")
    axes = figure.subplots(subplot_kw={"projection": "polar"})
    radius = max(0.5, float(found.cycles.max()) if len(found.cycles) else 0.5)
    sizes, angles = 8 + 70 * found.oriented, torch.deg2rad(found.degrees)
    blue = tuple(part / 255 for part in NEGATIVE)
    axes.scatter(angles.numpy(), found.cycles.numpy(), s=sizes.numpy(), color=blue, alpha=0.6, edgecolors="white")
    axes.set(thetamin=0, thetamax=180, ylim=(0, radius), yticks=[0.125, 0.25, 0.375, 0.5])
    axes.set_yticklabels(["", "1/4", "", "1/2"], fontsize=11)
    axes.set_title(title, fontsize=13, color="0.1")
    axes.set_xlabel(
        "angle: direction across the stripes, 0° for upright ones\n"
        "radius: cycles per pixel; larger dots are more oriented",
        fontsize=11,
    )
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return file.getvalue()


def _widened(picture: Float[Tensor, "h w 3"], width: int) -> Float[Tensor, "h {width} 3"]:
    return torch.cat([picture, picture.new_ones(len(picture), width - picture.shape[1], 3)], 1)


def _sheet(tiles: Float[Tensor, "h w 3"], words: list[str], scale: float | None, *, grey: bool = False) -> bytes:
    """Words above, the tiles, and their scale below; None: each tile has its own."""
    from PIL import Image, ImageDraw

    font = _font()
    picture = Image.fromarray((255 * tiles).round().byte().numpy())
    lines = [line for sentence in words for line in _wrapped(sentence, max(NARROWEST, picture.width), font)]
    wide = max(NARROWEST, picture.width) + 2 * MARGIN
    top = MARGIN + LINE * len(lines) + 6
    below = top + picture.height + 10
    sheet = Image.new("RGB", (wide, below + LINE + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE * place), line, QUIET if place else INK, font)
    sheet.paste(picture, (MARGIN, top))
    if scale is None:
        draw.text((MARGIN, below), "Each filter has a scale of its own: strengths cannot be compared.", INK, font)
    else:
        _key(sheet, (MARGIN, below), scale, grey, font)
    file = BytesIO()
    sheet.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _key(sheet: "Image", at: tuple[int, int], scale: float, grey: bool, font: "FreeTypeFont") -> None:
    """One scale for all: a bar from its negative end to its positive one, both written beside it."""
    from PIL import Image, ImageDraw

    draw, (left, top) = ImageDraw.Draw(sheet), at
    low, high = f"\N{MINUS SIGN}{scale:.2g}", f"+{scale:.2g}"
    ramp = torch.linspace(-1, 1, BAR, dtype=torch.float64)
    bar = (0.5 + ramp[:, None].expand(-1, 3) / 2) if grey else colours(ramp)
    strip = np.repeat((255 * bar).round().byte().numpy()[None], 14, 0)
    draw.text((left, top), low, INK, font)
    left += round(font.getlength(low)) + 6
    sheet.paste(Image.fromarray(strip), (left, top + 3))
    draw.rectangle((left - 1, top + 2, left + BAR, top + 17), outline=FRAME)
    draw.text((left + BAR + 6, top), high, INK, font)
    left += BAR + 6 + round(font.getlength(high)) + 14
    draw.text((left, top), "of R, G and B, for all" if grey else "one scale for all", QUIET, font)


def _font() -> "FreeTypeFont":
    """DejaVu Sans, which comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", TEXT)


def _wrapped(words: str, width: int, font: "FreeTypeFont") -> list[str]:
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
