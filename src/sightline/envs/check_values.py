"""What is wrong with one value that an environment returns: an observation, a reward, a flag; None when nothing is.

Left out: spaces of other makers; `space.contains` judges those.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


def wrong_space(space: Any, name: str) -> str | None:
    """A space that is none, or that holds nothing."""
    if not isinstance(space, gymnasium.Space):
        return f"{name} is a gymnasium.Space, this one is {'missing' if space is None else f'a {type(space).__name__}'}"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return next((found for key, part in parts if (found := wrong_space(part, f"{name}[{key!r}]"))), None)
    if isinstance(space, spaces.Box):
        if np.isnan(space.low).any() or np.isnan(space.high).any():
            return f"{name} has a bound that is NaN: say -inf or inf where there is no bound"
        if (space.low > space.high).any():
            where = _first(space.low > space.high)
            return f"{name} allows nothing at {where}: its low {space.low[where]} is above its high {space.high[where]}"
    return None


def wrong_value(value: Any, space: gymnasium.Space[Any], name: str) -> str | None:
    """A value that does not lie in its space."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or value.keys() != space.spaces.keys():
            got = f"the keys {sorted(value)}" if isinstance(value, dict) else f"a {type(value).__name__}"
            return f"{name} is a dictionary with the keys {sorted(space.spaces)}, got {got}"
        return next((w for k, s in space.spaces.items() if (w := wrong_value(value[k], s, f"{name}[{k!r}]"))), None)
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple) or len(value) != len(space.spaces):
            got = f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
            return f"{name} is a tuple of {len(space.spaces)} parts, got {got}"
        parts = enumerate(zip(value, space.spaces, strict=True))
        return next((w for i, (v, s) in parts if (w := wrong_value(v, s, f"{name}[{i}]"))), None)
    if isinstance(space, spaces.Box):
        return _wrong_array(value, space, name)
    if not space.contains(value):
        return f"{name} lies outside its space {space}, got {value!r}"
    return None


def _wrong_array(value: Any, space: spaces.Box, name: str) -> str | None:
    if not isinstance(value, np.ndarray | np.generic):
        return f"{name} is a NumPy array, got a {type(value).__name__}"
    if value.shape != space.shape:
        return f"{name} has the shape {space.shape} in its space, got {value.shape}"
    if value.dtype != space.dtype:
        return f"{name} is {space.dtype} in its space, got {value.dtype}: convert it, or change the space"
    array = np.asarray(value)
    for wrong, what in ((~np.isfinite(array), "is not finite"), (array < space.low, ""), (array > space.high, "")):
        if wrong.any():
            where = _first(wrong)
            outside = f"lies outside [{space.low[where]}, {space.high[where]}], the bounds of its space"
            return f"{name} {what or outside}: {array[where]} at {where}"
    return None


def wrong_reward(reward: Any, b: int | None) -> str | None:
    """A reward that is no finite number; with `b`, an array of them."""
    if b is None:
        if isinstance(reward, bool) or not isinstance(reward, int | float | np.integer | np.floating):
            got = f"an array of shape {reward.shape}" if isinstance(reward, np.ndarray) else f"{reward!r}"
            return f"the reward is a number, got {got} ({type(reward).__name__})"
        return None if np.isfinite(reward) else f"the reward is {reward}, not a finite number"
    if not isinstance(reward, np.ndarray) or reward.dtype.kind not in "fiu" or reward.shape != (b,):
        return f"rewards are an array of {b} numbers, got {_says(reward)}"
    if not np.isfinite(reward).all():
        index = int((~np.isfinite(reward)).argmax())
        return f"the reward of environment {index} is {reward[index]}, not a finite number"
    return None


def wrong_flag(flag: Any, name: str, b: int | None) -> str | None:
    """A `terminated` or `truncated` that is no boolean; with `b`, an array of them."""
    if b is None:
        right = isinstance(flag, bool | np.bool_)
        return None if right else f"{name} is True or False, got {flag!r} ({type(flag).__name__})"
    right = isinstance(flag, np.ndarray) and flag.dtype == np.bool_ and flag.shape == (b,)
    return None if right else f"{name} is a boolean array of shape ({b},), got {_says(flag)}"


def digest(*values: Any) -> bytes:
    """A few bytes that differ when any part of the values does."""
    total = hashlib.blake2b(digest_size=16)
    for value in values:
        for leaf in _leaves(value):
            array = np.asarray(leaf)
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return total.digest()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _leaves(value[key])
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _first(wrong: np.ndarray) -> tuple[int, ...]:
    return tuple(int(axis[0]) for axis in np.nonzero(wrong))


def _says(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
