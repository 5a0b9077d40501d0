"""The charts of the receptive-field study, as inline SVG: sizes in theory and in effect, and the law.

Left out: the shapes of the fields (`pictures.py`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from sightline.studies.charts import Law, Number, Place, log_log, ticks
from sightline.studies.page import legend
from sightline.studies.receptive_field.repairs import DEEP, HOLES, NAMES, PLAIN
from sightline.vision.drawing.svg_charts import LETTER, WIDTH, spread_labels

Row = Mapping[str, Any]
SHORT = {HOLES: "holes"}
# The area that holds 95 % of a round Gaussian, over its variance; its root turns a deviation into a side.
SIDE_OF_DEVIATION = math.sqrt(2 * math.pi * math.log(20))


def sizes(rows: Sequence[Row], side: int, height: float = 330.0) -> Markup:
    """The side of every network's field over its depth: in theory solid, in effect dashed; the image's side dotted."""
    most = max(row["size"] for row in rows)
    low_y, high_y, top, bottom, left = 3.0, 1.15 * max(most, side), 12.0, height - 40.0, 40.0
    deepest = max(row["layers"] for row in rows)
    lines = []
    for place, name in enumerate(NAMES):
        own = [row for row in rows if row["network"] == name]
        if name == DEEP:  # up to the depth of the others it is the plain network
            start = max(row["layers"] for row in rows if row["network"] == PLAIN)
            own = [row for row in own if row["layers"] >= start]
        for kind, key in (("", "size"), (" dashed", "effective")):
            if own:
                end = f"{SHORT.get(name, name)} {own[-1][key]:.0f}"
                lines.append((place, kind, [(row["layers"], row[key]) for row in own], end))
    right = WIDTH - 16 - LETTER * max(len(end) for *_, end in lines)

    def at(x: Number, y: Number) -> Place:
        across = math.log(x) / math.log(max(deepest, 2))
        up = math.log(max(y, low_y) / low_y) / math.log(high_y / low_y)
        return left + (right - left) * across, bottom - (bottom - top) * up

    parts = [f'<path class="axis" d="M{left} {top}V{bottom}H{right:.1f}"/>']
    for tick in ticks(low_y, high_y, 7):
        y = at(1, tick)[1]
        parts.append(
            f'<path class="grid" d="M{left} {y:.1f}H{right:.1f}"/>' + _text(left - 5, y + 4, f"{tick:g}", "end")
        )
    for tick in ticks(1, deepest, 6, base=2.0):
        x = at(tick, low_y)[0]
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>' + _text(x, bottom + 17, f"{tick:g}", "middle"))
    words = _text((left + right) / 2, bottom + 34, "layers", "middle", ' class="strong"')
    y = at(1, side)[1]
    parts.append(f'<path class="limit" d="M{left} {y:.1f}H{right:.1f}"/>')
    words += _text(left + 5, y - 5, f"the image, {side} px", extra=' class="strong"')
    ends = []
    for place, kind, points, _ in lines:
        places = [at(*point) for point in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="law law{place}{kind}" d="M{path}"/>')
        x, y = places[-1]
        parts.append(f'<circle class="dot{place}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
        ends.append((x, y))
    labels = spread_labels([y for _, y in ends], top, bottom)
    for (x, y), label, (_, kind, _, end) in zip(ends, labels, lines, strict=True):
        parts.append(f'<path class="leader" d="M{x + 3:.1f} {y:.1f}L{right + 5:.1f} {label:.1f}"/>')
        words += _text(right + 8, label + 4, end, extra=' class="quiet"' if kind else "")
    said = "; ".join(f"{_last(rows, name, 'size')} px in theory and {_last(rows, name, 'effective')} in effect, {name}"
                     for name in NAMES)  # fmt: skip
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" class="chart" aria-label="{escape(said)}">'
    return Markup(head + "".join(parts) + words + "</svg>")


def marks() -> Markup:
    """What the lines of `sizes` mean."""
    dashes = ("none", "4 2", "2 3")
    solid, dashed, limit = (
        Markup(f'<path class="law law5" d="M0 8H16" style="stroke-dasharray:{dash}"/>') for dash in dashes
    )
    return legend(
        [(solid, "in theory: side of the box"), (dashed, "in effect: 95 % of the heat"), (limit, "the image")]
    )


def deviations(law: Sequence[Row]) -> Markup:
    """The heat's deviation over the number of layers, beside the closed form and sqrt(2) times it."""
    form = [(row["layers"], row["closed_form"]) for row in law]
    wide = [(layers, math.sqrt(2) * value) for layers, value in form]
    laws = [
        Law("theory, used evenly", [(row["layers"], evenly(row["size"])) for row in law]),
        Law("random, ReLU", [(row["layers"], row["relu"]) for row in law]),
        Law("random", [(row["layers"], row["linear"]) for row in law]),
        Law("uniform", [(row["layers"], row["uniform"]) for row in law]),
        Law("closed form", form[:1], form[1:]),
        Law("\N{SQUARE ROOT}2 x closed form", wide[:1], wide[1:]),
    ]
    said = "; ".join(
        f"{row['layers']} layers: closed form {row['closed_form']:.2f}, uniform {row['uniform']:.2f}, "
        f"random {row['linear']:.2f}, with ReLU {row['relu']:.2f}"
        for row in law
    )
    return log_log(laws, f"Deviation of the heat in pixels. {said}", "layers", lambda value: f"{value:g}")


def shares(law: Sequence[Row]) -> Markup:
    """The effective side over the theoretical one, beside that of the closed form, which falls as 1 / sqrt(n)."""

    def closed(factor: float) -> list[Place]:
        return [
            (row["layers"], factor * SIDE_OF_DEVIATION * row["closed_form"] / row["size"])
            for row in law
            if row["layers"] >= 4  # before that the heat is no Gaussian
        ]

    laws = [
        Law("theory", [(row["layers"], 1.0) for row in law]),
        Law("random, ReLU", [(row["layers"], row["relu_side"] / row["size"]) for row in law]),
        Law("uniform", [(row["layers"], row["uniform_side"] / row["size"]) for row in law]),
    ]
    for name, line in (("closed form", closed(1.0)), ("\N{SQUARE ROOT}2 x closed form", closed(math.sqrt(2)))):
        if line:
            laws.append(Law(name, line[:1], line[1:]))
    said = "; ".join(
        f"{row['layers']} layers: uniform {row['uniform_side'] / row['size']:.2f}, "
        f"random {row['relu_side'] / row['size']:.2f}"
        for row in law
    )
    return log_log(laws, f"Effective side over theoretical side. {said}", "layers", lambda value: f"{value:g}")


def evenly(side: int) -> float:
    """The deviation of a field that uses all of its pixels alike."""
    return math.sqrt((side**2 - 1) / 12)


def _last(rows: Sequence[Row], name: str, key: str) -> str:
    own = [row for row in rows if row["network"] == name]
    return f"{own[-1][key]:.0f}" if own else "?"


def _text(x: Number, y: Number, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'
