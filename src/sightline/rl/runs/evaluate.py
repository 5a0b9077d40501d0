"""How good a policy is: whole episodes in environments of its own, seen through the normalisation that it learned.

Every environment plays as many episodes as every other, each from its own seed. Whoever took the episodes that ended
first would count the short ones.

Left out: exploration, unless actions are to be drawn.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from sightline.rl.acting import Acting
from sightline.rl.episodes import EpisodeCounter
from sightline.rl.rollout import Collector

ROWS = 32  # steps between two looks at which episodes have ended
PATIENCE = 1_000_000  # steps of one environment without an end


@dataclass(frozen=True)
class Evaluation:
    """Episodes that were played to their end."""

    returns: tuple[float, ...]  # undiscounted, unscaled
    lengths: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Of the returns."""
        return float(np.mean(self.returns))

    @property
    def spread(self) -> float:
        """Standard deviation of the returns."""
        return float(np.std(self.returns))

    def summary(self) -> dict[str, Any]:
        """As `evaluation.json` has it."""
        return {
            "mean": self.mean,
            "spread": self.spread,
            "episodes": len(self.returns),
            "least": min(self.returns),
            "most": max(self.returns),
            "length_mean": float(np.mean(self.lengths)),
            "returns": list(self.returns),
        }


def evaluate(acting: Acting, envs: VectorEnv[Any, Any, Any], episodes: int, *, seed: int) -> Evaluation:
    """Play so many episodes or, where the environments do not divide them, a few more: as many in each.

    Args:
        acting: the policy, greedy or not.
        envs: fresh ones; they are reset.
        episodes: how many.
        seed: of the environments and of drawn actions.

    Raises:
        ValueError: no episode is asked for, or one does not end.
    """
    if episodes < 1:
        raise ValueError(f"an evaluation plays 1 episode or more, got {episodes}")
    count = envs.num_envs
    each = math.ceil(episodes / count)
    policy = acting.policy
    collector = Collector(
        envs, ROWS, policy.fit.draw, seed=seed, to_space=None if policy.plain else policy.to_space
    )  # its noise is drawn and not used where the policy is greedy
    counter = EpisodeCounter(count)
    played: list[list[tuple[float, int]]] = [[] for _ in range(count)]
    while any(len(one) < each for one in played):
        rollout = collector.collect(acting, acting.begin)
        ended = counter.add(rollout.reward, rollout.terminated, rollout.truncated, rollout.valid)
        for environment, total, length in zip(ended.environment, ended.total, ended.length, strict=True):
            played[environment].append((float(total), int(length)))
        if collector.done > PATIENCE and not all(played):
            raise ValueError(
                f"an episode has not ended after {collector.done} steps: give the environment a time limit "
                "(max_episode_steps)"
            )
    flat = [one for row in played for one in row[:each]]
    return Evaluation(tuple(r for r, _ in flat), tuple(n for _, n in flat))
