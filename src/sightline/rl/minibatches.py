"""In which order a rollout's rows are learned from: every environment's own permutation, the same in any company.

A minibatch has as many rows of each environment as of every other. The stream that shuffles environment i depends on
(seed, i) alone, so that two processes with half the environments each learn in the order of one with all of them.

A policy with a memory reads whole environments in the order of time: those are shuffled then, by one stream that all
processes have; each learns from its own among them.

Left out: minibatches of unequal size.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

STREAM, SHARED = 1, 2  # beside the noise of actions, whose streams have the key (i,)


class Order:
    """One stream of permutations per environment, and one of the environments themselves.

    Args:
        environments: of this process.
        seed: of all streams.
        first: the index of the first environment here, where other processes have those before it.
        total: of all processes; None: these are all.
    """

    def __init__(self, environments: int, *, seed: int, first: int = 0, total: int | None = None) -> None:
        self._first, self._total = first, total or environments
        self._shared = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, SHARED)))
        self._generators = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first + i, STREAM)))
            for i in range(environments)
        ]

    def epoch(self, steps: int, parts: int) -> Int[Tensor, "parts n"]:
        """Every row of a rollout once, in so many parts; rows of `[t, b]` are counted as t b_count + b.

        Raises:
            ValueError: the steps cannot be shared out evenly.
        """
        if parts < 1 or steps % parts:
            raise ValueError(f"{steps} steps cannot be shared out evenly over {parts} minibatches")
        count = len(self._generators)
        rows = np.stack([generator.permutation(steps) for generator in self._generators], 1) * count + np.arange(count)
        return torch.from_numpy(rows.reshape(parts, -1))

    def epoch_of_environments(self, steps: int, parts: int) -> list[Int[Tensor, " n"]]:
        """Every environment once, in so many parts: the rows of those that are here, by time and then environment.

        Raises:
            ValueError: the environments cannot be shared out evenly.
        """
        if parts < 1 or self._total % parts:
            raise ValueError(f"{self._total} environments cannot be shared out evenly over {parts} minibatches")
        count, time = len(self._generators), np.arange(steps)[:, None]
        shuffled = self._shared.permutation(self._total).reshape(parts, -1) - self._first
        here = (some[(some >= 0) & (some < count)] for some in shuffled)
        return [torch.from_numpy((time * count + some).ravel()) for some in here]

    def state_dict(self) -> dict[str, Any]:
        """Every stream's state."""
        return {
            "generators": [generator.bit_generator.state for generator in self._generators],
            "shared": self._shared.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every stream's state back.

        Raises:
            ValueError: they are of another number of environments.
        """
        if len(state["generators"]) != len(self._generators):
            raise ValueError(
                f"the saved order is of {len(state['generators'])} environments, here are {len(self._generators)}"
            )
        self._shared.bit_generator.state = state["shared"]
        for generator, one in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = one


def minibatches(rollout: int, environments: int, batch: int, *, whole: bool = False) -> int:
    """How many minibatches of `batch` rows a rollout of all environments gives.

    Args:
        rollout: steps of every environment.
        environments: of all processes.
        batch: rows.
        whole: whether a minibatch has whole environments, for a memory, or as many rows of each.

    Raises:
        ValueError: none, or not evenly; the sentence names the nearest batch that fits.
    """
    rows = rollout * environments
    each, count = (rollout, environments) if whole else (environments, rollout)
    fits = [each * m for m in range(1, count + 1) if count % m == 0]
    if batch not in fits:
        over = "whole environments, which a memory needs" if whole else "time and environments"
        near = min(fits, key=lambda one: (abs(one - batch), one))
        raise ValueError(
            f"a rollout of {rollout} steps in {environments} environments has {rows} rows, and minibatches of {batch} "
            f"do not share them out evenly over {over}: use --batch {near}, or another --rollout"
        )
    return rows // batch
