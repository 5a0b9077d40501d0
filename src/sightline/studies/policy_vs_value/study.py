"""The study of policy against value methods: what is measured, part by part, and what it comes to.

A random optimum (`corridor.py`), an action that is a dial (`regulator.py`), and the price: the gradient's noise
(`corridor.py`) and lower hills (`hills.py`). Truths are closed forms; what is learned is learned from every seed.

Left out: deep value methods on large tasks, where many other things differ as well.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sightline.envs.corridor import BEST_RIGHT, corridor_value
from sightline.rl.reinforce import BASELINES
from sightline.studies.folder import at_least_one
from sightline.studies.measurements import Part, of_kind, run_parts, spread
from sightline.studies.policy_vs_value import corridor, hills, regulator
from sightline.studies.policy_vs_value.page import write_page

SAME = ("quick",)  # more seeds are no other study
STOPS, DIMENSIONS = (3, 7, 21), (1, 2, 3)
NOISY = (0.05, 0.3)  # policies of the corridor whose gradients are estimated
SIZES = (1, 4, 16, 64, 256, 1024)  # episodes of an estimate
WITHIN = 1.1  # a value method has learned when its cost is at most so many times that of its best policy


@dataclass(frozen=True)
class PolicyVsValue:
    """Settings of the study."""

    out: Path = Path("runs/policy-vs-value")
    """Folder for the page and results.json."""
    resume: bool = False
    """Go on with what lies in the folder."""
    seeds: int = 1
    """Everything that is random, from seeds 0, 1, ..."""
    quick: bool = False
    """Tiny settings that show the page in seconds; its numbers mean nothing."""


def parts_of(settings: PolicyVsValue) -> list[Part]:
    """All that is measured, one seed after the other."""
    lesson, climb, steps, episodes = corridor.Lesson(), hills.Climb(), regulator.STEPS, 2**15
    if settings.quick:
        lesson, climb, steps, episodes = corridor.Lesson(400, 4), hills.Climb(updates=8, looks=4), 600, 1024
    dimensions = DIMENSIONS[:2] if settings.quick else DIMENSIONS
    parts = []
    for seed in range(settings.seeds):
        for baseline in BASELINES:
            parts.append(
                Part(
                    f"corridor policy, {baseline}, {seed}",
                    partial(corridor.learn_by_policy, baseline, seed, lesson),
                )
            )
        for epsilon in corridor.EPSILONS:
            parts.append(
                Part(
                    f"corridor value, {epsilon}, {seed}",
                    partial(corridor.learn_by_value, epsilon, seed, lesson),
                )
            )
        for count in dimensions:
            dials = regulator.Dials(count, steps)
            parts.append(Part(f"dials policy, {count}, {seed}", partial(regulator.learn_by_policy, dials, seed)))
            for stops in STOPS:
                parts.append(
                    Part(
                        f"dials value, {count}, {stops}, {seed}",
                        partial(regulator.learn_by_value, dials, stops, seed),
                    )
                )
        for right in NOISY:
            parts.append(
                Part(
                    f"noise, {right}, {seed}",
                    partial(corridor.noise, right, episodes, SIZES, seed),
                )
            )
        for scale in (hills.CONFIDENT, hills.OPEN):
            for bonus in hills.BONUSES:
                parts.append(
                    Part(
                        f"hills, {scale}, {bonus}, {seed}",
                        partial(hills.climb, scale, bonus, seed, climb),
                    )
                )
    return parts


def run(settings: PolicyVsValue) -> None:
    """Run the study, or what is left of it; minutes on one core. Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    at_least_one(settings, "seeds")
    facts = {
        "corridor": asdict(corridor.Lesson()) | {"environments": corridor.ENVIRONMENTS, "start": corridor.START},
        "dials": {"steps": regulator.STEPS, "environments": regulator.ENVIRONMENTS, "hidden": regulator.HIDDEN},
        "hills": asdict(hills.Climb()) | {"starts": hills.STARTS},
    }
    run_parts(
        "policy-vs-value",
        settings,
        SAME,
        parts_of(settings),
        facts=facts,
        summarise=summarise,
        write_page=write_page,
    )


def summarise(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Truths, and the means and spreads over seeds of what is there."""
    return {
        "corridor": {
            "best_right": BEST_RIGHT,
            "best_value": corridor_value(BEST_RIGHT),
            "best_epsilon": 2 * (1 - BEST_RIGHT),  # epsilon-greedy is the best policy there, if right is the greedy one
            "greedy": {str(epsilon): list(corridor.greedy_values(epsilon)) for epsilon in corridor.EPSILONS},
            "policy": _late(of_kind(parts, "corridor policy")),
            "value": _late(of_kind(parts, "corridor value")),
        },
        "dials": dials_summary(parts),
        "noise": noise_summary(parts),
        "hills": hills_summary(parts),
        "enough_bonus": hills.enough_bonus(),
    }


def grouped(found: list[tuple[list[str], Any]]) -> dict[str, list[Any]]:
    """The values of all seeds, by the other words of their names."""
    groups: dict[str, list[Any]] = {}
    for words, value in found:
        groups.setdefault(", ".join(words[:-1]), []).append(value)
    return groups


def _late(found: list[tuple[list[str], Any]]) -> dict[str, Any]:
    return {
        name: {
            "seeds": len(ones),
            "value": spread([one["value_late"] for one in ones]),
            "right": spread([one["right_late"] for one in ones]),
            "values_seen": sorted({round(value, 1) for one in ones for value in one["value"][1:]})
            if len({round(value, 1) for one in ones for value in one["value"][1:]}) < 5
            else None,
        }
        for name, ones in grouped(found).items()
    }


def dials_summary(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each number of dials: every method's cost at the end, and when it learned what it can."""
    rows = []
    policies = grouped(of_kind(parts, "dials policy"))
    for name, ones in grouped(of_kind(parts, "dials value")).items():
        dimensions, stops = (int(word) for word in name.split(", "))
        floor = regulator.cost_of_stops(stops, dimensions)
        gaussian = policies.get(str(dimensions), [])
        rows.append(
            {
                "dimensions": dimensions,
                "stops": stops,
                "seeds": len(ones),
                "actions": stops**dimensions,
                "unknowns": regulator.unknowns(dimensions) * stops**dimensions,
                "floor": floor,
                "cost": spread([one["costs"][-1] for one in ones]),
                "learned": _when([reached(one, WITHIN * floor) for one in ones]),
                "gaussian_learned": _when([reached(one, WITHIN * floor) for one in gaussian]),
                "gaussian_cost": spread([one["costs"][-1] for one in gaussian]) if gaussian else None,
            }
        )
    return rows


def reached(one: Mapping[str, Any], cost: float) -> int | None:
    """The first look from which on the cost was at most this; None where it is not at the end."""
    found = None
    for step, value in zip(reversed(one["steps"]), reversed(one["costs"]), strict=True):
        if value > cost:
            break
        found = step
    return found


def _when(steps: list[int | None]) -> dict[str, float] | None:
    known = [step for step in steps if step is not None]
    return spread(known) if known and len(known) == len(steps) else None


def noise_summary(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each policy and baseline: the error of every size, and how many episodes bring it to a tenth."""
    rows = []
    for name, ones in grouped(of_kind(parts, "noise")).items():
        for baseline in ones[0]["errors"]:
            errors = [
                None if ones[0]["errors"][baseline][place] is None else spread([one["errors"][baseline][place]
                                                                               for one in ones])
                for place in range(len(ones[0]["sizes"]))
            ]  # fmt: skip
            middle = [(size, error["mean"]) for size, error in zip(ones[0]["sizes"], errors, strict=True) if error]
            # the error falls as 1 / sqrt(episodes): from every size, the number that brings it to a tenth
            needed = [size * (error / 0.1) ** 2 for size, error in middle if 4 <= size <= 64]
            rows.append(
                {
                    "right": float(name),
                    "baseline": baseline,
                    "exact": ones[0]["exact"],
                    "sizes": ones[0]["sizes"],
                    "errors": errors,
                    "episodes_for_a_tenth": math.exp(sum(map(math.log, needed)) / len(needed)),
                    "seeds": len(ones),
                }
            )
    return rows


def hills_summary(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each start and bonus: how many of the starts end on which hill, and the expected reward at the end."""
    return [
        {
            "scale": float(name.split(", ")[0]),
            "bonus": float(name.split(", ")[1]),
            "seeds": len(ones),
            "starts": hills.STARTS,
            **{key: spread([one[key] for one in ones]) for key in ("higher", "lower", "value")},
        }
        for name, ones in grouped(of_kind(parts, "hills")).items()
    ]
