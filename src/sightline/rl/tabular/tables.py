"""What a tabular agent knows, and how it chooses: values, the last outcome of everything it tried, and when.

All arrays, so that the loops over them (`q_learning.py`, `dyna.py`, `sweeping.py`) can be compiled. Randomness comes
from one NumPy generator, by `random()` alone: compiled or not, a seed gives the same life.

Left out: models of outcomes that are random; the last one seen stands for all (Sutton & Barto, 2018, section 8.2).
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sightline.planning.jit import compiled
from sightline.planning.tabular import check_size

NEVER = -1


class Known(NamedTuple):
    """Everything that is learned."""

    q: Float[np.ndarray, "s a"]
    """Action values."""
    visits: Int[np.ndarray, "s a"]
    """How often each was updated from real experience."""
    next_state: Int[np.ndarray, "s a"]
    """The model: what followed the last time."""
    reward: Float[np.ndarray, "s a"]
    over: Bool[np.ndarray, "s a"]
    tried: Int[np.ndarray, "s a"]
    """The step at which each was last tried, -1 for never."""
    states: Int[np.ndarray, " s"]
    """Those in which something was tried, in the order of their discovery."""
    counts: Int[np.ndarray, "3"]
    """Steps taken so far; states discovered; values updated from the model."""


def nothing_known(states: int, actions: int, first_value: float = 0.0) -> Known:
    """Before the first step.

    Raises:
        ValueError: tables of this size would fill the memory.
    """
    check_size(states, actions)
    pairs = (states, actions)
    return Known(
        q=np.full(pairs, float(first_value)),
        visits=np.zeros(pairs, np.int64),
        next_state=np.zeros(pairs, np.int64),
        reward=np.zeros(pairs),
        over=np.zeros(pairs, bool),
        tried=np.full(pairs, NEVER, np.int64),
        states=np.zeros(states, np.int64),
        counts=np.zeros(3, np.int64),
    )


@compiled
def best_of(row: Any) -> Any:
    """The largest number."""
    best = row[0]
    for i in range(1, len(row)):
        best = max(best, row[i])
    return best


@compiled
def greatest(row: Any, rng: Any) -> Any:
    """The index of the largest number; of equals a random one."""
    best, equals, found = row[0], 1, 0
    for i in range(1, len(row)):
        if row[i] > best:
            best, equals, found = row[i], 1, i
        elif row[i] == best:
            equals += 1
    if equals == 1:
        return found
    skip = int(rng.random() * equals)
    for i in range(found, len(row)):
        if row[i] == best:
            if skip == 0:
                return i
            skip -= 1
    return found


@compiled
def choose(row: Any, epsilon: float, rng: Any) -> Any:
    """The best action or, with probability epsilon, any."""
    if rng.random() < epsilon:
        return int(rng.random() * len(row))
    return greatest(row, rng)


@compiled
def note(known: Any, s: int, a: int, reward: float, to: int, over: bool) -> None:
    """Keep what followed an action, and count the step."""
    discovered = True
    for one in range(known.tried.shape[1]):
        if known.tried[s, one] != NEVER:
            discovered = False
    if discovered:
        known.states[known.counts[1]] = s
        known.counts[1] += 1
    known.next_state[s, a], known.reward[s, a], known.over[s, a] = to, reward, over
    known.tried[s, a] = known.counts[0]
    known.counts[0] += 1
