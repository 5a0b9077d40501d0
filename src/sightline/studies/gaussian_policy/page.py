"""The page of the study of the Gaussian policy: the sentences to repeat, then what carries them, then every number.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sightline.studies import page
from sightline.studies.gaussian_policy import bandit, borders, figures, pendulum
from sightline.studies.line_charts import Axis
from sightline.studies.measurements import ranged, write_page_of
from sightline.studies.page import Section, Table

Results = Mapping[str, Any]
Row = Mapping[str, Any]
TOO_FAR = 1.5  # times its least loss, at the end: the scale fell too far
PLAIN = ("fixed 0.1", "fixed 0.5", "fixed 2", "learned", "by state")
BORDER = Axis("share of actions at the border", 0, 0.8, (0, 0.2, 0.4, 0.6, 0.8))


def write_page(out: Path, results: Results) -> Path:
    """Write the page and return its path."""
    return write_page_of(
        out,
        results,
        title="What does the scale of a Gaussian policy do?",
        question=(
            "A policy for an action that is a number draws it from a normal distribution. What does its scale cost and "
            "bring, who should set it, and what becomes of actions that leave the box?"
        ),
        answer=answer_of(results),
        sections=[exact_section(results), who_section(results), border_section(results), pendulum_section(results)],
        tables=tables_of(results),
    )


def percent(value: float) -> str:
    """A share in whole percent, of small ones with a digit."""
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def answer_of(results: Results) -> list[tuple[str, str]]:
    """The page's first lines; each is there if its numbers are."""
    lines = [scale_line(results), who_line(results), pendulum_line(results), border_line(results), squash_line(results)]
    return [line for line in lines if line is not None]


def worst_error(results: Results) -> float | None:
    """The largest distance of an estimated variance from its closed form, relative."""
    rows = results["parts"].get("estimates")
    if not rows:
        return None
    return max(abs(row["seen"]["mean_variance"] / row["exact"]["mean_variance"] - 1) for row in rows)


def scale_line(results: Results) -> tuple[str, str] | None:
    """The closed forms."""
    error = worst_error(results)
    if error is None:
        return None
    return (
        "The scale costs its square, and a small one is paid for in noise:",
        "on a quadratic the return loses s\N{SUPERSCRIPT TWO}, the mean's gradient does not depend on s, and an "
        f"estimate of it is surest at s = (n\N{SUPERSCRIPT TWO} / 10)^1/4 for a reward with noise n "
        f"({bandit.surest_scale(1.0):.2f} for n = 1). Estimates meet the closed forms of the variance to within "
        f"{100 * error:.1f} %.",
    )


def who_line(results: Results) -> tuple[str, str] | None:
    """The bandit."""
    found = results["summary"]["bandit"]
    if len(found) < len(bandit.KINDS):
        return None
    fixed = {name: -one["drawn"] for name, one in found.items() if name.startswith("fixed")}
    best = min(fixed, key=lambda name: fixed[name])
    worst = max(fixed, key=lambda name: fixed[name])
    learned, state = found["learned"], found["by state"]
    surest = bandit.surest_scale(bandit.NOISE)
    return (
        "A learned scale needs no guess"
        + (", and does not know when to stop:" if learned["drawn"] < max(learned["best"], -1e9) * TOO_FAR else ":"),
        f"on a bandit with noise it comes to {-learned['best']:.3f} below the best action and ends at "
        f"{-learned['drawn']:.3f} (the best guess among fixed ones, "
        f"{best.removeprefix('fixed ')}, {fixed[best]:.3f}, the worst, {worst.removeprefix('fixed ')}, "
        f"{fixed[worst]:.2f}); one by state {-state['drawn']:.3f}. On a quadratic log s falls wherever the mean is, at "
        f"-2 k s\N{SUPERSCRIPT TWO}; here to {learned['scales'][0]:.2f}, where the surest one is "
        f"{surest:.2f}: the smaller it is, the more the noise shakes the mean.",
    )


def rows_of(results: Results) -> dict[str, Row]:
    """Pendulum's rows by kind."""
    return {row["kind"]: row for row in results["summary"]["pendulum"]}


def apart(one: Row, other: Row, key: str) -> bool:
    """Whether every seed of the one lies above every seed of the other."""
    return bool(one[key]["low"] > other[key]["high"])


def pendulum_line(results: Results) -> tuple[str, str] | None:
    """Fixed against learned against by state, with PPO."""
    rows = rows_of(results)
    if any(name not in rows for name in PLAIN):
        return None
    learned, state = rows["learned"], rows["by state"]
    fixed = [rows[name] for name in PLAIN[:3]]
    best = max(fixed, key=lambda row: row["drawn"]["mean"])
    better = [row["kind"].removeprefix("fixed ") for row in fixed if apart(learned, row, "drawn")]
    against = f"every seed of the learned one lies above every seed of fixed {' and '.join(better)}" if better else (
        "the seeds of the learned one and of no fixed one are told apart"
    )  # fmt: skip
    if apart(state, learned, "drawn"):
        by_state = "by state is better than learned"
    elif apart(learned, state, "drawn"):
        by_state = "by state is worse than learned"
    else:
        by_state = "by state and learned cannot be told apart"
    return (
        f"On Pendulum with PPO, return of drawn actions: learned {ranged(learned['drawn'], 0)}, by state "
        f"{ranged(state['drawn'], 0)}, best fixed ({best['kind'].removeprefix('fixed ')}) {ranged(best['drawn'], 0)};",
        f"{against}; {by_state} (mean and range over {learned['seeds']} "
        f"seed{'s' if learned['seeds'] > 1 else ''}).",
    )  # fmt: skip


def border_line(results: Results) -> tuple[str, str] | None:
    """The gradient beyond the border."""
    rows = {(row["way"], row["mean"]): row for row in results["parts"].get("borders", [])}
    box = results["summary"]["box"]
    back = {way: box.get(f"{way}, back from outside") for way in borders.WAYS}
    if not rows or None in back.values():
        return None
    mean = 2.0
    clipped, squashed = (abs(rows[way, mean]["exact"]) for way in borders.WAYS)
    one, other = back["clipped"], back["squashed"]
    assert one is not None
    assert other is not None
    return (
        "Beyond the border a clipped policy hears nothing:",
        f"with mean {mean:g}, scale {borders.SCALE} and a box that ends at 1, "
        f"{100 * rows['clipped', mean]['outside']:.2f} % "
        f"of its actions are clipped and its gradient is {clipped:.0e}; squashed, {squashed:.0e}. Of "
        f"{one['seeds']} seeds that start there, {one['learned']} come back clipped, {other['learned']} squashed.",
    )


def squash_line(results: Results) -> tuple[str, str] | None:
    """Squashed against clipped where the border is good, and on Pendulum."""
    box, rows = results["summary"]["box"], rows_of(results)
    edge = [box.get(f"{way}, to the border") for way in borders.WAYS]
    if None in edge or "learned" not in rows or "squashed" not in rows:
        return None
    clipped, squashed = rows["learned"], rows["squashed"]
    if apart(clipped, squashed, "drawn"):
        verdict = "clipped is better in every seed"
    elif apart(squashed, clipped, "drawn"):
        verdict = "squashed is better in every seed"
    else:
        verdict = "the two cannot be told apart"
    lost = [-one["drawn"] for one in edge if one is not None]
    return (
        "Where the border is the best action, clipping reaches it and squashing approaches it:",
        f"{lost[0]:.0e} against {lost[1]:.0e} lost on the bandit. On Pendulum {percent(clipped['border']['mean'])} of "
        f"clipped actions end at the border, {percent(squashed['border']['mean'])} of squashed ones within a fiftieth "
        f"of it; return {ranged(clipped['drawn'], 0)} against {ranged(squashed['drawn'], 0)}: {verdict}.",
    )


def exact_section(results: Results) -> Section | None:
    """Closed forms against estimates."""
    shown = figures.returns_and_gradients(results)
    sure = figures.noise(results)
    if sure is not None:
        shown.append(("How unsure one episode is", sure))
    if not shown:
        return None
    return Section(
        "What the scale does, exactly",
        f"Reward -(a - c)\N{SUPERSCRIPT TWO} and noise; the mean stands {bandit.FAR:g} from the best action c. "
        f"Lines are "
        "closed forms, discs are estimates from drawn episodes with the library's own log-probability. Too small a "
        "scale drowns in the reward's noise, too large a one in its own width; without a baseline a small scale is "
        "hopeless even without noise. The gradient of log s always points down here, however far the mean has to go.",
        page.charts(shown),
    )


def who_section(results: Results) -> Section | None:
    """The bandit with two states."""
    charts = [
        ("Lost by drawn actions", figures.bandit_curves(results, "drawn")),
        ("Lost by the mean alone", figures.bandit_curves(results, "mean_alone")),
        ("The learned scales", figures.bandit_scales(results)),
    ]
    shown = [(title, chart) for title, chart in charts if chart is not None]
    if not shown:
        return None
    return Section(
        "Who should set it? A bandit, from many seeds",
        f"Two states, one steep (k = {bandit.STEEP:g}) and one flat (k = {bandit.FLAT:g}); reward "
        f"-k (a - c)\N{SUPERSCRIPT TWO} with noise {bandit.NOISE:g}, plain gradient ascent. Bands hold the middle half "
        "of the seeds. A fixed scale pays its square for ever, or the noise of a small one. A scale by state "
        "stays wide "
        "where that is cheap, and the mean there is shaken less.",
        page.charts(shown),
    )


def border_section(results: Results) -> Section | None:
    """Clipped and squashed."""
    charts = [("The gradient over the mean", figures.border_gradients(results))]
    titles = {"back from outside": "The mean starts outside, at 2; best: the middle",
              "to the border": "The mean starts in the middle; best: the border"}  # fmt: skip
    charts += [(titles[task], figures.box_curves(results, task)) for task in borders.TASKS]
    shown = [(title, chart) for title, chart in charts if chart is not None]
    if not shown:
        return None
    return Section(
        "At the border: clipped or squashed",
        f"The box ends at 1 (dashed in the first chart). Lines are exact for scale {borders.SCALE}; discs are "
        f"estimates, "
        f"left out where they are not {figures.SEEN:g} standard errors from nothing, which is what a learner "
        f"sees there. "
        "Scales are learned in the other two.",
        page.charts(shown),
    )


def pendulum_section(results: Results) -> Section | None:
    """PPO."""
    charts = [
        ("Fixed, learned, by state", figures.pendulum_curves(results, PLAIN, "value", figures.RETURN)),
        ("Clipped or squashed", figures.pendulum_curves(results, ("learned", "squashed"), "value", figures.RETURN)),
        ("Actions at the border", figures.pendulum_curves(results, (*PLAIN, "squashed"), "border", BORDER)),
        ("The scale by state, first seed", figures.scale_field(results)),
    ]
    shown = [(title, chart) for title, chart in charts if chart is not None]
    if not shown:
        return None
    return Section(
        f"With PPO on {pendulum.NAME}",
        "Swing up and hold a pendulum with torques in [-2, 2]. Returns of drawn actions in environments of their own, "
        "means over seeds in bands from lowest to highest. Clipped scales are in units of torque; a squashed "
        "one is the "
        "scale of tanh's argument and cannot be compared with them. At the border means clipped, or squashed to within "
        "a fiftieth of it.",
        page.charts(shown),
    )


def tables_of(results: Results) -> list[Table]:
    """Every number, one table for each section."""
    summary, parts, tables = results["summary"], results["parts"], []
    if summary["pendulum"]:
        head = [
            "Policy",
            "Drawn",
            "Mean action",
            "Mean of all looks",
            "At the border",
            "Means outside",
            "Scale",
            "Seeds",
        ]
        rows = [
            [
                row["kind"],
                *(ranged(row[key], 0) for key in ("drawn", "greedy", "area")),
                *(percent(row[key]["mean"]) for key in ("border", "outside")),
                ranged(row["scale"]),
                str(row["seeds"]),
            ]
            for row in summary["pendulum"]
        ]
        tables.append(Table(f"{pendulum.NAME}, returns and what leaves the box, at the end", head, rows))
    if summary["bandit"]:
        head = ["Scale", "Lost, drawn", "Lost, mean alone", "Scale in the steep state", "In the flat state"]
        rows = [
            [name, f"{-one['drawn']:.4f}", f"{-one['mean_alone']:.4f}", *(f"{scale:.3f}" for scale in one["scales"])]
            for name, one in summary["bandit"].items()
        ]
        tables.append(Table("Bandit with two states, at the end, means over seeds", head, rows))
    if summary["box"]:
        head = ["Way, task", "Lost, drawn", "Lost, mean alone", "Actions at the border", "Seeds that learned it"]
        rows = [
            [
                name,
                f"{-one['drawn']:.1e}",
                f"{-one['mean_alone']:.1e}",
                percent(one["border"]),
                f"{one['learned']} of {one['seeds']}",
            ]
            for name, one in summary["box"].items()
        ]
        tables.append(Table("Bandit in a box, at the end", head, rows))
    if "borders" in parts:
        head = ["Way", "Mean", "Exact gradient", "Estimate", "Standard error", "Outside"]
        rows = [
            [row["way"], f"{row['mean']:g}", *(f"{row[key]:.2e}" for key in ("exact", "seen", "error")),
             percent(row["outside"]) if row["way"] == "clipped" else "-"]
            for row in parts["borders"]
        ]  # fmt: skip
        tables.append(Table("Gradient at the border", head, rows))
    if "estimates" in parts:
        head = ["Baseline", "Noise", "Scale", "Return", "Seen", "Gradient of the mean", "Seen", "Of log s", "Seen",
                "Variance, mean", "Seen", "Variance, log s", "Seen"]  # fmt: skip
        keys = ("value", "mean_gradient", "scale_gradient", "mean_variance", "scale_variance")
        rows = [
            [
                "exact" if row["baseline"] else "none",
                f"{row['noise']:g}",
                f"{row['scale']:g}",
                *(f"{row[side][key]:.4g}" for key in keys for side in ("exact", "seen")),
            ]
            for row in parts["estimates"]
        ]
        tables.append(Table("One episode's estimates", head, rows))
    return tables


def charts_of(results: Results) -> dict[str, Markup]:
    """The charts of the docs by the name of their file, those that can be drawn."""
    found = {
        "noise": figures.noise(results),
        "borders": figures.border_gradients(results),
        "bandit": figures.bandit_curves(results, "drawn"),
        "pendulum": figures.pendulum_curves(results, PLAIN, "value", figures.RETURN),
    }
    return {name: chart for name, chart in found.items() if chart is not None}
