"""The one signature of all that moves time: rules of a game, environments that can be restored, learned networks.

    model.root(observation) -> Step                 where planning begins
    model.step(state, action, rng) -> Step          where every action leads, [b] at once

Tree search runs `step` inside a tree, and Dyna runs the same `step` from replayed states (`rl/deep_dyna.py`). Arrays
are NumPy's, floats of them float32. The discount is the only rule of signs: the value of an action is

    q = reward + discount * value

with `value` for the one who moves next, so that it is 0 where all is over, +gamma where the same player moves again and
-gamma where the opponent does.

A model may also have `chance(state) -> [b, k]`, the probabilities of what happens by itself in states where nobody
moves, and `propose(state, k, rng) -> [b, k, d]`, actions worth trying where they are real numbers.

Left out: more than two players.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped


class Step(NamedTuple):
    """Everything about arriving somewhere; the leading axis counts the places."""

    state: Any
    """Arrays, nested tuples of them, or a list; a planner only indexes and stores it."""
    reward: Float[np.ndarray, " b"]
    """To the one who moved."""
    discount: Float[np.ndarray, " b"]
    """0: over; +gamma: the same player moves next; -gamma: the opponent does."""
    logits: Float[np.ndarray, "b a"]
    """Of the actions; -inf: illegal."""
    value: Float[np.ndarray, " b"]
    """For the one to move, as far as it is known without a search."""


@runtime_checkable
class Model(Protocol):
    """What steps."""

    num_actions: int

    def root(self, observation: Any) -> Step:
        """Where planning begins; reward 0."""
        ...

    def step(self, state: Any, action: Shaped[np.ndarray, "b ..."], rng: np.random.Generator) -> Step:
        """Where every state's action leads. All that is random is drawn from `rng`."""
        ...
