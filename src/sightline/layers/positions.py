"""Where things are, as modules; and the two contracts by which attention takes a position scheme.

An attention layer knows a scheme by one method: `rotate` (rotary schemes turn queries and keys) or `bias` (relative
schemes add to the scores). `size` is the map's size, `(h, w)` or `(length,)`; positions are flattened row by row.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class RotatesPositions(Protocol):
    """A scheme that turns queries and keys so that their product depends on where they stand relative to each other."""

    def rotate(
        self, query: Float[Tensor, "b heads n d"], key: Float[Tensor, "b heads n d"], size: Sequence[int]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """Return both, turned, in their own dtype; n is `prefix + prod(size)`, prefix tokens come first, untouched."""


@runtime_checkable
class BiasesPositions(Protocol):
    """A scheme that adds a number to every score before the softmax."""

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """Return the bias, query by key, of the `n = prod(size)` grid positions.

        Prefix tokens are not counted: the attention layer pads their rows and columns with zeros
        (`sightline.ops.relative.bias_with_prefix`) and casts to the scores' dtype.
        """
