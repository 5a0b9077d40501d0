"""In which order a rollout's rows are learned from: every environment's own permutation, the same in any company.

A minibatch has as many rows of each environment as of every other. The stream that shuffles environment i depends on
(seed, i) alone, so that two processes with half the environments each learn in the order of one with all of them.

Left out: minibatches of unequal size.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

STREAM = 1  # beside the noise of actions, whose streams have the key (i,)


class Order:
    """One stream of permutations per environment."""

    def __init__(self, environments: int, *, seed: int, first: int = 0) -> None:
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

    def state_dict(self) -> dict[str, Any]:
        """Every stream's state."""
        return {"generators": [generator.bit_generator.state for generator in self._generators]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every stream's state back.

        Raises:
            ValueError: they are of another number of environments.
        """
        if len(state["generators"]) != len(self._generators):
            raise ValueError(
                f"the saved order is of {len(state['generators'])} environments, here are {len(self._generators)}"
            )
        for generator, one in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = one


def minibatches(rollout: int, environments: int, batch: int) -> int:
    """How many minibatches of `batch` rows a rollout of all environments gives.

    Raises:
        ValueError: none, or not evenly; the sentence names the nearest batch that fits.
    """
    rows = rollout * environments
    fits = [environments * m for m in range(1, rollout + 1) if rollout % m == 0]
    if batch not in fits:
        near = min(fits, key=lambda one: (abs(one - batch), one))
        raise ValueError(
            f"a rollout of {rollout} steps in {environments} environments has {rows} rows, and minibatches of {batch} "
            f"do not share them out evenly over time and environments: use --batch {near}, or another --rollout"
        )
    return rows // batch
