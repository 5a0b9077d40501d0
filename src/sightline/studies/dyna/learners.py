"""Who is compared, and what of their lives is kept: the book's three figures, and the price of each learner.

The lives are those of `rl/tabular/lives.py` in `envs/maze.py`; life i has seed i for every learner. The book prints
neither the rate nor the bonus nor n of figures 8.4 and 8.5: they are those of the public program that comes closest to
the figures (alpha 1; n 10 and kappa 1e-4 for the blocking maze, n 50 and kappa 1e-3 for the shortcut), which changes
its walls at the end of an episode only, where here they move at the very step.

Left out: learners with networks.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sightline.envs.maze import PLANS, Maze
from sightline.planning.tabular import World, world_of
from sightline.rl.tabular.dyna import Dyna
from sightline.rl.tabular.lives import Agent, Mind, new_mind, walk
from sightline.rl.tabular.q_learning import QLearning

FIGURE_8_2 = {n: Dyna(n=n, alpha=0.1, epsilon=0.1, gamma=0.95) for n in (0, 5, 50)}
FIGURES_8_4_AND_8_5 = {
    "blocking": (3000, {"Dyna-Q": Dyna(n=10, alpha=1.0), "Dyna-Q+": Dyna("plus", n=10, alpha=1.0, kappa=1e-4)}),
    "shortcut": (6000, {"Dyna-Q": Dyna(n=50, alpha=1.0), "Dyna-Q+": Dyna("plus", n=50, alpha=1.0, kappa=1e-3)}),
}
LEARNERS: Mapping[str, Agent] = {
    "model-free": QLearning(alpha=1.0),
    "Dyna-Q": Dyna(n=10, alpha=1.0),
    "Dyna-Q+": Dyna("plus", n=10, alpha=1.0, kappa=1e-3),
    "sweeping": Dyna("sweeping", n=10, alpha=1.0),
    "model-based": Dyna("full", alpha=1.0),
}
GOOD = 20  # steps of an episode that knows the way; the shortest has 14, and one step in ten is random
POINTS = 120  # of a curve


def worlds_of(plan: str) -> list[World]:
    """Before and, where the walls move, after."""
    env = Maze(plan)
    found = [world_of(env)]
    if env.change is not None:
        env.steps = env.change
        found.append(world_of(env))
    return found


def episodes(n: int, runs: int) -> dict[str, Any]:
    """Figure 8.2: steps of every episode, over runs."""
    agent, (world,) = FIGURE_8_2[n], worlds_of("dyna")
    lengths = np.array(
        [
            walk(
                new_mind(agent, world.states, world.actions), agent, world, np.random.default_rng(seed), episodes=50
            ).lengths
            for seed in range(runs)
        ]
    )
    mean, error = lengths.mean(0), lengths.std(0, ddof=1) / np.sqrt(runs)
    below = np.flatnonzero(mean < GOOD)
    return {
        "mean": mean.round(3).tolist(),
        "error": error.round(3).tolist(),
        "below": int(below[0]) + 1 if len(below) else None,
        "runs": runs,
    }


def live(plan: str, agent: Agent, steps: int, seed: int) -> tuple[Float[np.ndarray, " steps"], Mind]:
    """The reward of every step of one life, the walls moving where they do, and what is known in the end."""
    worlds, change = worlds_of(plan), PLANS[plan].change
    mind, rng = new_mind(agent, worlds[0].states, worlds[0].actions), np.random.default_rng(seed)
    lengths = [steps] if change is None else [change, steps - change]
    rewards = [walk(mind, agent, world, rng, steps=n).rewards for world, n in zip(worlds, lengths, strict=True)]
    return np.concatenate(rewards), mind


def lives(plan: str, name: str, runs: int) -> dict[str, Any]:
    """Figures 8.4 and 8.5: the reward so far after so many steps, and how many lives ended on the better way."""
    steps, agents = FIGURES_8_4_AND_8_5[plan]
    rewards = np.array([live(plan, agents[name], steps, seed)[0] for seed in range(runs)])
    total = rewards.cumsum(1)[:, :: max(steps // POINTS, 1)]
    late = rewards[:, -steps // 6 :].mean(1)  # goals a step
    shortest = {"blocking": 16, "shortcut": 10}[plan]
    return {
        "steps": np.arange(steps)[:: max(steps // POINTS, 1)].tolist(),
        "mean": total.mean(0).round(3).tolist(),
        "low": np.quantile(total, 0.1, 0).round(3).tolist(),
        "high": np.quantile(total, 0.9, 0).round(3).tolist(),
        "late": {"mean": float(late.mean()), "error": float(late.std(ddof=1) / np.sqrt(runs))},
        # one step in ten is random, which costs a walker of the best way less than half as much again
        "on_the_new_way": float((late > 1 / (1.5 * shortest)).mean()),
        "runs": runs,
    }


def price(name: str, runs: int) -> dict[str, Any]:
    """What a learner pays in the Dyna maze until it knows the way, and what it gains before and after walls move."""
    agent, (world,) = LEARNERS[name], worlds_of("dyna")
    steps, updates = [], []
    clock = 0.0
    for seed in range(runs):
        mind, rng = new_mind(agent, world.states, world.actions), np.random.default_rng(seed)
        before = time.process_time()
        while walk(mind, agent, world, rng, episodes=1).lengths[0] >= GOOD:
            pass
        clock += time.process_time() - before
        steps.append(int(mind.known.counts[0]))
        updates.append(int(mind.known.visits.sum() + mind.known.counts[2]))
    found: dict[str, Any] = {
        "steps": _middle(steps),
        "updates": _middle(updates),
        "updates_per_step": sum(updates) / sum(steps),
        "microseconds_per_step": 1e6 * clock / sum(steps),
        "runs": runs,
    }
    for plan, (length, _) in FIGURES_8_4_AND_8_5.items():
        change = PLANS[plan].change
        assert change is not None
        rewards = np.array([live(plan, agent, length, seed)[0] for seed in range(runs)])
        found[plan] = {
            "before": _per_thousand(rewards[:, change - 500 : change]),
            "after": _per_thousand(rewards[:, change : change + 500]),
            "late": _per_thousand(rewards[:, -500:]),
            "silent": float((rewards[:, change:].sum(1) == 0).mean()),
        }
    return found


def _middle(values: list[int]) -> dict[str, float]:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return {"median": float(middle), "low": float(low), "high": float(high)}


def _per_thousand(rewards: Float[np.ndarray, "runs steps"]) -> dict[str, float]:
    """Goals in a thousand steps: mean over lives, and its standard error."""
    each = 1000 * rewards.mean(1)
    return {"mean": float(each.mean()), "error": float(each.std(ddof=1) / np.sqrt(len(each)))}
