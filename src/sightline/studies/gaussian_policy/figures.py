"""The charts of the study of the Gaussian policy, one question each.

Left out: measuring anything. A chart whose numbers are missing is None.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sightline.studies.gaussian_policy import bandit, borders, pendulum
from sightline.studies.line_charts import Axis, Line, Place, Spot, plot, powers
from sightline.studies.measurements import of_kind
from sightline.vision.drawing.svg_charts import WIDTH

Results = Mapping[str, Any]
SCALE = Axis("scale s", 0.025, 2.4, (0.03, 0.1, 0.3, 1), log=True)
FINE = np.geomspace(0.025, 2.4, 80)
BANDIT_COLOURS = {"fixed 0.03": 5, "fixed 0.1": 3, "fixed 0.3": 2, "fixed 1": 0, "learned": 1, "by state": 4}
COLOURS = {"fixed 0.1": 3, "fixed 0.5": 2, "fixed 2": 0, "learned": 1, "by state": 4, "squashed": 0}
WAY_COLOURS = {"clipped": 1, "squashed": 0}
RETURN = Axis("return of an episode", -1500, 60, (-1500, -1000, -500, 0))
SEEN = 3.0  # standard errors from which an estimated gradient is told from none


def thousands(value: float | int) -> str:
    """Steps as they stand below an axis."""
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"


def estimates_of(results: Results, noise: float, baseline: bool = True) -> list[Mapping[str, Any]]:
    """The rows of one line."""
    rows = results["parts"].get("estimates", [])
    return [row for row in rows if row["noise"] == noise and row["baseline"] == baseline]


def returns_and_gradients(results: Results) -> list[tuple[str, Markup]]:
    """What the scale costs, and how long both gradients are."""
    rows = estimates_of(results, 0.0)
    if not rows:
        return []
    far = bandit.FAR
    line = Line("", [(float(s), bandit.exact(far, float(s), 0.0).value) for s in FINE], 1)
    spots = [Spot(row["scale"], row["seen"]["value"], "", 1) for row in rows]
    alone = [(-(far**2), "the mean alone")]
    up = Axis("expected return", -6, 0.3, (-6, -4, -2, 0))
    cost = plot([line], SCALE, up, "The expected return falls as s squared", spots=spots, levels=alone)
    mean = Line("mean: 2 d", [(float(s), 2 * far) for s in FINE], 1)
    scale = Line("log s: 2 s\N{SUPERSCRIPT TWO}", [(float(s), 2 * float(s) ** 2) for s in FINE], 0)
    spots = [Spot(row["scale"], abs(row["seen"]["mean_gradient"]), "", 1) for row in rows]
    known = [(row["scale"], -row["seen"]["scale_gradient"]) for row in rows]
    spots += [Spot(s, slope, "", 0) for s, slope in known if slope > 0.01]
    up = Axis("length of the gradient", 1e-3, 30, powers(1e-3, 10), log=True)
    both = plot([mean, scale], SCALE, up, "The mean's gradient does not depend on s, that of log s is 2 s squared",
                spots=spots)  # fmt: skip
    return [("What a scale costs", cost), ("What follows from it", both)]


def noise(results: Results) -> Markup | None:
    """How unsure one episode is about the mean, over the scale."""
    lines, spots = [], []
    for deviation, baseline, colour in ((0.0, True, 3), (0.3, True, 1), (1.0, True, 4), (0.0, False, 0)):
        rows = estimates_of(results, deviation, baseline)
        if not rows:
            return None
        name = f"noise {deviation:g}" if baseline else "no baseline"
        length = 2 * bandit.FAR

        def share(variance: float, length: float = length) -> float:
            return math.sqrt(variance) / length

        every = [(float(s), bandit.exact(bandit.FAR, float(s), deviation, baseline=baseline)) for s in FINE]
        points = [(s, share(one.mean_variance)) for s, one in every]
        lines.append(Line(name, points, colour, dashed=not baseline))
        spots += [Spot(row["scale"], share(row["seen"]["mean_variance"]), "", colour) for row in rows]
    up = Axis("deviation of one estimate / gradient", 1, 40, (1, 3, 10, 30), log=True)
    best = bandit.surest_scale(1.0)
    title = f"An episode's estimate is surest at a middle scale, {best:.2f} for noise 1"
    return plot(lines, SCALE, up, title, spots=spots)


def bandit_curves(results: Results, what: str) -> Markup | None:
    """What is lost, of drawn actions or of the mean alone, over updates."""
    lines = []
    for words, one in of_kind(results["parts"], "bandit"):
        band = [(-high, -low) for low, high in zip(one["low"], one["high"], strict=True)] if what == "drawn" else []
        points = [(x, max(-y, 1e-4)) for x, y in zip(one["updates"], one[what], strict=True)]
        lines.append(Line(words[0], points, BANDIT_COLOURS[words[0]], band))
    if not lines:
        return None
    last = max(line.points[-1][0] for line in lines)
    across = Axis("updates", 0, last, (0, last / 2, last))
    up = Axis("lost to the best action", 3e-3, 5, (0.01, 0.1, 1), log=True)
    said = "; ".join(f"{line.name} {line.points[-1][1]:.3f}" for line in lines)
    return plot(lines, across, up, f"Lost at the end: {said}", height=290)


def bandit_scales(results: Results) -> Markup | None:
    """Learned scales over updates."""
    lines = []
    for words, one in of_kind(results["parts"], "bandit"):
        if words[0] == "learned":
            lines.append(Line("learned", [(x, s[0]) for x, s in zip(one["updates"], one["scales"], strict=True)], 1))
        if words[0] == "by state":
            for place, name, dashed in ((0, "by state: steep", False), (1, "by state: flat", True)):
                points = [(x, s[place]) for x, s in zip(one["updates"], one["scales"], strict=True)]
                lines.append(Line(name, points, 4, dashed=dashed))
    if not lines:
        return None
    last = lines[0].points[-1][0]
    across = Axis("updates", 0, last, (0, last / 2, last))
    said = "; ".join(f"{line.name} {line.points[-1][1]:.2f}" for line in lines)
    return plot(lines, across, Axis("scale s", 0.02, 1.2, (0.03, 0.1, 0.3, 1), log=True), f"Scales at the end: {said}")


def border_gradients(results: Results) -> Markup | None:
    """The gradient's length over the mean, clipped and squashed."""
    rows = results["parts"].get("borders")
    if not rows:
        return None
    lines, spots = [], []
    means = np.linspace(0.02, 2.6, 90)
    for way, colour in WAY_COLOURS.items():
        slopes = np.abs(borders.gradient(way, means, np.full_like(means, borders.SCALE), 0.0))
        lines.append(Line(way, list(zip(means.tolist(), slopes.tolist(), strict=True)), colour))
        spots += [
            Spot(row["mean"], abs(row["seen"]), "", colour)
            for row in rows
            if row["way"] == way and abs(row["seen"]) > SEEN * row["error"] and row["mean"] > 0
        ]
    across = Axis("mean m, before clipping or tanh", 0, 2.6, (0, 0.5, 1, 1.5, 2, 2.5))
    up = Axis("length of the gradient", 1e-6, 4, (1e-6, 1e-4, 1e-2, 1.0), log=True, write=_power)
    edge = Line("", [(1.0, 1e-6), (1.0, 4.0)], 5, dashed=True)
    title = "Beyond the border, at 1, the clipped gradient dies like the Gaussian's tail, the squashed one slower"
    return plot([edge, *lines], across, up, title, spots=spots)


def _power(value: float | int) -> str:
    return f"{value:g}" if value >= 0.01 else f"1e{math.log10(value):.0f}"


def box_curves(results: Results, task: str) -> Markup | None:
    """What is lost by drawn actions, clipped and squashed."""
    lines = []
    for words, one in of_kind(results["parts"], "box"):
        if words[1] == task:
            band = [(-high, -low) for low, high in zip(one["low"], one["high"], strict=True)]
            points = [(x, max(-y, 1e-6)) for x, y in zip(one["updates"], one["drawn"], strict=True)]
            lines.append(Line(words[0], points, WAY_COLOURS[words[0]], band))
    if not lines:
        return None
    last = lines[0].points[-1][0]
    across = Axis("updates", 0, last, (0, last / 2, last))
    said = "; ".join(f"{line.name} {line.points[-1][1]:.1e}" for line in lines)
    up = Axis("lost to the best action", 1e-5, 2, powers(1e-5, 1), log=True, write=_power)
    return plot(lines, across, up, f"{task}, lost at the end: {said}")


def pendulum_curves(results: Results, names: Sequence[str], what: str, up: Axis) -> Markup | None:
    """One number of the looks over steps: means over seeds in bands from lowest to highest."""
    lines = []
    for name in names:
        ones = [one for words, one in of_kind(results["parts"], "pendulum") if words[0] == name]
        if ones:
            columns = list(zip(*(one[what] for one in ones), strict=True))
            points: list[Place] = [
                (x, sum(column) / len(column)) for x, column in zip(ones[0]["steps"], columns, strict=True)
            ]
            shown = "clipped" if name == "learned" and "squashed" in names else name
            lines.append(Line(shown, points, COLOURS[name], [(min(column), max(column)) for column in columns]))
    if not lines:
        return None
    last = lines[0].points[-1][0]
    across = Axis("steps", 0, last, (0, last / 2, last), write=thousands)
    said = "; ".join(f"{line.name} {line.points[-1][1]:.3g}" for line in lines)
    return plot(lines, across, up, f"At the end: {said}", height=290)


def scale_field(results: Results) -> Markup | None:
    """The scale that a network gives, over angle and speed, of the first seed."""
    one = results["parts"].get(f"pendulum, {pendulum.BY_STATE.name}, 0")
    if not one:
        return None
    rows = np.array(one["field"])
    low, high = float(rows.min()), float(rows.max())
    left, top, wide, tall = 34.0, 14.0, 270.0, 200.0
    dx, dy = wide / rows.shape[1], tall / rows.shape[0]
    shapes = [f'<rect class="track" x="{left}" y="{top}" width="{wide}" height="{tall}"/>']
    for y, row in enumerate(rows[::-1]):
        for x, value in enumerate(row):
            share = math.log(max(float(value), 1e-6) / low) / max(math.log(high / low), 1e-9)
            shapes.append(
                f'<rect class="dot4" x="{left + x * dx:.1f}" y="{top + y * dy:.1f}" width="{dx + 0.3:.1f}" '
                f'height="{dy + 0.3:.1f}" fill-opacity="{share:.2f}"/>'
            )
    words = [
        _text(left + wide / 2, top + tall + 33, "angle, upright in the middle", "middle", ' class="strong"'),
        _text(2.0, top - 3, "speed", extra=' class="strong"'),
    ]
    for share, name in ((0.0, "-\N{GREEK SMALL LETTER PI}"), (0.5, "0"), (1.0, "\N{GREEK SMALL LETTER PI}")):
        words.append(_text(left + share * wide, top + tall + 16, name, "middle"))
    for share, name in ((0.0, "8"), (0.5, "0"), (1.0, "-8")):
        words.append(_text(left - 5, top + share * tall + 4, name, "end"))
    for place, share in enumerate((1.0, 0.5, 0.0)):
        above = top + 8 + 24 * place
        shapes.append(f'<rect class="track" x="{left + wide + 9}" y="{above}" width="12" height="12"/>')
        shapes.append(f'<rect class="dot4" x="{left + wide + 9}" y="{above}" width="12" height="12" '
                      f'fill-opacity="{share}"/>')  # fmt: skip
        words.append(_text(left + wide + 25, above + 11, f"{low * (high / low) ** share:.2f}"))
    title = f"The scale over the states, from {low:.2f} to {high:.2f}"
    head = f'<svg viewBox="0 0 {WIDTH:.0f} 252" role="img" class="chart" aria-label="{title}">'
    return Markup(head + "".join(shapes + words) + "</svg>")


def _text(x: float, y: float, words: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{words}</text>'
