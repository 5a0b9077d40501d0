"""Action noise: every environment draws from a stream of its own, so that it acts alike in any company.

The stream of environment i depends on (seed, i) alone, not on how many environments there are, in which process they
run or how long a rollout is. It advances by one row per action that counts: a step that only resets an environment
draws nothing.

Left out: what the noise means. A policy adds it to logits (Gumbel: the largest sum is a draw of the softmax) or scales
it (Gaussian).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int, Shaped

# So many rows of noise at once, [n, ...], equal to as many draws of one row each, one after the other.
Draw: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]


def gaussian(*shape: int) -> Draw:
    """Standard normal rows of this shape, float32."""
    return lambda generator, n: generator.standard_normal((n, *shape), np.float32)


def uniform(*shape: int) -> Draw:
    """Rows uniform in [0, 1), float32."""
    return lambda generator, n: generator.random((n, *shape), np.float32)


def gumbel(*shape: int) -> Draw:
    """Rows of Gumbel noise, -log of a standard exponential, float32."""

    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        exponential = generator.standard_exponential((n, *shape), np.float32)
        # A zero would be infinite noise, which beside an impossible action's logit of -inf is not a number.
        return -np.log(np.maximum(exponential, np.finfo(np.float32).tiny))

    return draw


def silent(generator: np.random.Generator, n: int) -> np.ndarray:
    """No noise at all, [n, 0]: for policies that draw nothing."""
    return np.zeros((n, 0), np.float32)


class NoiseStreams:
    """One stream per environment. Rows are drawn ahead; those that were not used are put back."""

    def __init__(self, draw: Draw, environments: int, *, seed: int, first: int = 0) -> None:
        self._draw = draw
        self._generators = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first + i,))) for i in range(environments)
        ]
        self._before: list[Any] = []
        self._rows: np.ndarray | None = None

    def ahead(self, steps: int) -> Shaped[np.ndarray, "t b ..."]:
        """The next rows of every stream, time first; good until the next call."""
        self._before = [generator.bit_generator.state for generator in self._generators]
        drawn = [self._draw(generator, steps) for generator in self._generators]
        shape = (steps, len(drawn), *drawn[0].shape[1:])
        if self._rows is None or self._rows.shape != shape:
            self._rows = np.empty(shape, drawn[0].dtype)
        np.stack(drawn, axis=1, out=self._rows)
        return self._rows

    def put_back(self, steps: int, used: Int[np.ndarray, " b"]) -> None:
        """Of the rows drawn ahead, only the first so many of each stream were used."""
        for i in np.flatnonzero(used < steps):
            self._generators[i].bit_generator.state = self._before[i]
            self._draw(self._generators[i], int(used[i]))

    def state_dict(self) -> dict[str, Any]:
        """Every stream's state."""
        return {"generators": [generator.bit_generator.state for generator in self._generators]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every stream's state back."""
        for generator, one in zip(self._generators, state["generators"], strict=True):
            generator.bit_generator.state = one
