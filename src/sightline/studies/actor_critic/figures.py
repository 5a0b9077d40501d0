"""The charts of the actor-critic study, one claim each.

Left out: measuring anything. A chart whose numbers are missing is None.
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sightline.studies.line_charts import Axis, Line, Spot, plot
from sightline.studies.measurements import of_kind

Results = Mapping[str, Any]
WORDS = {
    "none": "no baseline",
    "constant": "constant",
    "value": "learned value",
    "lambda 0.9": "GAE 0.9",
    "TD(0)": "TD(0)",
}
COLOURS = {"none": 0, "constant": 2, "value": 1, "lambda 0.9": 4, "TD(0)": 3}
LAMBDA = "\N{GREEK SMALL LETTER LAMDA}"
EPISODES = (1, 4, 16, 64, 256, 1024)
POOR, GOOD = 30, 300  # critics that are drawn
ACROSS = Axis(LAMBDA, 0, 1, (0, 0.25, 0.5, 0.75, 1))


def ways(results: Results) -> Markup | None:
    """How wrong an update is, over its episodes: noise falls, bias stays."""
    found = results["summary"]["ways"]
    if not found:
        return None
    lines = []
    for name, one in found.items():
        points, band = [], []
        for size in EPISODES:
            low, mean, high = (
                (one["bias"][key] ** 2 + one["noise"][key] ** 2 / size) ** 0.5 for key in ("low", "mean", "high")
            )
            points.append((float(size), mean))
            band.append((low, high))
        lines.append(Line(WORDS[name], points, COLOURS[name], band, dots=True))
    across = Axis("episodes of an update", 1, EPISODES[-1], EPISODES[::2] + EPISODES[-1:], log=True)
    up = Axis("error / length of the exact gradient", 0.03, 12, (0.1, 1, 10), log=True)
    said = "; ".join(f"{line.name}: {line.points[0][1]:.1f} from one episode" for line in lines)
    return plot(lines, across, up, said, levels=[(1.0, "as large as the gradient")], height=300)


def trade(results: Results) -> Markup | None:
    """Bias and noise over lambda, for a poor critic and a good one."""
    lines = []
    for one in results["summary"]["critics"]:
        if one["episodes"] in (POOR, GOOD):
            colour, word = (0, "poor") if one["episodes"] == POOR else (1, "good")
            for key, dashed, factor in (("noise", True, UPDATE**-0.5), ("bias", False, 1.0)):
                points = list(zip(one["lambdas"], (factor * value for value in one[key]), strict=True))
                band = [(factor * low, factor * high) for low, high in one[f"{key}_spread"]]
                lines.append(Line(f"{key}, {word} critic", points, colour, band, dashed))
    if not lines:
        return None
    up = Axis("error / length of the exact gradient", 0, 1.2, (0, 0.5, 1))
    said = "; ".join(f"{line.name}: {line.points[0][1]:.2f} at 0, {line.points[-1][1]:.2f} at 1" for line in lines)
    return plot(lines, ACROSS, up, said, height=300)


UPDATE = 64  # episodes of the update whose noise is drawn


def best(results: Results, episodes: int) -> Markup | None:
    """The whole error over lambda for updates of several sizes, with the best lambda of each."""
    one = next((one for one in results["summary"]["critics"] if one["episodes"] == episodes), None)
    if one is None:
        return None
    lines, spots = [], []
    for (size, errors), colour in zip(one["errors"].items(), (2, 3, 4), strict=True):
        lines.append(Line(f"{size} episodes", list(zip(one["lambdas"], errors, strict=True)), colour))
        spots.append(Spot(one["best"][size], min(errors), f"{one['best'][size]:g}", colour, "middle"))
    up = Axis("error / length of the exact gradient", 0.03, 4, (0.1, 1), log=True)
    said = "; ".join(f"{size} episodes: best at {value:g}" for size, value in one["best"].items())
    return plot(lines, ACROSS, up, said, spots=spots, height=300)


def stages(results: Results) -> Markup | None:
    """What variance is left at three stages of training, for every way."""
    found = results["summary"]["stages"]
    if len(found) < 2:
        return None
    names = {"constant": "constant"} | {name: f"critic, {LAMBDA} {name}" for name in ("1", "0.95", "0.9", "0.5", "0")}
    lines = []
    for (name, words), colour in zip(names.items(), (2, 1, 4, 5, 0, 3), strict=True):
        points = [(float(place), one["variance"][name]["mean"]) for place, one in enumerate(found)]
        band = [(one["variance"][name]["low"], one["variance"][name]["high"]) for one in found]
        lines.append(Line(words, points, colour, band, dots=True))
    across = Axis("steps of training", 0, len(found) - 1, tuple(range(len(found))), write=lambda place: (
        f"{found[round(place)]['steps'] / 1000:.0f} k"))  # fmt: skip
    up = Axis("variance left, of that without a baseline", 0.001, 1.2, (0.001, 0.01, 0.1, 1), log=True)
    said = "; ".join(f"{line.name}: {line.points[0][1]:.2f}, later {line.points[-1][1]:.3f}" for line in lines)
    return plot(lines, across, up, said, levels=[(1.0, "no baseline")], height=320)


def learning(results: Results) -> Markup | None:
    """Returns over steps for every lambda."""
    groups: dict[str, list[Any]] = {}
    for words, value in of_kind(results["parts"], "learning"):
        groups.setdefault(words[0], []).append(value)
    if not groups:
        return None
    lines = []
    for (name, ones), colour in zip(groups.items(), (3, 0, 5, 4, 1), strict=False):
        columns = list(zip(*(one["returns"] for one in ones), strict=True))
        means = [sum(column) / len(column) for column in columns]
        band = [(min(column), max(column)) for column in columns]
        lines.append(Line(f"{LAMBDA} {name}", list(zip(ones[0]["steps"], means, strict=True)), colour, band))
    last = lines[0].points[-1][0]
    across = Axis("steps", 0, last, (0, last / 2, last), write=lambda value: f"{value / 1000:g} k")
    most = max(high for line in lines for _, high in line.band)
    up = Axis(
        "return of the latest 100 episodes", 0, max(most, 1), (0, 100, 200, 300, 400, 500)[: 1 + int(most // 100)]
    )
    said = "; ".join(f"{line.name}: {line.points[-1][1]:.0f}" for line in lines)
    return plot(lines, across, up, f"Returns at the end: {said}", height=320)


def all_of(results: Results) -> dict[str, Markup]:
    """Every chart by the name of its file, those that can be drawn."""
    found = {
        "ways": ways(results),
        "trade": trade(results),
        "best": best(results, 100),
        "stages": stages(results),
        "learning": learning(results),
    }
    return {name: chart for name, chart in found.items() if chart is not None}
