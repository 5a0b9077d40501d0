"""The charts of the Dyna study: the book's figures 8.2, 8.4 and 8.5, prices, and lives with networks.

Left out: measuring anything. A chart whose numbers are missing is None.
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sightline.envs.maze import PLANS
from sightline.studies.line_charts import Axis, Line, Spot, plot, powers

Results = Mapping[str, Any]
ANCHORS = {"model-based": "end", "Dyna-Q+": "end"}  # of names, so that they do not lie on each other
COLOURS = {"0": 0, "5": 1, "50": 2, "Dyna-Q": 0, "Dyna-Q+": 1}


def figure_8_2(results: Results) -> Markup | None:
    """Steps of every episode, by how much is planned."""
    found = results["summary"]["episodes"]
    if not found:
        return None
    lines = []
    for n, one in found.items():
        points = [(float(i), value) for i, value in enumerate(one["mean"], 1)]
        band = [(m - 2 * e, m + 2 * e) for m, e in zip(one["mean"], one["error"], strict=True)]
        lines.append(Line(f"n = {n}", points[1:], COLOURS[n], band[1:]))
    across = Axis("episode", 2, 50, (2, 10, 20, 30, 40, 50))
    up = Axis("steps of the episode", 10, 1000, (14, 30, 100, 300, 1000), True)
    return plot(lines, across, up, "With 50 updates from memory a step the way is known after three episodes",
                levels=[(14, "")])  # fmt: skip


def gained(results: Results, plan: str) -> Markup | None:
    """The reward so far, with the step of the change."""
    found = results["summary"]["lives"][plan]
    if not found:
        return None
    steps = {"blocking": 3000, "shortcut": 6000}[plan]
    most = max(max(one["high"]) for one in found.values())
    lines = [
        Line(name, list(zip(one["steps"], one["mean"], strict=True)), COLOURS[name],
             list(zip(one["low"], one["high"], strict=True)))
        for name, one in found.items()
    ]  # fmt: skip
    change = PLANS[plan].change
    assert change is not None
    first = next(iter(found.values()))
    height = first["mean"][min(range(len(first["steps"])), key=lambda i: abs(first["steps"][i] - change))]
    words = {"blocking": "the wall moves", "shortcut": "a shortcut opens"}[plan]
    top = 50 * (int(most / 50) + 1)
    across = Axis("real step", 0, steps, range(0, steps + 100, 1000))
    up = Axis("goals so far", 0, top, [top * i // 4 for i in range(5)])
    return plot(lines, across, up, f"Goals so far in the {plan} maze: mean of lives, and where eight of ten lie",
                spots=[Spot(change, height, words, 5, below=True, anchor="middle")])  # fmt: skip


def prices(results: Results) -> Markup | None:
    """Real steps against updates, until the way is known."""
    found = results["summary"]["price"]
    if not found:
        return None
    spots = [
        Spot(one["updates"]["median"], one["steps"]["median"], name, colour, ANCHORS.get(name, "start"))
        for colour, (name, one) in enumerate(found.items())
    ]
    across = Axis("updates of a value until the way is known", 50, 200_000, powers(100, 100_000), True)
    up = Axis("real steps until then", 100, 10_000, powers(100, 10_000), True)
    return plot([], across, up, "What each learner pays until it knows the way through the Dyna maze", spots=spots)


def deep_lives(results: Results) -> Markup | None:
    """The return of every episode, with networks, and the step at which the motor turns around."""
    found = results["summary"].get("deep")
    if not found:
        return None
    lines = [
        Line(name, list(zip(one["steps"], one["mean"], strict=True)), colour,
             list(zip(one["low"], one["high"], strict=True)))
        for colour, (name, one) in enumerate(found.items())
    ]  # fmt: skip
    last = max(one["steps"][-1] for one in found.values())
    across = Axis("real step at the episode's end", 200, last, range(500 if last < 2000 else 1000, last + 1, 1000))
    up = Axis("return of the episode", -1800, 0, range(-1800, 1, 300))
    change = (results["settings"].get("deep") or {}).get("change")
    spots = [Spot(change, -1750, "the motor turns around", 5, anchor="middle")] if change else []
    return plot(lines, across, up, "Return of every episode: mean of the seeds, their lowest and highest", spots=spots)


def all_of(results: Results) -> dict[str, Markup]:
    """Every chart whose numbers are there, by a short name."""
    found = {
        "episodes": figure_8_2(results),
        "blocking": gained(results, "blocking"),
        "shortcut": gained(results, "shortcut"),
        "prices": prices(results),
        "deep": deep_lives(results),
    }
    return {name: chart for name, chart in found.items() if chart is not None}
