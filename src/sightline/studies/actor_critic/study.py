"""The study of actor and critic: what baselines and critics save, what lambda trades, and what that does to learning.

On a small walk (`walk.py`) bias and noise stand beside the exact gradient; on CartPole (`cartpole.py`) noise is
compared on the same episodes at three stages of training, and lambdas learn with equal steps.

Left out: critics that share features with their actor.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sightline.studies.actor_critic import cartpole, walk
from sightline.studies.actor_critic.page import write_page
from sightline.studies.folder import at_least_one
from sightline.studies.measurements import Part, of_kind, run_parts, spread

SAME = ("quick",)  # more seeds are no other study
EPISODES = 4096  # whose estimates are compared with the exact gradient
GROUP = 32  # episodes of an update, for the constant
RATE = 0.1  # of TD(0)
CRITICS = (0, 30, 100, 300)  # episodes that a critic has learned from
LAMBDAS = tuple(round(0.05 * place, 2) for place in range(21))
UPDATES = (8, 64, 512)  # episodes of an update, whose best lambda is asked for
WAYS = (
    ("none", None, 1.0),
    ("constant", None, 1.0),
    ("value", 300, 1.0),
    ("lambda 0.9", 300, 0.9),
    ("TD(0)", 300, 0.0),
)


@dataclass(frozen=True)
class ActorCritic:
    """Settings of the study."""

    out: Path = Path("runs/actor-critic")
    """Folder for the page and results.json."""
    resume: bool = False
    """Go on with what lies in the folder."""
    seeds: int = 1
    """Everything that is random, from seeds 0, 1, ..."""
    quick: bool = False
    """Tiny settings that show the page in seconds; its numbers mean nothing."""


def parts_of(settings: ActorCritic) -> list[Part]:
    """All that is measured, one seed after the other."""
    budget, episodes = cartpole.Budget(), EPISODES
    if settings.quick:
        budget, episodes = cartpole.Budget(steps=1024, rollout=32, updates=3, looks=4), 256
    parts = []
    for seed in range(settings.seeds):
        parts.append(Part(f"walk, {seed}", partial(measure_walk, seed, episodes)))
        for lambda_ in cartpole.LAMBDAS:
            parts.append(Part(f"learning, {lambda_:g}, {seed}", partial(cartpole.learn, lambda_, seed, budget)))
        parts.append(Part(f"stages, {seed}", partial(cartpole.stages, seed, budget)))
    return parts


def run(settings: ActorCritic) -> None:
    """Run the study, or what is left of it; minutes on one core. Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end.
    """
    at_least_one(settings, "seeds")
    facts = {
        "walk": {"places": walk.PLACES, "slip": walk.SLIP, "episodes": EPISODES, "rate of TD(0)": RATE},
        "cartpole": asdict(cartpole.Budget()) | {"gamma": cartpole.GAMMA, "agent": "ppo"},
    }
    run_parts(
        "actor-critic",
        settings,
        SAME,
        parts_of(settings),
        facts=facts,
        summarise=summarise,
        write_page=write_page,
    )


def measure_walk(seed: int, episodes: int) -> dict[str, Any]:
    """Noise of one episode and bias, over the exact gradient's length: every way, and every critic's lambdas."""
    here, rng = walk.random_walk(seed), np.random.default_rng(seed)
    played, exact = walk.play(here, episodes, rng), here.exact()
    length = float(np.linalg.norm(exact))
    critics = {count: walk.td_critic(here, count, RATE, seed) for count in CRITICS}
    returns = walk.weighed(played, np.zeros(walk.PLACES), 1.0)

    def noise(weights: np.ndarray) -> float:
        each = walk.estimates(here, played, weights)
        return float(np.sqrt(each.var(0, ddof=1).sum()) / length)

    def bias(critic: np.ndarray, lambda_: float) -> float:
        return float(np.linalg.norm(here.gradient(here.advantages(critic, lambda_)) - exact) / length)

    ways = {"none": (noise(returns), 0.0)}
    ways["constant"] = (noise(returns - walk.constant(played, returns, GROUP)), 0.0)
    for name, count, lambda_ in WAYS[2:]:
        critic = critics[count or 0]
        ways[name] = (noise(walk.weighed(played, critic, lambda_)), bias(critic, lambda_))
    return {
        "exact": exact.tolist(),
        "start_value": float(here.values()[walk.START]),
        "steps_of_an_episode": float(played.alive.sum(0).mean()),
        "ways": {name: {"noise": one, "bias": other} for name, (one, other) in ways.items()},
        "critics": {
            str(count): {
                "off": float(np.sqrt(np.mean((critic - here.values()) ** 2)) / np.sqrt(np.mean(here.values() ** 2))),
                "noise": [noise(walk.weighed(played, critic, lambda_)) for lambda_ in LAMBDAS],
                "bias": [bias(critic, lambda_) for lambda_ in LAMBDAS],
            }
            for count, critic in critics.items()
        },
    }


def summarise(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Means and spreads over seeds of what is there."""
    walks = [value for _, value in of_kind(parts, "walk")]
    learned: dict[str, list[Any]] = {}
    for words, value in of_kind(parts, "learning"):
        learned.setdefault(words[0], []).append(value)
    return {
        "ways": {
            name: {key: spread([one["ways"][name][key] for one in walks]) for key in ("noise", "bias")}
            for name in (walks[0]["ways"] if walks else ())
        },
        "critics": critics_summary(walks),
        "stages": stages_summary([value for _, value in of_kind(parts, "stages")]),
        "learning": {
            name: {"seeds": len(ones), **{key: spread([one[key] for one in ones]) for key in ("over_all", "last")}}
            for name, ones in learned.items()
        },
    }


def critics_summary(walks: list[Any]) -> list[dict[str, Any]]:
    """For every critic: how far off it is, noise and bias over lambda, and the lambda that is best for an update."""
    found = []
    for count in walks[0]["critics"] if walks else ():
        ones = [one["critics"][count] for one in walks]
        noise, bias = (np.mean([one[key] for one in ones], 0) for key in ("noise", "bias"))
        errors = {str(size): error(noise, bias, size) for size in UPDATES}
        found.append(
            {
                "episodes": int(count),
                "off": spread([one["off"] for one in ones]),
                "lambdas": list(LAMBDAS),
                "noise": noise.tolist(),
                "bias": bias.tolist(),
                "noise_spread": [[min(many), max(many)] for many in zip(*(one["noise"] for one in ones), strict=True)],
                "bias_spread": [[min(many), max(many)] for many in zip(*(one["bias"] for one in ones), strict=True)],
                "errors": errors,
                "best": {size: LAMBDAS[int(np.argmin(many))] for size, many in errors.items()},
                "best_of_each": {
                    str(size): [
                        LAMBDAS[int(np.argmin(error(np.array(one["noise"]), np.array(one["bias"]), size)))]
                        for one in ones
                    ]
                    for size in UPDATES
                },
            }
        )
    return found


def error(noise: np.ndarray, bias: np.ndarray, size: int) -> list[float]:
    """Root of the mean square by which an update of so many episodes is wrong: bias and noise together."""
    return np.sqrt(bias**2 + noise**2 / size).tolist()


def stages_summary(runs: list[Any]) -> list[dict[str, Any]]:
    """At every stage the variance of each way over that without a baseline."""
    found = []
    for at_stage in zip(*runs, strict=True):
        ratios = {
            name: [one["variance"][name] / one["variance"]["none"] for one in at_stage]
            for name in at_stage[0]["variance"]
        }
        found.append(
            {
                "steps": at_stage[0]["steps"],
                "seeds": len(at_stage),
                **{key: spread([one[key] for one in at_stage]) for key in ("return_mean", "length")},
                "variance": {
                    name: {**spread(many), "mean": math.exp(sum(map(math.log, many)) / len(many))}
                    for name, many in ratios.items()
                },
            }
        )
    return found
