"""The page's charts as inline SVG: theory against effect by depth, and what every head does.

Drawn for a phone first: 360 units wide with 12-unit text. Colours are classes of the style sheet; lines differ in dash
and mark as well, and are labelled where they end, so that nothing depends on colour.

Left out: interaction.
"""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from sightline.seeing.report.contents import HeadDistances, Missing, Report
from sightline.seeing.report.sentences import named, passes

WIDTH, HEIGHT = 360.0, 250.0
LEFT, TOP, BOTTOM = 42.0, 24.0, 206.0
GAP = 14.0  # between two labels


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def _svg(title: str, parts: Sequence[str]) -> Markup:
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" class="chart" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts) + "</svg>")


def _mark(shape: str, x: float, y: float, kind: str) -> str:
    if shape == "square":
        return f'<rect class="fill {kind}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    if shape == "ring":
        return f'<circle class="ring {kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    return f'<circle class="fill {kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Heights of labels, in the given order, moved at least a line apart within [low, high]."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], low if not placed else placed[-1] + GAP))
    for rank in range(len(placed) - 1, -1, -1):
        placed[rank] = min(placed[rank], high - (len(placed) - 1 - rank) * GAP)
    result = [0.0] * len(wanted)
    for i, y in zip(order, placed, strict=True):
        result[i] = y
    return result


def _numbers_below(count: int, at: Callable[[int], float]) -> list[str]:
    step = max(1, math.ceil(count / 12))
    shown = [i for i in range(count) if i % step == 0]
    return [_text(at(i), BOTTOM + 15, str(i + 1), "middle", "quiet") for i in shown]


def by_depth(report: Report) -> Markup | None:
    """Side of the theoretical and of the effective field (square root of the area) by layer, on a logarithmic axis.

    None where there is no layer to draw.
    """
    if isinstance(report.layers, Missing) or not report.main:
        return None
    h, w = report.photo.shape[:2]
    layers = {layer.name: layer for layer in report.layers}
    chosen = [layers[name] for name in report.main if name in layers]
    effects = {} if isinstance(report.effects, Missing) else report.effects
    side = math.sqrt(h * w)
    theory = [None if layer.size is None else math.sqrt(layer.size[0] * layer.size[1]) for layer in chosen]
    most = [side * math.sqrt(effects[one.name].most) if one.name in effects else None for one in chosen]
    half = [side * math.sqrt(effects[one.name].half) if one.name in effects else None for one in chosen]
    finite = [v for v in (*theory, *most, *half) if v is not None and 0 < v < math.inf]
    high = max(2.2 * side, *(finite or [1.0])) * 1.15
    low = max(0.8, min([*finite, side]) / 1.3)
    right = WIDTH - 84

    def x_at(i: int) -> float:
        return LEFT + 12 + (right - LEFT - 24) * (i / (len(chosen) - 1) if len(chosen) > 1 else 0.5)

    def y_at(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * math.log(min(max(value, low), high) / low) / math.log(high / low)

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{right}"/>']
    for tick in (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0):
        if low <= tick <= high:
            parts.append(f'<path class="grid" d="M{LEFT} {y_at(tick):.1f}H{right}"/>')
            parts.append(_text(LEFT - 5, y_at(tick) + 4, f"{tick:.0f}", "end", "quiet"))
    parts += _numbers_below(len(chosen), x_at)
    parts.append(_text((LEFT + right) / 2, BOTTOM + 33, "layer, numbered as in the table", "middle", "strong"))
    parts.append(_text(2.0, 11.0, "pixels", "start", "quiet"))
    parts.append(f'<path class="image-line" d="M{LEFT} {y_at(side):.1f}H{right}"/>')
    labels = [("image", y_at(side), "")]
    first = next((i for i, layer in enumerate(chosen) if passes(layer, (h, w))), None)
    if first is not None:
        parts.append(f'<path class="crossing" d="M{x_at(first):.1f} {TOP}V{BOTTOM}"/>')
        anchor = "start" if x_at(first) < (LEFT + right) / 2 else "end"
        shift = 4 if anchor == "start" else -4
        parts.append(_text(x_at(first) + shift, TOP + 8, f"passes at {named(chosen[first].name)}", anchor))
    for words, values, kind, shape in (
        ("theory", theory, "theory", "disc"),
        ("effect, 95 %", most, "effect", "square"),
        ("effect, 50 %", half, "effect half", "ring"),
    ):
        dots = [(x_at(i), y_at(v)) for i, v in enumerate(values) if v is not None and v > 0]
        if dots:
            parts.append(f'<path class="line {kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in dots)}"/>')
            parts += [_mark(shape, x, y, kind) for x, y in dots]
            labels.append((words, dots[-1][1], kind))
    for (words, _, kind), y in zip(labels, _apart([y for _, y, _ in labels], TOP, BOTTOM), strict=True):
        parts.append(_text(right + 6, y + 4, words, kind=f"label {kind}"))
    return _svg("Side of the field by layer, in pixels: theory, 95 % and 50 % of the effect, and the image", parts)


def _dots(
    found: Sequence[Sequence[float]], top: float, title: str, unit: str, line: tuple[float, str] | None
) -> Markup:
    right = WIDTH - 10

    def x_at(i: int) -> float:
        return LEFT + 14 + (right - LEFT - 28) * (i / (len(found) - 1) if len(found) > 1 else 0.5)

    def y_at(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * min(max(value / top, 0), 1)

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{right}"/>', _text(2.0, 11.0, unit, "start", "quiet")]
    for tick in (top / 4, top / 2, 3 * top / 4, top):
        parts.append(f'<path class="grid" d="M{LEFT} {y_at(tick):.1f}H{right}"/>')
        parts.append(_text(LEFT - 5, y_at(tick) + 4, f"{tick:.3g}", "end", "quiet"))
    parts += _numbers_below(len(found), x_at)
    parts.append(_text((LEFT + right) / 2, BOTTOM + 33, "attention layer, first to last", "middle", "strong"))
    for i, heads in enumerate(found):
        parts += [_mark("ring", x_at(i), y_at(value), "look") for value in heads]
    if line is not None:
        parts.append(f'<path class="image-line" d="M{LEFT} {y_at(line[0]):.1f}H{right}"/>')
        parts.append(_text(right, y_at(line[0]) - 5, line[1], "end", "strong"))
    return _svg(title, parts)


def by_head(found: HeadDistances) -> Markup:
    """Mean attention distance: a ring for each head of each layer, and the line of uniform attention."""
    highest = max([found.uniform, *(value for row in found.pixels for value in row)])
    top = 20.0 * math.ceil(highest * 1.15 / 20)
    words = f"looking everywhere alike: {found.uniform:.1f}"
    return _dots(
        found.pixels, top, "Mean attention distance of every head, in pixels", "pixels", (found.uniform, words)
    )


def entropies(found: HeadDistances) -> Markup | None:
    """Entropy of attention, in bits, a ring for each head; None where it was not measured."""
    values = [value for row in found.entropies for value in row]
    if not values:
        return None
    return _dots(found.entropies, float(max(1, math.ceil(max(values)))), "Entropy of every head, in bits", "bits", None)
