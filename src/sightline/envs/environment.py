"""What an environment of our own is: pure functions on batches, state in, state out.

A state is a frozen dataclass of NumPy arrays, each with a leading axis `b`. Nothing is changed in place, so any state
may be kept, stepped from twice or put back. `envs/gymnasium.py` makes Gymnasium's environments of it, a planner may
call `step` itself.

All randomness is drawn from `rng`: one generator for the whole batch, or a sequence of `b` generators, one to each
environment. With generators of their own, environment `i` lives the same life whatever the size of its batch.

Left out: who resets when an episode is over, and time limits; both are the caller's (`envs/gymnasium.py`). What `step`
gives for a finished episode means nothing.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

Randomness: TypeAlias = np.random.Generator | Sequence[np.random.Generator]
State = TypeVar("State", bound=Any)  # a frozen dataclass of arrays
Observation: TypeAlias = Shaped[np.ndarray, "b *observation"]


@runtime_checkable
class Environment(Protocol[State]):
    """The pure functions of one environment; its options are its fields."""

    @property
    def num_actions(self) -> int:
        """Actions are the whole numbers below it."""

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation, without `b`."""

    @property
    def observation_dtype(self) -> type[np.generic]:
        """`np.uint8` for pixels in [0, 255], `np.float32` for numbers in [0, 1]."""

    def reset(self, rng: Randomness, b: int) -> tuple[State, Observation]:
        """`b` new episodes."""

    def step(
        self, state: State, action: Int[np.ndarray, " b"], rng: Randomness
    ) -> tuple[State, Observation, Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Next state, its observation, the reward, and whether the episode is over (terminated, never truncated)."""

    def observe(self, state: State) -> Observation:
        """What is seen in a state: `reset` and `step` return the same."""

    def picture(self, state: State) -> UInt8[np.ndarray, "b h w 3"]:
        """Pictures for people."""


def own(rng: Randomness, index: int) -> np.random.Generator:
    """The generator that environment `index` draws from."""
    return rng if isinstance(rng, np.random.Generator) else rng[index]


def draw(rng: Randomness, count: int, b: int) -> Int[np.ndarray, " b"]:
    """A uniform whole number below `count` for each of `b` environments.

    Raises:
        ValueError: the generators are not `b`.
    """
    if isinstance(rng, np.random.Generator):
        return rng.integers(count, size=b)
    if len(rng) != b:
        raise ValueError(f"{b} environments need one generator for all or one to each, got {len(rng)} generators")
    return np.array([generator.integers(count) for generator in rng], dtype=np.int64)


def take(state: State, index: Int[np.ndarray, " k"]) -> State:
    """The states of some environments, as a smaller batch."""
    return replace(state, **{field.name: getattr(state, field.name)[index] for field in fields(state)})


def put(state: State, index: Int[np.ndarray, " k"], some: State) -> State:
    """The same batch with the states at `index` replaced."""
    changed = {}
    for field in fields(state):
        changed[field.name] = getattr(state, field.name).copy()
        changed[field.name][index] = getattr(some, field.name)
    return replace(state, **changed)


def enlarge(pixels: UInt8[np.ndarray, "b y x c"], scale: int) -> UInt8[np.ndarray, "b h w c"]:
    """Every pixel becomes a square of `scale` x `scale`."""
    return pixels if scale == 1 else pixels.repeat(scale, axis=1).repeat(scale, axis=2)
