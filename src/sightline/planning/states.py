"""Where the states of a tree's places are kept: whatever a model gives, arrays, nested tuples of them, or a list.

A state of b places comes in and goes out; in between its parts lie in arrays of [roots * capacity, ...], NumPy's or
PyTorch's on whatever device they came from, and the parts of a list in a list. Nothing is looked at but by `keys`,
which tells whether two sampled outcomes are the same.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def mapped(function: Callable[..., Any], *states: Any) -> Any:
    """A function of the parts of states that are built alike; it goes as deep as tuples are nested, not as a tree."""
    first = states[0]
    if isinstance(first, tuple):
        parts = [mapped(function, *each) for each in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return function(*states)


def parts(state: Any) -> list[Any]:
    """All arrays and lists of a state, in order."""
    found: list[Any] = []
    mapped(found.append, state)
    return found


def taken(state: Any, at: np.ndarray) -> Any:
    """The states with these numbers.

    Args:
        state: of b places.
        at: [n] whole numbers.
    """

    def take(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return part[torch.as_tensor(at, device=part.device)]
        return [part[i] for i in at.tolist()] if isinstance(part, list) else part.take(at, 0)

    return mapped(take, state)


def room_for(state: Any, count: int) -> Any:
    """Place for so many states like these."""

    def empty(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return part.new_zeros((count, *part.shape[1:]))
        return [None] * count if isinstance(part, list) else np.zeros((count, *part.shape[1:]), part.dtype)

    return mapped(empty, state)


def put(room: Any, at: np.ndarray, state: Any) -> None:
    """Keep states under these numbers.

    Args:
        room: of `room_for`.
        at: [n] whole numbers.
        state: of n places.
    """

    def one(kept: Any, part: Any) -> None:
        if isinstance(kept, list):
            for i, value in zip(at.tolist(), part, strict=True):
                kept[i] = value
        elif isinstance(kept, torch.Tensor):
            kept[torch.as_tensor(at, device=kept.device)] = part.to(kept.dtype)
        else:
            kept[at] = part

    mapped(one, room, state)


def keys(count: int, *states: Any) -> np.ndarray:
    """A number for each of so many states, the same for the same bytes; 0 where there is no saying (lists of objects).

    Args:
        count: how many states there are.
        states: anything that belongs to each of them.

    Returns:
        [count] whole numbers.
    """
    rows: list[list[bytes]] = [[] for _ in range(count)]
    for part in (one for state in states for one in parts(state)):
        if isinstance(part, list):
            if not all(isinstance(one, (int, str, bytes)) for one in part):
                return np.zeros(count, np.int64)
            found = [repr(one).encode() for one in part]
        else:
            array = part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
            found = [one.tobytes() for one in array]
        for row, one in zip(rows, found, strict=True):
            row.append(one)
    digests = [hashlib.blake2b(b"|".join(row), digest_size=8).digest() for row in rows]
    return np.array([int.from_bytes(one, "little", signed=True) for one in digests], np.int64)


def alike(state: Any, found: list[np.ndarray]) -> Any:
    """Arrays put together as a state is."""
    left = iter(found)
    return mapped(lambda part: torch.as_tensor(next(left)) if isinstance(part, torch.Tensor) else next(left), state)
