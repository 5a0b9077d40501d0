"""The charts of the policy-against-value study, one question each.

Left out: measuring anything. A chart whose numbers are missing is None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sightline.studies.charts import Place
from sightline.studies.line_charts import Axis, Line, Spot, plot, powers
from sightline.studies.measurements import of_kind
from sightline.studies.policy_vs_value import corridor, hills, landscape
from sightline.studies.policy_vs_value.corridor import EPSILONS

Results = Mapping[str, Any]
POLICY, VALUE = 1, 0  # colours: what policies do, what values do
STOP_COLOURS = {3: 2, 7: 3, 21: 0}
VALUES = Axis("value of the start", -90, 0, (-90, -60, -30, 0))


def band_of(many: Sequence[Sequence[float]]) -> tuple[list[float], list[Place]]:
    """Means over seeds, and lowest and highest."""
    columns = list(zip(*many, strict=True))
    return [sum(one) / len(one) for one in columns], [(min(one), max(one)) for one in columns]


def optimum(results: Results) -> Markup:
    """The exact value over the probability of going right, and where who ends."""
    summary = results["summary"]["corridor"]
    epsilon = str(EPSILONS[0])
    right_value, left_value = summary["greedy"][epsilon]
    chance = float(epsilon) / 2
    spots = [
        Spot(chance, left_value, f"greedy left {left_value:.0f}", VALUE),
        Spot(1 - chance, right_value, f"greedy right {right_value:.0f}", VALUE, "end", below=True),
    ]
    best = summary["policy"]
    if best:
        rights = [one["right"]["mean"] for one in best.values()]
        values = [one["value"]["mean"] for one in best.values()]
        mean = sum(rights) / len(rights)
        spots.append(
            Spot(
                mean, sum(values) / len(values), f"REINFORCE\n{mean:.2f}, {np.mean(values):.1f}", POLICY, "middle", True
            )
        )
    line = Line("", [place for place in sorted(corridor.curve()) if place[1] > VALUES.low], 5)
    across = Axis("probability of going right", 0, 1, (0, 0.25, 0.5, 0.75, 1))
    title = (
        f"The exact value is highest, {summary['best_value']:.2f}, at {summary['best_right']:.3f}; epsilon-greedy with "
        f"{epsilon} has {right_value:.1f} or {left_value:.1f}"
    )
    levels = [(summary["best_value"], "")]
    return plot([line], across, VALUES, title, spots=spots, levels=levels)


def corridor_curves(results: Results) -> Markup | None:
    """Exact values of what is learned, over steps."""
    parts, lines = results["parts"], []
    for kind, names, colours in (
        ("corridor policy", ("none", "constant", "value"), (3, 1, 2)),
        ("corridor value", tuple(map(str, EPSILONS)), (0, 4)),
    ):
        for name, colour in zip(names, colours, strict=True):
            ones = [value for words, value in of_kind(parts, kind) if words[0] == name]
            if ones:
                mean, band = band_of([one["value"] for one in ones])
                steps = ones[0]["steps"]
                label = f"Sarsa, \N{GREEK SMALL LETTER EPSILON} {name}" if kind.endswith("value") else SHORT[name]
                lines.append(Line(label, list(zip(steps, mean, strict=True)), colour, band, kind.endswith("value")))
    if not lines:
        return None
    last = lines[0].points[-1][0]
    across = Axis("steps", 0, last, (0, last / 2, last), write=thousands)
    said = "; ".join(f"{line.name}: {line.points[-1][1]:.1f}" for line in lines)
    best = results["summary"]["corridor"]["best_value"]
    return plot(lines, across, VALUES, f"Values at the end: {said}", levels=[(best, f"best {best:.2f}")])


SHORT = {"none": "REINFORCE", "constant": "with constant", "value": "with value"}


def thousands(value: float | int) -> str:
    """Steps as they stand below an axis."""
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"


def dials_curves(results: Results, dimensions: int) -> Markup | None:
    """Costs of a Gaussian and of stops over steps, both logarithmic; what the stops cannot go below is dashed."""
    parts = results["parts"]
    lines, ends = [], []
    ones = [value for words, value in of_kind(parts, "dials policy") if words[0] == str(dimensions)]
    if ones:
        lines.append(_costs(ones, "Gaussian", POLICY))
    for row in results["summary"]["dials"]:
        if row["dimensions"] == dimensions:
            own = [
                value
                for words, value in of_kind(parts, "dials value")
                if words[:2] == [str(dimensions), str(row["stops"])]
            ]
            lines.append(_costs(own, f"{row['stops']} stops", STOP_COLOURS[row["stops"]]))
            ends.append((row["stops"], row["floor"]))
    if not lines:
        return None
    last = max(line.points[-1][0] for line in lines)
    first = min(line.points[0][0] for line in lines)
    across = Axis("actions taken", first, last, powers(first, last), log=True, write=thousands)
    up = Axis("lost to the best action", 1e-5, 4, powers(1e-5, 1), log=True, write=lambda v: f"{v:g}")
    floors = [Line("", [(first, floor), (last, floor)], STOP_COLOURS[stops], dashed=True) for stops, floor in ends]
    said = "; ".join(f"{line.name} {line.points[-1][1]:.2g}" for line in lines)
    return plot([*floors, *lines], across, up, f"{dimensions} dials, cost at the end: {said}", height=290)


def _costs(ones: Sequence[Mapping[str, Any]], name: str, colour: int) -> Line:
    steps = ones[0]["steps"][1:]  # nothing is known at 0, which a logarithm has no place for
    mean, band = band_of([[max(cost, 1e-7) for cost in one["costs"][1:]] for one in ones])
    return Line(name, list(zip(steps, mean, strict=True)), colour, band)


def learning_times(results: Results) -> Markup | None:
    """Actions taken until a value method has what its stops allow, over the number of its unknowns."""
    rows = [row for row in results["summary"]["dials"] if row["learned"]]
    if not rows:
        return None
    lines = []
    for dimensions in sorted({row["dimensions"] for row in rows}):
        own = [row for row in rows if row["dimensions"] == dimensions]
        means = [(row["unknowns"], row["learned"]["mean"]) for row in own]
        band = [(row["learned"]["low"], row["learned"]["high"]) for row in own]
        words = f"{dimensions} dial" + ("s" if dimensions > 1 else "")
        lines.append(Line(words, means, dimensions + 1, band, dots=True))
    most = max(row["unknowns"] for row in results["summary"]["dials"])
    guide = Line("one each", [(5, 5.0), (1.2 * most, 1.2 * most)], 5, dashed=True)
    across = Axis("unknown numbers of the values", 5, 1.2 * most, powers(10, most), log=True, write=thousands)
    up = Axis("actions taken until learned", 10, 2e5, powers(10, 1e5), log=True, write=thousands)
    said = "; ".join(f"{row['unknowns']} unknowns: {row['learned']['mean']:.0f}" for row in rows)
    return plot([*lines, guide], across, up, f"Actions taken until learned: {said}")


def gradient_noise(results: Results, right: float) -> Markup | None:
    """The error of an estimated gradient over its episodes."""
    rows = [row for row in results["summary"]["noise"] if row["right"] == right]
    if not rows:
        return None
    lines = []
    for row, colour in zip(rows, (0, 1, 2), strict=True):
        known = [(size, error) for size, error in zip(row["sizes"], row["errors"], strict=True) if error]
        name = {"none": "no baseline", "constant": "constant", "state value": "state's value"}[row["baseline"]]
        band = [(error["low"], error["high"]) for _, error in known]
        lines.append(Line(name, [(size, error["mean"]) for size, error in known], colour, band, dots=True))
    sizes = rows[0]["sizes"]
    across = Axis("episodes of an estimate", sizes[0], sizes[-1], sizes[::2] + sizes[-1:], log=True)
    up = Axis("error / length of the exact gradient", 0.03, 8, (0.1, 1), log=True)
    said = "; ".join(f"{line.name}: {line.points[0][1]:.2f} from {line.points[0][0]:g} episodes" for line in lines)
    return plot(lines, across, up, said, levels=[(1.0, "as large as the gradient")])


def hills_seen() -> Markup:
    """What a policy gradient sees, by the policy's scale."""
    means = np.linspace(-5, 5, 121)
    lines = [
        Line(f"s = {scale:g}", list(zip(means.tolist(), hills.expected(means, scale).tolist(), strict=True)), colour)
        for scale, colour in ((hills.CONFIDENT, 0), (1.0, 2), (hills.OPEN, 1))
    ]
    across = Axis("mean m of the policy", -5, 5, (-4, -2, 0, 2, 4))
    return plot(
        lines, across, Axis("expected reward", 0, 1, (0, 0.5, 1)), "Expected reward over the mean: two hills for a "
        "small scale, one for a large one",
    )  # fmt: skip


def ways(results: Results) -> list[tuple[str, Markup]]:
    """The landscape with the ways of the first seed: confident, confident with the largest bonus, open."""
    wanted = (
        ("Confident", hills.CONFIDENT, 0.0),
        ("Confident, with a bonus", hills.CONFIDENT, hills.BONUSES[-1]),
        ("Open", hills.OPEN, 0.0),
    )
    found = []
    for name, scale, bonus in wanted:
        part = results["parts"].get(f"hills, {scale}, {bonus}, 0")
        if part:
            title = f"{name}: {part['lower']} of {hills.STARTS} starts end on the lower hill"
            found.append((title, landscape.draw(part["paths"], title)))
    return found


def all_of(results: Results) -> dict[str, Markup]:
    """Every chart by the name of its file, those that can be drawn."""
    found = {
        "optimum": optimum(results),
        "corridor": corridor_curves(results),
        "one-dial": dials_curves(results, 1),
        "three-dials": dials_curves(results, 3),
        "times": learning_times(results),
        "noise": gradient_noise(results, 0.3),
        "hills": hills_seen(),
        "ways": next((chart for _, chart in ways(results)), None),
    }
    return {name: chart for name, chart in found.items() if chart is not None}
