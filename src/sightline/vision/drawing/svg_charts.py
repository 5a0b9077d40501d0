"""Three charts as inline SVG: score bars against ceiling and chance, score against a cost, curves.

Drawn for a phone first: 360 units wide with 12-unit text, so that they read at any width from 320 pixels on. Colours
are classes of the page's style sheet (`learned`, `unlearned`, `unseen`, `unknown`), so that light, dark and print
follow the page; each state has its own mark as well, so that nothing depends on colour. Lines and points are labelled
directly.

Left out: interaction, and every chart that no page of the house needs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 360.0
LINE = 14.0  # least distance between two lines of text
LETTER = 6.2  # width of one letter of 12-unit sans-serif text, on the generous side


@dataclass(frozen=True)
class Bar:
    """A score in [0, 1] of a network or a class of pixels, with its state (a class of the style sheet).

    `low` and `high` are the spread over seeds, `ceiling` what could be reached; a `note` stands where the ceiling's
    words would.
    """

    name: str
    state: str
    score: float | None
    low: float | None = None
    high: float | None = None
    ceiling: float | None = None
    note: str = ""
    swatch: str | None = None  # a colour "#rrggbb" instead of the state's mark; "" for neither


@dataclass(frozen=True)
class Point:
    """One network at a cost `x` > 0 and a score `y` in [0, 1]."""

    name: str
    state: str
    x: float
    y: float


@dataclass(frozen=True)
class Curve:
    """One run: values `y` over `x`, in order; runs of one name share one label."""

    name: str
    state: str
    x: Sequence[float]
    y: Sequence[float]


def spread_labels(wanted: Sequence[float], low: float, high: float, gap: float = LINE) -> list[float]:
    """Move label positions apart to at least `gap` (less where they cannot fit), in order, within [low, high]."""
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for rank, i in enumerate(order):
        least = low + rank * gap if not placed else placed[-1] + gap
        placed.append(max(wanted[i], least))
    for rank in range(len(placed) - 1, -1, -1):  # push back up what ran over the lower end
        most = high - (len(placed) - 1 - rank) * gap
        placed[rank] = min(placed[rank], most)
    result = [0.0] * len(wanted)
    for i, y in zip(order, placed, strict=True):
        result[i] = y
    return result


def mark(state: str, x: float, y: float, radius: float = 5.0) -> str:
    """Disc: learned; half disc: sees, did not learn; cross: cannot see; ring: not known. Told apart without colour."""
    r = radius
    if state == "learned":
        return f'<circle class="fill {state}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    if state == "unlearned":
        half = f"M{x:.1f} {y - r:.1f}A{r} {r} 0 0 0 {x:.1f} {y + r:.1f}Z"
        ring = f'<circle class="ring {state}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
        return f'{ring}<path class="fill {state}" d="{half}"/>'
    if state == "unseen":
        a, b, c, d = x - r * 0.8, y - r * 0.8, x + r * 0.8, y + r * 0.8
        return f'<path class="stroke {state}" d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}M{a:.1f} {d:.1f}L{c:.1f} {b:.1f}"/>'
    return f'<circle class="ring {state}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> Markup:
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" class="chart" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts) + "</svg>")


def bars(rows: Sequence[Bar], chance: float | None, title: str) -> Markup:
    """Scores as bars from 0 to 1; a tick at each ceiling, a dashed line at chance, whiskers from low to high."""
    left, right, row, top = 4.0, 312.0, 36.0, 4.0 if chance is None else 18.0
    bottom = top + row * len(rows)

    def at(value: float) -> float:
        return left + (right - left) * min(max(value, 0.0), 1.0)

    shapes, words = [], []  # all words come after all shapes, so that no line crosses them
    # Left of the middle the words start at the line, right of it they end there: they never leave the picture.
    if chance is not None:
        anchor = "start" if chance < 0.5 else "end"
        words.append(_text(at(chance), 11.0, f"chance {chance:.2f}", anchor, ' class="quiet"'))
    for index, bar in enumerate(rows):
        y = top + row * index
        shapes.append(f'<rect class="track" x="{left}" y="{y + 19:.1f}" width="{right - left}" height="11"/>')
        words.append(_key(bar, left, y) + _text(left + (1 if bar.swatch == "" else 17), y + 14, bar.name))
        if bar.score is None:
            words.append(_text(right + 6, y + 29, "no score", extra=' class="quiet"'))
            continue
        size = f'width="{at(bar.score) - left:.1f}" height="11"'
        shapes.append(f'<rect class="fill {bar.state}" x="{left}" y="{y + 19:.1f}" {size}/>')
        words.append(_text(right + 6, y + 29, f"{bar.score:.2f}", extra=' class="strong"'))
    if chance is not None:
        ticks = "".join(f"M{at(chance):.1f} {top + row * index + 19:.1f}v11" for index in range(len(rows)))
        shapes.append(f'<path class="chance-back" d="{ticks}"/>')
        shapes.append(f'<path class="chance" d="M{at(chance):.1f} 13V{bottom:.1f}"/>')
    for index, bar in enumerate(rows):
        y = top + row * index
        if bar.low is not None and bar.high is not None and bar.high > bar.low:
            a, b, m = at(bar.low), at(bar.high), y + 24.5
            path = f"M{a:.1f} {m}H{b:.1f}M{a:.1f} {m - 3}V{m + 3}M{b:.1f} {m - 3}V{m + 3}"
            shapes.append(f'<path class="whisker-back" d="{path}"/><path class="whisker" d="{path}"/>')
        if bar.ceiling is not None:
            shapes.append(f'<path class="ceiling" d="M{at(bar.ceiling):.1f} {y + 16:.1f}v17"/>')
        note = bar.note if bar.ceiling is None else f"ceiling {bar.ceiling:.2f}"
        if note:
            words.append(_text(right, y + 14, note, "end", ' class="quiet"'))
    return _svg(bottom + 4, title, shapes + words)


def _key(bar: Bar, x: float, y: float) -> str:
    if bar.swatch is None:
        return mark(bar.state, x + 6, y + 10)
    square = f'<rect class="key" x="{x + 1:.1f}" y="{y + 4:.1f}" width="11" height="11"'
    return square + f' style="fill:{escape(bar.swatch)}"/>' if bar.swatch else ""


def _frame(top: float, bottom: float, left: float, right: float, y_ticks: Sequence[tuple[float, str]]) -> list[str]:
    parts = [f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>']
    for y, words in y_ticks:
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>' + _text(left - 5, y + 4, words, "end"))
    return parts


def _label_column(names: Sequence[tuple[str, str, float, float]], top: float, bottom: float, x: float) -> list[str]:
    """Names (name, state, x, y of the thing named) written in a column at `x`, apart from each other, with leaders."""
    placed = spread_labels([y for *_, y in names], top, bottom)
    parts = []
    for (name, state, from_x, from_y), y in zip(names, placed, strict=True):
        parts.append(f'<path class="leader {state}" d="M{from_x:.1f} {from_y:.1f}L{x - 3:.1f} {y:.1f}"/>')
        parts.append(_text(x, y + 4, name))
    return parts


def _label_room(names: Sequence[str]) -> float:
    """Units of width for a column of labels; never more than half of the chart."""
    return min(0.5 * WIDTH, 12 + LETTER * max((len(name) for name in names), default=0))


def against_cost(
    points: Sequence[Point], words: Callable[[float], str], chance: float, title: str, axis: str, height: float = 230.0
) -> Markup:
    """Scores over a cost on a logarithmic axis; `words` writes a cost with its unit."""
    top, bottom, left = 12.0, height - 40.0, 34.0
    right = WIDTH - _label_room([point.name for point in points])
    low = min((point.x for point in points), default=1.0)
    high = max((point.x for point in points), default=10.0)
    if high < 1.5 * low:  # one cost for all: leave room on both sides
        low, high = low / 2, high * 2

    def x_at(x: float) -> float:
        return left + 12 + (right - left - 24) * math.log(x / low) / math.log(high / low)

    def y_at(y: float) -> float:
        return bottom - (bottom - top) * min(max(y, 0.0), 1.0)

    parts = _frame(top, bottom, left, right, [(y_at(y), f"{y:g}") for y in (0.0, 0.5, 1.0)])
    parts.append(f'<path class="chance" d="M{left} {y_at(chance):.1f}H{right}"/>')
    for x, anchor in ((low, "start"), (high, "end")):
        parts.append(_text(x_at(x) - (8 if anchor == "start" else -8), bottom + 16, words(x), anchor))
    parts.append(_text((left + right) / 2, bottom + 33, axis, "middle", ' class="strong"'))
    named = [(point.name, point.state, x_at(point.x), y_at(point.y)) for point in points]
    parts += _label_column(named, top, bottom, right + 8)
    parts += [mark(state, x, y) for _, state, x, y in named]
    return _svg(height, title, parts)


def curves(
    runs: Sequence[Curve],
    title: str,
    axis: str,
    y_limits: tuple[float, float],
    chance: float | None = None,
    height: float = 230.0,
) -> Markup:
    """Values over steps or seconds, one line per run, one label per name at the mean of its runs' ends."""
    top, bottom, left = 12.0, height - 40.0, 34.0
    names = list(dict.fromkeys(run.name for run in runs))
    right = WIDTH - _label_room(names)
    last = max((max(run.x) for run in runs if len(run.x)), default=1.0) or 1.0
    low, high = y_limits

    def x_at(x: float) -> float:
        return left + (right - left) * x / last

    def y_at(y: float) -> float:
        return bottom - (bottom - top) * (min(max(y, low), high) - low) / (high - low)

    parts = _frame(top, bottom, left, right, [(y_at(y), f"{y:.2g}") for y in (low, (low + high) / 2, high)])
    if chance is not None:
        parts.append(f'<path class="chance" d="M{left} {y_at(chance):.1f}H{right}"/>')
    parts.append(_text(left, bottom + 16, "0") + _text(right, bottom + 16, f"{last:.4g}", "end"))
    parts.append(_text((left + right) / 2, bottom + 33, axis, "middle", ' class="strong"'))
    ends: dict[str, list[tuple[str, float, float]]] = {}
    for run in runs:
        if not len(run.x):
            continue
        path = "L".join(f"{x_at(x):.1f} {y_at(y):.1f}" for x, y in zip(run.x, run.y, strict=True))
        parts.append(f'<path class="line {run.state}" d="M{path}"/>')
        ends.setdefault(run.name, []).append((run.state, x_at(run.x[-1]), y_at(run.y[-1])))
    named = [
        (name, stops[0][0], max(x for _, x, _ in stops), sum(y for *_, y in stops) / len(stops))
        for name, stops in ends.items()
    ]
    parts += _label_column(named, top, bottom, right + 8)
    parts += [mark(state, x, y, radius=3.5) for _, state, x, y in named]
    return _svg(height, title, parts)
