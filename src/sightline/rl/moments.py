"""Means and variances of what came in parts, exact however it was cut: counts, means and squared deviations.

Two parts give the whole (Chan, Golub & LeVeque, 1979, "Updating formulae and a pairwise algorithm for computing sample
variances", equation 2.1):

    delta = mean_b - mean_a,  mean = mean_a + delta n_b / n,  M = M_a + M_b + delta^2 n_a n_b / n

so a rollout is added at once, and the parts that several processes saw are merged as if one had seen all.

Left out: forgetting. What was seen early weighs as much as what was seen late.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from sightline.run.processes import add_up, processes


@dataclass(frozen=True)
class Moments:
    """How many there were, their mean, and the sum of their squared deviations from it."""

    count: int
    mean: Float64[np.ndarray, "..."]
    squares: Float64[np.ndarray, "..."]

    @property
    def variance(self) -> Float64[np.ndarray, "..."]:
        """The population's variance; 0 of nothing."""
        return np.asarray(self.squares / max(self.count, 1))  # NumPy makes scalars of single numbers

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact."""
        return {"count": self.count, "mean": self.mean.copy(), "squares": self.squares.copy()}


def load_moments(state: dict[str, Any]) -> Moments:
    """Undo `Moments.state_dict`."""
    return Moments(state["count"], state["mean"].copy(), state["squares"].copy())


def no_moments(shape: tuple[int, ...]) -> Moments:
    """Of nothing."""
    return Moments(0, np.zeros(shape), np.zeros(shape))


def moments(batch: Float[np.ndarray, "n ..."]) -> Moments:
    """Of a batch of any size, over its first axis."""
    if not len(batch):
        return no_moments(batch.shape[1:])
    mean = np.asarray(batch.mean(axis=0, dtype=np.float64))
    return Moments(len(batch), mean, np.asarray(np.square(batch - mean).sum(axis=0)))


def merge(a: Moments, b: Moments) -> Moments:
    """Of both together."""
    if not a.count or not b.count:
        return a if a.count else b
    count, delta = a.count + b.count, b.mean - a.mean
    return Moments(
        count,
        np.asarray(a.mean + delta * (b.count / count)),
        np.asarray(a.squares + b.squares + np.square(delta) * (a.count * b.count / count)),
    )


def merge_processes(part: Moments) -> Moments:
    """Of what all processes saw, merged in the order of their ranks: the same bits on each. All must call it."""
    here = processes()
    if here.count == 1:
        return part
    table = torch.zeros(here.count, 1 + 2 * part.mean.size, dtype=torch.float64)
    table[here.rank] = torch.from_numpy(np.concatenate([[part.count], part.mean.ravel(), part.squares.ravel()]))
    rows: Iterable[np.ndarray] = add_up(table).numpy()
    shape, size = part.mean.shape, part.mean.size
    return reduce(
        merge, (Moments(int(r[0]), r[1 : 1 + size].reshape(shape), r[1 + size :].reshape(shape)) for r in rows)
    )
