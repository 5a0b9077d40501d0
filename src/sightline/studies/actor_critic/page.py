"""The page of the actor-critic study: what to remember, a figure for each claim, every number.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.studies import page
from sightline.studies.actor_critic import figures
from sightline.studies.measurements import ranged, write_page_of
from sightline.studies.page import Section, Table

Results = Mapping[str, Any]
LAMBDA = figures.LAMBDA
SHOWN = 100  # episodes that the critic of the third figure has learned from


def write_page(out: Path, results: Results) -> Path:
    """Write the page and return its path."""
    return write_page_of(
        out,
        results,
        title="What does a critic do to the policy gradient?",
        question=(
            "The gradient of a policy is the mean of score times weight. The weight may be the return, the return less "
            "a baseline, or what a critic says after a few steps: how noisy is each, and what does the quiet cost?"
        ),
        answer=answer_of(results),
        sections=[ways_section(results), trade_section(results), stages_section(results), learning_section(results)],
        tables=tables_of(results),
    )


def answer_of(results: Results) -> list[tuple[str, str]]:
    """The page's first lines; each is there if its numbers are."""
    made = (ways_line(results), trade_line(results), stages_line(results), learning_line(results))
    return [line for line in made if line is not None]


def ways_line(results: Results) -> tuple[str, str] | None:
    """Baselines save noise for nothing, critics for a bias."""
    ways = results["summary"]["ways"]
    if not ways:
        return None
    none, constant, value, td = (ways[name] for name in ("none", "constant", "value", "TD(0)"))
    share = [100 * (1 - (one["noise"]["mean"] / none["noise"]["mean"]) ** 2) for one in (constant, value, td)]
    lead = "A baseline takes noise out for nothing; a critic takes out more and puts bias in."
    if not share[2] > share[1] > 0:
        lead = "What a baseline and a critic take out:"
    return (
        lead,
        f"Against the exact gradient of a small walk: the variance of an episode falls by {share[0]:.0f} % with a "
        f"constant, by {share[1]:.0f} % with a learned value, by {share[2]:.0f} % with TD(0), which is then wrong by "
        f"{100 * td['bias']['mean']:.0f} % of the gradient however many are averaged.",
    )


def trade_line(results: Results) -> tuple[str, str] | None:
    """What lambda trades."""
    one = next((one for one in results["summary"]["critics"] if one["episodes"] == SHOWN), None)
    if one is None:
        return None
    sizes = list(one["best"])
    return (
        f"{LAMBDA} trades the critic's bias for the returns' noise.",
        f"From {LAMBDA} = 0 to 1 the bias falls from {one['bias'][0]:.2f} to {one['bias'][-1]:.2f} of the gradient, "
        f"the noise of an episode rises from {one['noise'][0]:.1f} to {one['noise'][-1]:.1f}. The best {LAMBDA} "
        f"depends on how much is averaged: {one['best'][sizes[0]]:g} for updates of {sizes[0]} episodes, "
        f"{one['best'][sizes[-1]]:g} for {sizes[-1]} (a critic that has learned from {one['episodes']} episodes).",
    )


def stages_line(results: Results) -> tuple[str, str] | None:
    """What a critic saves early and late."""
    found = results["summary"]["stages"]
    if len(found) < 2:
        return None
    first, last = (
        {name: 100 * one["mean"] for name, one in stage["variance"].items()} for stage in (found[0], found[-1])
    )
    lead = "Late in training a critic saves more than early." if last["1"] < first["1"] else "On CartPole:"
    return (
        lead,
        f"On CartPole, of the variance without a baseline a constant leaves {first['constant']:.0f} % early and "
        f"{last['constant']:.0f} % late, a critic {first['1']:.0f} % and {last['1']:.0f} %, with {LAMBDA} = 0.95 "
        f"{first['0.95']:.0f} % and {last['0.95']:.0f} %.",
    )


def learning_line(results: Results) -> tuple[str, str] | None:
    """Which lambda learned."""
    found = results["summary"]["learning"]
    if len(found) < 2:
        return None
    order = sorted(found, key=lambda name: -found[name]["over_all"]["mean"])
    top, bottom = found[order[0]], found[order[-1]]
    tied = [name for name in order[1:] if found[name]["over_all"]["high"] >= top["over_all"]["low"]]
    apart = f"; within the seeds' spread of it: {', '.join(tied)}" if tied else ""
    return (
        f"Learning, equal steps: {LAMBDA} = {order[0]} is the best of these, {order[-1]} the worst.",
        f"Mean return over the whole of the training {ranged(top['over_all'], 0)} against "
        f"{ranged(bottom['over_all'], 0)}{apart}.",
    )


def ways_section(results: Results) -> Section | None:
    """Noise and bias against the exact gradient."""
    chart = figures.ways(results)
    if chart is None:
        return None
    return Section(
        "Noise falls with episodes, bias stays",
        "A slippery walk of eight places; its gradient is known exactly. A line that goes down to the right is noise, "
        "which averaging removes; one that flattens has met its bias. The first three are right in the mean.",
        page.charts([("How wrong an update is", chart)]),
    )


def trade_section(results: Results) -> Section | None:
    """What lambda trades."""
    trade, best = figures.trade(results), figures.best(results, SHOWN)
    if trade is None or best is None:
        return None
    good, poor = (
        next(one for one in results["summary"]["critics"] if one["episodes"] == count)
        for count in (figures.GOOD, figures.POOR)
    )
    return Section(
        f"{LAMBDA}: bias against noise",
        f"The same walk. Bias is exact, noise that of an update of {figures.UPDATE} episodes. The poor critic has "
        f"learned from {figures.POOR} episodes and is off by {100 * poor['off']['mean']:.0f} %, the good one from "
        f"{figures.GOOD} ({100 * good['off']['mean']:.0f} %). Right: both errors together, for updates of several "
        f"sizes and the critic of {SHOWN} episodes, with the best {LAMBDA} of each.",
        page.charts([("What grows and what falls", trade), ("The best is where both meet", best)]),
    )


def stages_section(results: Results) -> Section | None:
    """CartPole at three stages."""
    chart = figures.stages(results)
    if chart is None:
        return None
    return Section(
        "CartPole: how much variance is left",
        "One training, stopped at three stages; at each the same whole episodes are weighed in every way. Less is "
        f"quieter, but only the constant and {LAMBDA} = 1 are right in the mean.",
        page.charts([("Variance of the actor's gradient", chart)]),
    )


def learning_section(results: Results) -> Section | None:
    """Learning curves."""
    chart = figures.learning(results)
    if chart is None:
        return None
    return Section(
        f"CartPole: what {LAMBDA} does to learning",
        "PPO, all else alike, equal steps; means over seeds in bands from lowest to highest.",
        page.charts([("Return while learning", chart)]),
    )


def tables_of(results: Results) -> list[Table]:
    """Every number, one table for each claim."""
    summary = results["summary"]
    tables = []
    if summary["ways"]:
        tables.append(
            Table(
                "Walk: noise of one episode and bias, over the exact gradient's length",
                ["Weight", "Noise", "Bias"],
                [
                    [figures.WORDS[name], ranged(one["noise"]), ranged(one["bias"])]
                    for name, one in summary["ways"].items()
                ],
            )
        )
        sizes = list(summary["critics"][0]["best"])
        tables.append(
            Table(
                f"Walk: critics, and the best {LAMBDA} by the episodes of an update (with each seed's)",
                [
                    "Learned from",
                    "Off by",
                    "Bias at 0",
                    "Noise at 0",
                    "Noise at 1",
                    *(f"Best for {size}" for size in sizes),
                ],
                [
                    [
                        f"{one['episodes']} episodes",
                        f"{100 * one['off']['mean']:.0f} %",
                        f"{one['bias'][0]:.2f}",
                        f"{one['noise'][0]:.2f}",
                        f"{one['noise'][-1]:.2f}",
                        *(
                            f"{one['best'][size]:g} ({', '.join(f'{value:g}' for value in one['best_of_each'][size])})"
                            for size in sizes
                        ),
                    ]
                    for one in summary["critics"]
                ],
            )
        )
    if summary["stages"]:
        names = list(summary["stages"][0]["variance"])[1:]
        tables.append(
            Table(
                "CartPole: variance left, of that without a baseline",
                [
                    "Steps",
                    "Return",
                    *("constant" if n == "constant" else f"{LAMBDA} {n}" for n in names),
                    "Seeds",
                ],
                [
                    [
                        str(one["steps"]),
                        ranged(one["return_mean"], 0),
                        *(ranged(one["variance"][name], 3) for name in names),
                        str(one["seeds"]),
                    ]
                    for one in summary["stages"]
                ],
                names=0,
            )
        )
    if summary["learning"]:
        tables.append(
            Table(
                "CartPole: return by lambda",
                [LAMBDA, "Over the whole training", "At the end", "Seeds"],
                [
                    [name, ranged(one["over_all"], 0), ranged(one["last"], 0), str(one["seeds"])]
                    for name, one in summary["learning"].items()
                ],
                names=0,
            )
        )
    return tables
