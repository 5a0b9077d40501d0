"""The page of the Dyna study: the sentence to repeat, then what carries it, then every number.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.studies.dyna import figures
from sightline.studies.measurements import write_page_of
from sightline.studies.page import Section, Table, in_thousands

Results = Mapping[str, Any]
BOOK = {"0": 25, "5": 5, "50": 3}  # episodes that the book names, one run each


def write_page(out: Path, results: Results) -> Path:
    """Write the page and return its path."""
    return write_page_of(
        out,
        results,
        title="What does a model of the world buy, and what does it cost?",
        question=(
            "The same maze and the same number of real steps for learners without a model, with one, and for Dyna, "
            "which learns from every real step and then again from what it remembers. What does each pay in real "
            "steps, in thinking, and when the world changes?"
        ),
        answer=answer_of(results),
        sections=[episodes_section(results), blocking_section(results), shortcut_section(results),
                  price_section(results), deep_section(results)],
        tables=tables_of(results),
    )  # fmt: skip


def answer_of(results: Results) -> list[tuple[str, str] | None]:
    """The page's first lines; each is there if its numbers are."""
    return [verdict(results), price_line(results), blocking_line(results), shortcut_line(results), deep_line(results)]


def verdict(results: Results) -> tuple[str, str] | None:
    """The sentence to repeat, if the numbers bear it."""
    price, lives = results["summary"]["price"], results["summary"]["lives"]
    if not {"model-free", "Dyna-Q", "model-based"} <= set(price) or len(lives["shortcut"]) < 2:
        return None
    free, dyna, based = (price[name] for name in ("model-free", "Dyna-Q", "model-based"))
    saves = based["steps"]["median"] <= dyna["steps"]["median"] < free["steps"]["median"] / 2
    thinks = free["updates"]["median"] < dyna["updates"]["median"] < based["updates"]["median"] / 2
    curious = lives["shortcut"]["Dyna-Q+"]["on_the_new_way"] > 0.9 > 0.1 > lives["shortcut"]["Dyna-Q"]["on_the_new_way"]
    if saves and thinks and curious:
        return (
            "A model trades thinking for real steps, and Dyna sets the rate of exchange; but what is believed is not "
            "checked, so of all that plan only the curious one finds out when the world has become better.",
            "",
        )
    return (
        "These numbers do not show the usual picture:",
        f"a model saves real steps: {_yes(saves)}; Dyna thinks less than the model-based learner: {_yes(thinks)}; only "
        f"the curious one finds the shortcut: {_yes(curious)}.",
    )


def price_line(results: Results) -> tuple[str, str] | None:
    """Real steps and updates until the way is known."""
    price = results["summary"]["price"]
    if not {"model-free", "Dyna-Q", "model-based", "sweeping"} <= set(price):
        return None

    def told(name: str) -> str:
        one = price[name]
        return f"{in_thousands(one['steps']['median'])} real steps and {in_thousands(one['updates']['median'])} updates"

    return (
        "Until the way is known",
        f"(medians), the model-free learner takes {told('model-free')}, Dyna-Q with ten updates a step "
        f"{told('Dyna-Q')}, the model-based learner, which thinks to the end after every step, "
        f"{told('model-based')}. Thinking first of what would change most (prioritized sweeping) takes "
        f"{told('sweeping')}.",
    )


def blocking_line(results: Results) -> tuple[str, str] | None:
    """The wall that moves."""
    found = results["summary"]["lives"]["blocking"]
    if len(found) < 2:
        return None
    plain, plus = found["Dyna-Q"], found["Dyna-Q+"]
    return (
        "When the way is blocked",
        f"and a longer one opens, {plus['on_the_new_way']:.0%} of {plus['runs']} lives of Dyna-Q+ walk it in the end, "
        f"and {plain['on_the_new_way']:.0%} of Dyna-Q's: the others still believe in what they remember.",
    )


def shortcut_line(results: Results) -> tuple[str, str] | None:
    """The way that opens."""
    found = results["summary"]["lives"]["shortcut"]
    if len(found) < 2:
        return None
    plain, plus = found["Dyna-Q"], found["Dyna-Q+"]
    free = results["summary"]["price"].get("model-free")
    words = (
        f"{plus['on_the_new_way']:.0%} of {plus['runs']} lives of Dyna-Q+ take it in the end, and "
        f"{plain['on_the_new_way']:.0%} of Dyna-Q's."
    )
    if free:
        words += (
            f" The model-free learner still stumbles about when it opens ({free['shortcut']['before']['mean']:.0f} "
            "goals in a thousand steps), and finds it for that reason "
            f"({free['shortcut']['late']['mean']:.0f} in the end)."
        )
    return ("When a shorter way opens,", words)


def deep_line(results: Results) -> tuple[str, str] | None:
    """With networks: what each needs until it knows, and what the change costs."""
    found = results["summary"].get("deep") or {}
    if not {"model-free", "as many updates", "Dyna", "model-based"} <= set(found):
        return None

    def told(name: str) -> str:
        one = found[name]
        known = [steps for steps in one["knows"] if steps is not None]
        when = f"after {in_thousands(sorted(known)[len(known) // 2])} real steps" if known else "never"
        some = "" if len(known) in (0, one["seeds"]) else f" ({len(known)} of {one['seeds']} lives)"
        return f"{when}{some}, {one['milliseconds_per_step']:.0f} ms a step"

    def around(name: str) -> str:
        return " to ".join(f"{found[name][when]['mean']:.0f}" for when in ("before", "after", "late"))

    return (
        "With networks",
        f"a pendulum stands: model-free {told('model-free')}; with as many updates as Dyna but real steps alone "
        f"{told('as many updates')}; Dyna {told('Dyna')}; model-based {told('model-based')}. When the motor turns "
        f"around, returns go from {around('model-free')} at last (model-free), {around('as many updates')} (as many "
        f"updates), {around('Dyna')} (Dyna), {around('model-based')} (model-based): what is remembered is now wrong, "
        "and nobody forgets.",
    )


def episodes_section(results: Results) -> Section | None:
    """Figure 8.2."""
    chart, found = figures.figure_8_2(results), results["summary"]["episodes"]
    if chart is None:
        return None
    told = "; ".join(
        f"n = {n}: episode {one['below'] or 'none of 50'} (book: about {BOOK[n]})" for n, one in found.items()
    )
    runs = next(iter(found.values()))["runs"]
    return Section(
        "Figure 8.2: more thinking, fewer episodes",
        f"Steps of every episode in the Dyna maze, mean of {runs} runs and two standard errors, from the second "
        f"episode on (the first one takes about 900 steps for all). The mean is first below 20 steps at {told}.",
        chart,
    )


def blocking_section(results: Results) -> Section | None:
    """Figure 8.4."""
    chart = figures.gained(results, "blocking")
    if chart is None:
        return None
    return Section(
        "Figure 8.4: the way is blocked",
        "Goals so far. After step 1000 the gap in the wall moves from the right end to the left one. The band holds "
        "eight of ten lives.",
        chart,
    )


def shortcut_section(results: Results) -> Section | None:
    """Figure 8.5."""
    chart = figures.gained(results, "shortcut")
    if chart is None:
        return None
    return Section(
        "Figure 8.5: a shorter way opens",
        "After step 3000 a second gap opens at the right end; the old way stays. Nothing that Dyna-Q expects turns out "
        "wrong, so it never looks.",
        chart,
    )


def price_section(results: Results) -> Section | None:
    """What each pays."""
    chart = figures.prices(results)
    if chart is None:
        return None
    return Section(
        "The price of knowing the way",
        "Medians until an episode of the Dyna maze takes less than 20 steps; both axes are logarithmic. To the left: "
        "less thinking. Down: fewer real steps.",
        chart,
    )


def deep_section(results: Results) -> Section | None:
    """Lives with networks."""
    chart = figures.deep_lives(results)
    if chart is None:
        return None
    return Section(
        "With networks: a pendulum whose motor turns around",
        "Returns of the learners' own episodes. The model-free learner is SAC; the next one makes as many updates as "
        "Dyna, from real steps alone; Dyna dreams most of every batch; the model-based learner has no policy, "
        "and plans every action in the model. At the change the action's sign turns, and nobody is told.",
        chart,
    )


def tables_of(results: Results) -> list[Table]:
    """Every number, one table for each section."""
    summary, tables = results["summary"], []
    if summary["episodes"]:
        places = (1, 2, 3, 5, 10, 25, 50)
        tables.append(
            Table(
                "Figure 8.2: steps of an episode, mean +- standard error",
                ["Updates a step", *map(str, places), "First mean below 20", "Book", "Runs"],
                [
                    [f"n = {n}", *(f"{one['mean'][i - 1]:.1f} +- {one['error'][i - 1]:.1f}" for i in places),
                     str(one["below"]), str(BOOK[n]), str(one["runs"])]
                    for n, one in summary["episodes"].items()
                ],
            )
        )  # fmt: skip
    rows = [
        [plan, name, f"{one['mean'][-1]:.1f} [{one['low'][-1]:.0f}, {one['high'][-1]:.0f}]",
         f"{1000 * one['late']['mean']:.1f} +- {1000 * one['late']['error']:.1f}",
         f"{one['on_the_new_way']:.0%}", str(one["runs"])]
        for plan, found in summary["lives"].items() for name, one in found.items()
    ]  # fmt: skip
    if rows:
        head = ["Maze", "Learner", "Goals in all", "In 1000 of the last steps", "On the new way", "Lives"]
        tables.append(
            Table("Figures 8.4 and 8.5: goals [of eight lives in ten], mean +- standard error", head, rows, 2)
        )
    if summary["price"]:
        tables += [_price_table(summary["price"]), _change_table(summary["price"])]
    if summary.get("deep"):
        tables.append(_deep_table(summary["deep"]))
    return tables


def _deep_table(deep: Mapping[str, Any]) -> Table:
    def told(one: Mapping[str, float]) -> str:
        return f"{one['mean']:.0f} [{one['low']:.0f}, {one['high']:.0f}]"

    return Table(
        "With networks: returns, mean [lowest, highest seed], of the last three episodes before the motor turns, the "
        "two after it and the last three",
        ["Learner", "Real steps until it stands, each seed", "Updates a step", "Milliseconds a step", "Before", "After",
         "Late", "Seeds"],
        [
            [name, ", ".join("never" if steps is None else str(steps) for steps in one["knows"]),
             f"{one['updates_per_step']:.1f}", f"{one['milliseconds_per_step']:.0f}",
             *(told(one[when]) for when in ("before", "after", "late")), str(one["seeds"])]
            for name, one in deep.items()
        ],
    )  # fmt: skip


def _price_table(price: Mapping[str, Any]) -> Table:
    def middle(one: Mapping[str, float]) -> str:
        return f"{one['median']:.0f} [{one['low']:.0f}, {one['high']:.0f}]"

    return Table(
        "Until an episode takes less than 20 steps: median [of eight lives in ten]",
        ["Learner", "Real steps", "Updates", "Updates a real step", "Microseconds a real step", "Lives"],
        [
            [name, middle(one["steps"]), middle(one["updates"]), f"{one['updates_per_step']:.2f}",
             f"{one['microseconds_per_step']:.1f}", str(one["runs"])]
            for name, one in price.items()
        ],
    )  # fmt: skip


def _change_table(price: Mapping[str, Any]) -> Table:
    def told(one: Mapping[str, float]) -> str:
        return f"{one['mean']:.1f} +- {one['error']:.1f}"

    return Table(
        "Goals in 1000 steps: in the 500 before the walls move, the 500 after it, and the last 500",
        ["Learner", *(f"{plan}: {when}" for plan in ("blocking", "shortcut") for when in ("before", "after", "late"))],
        [
            [
                name,
                *(told(one[plan][when]) for plan in ("blocking", "shortcut") for when in ("before", "after", "late")),
            ]
            for name, one in price.items()
        ],
    )


def _yes(one: bool) -> str:
    return "yes" if one else "no"
