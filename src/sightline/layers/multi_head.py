"""Multi-head self-attention over tokens or maps (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, 3.2.2).

Parameters are named as in timm (`qkv`, `proj`; the rows of `qkv` are queries, keys, values), so that its weights load.
The scores go through `scaled_dot_product_attention`, with the usual 1/sqrt(d). A position scheme of
`layers/positions.py` may turn queries and keys (`rotate`) or add to the scores (`bias`); prefix tokens (class,
registers) stand nowhere, so that neither touches them.

Left out: cross-attention, causal masks, dropout of weights, and a cache.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sightline.layers.attention import check_map, flat_index
from sightline.layers.positions import BiasesPositions, RotatesPositions
from sightline.ops.patterns import Pattern, everything
from sightline.ops.relative import bias_with_prefix


class MultiHeadAttention(nn.Module):
    """Self-attention, tokens `[b, n, c]` or a map `[b, c, h, w]` (or `[b, c, t, h, w]`) in, the same shape out.

    Tokens may begin with prefix tokens that stand nowhere on the map; then `size` says how the rest lie, and the prefix
    is what is left. Without `size` tokens are a plain sequence, and all of them are positions.

    Args:
        channels: width of the tokens.
        heads: number of heads; it divides the channels.
        bias: whether `qkv` has a bias.
        position: None, or a module with `rotate` or `bias` (`layers/positions.py`). A bias makes a table as large as
            the number of pairs of positions; nothing else here does.

    Raises:
        ValueError: the heads do not divide the channels, a position module with neither method or for another number
            of heads, a wrong rank or width, a mask that does not fit.
    """

    pattern: Pattern = everything

    def __init__(self, channels: int, heads: int, *, bias: bool = True, position: nn.Module | None = None) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            divisors = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise ValueError(f"{channels} channels do not divide into {heads} heads: give one of {divisors}")
        if position is not None and not isinstance(position, RotatesPositions | BiasesPositions):
            raise ValueError(
                f"a position module has a method rotate(query, key, size) or bias(size), {type(position).__name__} has"
                " neither: add positions of another kind to the tokens before they come here"
            )
        self.channels, self.heads = channels, heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.proj = nn.Linear(channels, channels)
        self.position = position

    def _tokens(self, x: Tensor, size: tuple[int, ...] | None) -> tuple[Tensor, tuple[int, ...]]:
        """The input as `[b, n, c]`, and the size of the grid at its end."""
        if x.dim() == 3:
            if x.shape[2] != self.channels:
                raise ValueError(
                    f"MultiHeadAttention was built for tokens [b, n, {self.channels}], got shape {tuple(x.shape)}"
                )
            grid = (x.shape[1],) if size is None else tuple(size)
            if math.prod(grid) > x.shape[1]:
                raise ValueError(f"a grid of size {grid} has more positions than there are tokens, {x.shape[1]}")
            return x, grid
        if x.dim() not in (4, 5):
            raise ValueError(
                f"MultiHeadAttention takes tokens [b, n, c] or a map [b, c, h, w], got shape {tuple(x.shape)}"
            )
        check_map("MultiHeadAttention", x, self.channels, x.dim() - 2)
        if size is not None and tuple(size) != tuple(x.shape[2:]):
            raise ValueError(f"size {tuple(size)} was given beside a map of size {tuple(x.shape[2:])}: leave it out")
        return x.flatten(2).transpose(1, 2), tuple(x.shape[2:])

    def _project(self, tokens: Float[Tensor, "b n c"], size: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `[b, heads, n, d]`, turned where the position scheme turns."""
        b, n, _ = tokens.shape
        qkv = self.qkv(tokens).reshape(b, n, 3, self.heads, self.channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if isinstance(self.position, RotatesPositions):
            query, key = self.position.rotate(query, key, size)
        return query, key, value

    def _bias(self, tokens: Tensor, size: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """What the position scheme adds to the scores, `[heads, n, n]`, zero for prefix tokens."""
        if not isinstance(self.position, BiasesPositions):
            return None
        n = math.prod(size)
        bias = self.position.bias(size)
        if bias.shape != (self.heads, n, n):  # one head's bias would be given to all in silence
            raise ValueError(
                f"{self.heads} heads on {n} positions need a bias of shape {(self.heads, n, n)}, "
                f"{type(self.position).__name__} gave {tuple(bias.shape)}: make it for {self.heads} heads"
            )
        return bias_with_prefix(bias, tokens.shape[1] - n).to(dtype)

    def attend(
        self,
        x: Float[Tensor, "b _ _ ..."],
        *,
        size: tuple[int, ...] | None = None,
        mask: Bool[Tensor, "b *n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """The heads' outputs side by side, as tokens, before the last projection."""
        tokens, size = self._tokens(x, size)
        query, key, value = self._project(tokens, size)
        bias = self._bias(tokens, size, query.dtype)
        seen = None
        if mask is not None:
            mask = _flat_mask(mask, tokens, x)
            # A softmax over nothing is NaN: where nothing may be seen all is, and the outcome is put to zero.
            seen = mask.any(-1, keepdim=True)
            table = (mask | ~seen)[:, None, None]
            bias = table if bias is None else bias.masked_fill(~table, float("-inf"))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out = out.transpose(1, 2).flatten(2)
        return out if seen is None else out * seen[..., None]

    def forward(
        self,
        x: Float[Tensor, "b _ _ ..."],
        *,
        size: tuple[int, ...] | None = None,
        mask: Bool[Tensor, "b *n"] | None = None,
    ) -> Float[Tensor, "b _ _ ..."]:
        """`mask` is True where a key may be looked at, `[b, n]` for tokens, `[b, *positions]` for maps."""
        out = self.proj(self.attend(x, size=size, mask=mask))
        # Tokens are a map in channels_last: returned as such, without a copy.
        return out if x.dim() == 3 else out.unflatten(1, x.shape[2:]).movedim(-1, 1)

    def weights(
        self,
        x: Float[Tensor, "b _ _ ..."],
        query: int | tuple[int, ...],
        *,
        size: tuple[int, ...] | None = None,
        mask: Bool[Tensor, "b *n"] | None = None,
    ) -> Float[Tensor, "b heads *n"]:
        """Where one token looks, in O(N) beside the projections (a position bias makes its own table).

        A tuple is a position on the grid; an int is a token counted from the first, prefix tokens included. Returned is
        `[b, heads, n]` for tokens, prefix first, and `[b, heads, *positions]` for a map.
        """
        tokens, size = self._tokens(x, size)
        n = tokens.shape[1]
        index = query if isinstance(query, int) else n - math.prod(size) + flat_index(query, size)
        if not 0 <= index < n:
            raise ValueError(f"token {index} was asked for, there are {n}: 0 to {n - 1}")
        queries, key, _ = self._project(tokens, size)
        scores = torch.einsum("bhd,bhnd->bhn", queries[:, :, index], key) * (self.channels // self.heads) ** -0.5
        bias = self._bias(tokens, size, scores.dtype)
        if bias is not None:
            scores = scores + bias[:, index]
        if mask is None:
            weights = scores.softmax(-1)
        else:
            flat = _flat_mask(mask, tokens, x)[:, None]
            seen = flat.any(-1, keepdim=True)
            weights = scores.masked_fill(~flat & seen, float("-inf")).softmax(-1) * seen
        return weights if x.dim() == 3 else weights.reshape(x.shape[0], self.heads, *x.shape[2:])


def _flat_mask(mask: Tensor, tokens: Tensor, x: Tensor) -> Tensor:
    expected = tuple(tokens.shape[:2]) if x.dim() == 3 else (x.shape[0], *x.shape[2:])
    if mask.dtype != torch.bool or tuple(mask.shape) != expected:
        raise ValueError(
            f"the mask must be bool, with one entry for every key, {expected}, got {mask.dtype} {tuple(mask.shape)}: "
            "True marks the keys that may be looked at"
        )
    return mask.flatten(1)
