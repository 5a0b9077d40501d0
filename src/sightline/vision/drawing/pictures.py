"""Pictures of predictions: masks as files, colours over the image, heat maps, and a sheet that shows many at a glance.

Left out: what is predicted (`prediction/predict.py`), and pages (`report/page.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sightline.vision.drawing.palette import UNLABELLED

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Picture = UInt8[np.ndarray, "h w 3"]

INK, QUIET, PAPER = (22, 25, 29), (89, 97, 107), (255, 255, 255)
GAP, TILE, TEXT, LINE = 12, 260, 15, 20  # pixels of a sheet
DIM = 0.45  # below a heat map the image keeps this share of its brightness, and no colour


@dataclass(frozen=True)
class Tile:
    """One image of a sheet: its pictures side by side, each with a title, a heading above and sentences below."""

    heading: str
    panels: Sequence[tuple[str, Picture]]
    words: Sequence[str] = ()


def mask_png(mask: Int[np.ndarray, "h w"], colours: UInt8[np.ndarray, "k 3"]) -> bytes:
    """A mask as a PNG file whose pixel values are the classes: indexed, with their colours, up to 256 of them; 16-bit
    grey up to 65536.

    Raises:
        ValueError: more classes than that, or a value that is no class.
    """
    from PIL import Image

    if len(colours) > 2**16 or (mask.size and not 0 <= mask.min() <= mask.max() < len(colours)):
        raise ValueError(
            f"a mask file holds classes 0 to {min(len(colours), 2**16) - 1}, got {len(colours)} classes and values from"
            f" {mask.min()} to {mask.max()}"
        )
    if len(colours) > 256:
        return _png(Image.fromarray(mask.astype(np.uint16)))
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(colours.tobytes())
    return _png(picture)


def png(picture: Picture) -> bytes:
    """A picture as a PNG file."""
    from PIL import Image

    return _png(Image.fromarray(picture))


def _png(picture: "Image") -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def paint(mask: Int[np.ndarray, "h w"], colours: UInt8[np.ndarray, "k 3"]) -> Picture:
    """Every pixel in the colour of its class; what is no class (the ignored label) is white."""
    known = (mask >= 0) & (mask < len(colours))
    return np.where(known[..., None], colours[np.where(known, mask, 0)], np.array(UNLABELLED)).astype(np.uint8)


def borders(mask: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose right or lower neighbour is of another class."""
    out = np.zeros(mask.shape, bool)
    out[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    out[:-1] |= mask[:-1] != mask[1:]
    return out


def overlay(
    image: Picture, mask: Int[np.ndarray, "h w"], colours: UInt8[np.ndarray, "k 3"], share: float = 0.5
) -> Picture:
    """The classes' colours laid over the grey image with this share, so that hues are classes; borders in white.

    What is no class (the ignored label) keeps the image's own colours.
    """
    known = ((mask >= 0) & (mask < len(colours)))[..., None]
    mixed = np.where(known, (1 - share) * grey(image) + share * paint(mask, colours), image)
    mixed[borders(mask)] = 255
    return mixed.round().astype(np.uint8)


def grey(image: Picture) -> Float[np.ndarray, "h w 1"]:
    """How bright every pixel looks, in [0, 255]."""
    return (image @ np.array((0.299, 0.587, 0.114)))[..., None]  # ITU-R BT.601


def wrong(image: Picture, mask: Int[np.ndarray, "h w"], truth: Int[np.ndarray, "h w"], ignore: int) -> Picture:
    """Wrong pixels red and what does not count striped, on the grey, dimmed image."""
    out = np.repeat(grey(image) * DIM + 255 * 0.12, 3, axis=2)
    out[(mask != truth) & (truth != ignore)] = (255, 70, 60)
    y, x = np.indices(truth.shape)
    out[(truth == ignore) & ((x + y) // 3 % 2 == 0)] = 150
    return out.round().astype(np.uint8)


def heat(image: Picture, share: Float[np.ndarray, "h w"], pixel: tuple[int, int] | None = None) -> Picture:
    """A map of weights over the dimmed grey image, bright where they are large, on a scale from zero to the largest.

    The `pixel` that they belong to is ringed.
    """
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    top = float(share.max(initial=0))
    level = np.clip(share / top if top > 0 else share, 0, 1)[..., None]
    glow = 255 * colormaps["inferno"](0.25 + 0.75 * level[..., 0])[..., :3]
    picture = Image.fromarray(((1 - level**0.7) * grey(image) * DIM + level**0.7 * glow).round().astype(np.uint8))
    if pixel is not None:
        draw, radius = ImageDraw.Draw(picture), max(3, round(0.03 * max(picture.size)))
        for width, colour in ((radius // 3 + 3, (0, 0, 0)), (max(1, radius // 3), (90, 220, 255))):
            y, x, r = *pixel, radius + width // 2
            draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=width)
    return np.asarray(picture)


def contact_sheet(
    title: str,
    tiles: Sequence[Tile],
    *,
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
    across: int = 1,
    width: int = TILE,
) -> Picture:
    """All tiles on one white sheet, `across` beside each other, below a title and a legend of colours.

    Pictures are scaled to `width` pixels; small ones keep their pixels visible.
    """
    from PIL import Image, ImageDraw

    font, bold = _fonts()
    panels = max((len(tile.panels) for tile in tiles), default=1)
    across = max(1, min(across, len(tiles)))
    column = panels * (width + GAP)
    page_width = max(across * (column + GAP), 2 * TILE) + GAP
    heads = _wrapped(title, page_width - 2 * GAP, bold)
    keys, keys_height = _legend_places(legend, page_width, font)
    lines = [list(tiles[i : i + across]) for i in range(0, len(tiles), across)]
    drawn = [[_drawn(tile, width, column, font, bold) for tile in line] for line in lines]
    heights = [max(one.height for one in line) for line in drawn]
    top = GAP + LINE * len(heads) + keys_height
    sheet = Image.new("RGB", (page_width, top + sum(height + GAP for height in heights) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(heads):
        draw.text((GAP, GAP + LINE * i), line, INK, bold)
    for (x, y), (name, colour) in zip(keys, legend, strict=True):
        at = GAP + LINE * len(heads) + y
        draw.rectangle((x, at + 3, x + 14, at + 17), fill=colour, outline=QUIET)
        draw.text((x + 20, at), name, INK, font)
    for row, height in zip(drawn, heights, strict=True):
        for i, one in enumerate(row):
            sheet.paste(one, (GAP + i * (column + GAP), top + GAP))
        top += height + GAP
    return np.asarray(sheet)


def _drawn(tile: Tile, width: int, column: int, font: "FreeTypeFont", bold: "FreeTypeFont") -> "Image":
    from PIL import Image, ImageDraw

    pictures = [Image.fromarray(scaled(picture, width)) for _, picture in tile.panels]
    words = [line for sentence in tile.words for line in _wrapped(sentence, column - GAP, font)]
    titled = any(title for title, _ in tile.panels)
    pictures_top = LINE * (1 + titled)
    below = pictures_top + max((picture.height for picture in pictures), default=0) + 4
    out = Image.new("RGB", (column, below + LINE * len(words)), PAPER)
    draw = ImageDraw.Draw(out)
    draw.text((0, 0), _shortened(tile.heading, column - GAP, bold), INK, bold)
    for i, ((title, _), picture) in enumerate(zip(tile.panels, pictures, strict=True)):
        draw.text((i * (width + GAP), LINE), _shortened(title, width, font), QUIET, font)
        out.paste(picture, (i * (width + GAP), pictures_top))
    for i, line in enumerate(words):
        draw.text((0, below + LINE * i), line, INK, font)
    return out


def scaled(picture: Picture, width: int = TILE) -> UInt8[np.ndarray, "y x 3"]:
    """The picture `width` pixels wide (narrower if it is very tall); small ones keep their pixels visible."""
    from PIL import Image

    h, w = picture.shape[:2]
    high, wide = max(1, round(width * h / w)), width
    if high > 2 * width:
        high, wide = 2 * width, max(1, round(2 * width * w / h))
    way = Image.Resampling.NEAREST if w <= wide else Image.Resampling.BOX
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((wide, high), way))


def _fonts() -> tuple["FreeTypeFont", "FreeTypeFont"]:
    """DejaVu Sans, which comes with matplotlib and writes most of the world's scripts, and its bold."""
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / "DejaVuSans.ttf", TEXT), ImageFont.truetype(folder / "DejaVuSans-Bold.ttf", TEXT)


def _wrapped(words: str, width: int, font: "FreeTypeFont") -> list[str]:
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, width, font) for line in lines]


def _shortened(words: str, width: int, font: "FreeTypeFont") -> str:
    """Words that fit, their middle left out if need be: names of files differ at their ends."""
    words = words.replace("\n", " ")
    if font.getlength(words) <= width:
        return words
    kept = len(words) - 1
    while kept > 1 and font.getlength(words[: kept // 3] + "…" + words[-(kept - kept // 3) :]) > width:
        kept -= 1
    return words[: kept // 3] + "…" + words[-(kept - kept // 3) :]


def _legend_places(
    legend: Sequence[tuple[str, tuple[int, int, int]]], width: int, font: "FreeTypeFont"
) -> tuple[list[tuple[int, int]], int]:
    places, x, y = [], GAP, 4
    for name, _ in legend:
        needed = 20 + round(font.getlength(name)) + 18
        if x > GAP and x + needed > width:
            x, y = GAP, y + LINE + 2
        places.append((x, y))
        x += needed
    return places, (y + LINE + 4 if legend else 0)
