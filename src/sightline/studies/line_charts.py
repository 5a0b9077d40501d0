"""Lines with bands of spread over linear or logarithmic axes, as inline SVG; and the same as a file of its own.

Colours are classes of the pages' style sheet (`law0` to `law5`); every line carries its name at its end, so that
nothing depends on colour. What lies beyond an axis is drawn at its border.

Left out: bars, laws and tiles (`charts.py`, `vision/drawing/svg_charts.py`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from sightline.studies.charts import Number, Place
from sightline.vision.drawing.pages import SHARED
from sightline.vision.drawing.svg_charts import LETTER, WIDTH, spread_labels


def plain(value: Number) -> str:
    """A number as short as it goes."""
    return f"{value:g}"


@dataclass(frozen=True)
class Axis:
    """What an axis shows."""

    name: str
    low: Number
    high: Number
    ticks: Sequence[Number]
    log: bool = False
    write: Callable[[Number], str] = plain

    def share(self, value: Number) -> float:
        """Where a value lies between low (0) and high (1)."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Line:
    """Points in order, with what lies around each where seeds differ."""

    name: str  # written at the end; "": nothing is
    points: Sequence[Place]
    colour: int = 0
    band: Sequence[Place] = ()  # low and high at every point
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Spot:
    """A place that is named."""

    x: Number
    y: Number
    words: str
    colour: int = 0
    anchor: str = "start"
    below: bool = False


def plot(
    lines: Sequence[Line],
    across: Axis,
    up: Axis,
    title: str,
    *,
    spots: Sequence[Spot] = (),
    levels: Sequence[tuple[Number, str]] = (),
    height: Number = 280.0,
) -> Markup:
    """A chart; `levels` are horizontal lines with their words, `title` says in words what is to be seen."""
    names = [line.name for line in lines if line.name]
    top, bottom = 28.0, height - 42.0
    left = 16 + LETTER * max(len(up.write(tick)) for tick in up.ticks)
    right = WIDTH - (min(0.45 * WIDTH, 14 + LETTER * max(map(len, names))) if names else 10)

    def at(place: Place) -> Place:
        return left + (right - left) * across.share(place[0]), bottom - (bottom - top) * up.share(place[1])

    shapes = [f'<path class="axis" d="M{left:.1f} {top}V{bottom}H{right:.1f}"/>']
    words = []
    for tick in up.ticks:
        y = at((across.low, tick))[1]
        shapes.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        words.append(_text(left - 5, y + 4, up.write(tick), "end"))
    for tick in across.ticks:
        x = at((tick, up.low))[0]
        shapes.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        words.append(_text(x, bottom + 17, across.write(tick), "middle"))
    words.append(_text((left + right) / 2, bottom + 35, across.name, "middle", ' class="strong"'))
    words.append(_text(2, 11, up.name, extra=' class="strong"'))
    for line in lines:
        if line.band:
            edge = [at((x, low)) for (x, _), (low, _) in zip(line.points, line.band, strict=True)]
            edge += [at((x, high)) for (x, _), (_, high) in reversed(list(zip(line.points, line.band, strict=True)))]
            shapes.append(f'<path class="band band{line.colour}" d="{_path(edge)}Z"/>')
    for y, said in levels:
        place = at((across.low, y))[1]
        shapes.append(f'<path class="limit" d="M{left:.1f} {place:.1f}H{right:.1f}"/>')
        words.append(_text(right - 3, place - 4, said, "end", ' class="strong"'))
    ends = []
    for line in lines:
        places = [at(point) for point in line.points]
        kind = " dashed" if line.dashed else ""
        shapes.append(f'<path class="law law{line.colour}{kind}" d="{_path(places)}"/>')
        if line.dots:
            shapes += [f'<circle class="dot{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.8"/>' for x, y in places]
        if line.name:
            ends.append((line, *places[-1]))
    labels = spread_labels([y for *_, y in ends], top + 4, bottom)
    for (line, x, y), label in zip(ends, labels, strict=True):
        shapes.append(f'<path class="leader" d="M{x + 2:.1f} {y:.1f}L{right + 5:.1f} {label:.1f}"/>')
        words.append(f'<path class="law law{line.colour}" d="M{right + 5:.1f} {label:.1f}h6"/>')
        words.append(_text(right + 14, label + 4, line.name))
    for spot in spots:
        x, y = at((spot.x, spot.y))
        shapes.append(f'<circle class="spot dot{spot.colour}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
        aside = {"start": 8, "end": -8}.get(spot.anchor, 0)
        lift = 4 if aside else (20 if spot.below else -10)
        for place, part in enumerate(spot.words.split("\n")):
            words.append(_text(x + aside, y + lift + 14 * place, part, spot.anchor))
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" class="chart" aria-label="{escape(title)}">'
    return Markup(head + "".join(shapes + words) + "</svg>")


def standalone(chart: Markup) -> str:
    """The chart as a file of its own, for pages that cannot hold it; it follows light and dark as they do."""
    style = SHARED.read_text(encoding="utf-8") + Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head, rest = str(chart).split(">", 1)
    paper = '<rect x="-8" y="-8" width="120%" height="120%" style="fill:var(--paper)"/>'
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{style}</style>{paper}{rest}\n"


def powers(low: Number, high: Number) -> list[float]:
    """The powers of ten from one number to another."""
    return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _text(x: Number, y: Number, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'
