"""Charts that several studies draw, as inline SVG: laws on two logarithmic axes, and tables of scores as tiles.

Colours are classes of the pages' style sheet; every line carries its name, every tile its number, so that nothing
depends on colour. Left out: charts of scores, costs and curves (`vision/drawing/svg_charts.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from sightline.vision.drawing.svg_charts import LETTER, WIDTH, spread_labels

Number = float | int
Place = tuple[Number, Number]
TRAINED = ' class="trained"'
STEPS = (1, 2, 5)  # where ticks may stand within a decade


@dataclass(frozen=True)
class Law:
    """Something measured over a size, and its continuation; both axes are positive."""

    name: str
    measured: Sequence[Place]
    continued: Sequence[Place] = ()  # by the fitted law, drawn dashed
    end: Place | None = None  # where it meets the limit


def ticks(low: Number, high: Number, most: int, base: float = 10.0) -> list[Number]:
    """Round numbers between two positive ones, at most so many: powers of the base, or 1, 2, 5 in each decade."""
    first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
    every = [base**power for power in range(first, last + 1)]
    if base == 10 and len([tick for tick in every if low <= tick <= high]) < 3:
        every = [step * power for power in every for step in STEPS]
    inside = [tick for tick in every if low * 0.999 <= tick <= high * 1.001]
    return inside[:: -(-len(inside) // most)] if inside else []


def log_log(
    laws: Sequence[Law],
    title: str,
    across: str,
    up: Callable[[Number], str],
    *,
    limit: Number | None = None,
    limit_name: str = "",
    height: float = 300.0,
) -> Markup:
    """Measured lines solid with dots, continued ones dashed; a horizontal line at the limit, a ring where it is met.

    `up` writes a value of the vertical axis with its unit; the horizontal one is in powers of two.
    """
    places = [place for law in laws for place in (*law.measured, *law.continued)]
    xs, ys = [x for x, _ in places], [y for _, y in places] + ([limit] if limit else [])
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys), 1.3 * max(ys)
    names = [law.name for law in laws]
    top, bottom, left = 12.0, height - 40.0, 52.0
    right = WIDTH - min(0.42 * WIDTH, 12 + LETTER * max(map(len, names), default=0))

    def at(place: Place) -> Place:
        x = left + (right - left) * math.log(place[0] / low_x) / math.log(high_x / low_x)
        return x, bottom - (bottom - top) * math.log(place[1] / low_y) / math.log(high_y / low_y)

    parts = [f'<path class="axis" d="M{left} {top}V{bottom}H{right:.1f}"/>']
    for tick in ticks(low_y, high_y, 7):
        y = at((low_x, tick))[1]
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right:.1f}"/>' + _text(left - 5, y + 4, up(tick), "end"))
    for tick in ticks(low_x, high_x, 5, base=2.0):
        x = at((tick, low_y))[0]
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>' + _text(x, bottom + 17, f"{tick:g}", "middle"))
    parts.append(_text((left + right) / 2, bottom + 34, across, "middle", ' class="strong"'))
    if limit is not None:
        y = at((low_x, limit))[1]
        parts.append(f'<path class="limit" d="M{left} {y:.1f}H{right:.1f}"/>')
        parts.append(_text(left + 4, y - 4, limit_name, extra=' class="strong"'))
    ends = []
    for place, law in enumerate(laws):
        solid, dashed = [at(one) for one in law.measured], [at(one) for one in law.continued]
        parts.append(f'<path class="law law{place} dashed" d="{_path(solid[-1:] + dashed)}"/>' if dashed else "")
        parts.append(f'<path class="law law{place}" d="{_path(solid)}"/>')
        parts += [f'<circle class="dot{place}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in solid]
        if law.end is not None:
            x, y = at(law.end)
            parts.append(f'<circle class="law law{place}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        ends.append((solid + dashed)[-1])
    placed = spread_labels([y - x / 1000 for x, y in ends], top, bottom)  # of equals the rightmost first
    for (x, y), label, name in zip(ends, placed, names, strict=True):
        parts.append(f'<path class="leader" d="M{x + 3:.1f} {y:.1f}L{right + 5:.1f} {label:.1f}"/>')
        parts.append(_text(right + 8, label + 4, name))
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" class="chart" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts) + "</svg>")


@dataclass(frozen=True)
class Tile:
    """A score in [0, 1] with its spread; None where there is none."""

    score: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def heat(rows: Sequence[tuple[str, Sequence[Tile]]], columns: Sequence[str], chance: float, marked: str = "") -> Markup:
    """Scores as a table of tiles: the darker the better, chance white; the column `marked` is underlined."""
    head = "".join(f'<th scope="col"{TRAINED if name == marked else ""}>{escape(name)}</th>' for name in columns)
    body = []
    for name, tiles in rows:
        cells = "".join(_tile(tile, chance) for tile in tiles)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    table = f'<table class="heat"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return Markup(f'<div class="scroll" tabindex="0" role="region" aria-label="Scores">{table}</div>')


def _tile(tile: Tile, chance: float) -> str:
    if tile.score is None:
        return f'<td class="cell">{escape(tile.note or "-")}</td>'
    depth = min(max((tile.score - chance) / (1 - chance), 0.0), 1.0)
    red, green, blue = (round(255 + depth * (end - 255)) for end in (8, 81, 156))
    ink = "#fff" if depth > 0.55 else "#16191d"
    spread = ""
    if tile.low is not None and tile.high is not None and f"{tile.low:.2f}" != f"{tile.high:.2f}":
        spread = f"<small>{tile.low:.2f}\u2013{tile.high:.2f}</small>"
    style = f"background:rgb({red},{green},{blue});color:{ink}"
    return f'<td class="cell" style="{style}">{tile.score:.2f}{spread}</td>'


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _text(x: Number, y: Number, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'
