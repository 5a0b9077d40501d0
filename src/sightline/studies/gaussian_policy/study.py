"""The study of the Gaussian policy: what is measured, part by part, and what it comes to.

Exact values against estimates on a bandit (`bandit.py`), learning there from many seeds, the borders of a box
(`borders.py`), and all of it with PPO on Pendulum (`pendulum.py`).

Left out: distributions other than the diagonal Gaussian and its squashed form.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.studies.folder import at_least_one
from sightline.studies.gaussian_policy import bandit, borders, pendulum
from sightline.studies.gaussian_policy.page import write_page
from sightline.studies.measurements import Part, of_kind, run_parts, spread

SAME = ("quick", "steps")
SCALES = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
NOISES = (0.0, 0.3, 1.0)  # deviations of a reward that are estimated
EPISODES = 200_000
MEANS = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4)
MANY = 256  # seeds of the bandits, at once


@dataclass(frozen=True)
class GaussianPolicy:
    """Settings of the study."""

    out: Path = Path("runs/gaussian-policy")
    """Folder for the page and results.json."""
    resume: bool = False
    """Go on with what lies in the folder."""
    seeds: int = 1
    """Of PPO on Pendulum, 0, 1, ...; the bandits take many at once."""
    steps: int = pendulum.STEPS
    """Environment steps of each agent on Pendulum."""
    quick: bool = False
    """Tiny settings that show the page in seconds; its numbers mean nothing."""


def parts_of(settings: GaussianPolicy) -> list[Part]:
    """All that is measured; bandits first, then one seed of Pendulum after the other."""
    episodes, many, shorter = (2000, 8, 20) if settings.quick else (EPISODES, MANY, 1)
    steps = 2 * pendulum.AGENT.rollout * pendulum.ENVIRONMENTS if settings.quick else settings.steps
    parts = [Part("estimates", lambda: estimates(episodes)), Part("borders", lambda: border_estimates(episodes))]
    for kind in bandit.KINDS:
        parts.append(
            Part(f"bandit, {kind.name}", functools.partial(bandit.learn, kind, many, bandit.UPDATES // shorter))
        )
    for task in borders.TASKS:
        for way in borders.WAYS:
            parts.append(
                Part(
                    f"box, {way}, {task}", functools.partial(borders.learn, way, task, many, borders.UPDATES // shorter)
                )
            )
    for seed in range(settings.seeds):
        for one in pendulum.KINDS:
            parts.append(Part(f"pendulum, {one.name}, {seed}", functools.partial(pendulum.learn, one, seed, steps)))
    return parts


def estimates(episodes: int) -> list[dict[str, Any]]:
    """Every scale and noise: closed forms, and what episodes say, with and without a baseline."""
    rows = []
    for baseline in (True, False):
        for noise in NOISES:
            for place, scale in enumerate(SCALES):
                truth = bandit.exact(bandit.FAR, scale, noise, baseline=baseline)
                seen = bandit.estimate(bandit.FAR, scale, noise, episodes, place, baseline=baseline)
                row = {"baseline": baseline, "noise": noise, "scale": scale}
                rows.append(row | {"exact": asdict(truth), "seen": asdict(seen)})
    return rows


def border_estimates(episodes: int) -> list[dict[str, Any]]:
    """Both ways, every mean: the exact gradient, what episodes say with its standard error, and what lies outside."""
    rows = []
    for way in borders.WAYS:
        for place, mean in enumerate(MEANS):
            seen, error = borders.estimate(way, mean, borders.SCALE, 0.0, episodes, place)
            exact = float(borders.gradient(way, mean, borders.SCALE, 0.0))
            out = float(borders.outside(mean, borders.SCALE))
            rows.append({"way": way, "mean": mean, "exact": exact, "seen": seen, "error": error, "outside": out})
    return rows


def run(settings: GaussianPolicy) -> None:
    """Run the study, or what is left of it; minutes on one core for each seed. Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    at_least_one(settings, "seeds", "steps")
    facts = {
        "bandit": {"noise": bandit.NOISE, "rate": bandit.RATE, "batch": bandit.BATCH, "updates": bandit.UPDATES,
                   "seeds": MANY, "episodes of an estimate": EPISODES},
        "box": {"scale": borders.SCALE, "rate": borders.RATE, "batch": borders.BATCH, "updates": borders.UPDATES},
        "PPO on Pendulum": asdict(pendulum.AGENT) | {"environments": pendulum.ENVIRONMENTS},
    }  # fmt: skip
    run_parts(
        "gaussian-policy",
        settings,
        SAME,
        parts_of(settings),
        facts=facts,
        summarise=summarise,
        write_page=write_page,
    )


def summarise(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Ends of what was learned, means and spreads over seeds."""
    return {
        "pendulum": pendulum_summary(parts),
        "bandit": {
            words[0]: {name: one[name][-1] for name in ("drawn", "mean_alone", "scales")} | {"best": max(one["drawn"])}
            for words, one in of_kind(parts, "bandit")
        },
        "box": {
            ", ".join(words): {name: one[name] for name in ("learned", "seeds")}
            | {name: one[name][-1] for name in ("drawn", "mean_alone", "border")}
            for words, one in of_kind(parts, "box")
        },
    }


def pendulum_summary(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For every kind of policy, over seeds: the return at the end, drawn and greedy, and what left the box."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for words, one in of_kind(parts, "pendulum"):
        groups.setdefault(words[0], []).append(one)
    ends: dict[str, Callable[[Mapping[str, Any]], float]] = {
        "drawn": lambda one: one["value"][-1],
        "greedy": lambda one: one["greedy"],
        "area": lambda one: sum(one["value"]) / len(one["value"]),
        "border": lambda one: one["border"][-1],
        "outside": lambda one: one["outside"][-1],
        "scale": lambda one: one["scale"][-1],
    }
    return [
        {"kind": name, "seeds": len(ones)} | {key: spread([of(one) for one in ones]) for key, of in ends.items()}
        for name, ones in groups.items()
    ]
