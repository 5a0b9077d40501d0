"""What every attention layer promises: map in, map out, and an answer to the question where it looks.

Two members beyond `forward` make a layer an attention layer here: `.pattern`, where it may look (`ops/patterns.py`),
and `.weights(x, query)`, where one position does look, computed for that query alone. No hook and no global flag is
needed, and a fused kernel that never makes the weights does not stand in the way. Tests pin `weights` to `forward`.

Left out: a base class. A layer of your own needs the two members and nothing to inherit from.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from sightline.ops.patterns import Pattern


@runtime_checkable
class AttentionLayer(Protocol):
    """A layer that can be asked where it may look, and where it does look."""

    @property
    def pattern(self) -> Pattern:
        """Where a position may look."""
        ...

    def weights(self, x: Tensor, query: tuple[int, ...]) -> Tensor:
        """`[b, *positions]` or `[b, heads, *positions]`: what the position `query` takes from every position."""
        ...


def check_map(layer: str, x: Tensor, channels: int, dimensions: int) -> None:
    """Say in one sentence what is wrong with a map that a layer was given.

    Raises:
        ValueError: `x` is not `[b, channels, *positions]` with that many position axes.
    """
    if x.dim() != dimensions + 2:
        axes = {1: "[b, c, t]", 2: "[b, c, h, w]", 3: "[b, c, t, h, w]"}[dimensions]
        raise ValueError(f"{layer} takes a map {axes}, got a tensor of shape {tuple(x.shape)}")
    if x.shape[1] != channels:
        raise ValueError(f"{layer} was built for {channels} channels, got {x.shape[1]}: give channels={x.shape[1]}")


def check_position(query: Sequence[int], size: Sequence[int]) -> None:
    """Say in one sentence that a query position does not lie on the map.

    Raises:
        ValueError: the number of axes differs, or a coordinate is outside.
    """
    if len(query) != len(size) or any(not 0 <= q < s for q, s in zip(query, size, strict=True)):
        raise ValueError(f"the query position {tuple(query)} does not lie on a map of size {tuple(size)}")


def flat_index(query: Sequence[int], size: Sequence[int]) -> int:
    """Where a position stands among the positions of a map flattened row by row."""
    check_position(query, size)
    index = 0
    for q, s in zip(query, size, strict=True):
        index = index * s + q
    return index


def look_up(weights: Float[Tensor, "b *keys"], value: Float[Tensor, "b c *keys"]) -> Float[Tensor, "b c"]:
    """What one query takes home: the values weighted by where it looks. Pins `weights` to `forward`."""
    return (weights.flatten(1)[:, None] * value.flatten(2)).sum(-1)
