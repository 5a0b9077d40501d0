"""The page of the policy-against-value study: the sentence to repeat, then what carries it, then every number.

Left out: measuring anything. What is absent from the results is absent from the page.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sightline.studies import page
from sightline.studies.measurements import ranged, write_page_of
from sightline.studies.page import Section, Table
from sightline.studies.policy_vs_value import figures, hills
from sightline.studies.policy_vs_value.corridor import EPSILONS

Results = Mapping[str, Any]


def write_page(out: Path, results: Results) -> Path:
    """Write the page and return its path."""
    return write_page_of(
        out,
        results,
        title="When is a policy the better thing to learn?",
        question=(
            "A value method learns what every action is worth and takes the best one; a policy method learns what to "
            "do, along the gradient of the return. When is the second the better choice, and what does it cost?"
        ),
        answer=answer_of(results),
        sections=[corridor_section(results), dials_section(results), noise_section(results), hills_section(results)],
        tables=tables_of(results),
    )


def count_words(value: float | int) -> str:
    """A number of steps to two digits."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}".replace(",", "\u202f")


def answer_of(results: Results) -> list[tuple[str, str]]:
    """The page's first lines; each is there if its numbers are."""
    lines = [verdict(results), random_line(results), dial_line(results), noise_line(results), hill_line(results)]
    return [line for line in lines if line is not None]


def verdict(results: Results) -> tuple[str, str] | None:
    """The sentence to repeat, if the numbers bear it."""
    summary = results["summary"]
    best = summary["corridor"]["best_value"]
    policies = summary["corridor"]["policy"].values()
    greedy = max(summary["corridor"]["greedy"][str(EPSILONS[0])])
    rows = [row for row in summary["dials"] if row["gaussian_cost"]]
    if not policies or not rows or not summary["noise"] or not summary["hills"]:
        return None
    random = all(one["value"]["mean"] > (best + greedy) / 2 for one in policies)
    many = max(rows, key=lambda row: row["actions"])
    dial = many["gaussian_cost"]["high"] < many["cost"]["low"]
    if not (random and dial):
        return (
            "These numbers do not show a policy method to be better:",
            f"at a random optimum {'yes' if random else 'no'}, with {many['dimensions']} dials "
            f"{'yes' if dial else 'no'}.",
        )
    return (
        "Learn a policy where the best behaviour is random or the action is several dials; learn values where actions "
        "are few.",
        "The price of a policy is a noisy gradient, and a start that decides which hill it climbs.",
    )


def random_line(results: Results) -> tuple[str, str] | None:
    """The corridor."""
    corridor = results["summary"]["corridor"]
    if not corridor["policy"]:
        return None
    right, left = corridor["greedy"][str(EPSILONS[0])]
    ones = list(corridor["policy"].values())
    low, high = min(one["value"]["low"] for one in ones), max(one["value"]["high"] for one in ones)
    chance = sum(one["right"]["mean"] for one in ones) / len(ones)
    return (
        "A random optimum:",
        f"in the corridor the best is to go right with probability {corridor['best_right']:.2f}, worth "
        f"{corridor['best_value']:.2f}. REINFORCE comes to {chance:.2f}, worth {low:.2f} to {high:.2f} over baselines "
        f"and seeds. A method that is greedy but for epsilon = {EPSILONS[0]} can have {right:.0f} or {left:.0f} and "
        "nothing else, however long it learns.",
    )


def dial_line(results: Results) -> tuple[str, str] | None:
    """The dials."""
    rows = [row for row in results["summary"]["dials"] if row["gaussian_cost"]]
    if not rows:
        return None
    finest = max(row["stops"] for row in rows)
    fine = sorted((row for row in rows if row["stops"] == finest), key=lambda row: row["dimensions"])

    def told(row: Mapping[str, Any]) -> str:
        most = count_words(results_steps(results))
        when = [
            f"{words} after {count_words(one['mean'])} actions" if one else f"{words} at no time within {most} actions"
            for words, one in (("are learned", row["learned"]), ("a Gaussian does as well", row["gaussian_learned"]))
        ]
        return (
            f"{finest} stops on {row['dimensions']} dial{'s' if row['dimensions'] > 1 else ''} "
            f"({count_words(row['actions'])} joint actions) {when[0]}; {when[1]}"
        )

    return (
        "An action that is a dial:",
        f"K stops on each of d dials cost d / 3K^2 for good, and make K^d actions. {told(fine[0])}. {told(fine[-1])}.",
    )


def results_steps(results: Results) -> int:
    """The most actions that any agent took at the dials."""
    return max(part["steps"][-1] for name, part in results["parts"].items() if name.startswith("dials"))


def noise_line(results: Results) -> tuple[str, str] | None:
    """The gradient's noise."""
    rows = results["summary"]["noise"]
    if not rows:
        return None
    right = max(row["right"] for row in rows)
    own = {row["baseline"]: row for row in rows if row["right"] == right}
    none = own["none"]
    return (
        "Price, noise:",
        f"the gradient of one episode is wrong by {none['errors'][0]['mean']:.1f} times its own length (corridor, "
        f"right with probability {right:g}); {count_words(none['episodes_for_a_tenth'])} episodes bring that to a "
        f"tenth, {count_words(own['constant']['episodes_for_a_tenth'])} with a constant baseline.",
    )


def hill_line(results: Results) -> tuple[str, str] | None:
    """The lower hill."""
    found = {(row["scale"], row["bonus"]): row for row in results["summary"]["hills"]}
    confident, wide = found.get((hills.CONFIDENT, 0.0)), found.get((hills.OPEN, 0.0))
    bonuses = [found.get((hills.CONFIDENT, bonus)) for bonus in hills.BONUSES[1:]]
    if confident is None or wide is None or None in bonuses:
        return None
    small, large = bonuses
    assert small is not None
    assert large is not None
    return (
        "Price, local optima:",
        f"of {hills.STARTS} confident starts {confident['lower']['mean']:.0f} stay on the lower hill, of as many open "
        f"ones {wide['lower']['mean']:.2g}. An entropy bonus of {small['bonus']:g} leaves {small['lower']['mean']:.0f} "
        f"there, one of {large['bonus']:g} leaves {large['lower']['mean']:.0f}: beyond "
        f"{results['summary']['enough_bonus']:.2f} nobody can stay.",
    )


def corridor_section(results: Results) -> Section | None:
    """The random optimum."""
    curves = figures.corridor_curves(results)
    shown = [("The exact value of every policy", figures.optimum(results))]
    if curves is not None:
        shown.append(("Learning", curves))
    best = results["summary"]["corridor"]["best_epsilon"]
    return Section(
        "Where the best behaviour is random",
        "Three states that look alike; in the middle one the actions are switched. A policy is then one number, and "
        "its value a closed form. Blue: REINFORCE, which starts at the far left of the curve. Red: the two policies "
        f"that epsilon-greedy leaves. Only at epsilon = {best:.2f} would one of them be the best, and nothing in the "
        "method looks for that. Curves are exact values of what is learned, means over seeds in bands from lowest to "
        "highest; Sarsa goes to and fro between its two policies.",
        page.charts(shown),
    )


def dials_section(results: Results) -> Section | None:
    """The dials."""
    shown = []
    for dimensions in sorted({row["dimensions"] for row in results["summary"]["dials"]}):
        chart = figures.dials_curves(results, dimensions)
        if chart is not None:
            shown.append((f"{dimensions} dial{'s' if dimensions > 1 else ''}", chart))
    times = figures.learning_times(results)
    if times is not None:
        shown.append(("How long stops take to learn", times))
    if not shown:
        return None
    return Section(
        "Where the action is a dial",
        "Bring a state to zero in one step: the best action is known, and so is what K stops on each dial must lose "
        "(dashed). The value method has the best case, exact features and least squares for every action, so that it "
        "needs a few actions for each of its unknowns. A Gaussian policy, learned by PPO, has no floor, and its time "
        "grows little with the number of dials.",
        page.charts(shown),
    )


def noise_section(results: Results) -> Section | None:
    """The gradient's noise."""
    shown = []
    for right in sorted({row["right"] for row in results["summary"]["noise"]}):
        chart = figures.gradient_noise(results, right)
        if chart is not None:
            shown.append((f"Right with probability {right:g}", chart))
    if not shown:
        return None
    return Section(
        "Price: noise",
        "How far an estimated gradient lies from the exact one, as a multiple of the exact one's length. A baseline "
        "changes nothing in the mean; it saves episodes. All states look alike here, so that a learned value is a "
        "constant too; the state's own value, which no agent here can see, is drawn for comparison.",
        page.charts(shown),
    )


def hills_section(results: Results) -> Section | None:
    """The lower hill."""
    ways = figures.ways(results)
    if not ways:
        return None
    body = page.charts([("What the gradient sees", figures.hills_seen()), *ways])
    return Section(
        "Price: local optima",
        "An action is one number, its reward two hills; the policy is a Gaussian of mean m and scale s. Bright is a "
        "high expected reward, in closed form. Each line is a start's way, from its ring to its disc: white ends on "
        "the higher hill, orange on the lower one. A bonus for entropy first widens every policy until it sees one "
        "hill, and is gone by the middle of the training.",
        Markup(body),
    )


def tables_of(results: Results) -> list[Table]:
    """Every number, one table for each section."""
    summary = results["summary"]
    tables = []
    if summary["corridor"]["policy"] or summary["corridor"]["value"]:
        rows = [
            [name, ranged(one["value"]), ranged(one["right"]), str(one["seeds"])]
            for kind, words in (("policy", "REINFORCE, baseline {}"), ("value", "Sarsa, epsilon {}"))
            for name, one in ((words.format(key), value) for key, value in summary["corridor"][kind].items())
        ]
        rows.append(["exact optimum", f"{summary['corridor']['best_value']:.2f}",
                     f"{summary['corridor']['best_right']:.3f}", "-"])  # fmt: skip
        for epsilon, values in summary["corridor"]["greedy"].items():
            for side, value, right in zip(("right", "left"), values, (1 - float(epsilon) / 2, float(epsilon) / 2),
                                          strict=True):  # fmt: skip
                rows.append([f"exact, greedy {side}, epsilon {epsilon}", f"{value:.2f}", f"{right:.3f}", "-"])
        tables.append(Table("Corridor, last quarter", ["Method", "Value", "Probability of going right", "Seeds"], rows))
    if summary["dials"]:
        tables.append(_dials_table(summary["dials"]))
    if summary["noise"]:
        sizes = summary["noise"][0]["sizes"]
        tables.append(
            Table(
                "Error of the gradient / its exact length, by episodes of an estimate",
                ["Right with", "Baseline", "Exact gradient", *map(str, sizes), "Episodes for 0.1", "Seeds"],
                [
                    [
                        f"{row['right']:g}",
                        row["baseline"],
                        f"{row['exact']:.2f}",
                        *("-" if error is None else f"{error['mean']:.2f}" for error in row["errors"]),
                        count_words(row["episodes_for_a_tenth"]),
                        str(row["seeds"]),
                    ]
                    for row in summary["noise"]
                ],
                names=2,
            )
        )
    if summary["hills"]:
        tables.append(
            Table(
                f"Two hills, {hills.STARTS} starts",
                [
                    "Scale at the start",
                    "Entropy bonus",
                    "End on the lower",
                    "On the higher",
                    "Expected reward",
                    "Seeds",
                ],
                [
                    [
                        f"{row['scale']:g}",
                        f"{row['bonus']:g}",
                        ranged(row["lower"], 1),
                        ranged(row["higher"], 1),
                        ranged(row["value"]),
                        str(row["seeds"]),
                    ]
                    for row in summary["hills"]
                ],
                names=0,
            )
        )
    return tables


def _dials_table(rows: list[Mapping[str, Any]]) -> Table:
    def when(one: Mapping[str, float] | None) -> str:
        return "not reached" if one is None else f"{one['mean']:.0f} [{one['low']:.0f}, {one['high']:.0f}]"

    return Table(
        "Dials: cost against the best action; actions taken until it is within a tenth of what the stops allow",
        ["Dials", "Stops", "Joint actions", "Unknowns", "Stops must cost", "Stops at the end", "Learned after",
         "Gaussian at the end", "Gaussian as good after", "Seeds"],
        [
            [
                str(row["dimensions"]),
                str(row["stops"]),
                str(row["actions"]),
                str(row["unknowns"]),
                f"{row['floor']:.5f}",
                ranged(row["cost"], 5),
                when(row["learned"]),
                "-" if row["gaussian_cost"] is None else ranged(row["gaussian_cost"], 5),
                when(row["gaussian_learned"]),
                str(row["seeds"]),
            ]
            for row in rows
        ],
        names=0,
    )  # fmt: skip
