"""The short corridor with switched actions, where the best policy is stochastic: Sutton & Barto (2018), example 13.1.

Three states in a row and a goal to the right of them. In the second state the actions are switched: right goes left and
left goes right. All states look alike, each step costs 1, nothing is discounted. A policy is then one number, the
probability p of going right, and the value of the start is

    v(p) = 2 (p - 2) / (p (1 - p)),    greatest at p = 2 - sqrt(2) = 0.586, where it is -(6 + 4 sqrt(2)) = -11.66

A method that picks one action greedily, and the other one with probability epsilon / 2, is far below: -44 or -82 at
epsilon = 0.1. With `show_state` the states are told apart and the way out takes three steps.

Left out: corridors of other lengths.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from sightline.envs.environment import Randomness, enlarge

LEFT, RIGHT = range(2)
GOAL = 3
AFTER = np.array([[0, 1], [2, 0], [1, GOAL], [GOAL, GOAL]])  # [state, action]
BEST_RIGHT = 2 - math.sqrt(2)
PICTURE = 32  # pixels of a state in a picture for people


def corridor_value(right: float) -> float:
    """Expected return from the start of the policy that goes right with this probability, in (0, 1)."""
    if not 0 < right < 1:
        return -math.inf  # it walks to and fro for ever
    return 2 * (right - 2) / (right * (1 - right))


@dataclass(frozen=True)
class CorridorState:
    """The state's number, from the left; 3 is the goal."""

    place: Int[np.ndarray, " b"]


@dataclass(frozen=True)
class Corridor:
    """The options of the corridor."""

    show_state: bool = False
    """Tell the states apart: one 1 among three numbers. Otherwise the observation is always 1."""

    @property
    def num_actions(self) -> int:
        """Left, right."""
        return 2

    @property
    def observation_shape(self) -> tuple[int]:
        """One number, or one for each state."""
        return (GOAL if self.show_state else 1,)

    @property
    def observation_dtype(self) -> type[np.float32]:
        """Numbers in [0, 1]."""
        return np.float32

    def reset(self, rng: Randomness, b: int) -> tuple[CorridorState, Float32[np.ndarray, "b n"]]:
        """Everybody starts at the left end."""
        state = CorridorState(np.zeros(b, dtype=np.int64))
        return state, self.observe(state)

    def step(
        self, state: CorridorState, action: Int[np.ndarray, " b"], rng: Randomness
    ) -> tuple[CorridorState, Float32[np.ndarray, "b n"], Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """One step costs 1; nothing is random."""
        after = CorridorState(AFTER[state.place, action])
        return after, self.observe(after), np.full(len(action), -1.0), after.place == GOAL

    def observe(self, state: CorridorState) -> Float32[np.ndarray, "b n"]:
        """Always 1, or which state it is; nothing lights up at the goal."""
        if not self.show_state:
            return np.ones((len(state.place), 1), dtype=np.float32)
        return np.take(np.eye(GOAL + 1, GOAL, dtype=np.float32), state.place, axis=0)

    def picture(self, state: CorridorState) -> UInt8[np.ndarray, "b h w 3"]:
        """Four squares in a row: the walker's is orange, the goal green, the switched state dark."""
        row = np.tile(
            np.array([[230] * 3, [170] * 3, [230] * 3, [60, 160, 80]], dtype=np.uint8), (len(state.place), 1, 1)
        )
        row[np.arange(len(row)), state.place] = (240, 130, 30)
        return enlarge(row[:, None], PICTURE)
