"""Exhaustive look-ahead: what actions are truly worth, for models small enough to try everything. The oracle of search.

    q(s, a) = sum_k p_k (r_k + d_k v(s_k)),   v(s) = max_a q(s, a)

with discounts d whose sign is whose turn follows, and after `depth` moves the model's own value in place of v.

Three of them: `look_ahead` from some places of any model, `table_values` of every state of a table, `perfect_play` of
every position of a game that no move leads back in.

Left out: pruning, which would give the best value and not all of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sightline.planning.model import Model, Step
from sightline.planning.outcomes import Outcomes
from sightline.planning.states import taken

MOST = 5_000_000  # places


@dataclass(frozen=True)
class Level:
    """Places that are equally many steps from the root, and what follows them."""

    value: Float[np.ndarray, " n"]
    """What the model says."""
    weights: Float[np.ndarray, "n m"]
    """Probabilities where nobody moves, all 0 where somebody does."""
    row: Int[np.ndarray, " next"]
    """Which place each one of the next level comes from."""
    slot: Int[np.ndarray, " next"]
    """By which action or outcome."""
    reward: Float[np.ndarray, " next"]
    discount: Float[np.ndarray, " next"]


def look_ahead(
    model: Model, root: Step, depth: int, *, rng: np.random.Generator | None = None, most: int = MOST
) -> Float[np.ndarray, "b a"]:
    """The value of every action, -inf for those that are illegal, all ways tried to `depth` moves of the players.

    What is random must be said by the model's `chance`: of a model that draws instead, this sees one sample.

    Raises:
        ValueError: nothing to look at, a place without a legal action, or too many places.
    """
    if depth < 1:
        raise ValueError(f"a look-ahead is of one move or more, got depth={depth}")
    rng = np.random.default_rng(0) if rng is None else rng
    levels, step, total = [], root, 0
    left = np.full(len(root.reward), depth)
    while True:
        weights = _weights(model, step)
        nobody = weights.sum(1) > 0
        goes_on = (step.discount != 0) & (nobody | (left > 0))
        possible = np.zeros_like(weights, bool)
        possible[:, : step.logits.shape[1]] = step.logits > -np.inf
        possible = np.where(nobody[:, None], weights > 0, possible)
        if (stuck := goes_on & ~possible.any(1)).any():
            raise ValueError(
                f"{int(stuck.sum())} places are not over and have no legal action: give them a discount of 0"
            )
        row, slot = np.nonzero(possible & goes_on[:, None])
        total += len(row)
        if total > most:
            raise ValueError(
                f"a look-ahead of {depth} moves tries {total} places and more, above most={most}: take fewer"
            )
        if not len(row):
            levels.append(Level(step.value.astype(float), weights, row, slot, np.zeros(0), np.zeros(0)))
            break
        after = model.step(taken(step.state, row), slot, rng)
        reward, discount = after.reward.astype(float), after.discount.astype(float)
        levels.append(Level(step.value.astype(float), weights, row, slot, reward, discount))
        left = left[row] - ~nobody[row]
        step = after
    return _back(levels)[:, : model.num_actions]


def _weights(model: Model, step: Step) -> Float[np.ndarray, "n m"]:
    n, a = step.logits.shape
    chance = getattr(model, "chance", None)
    if chance is None or n == 0:
        return np.zeros((n, a))
    found = np.asarray(chance(step.state), float)
    return np.pad(found, ((0, 0), (0, max(0, a - found.shape[1]))))


def _back(levels: list[Level]) -> Float[np.ndarray, "b m"]:
    """From the last level to the values of the first one's slots."""
    later = np.zeros(0)
    for level in reversed(levels):
        q = np.full(level.weights.shape, -np.inf)
        onward = np.where(level.discount == 0, 0.0, later) if len(level.row) else later
        q[level.row, level.slot] = level.reward + level.discount * onward
        mean = (level.weights * np.where(level.weights > 0, q, 0.0)).sum(1)
        tried = np.zeros(len(q), bool)
        tried[level.row] = True
        later = np.where(tried, np.where(level.weights.sum(1) > 0, mean, q.max(1, initial=-np.inf)), level.value)
    return q


def table_values(outcomes: Outcomes, depth: int) -> Float[np.ndarray, "s a"]:
    """The value of every action in every state, exact to `depth` moves; -inf for those that are illegal."""
    if depth < 1:
        raise ValueError(f"a look-ahead is of one move or more, got depth={depth}")
    value = outcomes.value
    for _ in range(depth):
        q = (outcomes.probability * (outcomes.reward + outcomes.discount * value[outcomes.next_state])).sum(2)
        q = np.where(outcomes.legal, q, -np.inf)
        value = np.where(outcomes.legal.any(1), q.max(1), 0.0)
    return q


@dataclass(frozen=True)
class Perfect:
    """All positions of a game that are not over, and what every action there is worth."""

    state: Int[np.ndarray, "n d"]
    """The empty board first, then in the order of moves."""
    q: Float[np.ndarray, "n a"]
    """For the one to move; -inf: illegal."""

    @property
    def value(self) -> Float[np.ndarray, " n"]:
        """With best play of both."""
        return self.q.max(1)

    @property
    def best(self) -> Bool[np.ndarray, "n a"]:
        """The actions without a mistake."""
        return self.q >= self.value[:, None] - 1e-9

    @property
    def mistakes(self) -> Bool[np.ndarray, "n a"]:
        """The legal actions that are worth less than the best one."""
        return ~self.best & (self.q > -np.inf)

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {one.tobytes(): row for row, one in enumerate(self.state)}

    def find(self, state: Int[np.ndarray, "b d"]) -> Int[np.ndarray, " b"]:
        """Which rows these states are.

        Raises:
            ValueError: one is over, or no position of the game.
        """
        try:
            return np.array([self._rows[one.tobytes()] for one in state.astype(self.state.dtype)], np.int64)
        except KeyError:
            raise ValueError("a state is over or no position of this game: look up those that can be reached") from None


def perfect_play(model: Model, root: Step, *, most: int = MOST) -> Perfect:
    """Every position that can be reached, and the exact values.

    For models whose states are rows of whole numbers, where nothing is random and no move leads back.

    Raises:
        ValueError: too many positions.
    """
    rng = np.random.default_rng(0)
    states, steps, frontier, total = [], [], taken(root.state, np.flatnonzero(root.discount != 0)), 0
    while len(frontier):
        row, action, after = _all_moves(model, frontier, rng)
        states.append(frontier)
        steps.append((row, action, after))
        total += len(frontier)
        if total > most:
            raise ValueError(f"the game has more than most={most} positions: look ahead from single ones instead")
        frontier = np.unique(after.state[after.discount != 0], axis=0)
    q, later, known = [], np.zeros(0), np.zeros((0, 2), np.int64)
    for state, (row, action, after) in zip(reversed(states), reversed(steps), strict=True):
        onward = np.zeros(len(row))
        open_ = np.flatnonzero(after.discount != 0)
        if len(open_):
            _, where = np.unique(np.concatenate((known, after.state[open_])), axis=0, return_inverse=True)
            onward[open_] = later[where.reshape(-1)[len(known) :]]
        values = np.full((len(state), model.num_actions), -np.inf)
        values[row, action] = after.reward + after.discount.astype(float) * onward
        q.append(values)
        later, known = values.max(1), state
    return Perfect(np.concatenate(states), np.concatenate(q[::-1]))


def _all_moves(
    model: Model, state: Any, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Step]:
    legal = model.root(state).logits > -np.inf
    row, action = np.nonzero(legal)
    return row, action, model.step(taken(state, row), action, rng)
