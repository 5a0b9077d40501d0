"""Observations as environments give them: one array, or a dictionary or tuple of such, to any depth.

Left out: lists and texts, which no network here takes.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

Arrays: TypeAlias = Any  # an array, or a dictionary or tuple of Arrays


def map_arrays(function: Callable[..., Any], tree: Arrays, *others: Arrays) -> Arrays:
    """Apply a function to every array of a tree, together with those at the same place of the others."""
    if isinstance(tree, dict):
        return {key: map_arrays(function, part, *(other[key] for other in others)) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_arrays(function, *parts) for parts in zip(tree, *others, strict=True))
    return function(tree, *others)


def named_arrays(tree: Arrays, name: str) -> Iterator[tuple[str, Any]]:
    """Every array with its name: "observation", or "observation['image']" within a dictionary."""
    if isinstance(tree, dict | tuple):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from named_arrays(part, f"{name}[{key!r}]")
    else:
        yield name, tree


def empty_arrays(space: spaces.Space[Any], leading: tuple[int, ...], name: str = "the observation space") -> Arrays:
    """Arrays of zeros for what lies in a space, in the space's own type, with leading axes.

    Raises:
        ValueError: a space whose elements have no fixed size.
    """
    if isinstance(space, spaces.Dict):
        return {key: empty_arrays(part, leading, f"{name}[{key!r}]") for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(empty_arrays(part, leading, f"{name}[{index}]") for index, part in enumerate(space.spaces))
    if isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return np.zeros((*leading, *(space.shape or ())), space.dtype)
    raise ValueError(
        f"{name} is a {type(space).__name__}, whose elements are no arrays of one size: wrap the environment so that "
        "it gives Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them"
    )
