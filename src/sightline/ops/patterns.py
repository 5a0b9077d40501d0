"""Who may look at whom: one predicate on positions, `Pattern`.

The same line serves three masters: it is the mask of the slow reference (`ops/reference.py`), hence the oracle of every
fast operator, and it is the receptive field of an attention layer. Criss-cross attention (Huang et al., 2019,
https://arxiv.org/abs/1811.11721) is `same_row | same_column`; a query has H + W - 1 keys because the centre satisfies
both and counts once.

Left out: weights. A pattern says what *may* be looked at, never how much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

Coordinates = tuple[Tensor, ...]  # one integer tensor per axis, mutually broadcastable


@dataclass(frozen=True)
class Pattern:
    """A named predicate: `allows(query, key)` is True where the query position may look at the key position."""

    name: str
    allows: Callable[[Coordinates, Coordinates], Tensor]

    def __or__(self, other: "Pattern") -> "Pattern":
        """Either pattern allows it."""
        return Pattern(f"{self.name} or {other.name}", lambda q, k: self.allows(q, k) | other.allows(q, k))

    def __and__(self, other: "Pattern") -> "Pattern":
        """Both patterns allow it."""
        return Pattern(f"{self.name} and {other.name}", lambda q, k: self.allows(q, k) & other.allows(q, k))

    def mask(self, size: Sequence[int]) -> Bool[Tensor, "n n"]:
        """The whole N x N table, `mask[query, key]`, positions flattened row by row. For oracles: memory is N^2."""
        grid = torch.meshgrid(*(torch.arange(s) for s in size), indexing="ij")
        flat = tuple(axis.flatten() for axis in grid)
        n = flat[0].numel()
        allowed = self.allows(tuple(a[:, None] for a in flat), tuple(a[None, :] for a in flat))
        return allowed.expand(n, n).contiguous()

    def visible(self, query: Sequence[int], size: Sequence[int]) -> Bool[Tensor, "*size"]:
        """The positions of a map of this size that one query position may look at, in O(N).

        Raises:
            ValueError: the query lies off the map.
        """
        return self.spread(_only(query, size))

    def spread(self, seen: Bool[Tensor, "*size"]) -> Bool[Tensor, "*size"]:
        """The positions that any of the seen positions may look at: one more layer of depth."""
        axes = [
            torch.arange(s).reshape([-1 if a == i else 1 for a in range(seen.dim())]) for i, s in enumerate(seen.shape)
        ]
        out = torch.zeros_like(seen)
        for position in seen.nonzero().tolist():
            out |= self.allows(tuple(torch.tensor(p) for p in position), tuple(axes))
            if bool(out.all()):
                break
        return out


def field(patterns: Sequence[Pattern], query: Sequence[int], size: Sequence[int]) -> Bool[Tensor, "*size"]:
    """The exact set of input positions that can reach one output position through a stack of patterns, last one first.

    `field([criss_cross, criss_cross], (0, 0), (9, 9)).all()` is True: two passes see everything.

    Raises:
        ValueError: the query lies off the map.
    """
    seen = _only(query, size)
    for pattern in reversed(patterns):
        seen = pattern.spread(seen)
    return seen


def window(kernel: int, dilation: int = 1) -> Pattern:
    """What a convolution of odd kernel size looks at, stride 1: `kernel` taps along each axis, `dilation` apart."""
    if kernel < 1 or kernel % 2 == 0 or dilation < 1:
        raise ValueError(
            f"a window needs an odd kernel and a dilation of at least 1, got kernel {kernel}, dilation {dilation}"
        )

    def allows(query: Coordinates, key: Coordinates) -> Tensor:
        inside = torch.tensor(True)
        for q, k in zip(query, key, strict=True):
            offset = k - q
            inside = inside & (offset.abs() <= kernel // 2 * dilation) & (offset % dilation == 0)
        return inside

    return Pattern(f"window of {kernel}, dilation {dilation}", allows)


def _only(query: Sequence[int], size: Sequence[int]) -> Bool[Tensor, "*size"]:
    """A map with one position marked. Too few coordinates would mark a whole row, negative ones wrap around."""
    if len(query) != len(size) or any(not 0 <= q < s for q, s in zip(query, size, strict=True)):
        raise ValueError(f"the query position {tuple(query)} does not lie on a map of size {tuple(size)}")
    seen = torch.zeros(*size, dtype=torch.bool)
    seen[tuple(query)] = True
    return seen


def _all_axes_equal(query: Coordinates, key: Coordinates) -> Tensor:
    same = torch.tensor(True)
    for q, k in zip(query, key, strict=True):
        same = same & (q == k)
    return same


everything = Pattern("everything", lambda query, key: _all_axes_equal(query, query) | _all_axes_equal(key, key))
itself = Pattern("itself", _all_axes_equal)
same_row = Pattern("same row", lambda query, key: query[-2] == key[-2])
same_column = Pattern("same column", lambda query, key: query[-1] == key[-1])
criss_cross = same_row | same_column
