"""Observations and rewards brought to one scale by running means and variances (`moments.py`).

Nothing changes but in `add`: evaluation calls an object as it stands, and everything of one rollout is seen through
the same numbers if `add` comes after its update.

Left out: normalising by batches, and normalising images, whose range is known.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Float32, Float64

from sightline.rl.moments import Moments, load_moments, merge, merge_processes, moments, no_moments
from sightline.rl.transitions import check_followed
from sightline.rl.trees import Arrays, empty_arrays, map_arrays, named_arrays

SMALL = 1e-8  # added to a variance, as OpenAI's baselines do


class ObservationNormaliser:
    """Brings every number of an observation to mean 0 and variance 1, and clips it.

    Floating-point arrays are normalised, each number by itself; others (images in uint8, indices, flags) pass as they
    are. Before anything was added, `mean` is 0 and `scale` 1.

    Args:
        space: of one environment's observations.
        clip: the largest size of what comes out.
    """

    def __init__(self, space: spaces.Space[Any], clip: float = 10.0) -> None:
        _check_clip(clip)
        self.clip = clip
        self._moments = map_arrays(
            lambda like: no_moments(like.shape) if np.issubdtype(like.dtype, np.floating) else None,
            empty_arrays(space, ()),
        )
        self._prepare()

    def __call__(self, observation: Arrays) -> Arrays:
        """Normalise a batch with any number of leading axes, into float32."""
        return map_arrays(self._apply, self.mean, self.scale, observation)

    def add(self, observation: Arrays, valid: Bool[np.ndarray, "*batch"]) -> None:
        """Take in what was observed where it counts. With several processes, all of them call this together."""
        self._moments = _where_any(lambda old, new: _added(old, new, valid), self._moments, observation)
        self._prepare()

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact."""
        return {name: one.state_dict() for name, one in self._named()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            ValueError: it is of other observations.
        """
        here = {name: list(one.mean.shape) for name, one in self._named()}
        saved = {name: list(one["mean"].shape) for name, one in state.items()}
        if saved != here:
            raise ValueError(f"the saved normalisation is of other observations: it has {saved}, these have {here}")
        parts = iter([load_moments(state[name]) for name in here])
        self._moments = _where_any(lambda _: next(parts), self._moments)  # a tree is always walked in one order
        self._prepare()

    def _named(self) -> list[tuple[str, Moments]]:
        return [(name, one) for name, one in named_arrays(self._moments, "observation") if one is not None]

    def _prepare(self) -> None:
        self.mean = _where_any(lambda one: one.mean, self._moments)
        self.scale = _where_any(_scale, self._moments)

    def _apply(self, mean: np.ndarray | None, scale: np.ndarray | None, observation: np.ndarray) -> np.ndarray:
        if mean is None or scale is None:
            return observation
        out = (observation - mean) * scale  # in float64: a large mean must not swallow what varies around it
        return np.minimum(np.maximum(out, -self.clip), self.clip).astype(np.float32)


class RewardScaler:
    """Divides rewards by the standard deviation of discounted returns, and clips them; their mean stays.

    The returns look back, R_t = gamma R_{t-1} + r_t from every episode's beginning, as in OpenAI's baselines
    (Engstrom et al., 2020, https://arxiv.org/abs/2005.12729, appendix A.2).

    Args:
        environments: the b of `[t, b]`.
        gamma: the discount, in [0, 1].
        clip: the largest size of what comes out.
    """

    def __init__(self, environments: int, gamma: float, clip: float = 10.0) -> None:
        _check_clip(clip)
        if not 0 <= gamma <= 1:
            raise ValueError(f"a discount lies in [0, 1], got gamma={gamma}: 0.99 is usual")
        self.gamma, self.clip = gamma, clip
        self._moments = no_moments(())
        self._carried = np.zeros(environments)  # gamma times every unfinished episode's return

    @property
    def scale(self) -> float:
        """What rewards are multiplied by."""
        return float(_scale(self._moments))

    def __call__(self, reward: Float[np.ndarray, "*batch"]) -> Float32[np.ndarray, "*batch"]:
        """Scale rewards."""
        return np.clip(reward * self.scale, -self.clip, self.clip).astype(np.float32)

    def add(
        self,
        reward: Float[np.ndarray, "t b"],
        terminated: Bool[np.ndarray, "t b"],
        truncated: Bool[np.ndarray, "t b"],
        valid: Bool[np.ndarray, "t b"],
    ) -> None:
        """Take in a rollout that goes on where the last one ended. With several processes, all call this together.

        Raises:
            ValueError: another number of environments than before.
        """
        check_followed("the scaler", len(self._carried), reward)
        keep = np.where(terminated | truncated, 0.0, self.gamma)
        returns = np.array(reward, np.float64)
        for row, kept, counts in zip(returns, keep, valid, strict=True):
            row += self._carried
            np.multiply(row, kept, out=self._carried, where=counts)
        self._moments = _added(self._moments, returns, valid)

    def restart(self) -> None:
        """Forget the episodes that have not ended: the environments begin anew."""
        self._carried[:] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it, exact."""
        return {"moments": self._moments.state_dict(), "carried": self._carried.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            ValueError: it is of another number of environments.
        """
        if state["carried"].shape != self._carried.shape:
            raise ValueError(
                f"the saved reward scale is of {len(state['carried'])} environments, here are {len(self._carried)}"
            )
        self._moments = load_moments(state["moments"])
        self._carried = state["carried"].copy()


def _where_any(function: Callable[..., Any], tree: Arrays, *others: Arrays) -> Arrays:
    """Apply a function where a tree holds anything; None where it holds none."""
    return map_arrays(lambda one, *rest: None if one is None else function(one, *rest), tree, *others)


def _added(old: Moments, new: np.ndarray, valid: np.ndarray) -> Moments:
    return merge(old, merge_processes(moments(new[valid])))


def _scale(seen: Moments) -> Float64[np.ndarray, "..."]:
    """One over the standard deviation; a single thing seen has none."""
    return np.asarray(1 / np.sqrt(seen.variance + SMALL)) if seen.count > 1 else np.ones_like(seen.squares)


def _check_clip(clip: float) -> None:
    if not clip > 0:
        raise ValueError(f"what is normalised is clipped to a positive size, got clip={clip}: 10 is usual")
