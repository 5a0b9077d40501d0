"""Prioritised experience replay: which transitions to learn from again, and how much each then counts.

Proportional prioritisation of Schaul et al., 2016 (https://arxiv.org/abs/1511.05952, sections 3.3 and 3.4):

    p_i = (|error_i| + small)^alpha,   P(i) = p_i / sum p,   w_i = (n P(i))^-beta / max w of the batch

A batch takes one transition from each of its equal shares of the sum, found in a tree of sums. Every sum is computed
anew from its two parts, so that no rounding piles up and a tree built from saved leaves is the same bit for bit.

Left out: rank-based prioritisation.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

SMALL = 1e-6  # added to an error, so that nothing is forgotten for ever


class SumTree:
    """Numbers of at least 0, whose sum is known and which are found by where they lie within it.

    Args:
        size: how many; all begin as 0.
    """

    def __init__(self, size: int) -> None:
        self.size, self.leaves = size, 1 << max(size - 1, 1).bit_length()
        self._sums = np.zeros(2 * self.leaves)  # the children of i are 2 i and 2 i + 1; 1 is the root

    @property
    def total(self) -> float:
        """The sum."""
        return float(self._sums[1])

    def __getitem__(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Some of the numbers."""
        return self._sums[self.leaves + index]

    def put(self, index: Int[np.ndarray, " n"], value: Float[np.ndarray, " n"] | float) -> None:
        """Replace some of the numbers."""
        place = index + self.leaves
        self._sums[place] = value
        while place[0] > 1:  # all lie equally deep
            place = place >> 1
            self._sums[place] = self._sums[2 * place] + self._sums[2 * place + 1]

    def find(self, where: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Which number covers each place in [0, total); never one that is 0."""
        where, place = where.copy(), np.ones(len(where), np.int64)
        while place[0] < self.leaves:
            left = self._sums[2 * place]
            right = (where >= left) & (self._sums[2 * place + 1] > 0)  # rounding must not lead past the last one
            where -= np.where(right, left, 0.0)
            place = 2 * place + right
        return place - self.leaves


class Priorities:
    """One priority per place of a replay; what is new gets the largest that there was.

    Args:
        size: places.
        alpha: exponent of an error.
    """

    def __init__(self, size: int, alpha: float) -> None:
        self.alpha, self.tree, self.largest = alpha, SumTree(size), 1.0

    def add(self, index: Int[np.ndarray, " n"]) -> None:
        """These are new."""
        if len(index):
            self.tree.put(index, self.largest)

    def remove(self, index: Int[np.ndarray, " n"]) -> None:
        """These are no transitions."""
        if len(index):
            self.tree.put(index, 0.0)

    def update(self, index: Int[np.ndarray, " n"], error: Float[np.ndarray, " n"]) -> None:
        """What learning from these has shown."""
        priority = (np.abs(error, dtype=np.float64) + SMALL) ** self.alpha
        self.largest = max(self.largest, float(priority.max()))
        self.tree.put(index, priority)

    def sample(self, count: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        """So many places, each as often as its share of the sum says."""
        return self.tree.find((np.arange(count) + rng.random(count)) * (self.tree.total / count))

    def weights(self, index: Int[np.ndarray, " n"], count: int, beta: float) -> Float[np.ndarray, " n"]:
        """What each counts, the most of them 1, among so many transitions in all."""
        weight = (count * self.tree[index] / self.tree.total) ** -beta
        return (weight / weight.max()).astype(np.float32)

    def state_dict(self, filled: int) -> dict[str, Any]:
        """The priorities of the first places, which are all that there are."""
        return {"largest": self.largest, "leaves": torch.from_numpy(self.tree[np.arange(filled)])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.largest, leaves = state["largest"], state["leaves"].numpy()
        if len(leaves):
            self.tree.put(np.arange(len(leaves)), leaves)
