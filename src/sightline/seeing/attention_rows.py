"""Rows of an attention table, a few at a time, from what an attention function was called with.

A = softmax(scale q k^T + bias) (Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, equation 1). What is kept of a
call are queries, keys and views of its masks, of the first item of the batch; a block of r rows costs r x N, never
N x N. Sums are kept in float32 where the network computes in half precision. A row that may see nothing is all zero.

Left out: dropout of weights, which evaluation mode switches off.
"""

import dataclasses
import inspect
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from sightline.ops.layouts import accumulation_type

ARGUMENTS_OF_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)
ARGUMENTS_OF_SCALED_DOT_PRODUCT = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of one item of a batch that are computed when asked for."""

    query: Float[Tensor, "heads n d"]
    """queries of every head."""
    key: Float[Tensor, "heads m d"]
    """keys of every head."""
    scale: float
    """multiplies the scores."""
    biases: tuple[Shaped[Tensor, "heads n m"], ...] = ()
    """views: float is added to the scores, bool is True where a key may be seen."""
    causal: bool = False
    """whether query i sees the keys up to i alone."""
    groups: int = 1
    """items of the batch that the one image was cut into, windows for example; these are the first's."""
    extra: int = 0
    """keys at the end that the layer added to the tokens."""

    def rows(self, start: int, stop: int) -> Float[Tensor, "heads r m"]:
        """The weights of the queries from `start` up to, without, `stop`."""
        dtype = accumulation_type(self.query.dtype)
        scores = self.query[:, start:stop].to(dtype) @ self.key.to(dtype).mT * self.scale
        for bias in self.biases:
            part = bias[:, start:stop]
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part.to(dtype)
        if self.causal:
            n = torch.arange(start, start + scores.shape[1], device=scores.device)
            scores = scores.masked_fill(torch.arange(scores.shape[2], device=n.device) > n[:, None], -torch.inf)
        return softmax_or_zero(scores)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that the network itself has made."""

    weights: Float[Tensor, "heads n m"]
    """of every head."""
    groups: int = 1
    """as in `Scores`."""
    extra: int = 0
    """as in `Scores`."""

    def rows(self, start: int, stop: int) -> Float[Tensor, "heads r m"]:
        """The weights of the queries from `start` up to, without, `stop`."""
        part = self.weights[:, start:stop]
        return part.to(accumulation_type(part.dtype))


def softmax_or_zero(scores: Float[Tensor, "*rows m"]) -> Float[Tensor, "*rows m"]:
    """A softmax whose row is zero, not NaN, where every score is -inf."""
    blind = (scores == -torch.inf).all(-1, keepdim=True)
    return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


def from_scaled_dot_product(arguments: Sequence[object], named: dict[str, object]) -> Scores | None:
    """What `scaled_dot_product_attention` was called with; None for nested tensors, which have no common length.

    Of `[groups, heads, n, d]` the first group is kept. `[groups, n, d]` is taken as one head; the caller knows whether
    the groups are heads in truth. Of more axes nobody knows which are heads: all count as groups.
    """
    given = {**dict(zip(ARGUMENTS_OF_SCALED_DOT_PRODUCT, arguments, strict=False)), **named}
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    assert isinstance(query, Tensor)
    assert isinstance(key, Tensor)
    if query.is_nested or key.is_nested:
        return None
    leading = query.shape[:-2]
    grouped = bool(given.get("enable_gqa", False)) and query.dim() > 2
    if grouped:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    leading = torch.broadcast_shapes(leading, key.shape[:-2])
    n, m = query.shape[-2], key.shape[-2]
    biases: tuple[Tensor, ...] = ()
    if isinstance(mask, Tensor):
        biases = (_first(mask.expand(*leading, n, m)),)
    scale = given.get("scale")
    return Scores(
        _first(query.expand(*leading, *query.shape[-2:])),
        _first(key.expand(*leading, *key.shape[-2:])),
        query.shape[-1] ** -0.5 if not isinstance(scale, float | int) else float(scale),
        biases,
        bool(given.get("is_causal", False)),
        groups=_groups(leading),
    )


def heads_of_groups(arguments: Sequence[object], named: dict[str, object]) -> Scores | None:
    """The same call with `[heads, n, d]`: its first axis as heads of one item."""
    given = {**dict(zip(ARGUMENTS_OF_SCALED_DOT_PRODUCT, arguments, strict=False)), **named}
    for name in ("query", "key", "value", "attn_mask"):
        tensor = given.get(name)
        if isinstance(tensor, Tensor) and tensor.dim() == 3:
            given[name] = tensor[None]
    return from_scaled_dot_product((), given)


def from_multi_head(arguments: Sequence[object], named: dict[str, object]) -> Scores:
    """What `multi_head_attention_forward` was called with, which is what `nn.MultiheadAttention` runs: `[n, b, c]`.

    Only queries and keys are projected again. A bool mask there is True where a key may *not* be seen.
    """
    bound = ARGUMENTS_OF_MULTI_HEAD.bind(*arguments, **named)
    bound.apply_defaults()
    given = bound.arguments
    query, key, heads = given["query"], given["key"], given["num_heads"]
    batched = query.dim() == 3
    groups = query.shape[1] if batched else 1
    if batched:
        query, key = query[:, 0], key[:, 0]
    if given["use_separate_proj_weight"]:
        of_query, of_key = given["q_proj_weight"], given["k_proj_weight"]
    else:
        of_query, of_key, _ = given["in_proj_weight"].chunk(3)
    bias = given["in_proj_bias"]
    bias_of_query, bias_of_key, _ = (None, None, None) if bias is None else bias.chunk(3)
    queries = F.linear(query, of_query, bias_of_query).unflatten(-1, (heads, -1)).transpose(0, 1)
    if given["static_k"] is not None:
        keys = given["static_k"][:heads]
    else:
        flat = F.linear(key, of_key, bias_of_key)
        if given["bias_k"] is not None:
            flat = torch.cat([flat, given["bias_k"][0]])
        keys = flat.unflatten(-1, (heads, -1)).transpose(0, 1)
    if given["add_zero_attn"]:
        keys = F.pad(keys, (0, 0, 0, 1))
    n, m = queries.shape[1], keys.shape[1]
    extra = (given["bias_k"] is not None) + bool(given["add_zero_attn"])
    mask, padding = given["attn_mask"], given["key_padding_mask"]
    # PyTorch drops the mask for its causal kernel in this one case, and adds it in every other.
    causal = bool(given["is_causal"]) and padding is None and not given["need_weights"]
    biases = []
    if mask is not None and not causal:
        table = mask if mask.dim() == 2 else mask[:heads]
        biases.append(_visible(table, extra).expand(heads, n, m))
    if padding is not None:
        row = padding[0] if padding.dim() == 2 else padding
        biases.append(_visible(row, extra).expand(heads, n, m))
    return Scores(queries, keys, queries.shape[-1] ** -0.5, tuple(biases), causal, groups, extra)


def from_table(table: Float[Tensor, "*leading n m"], *, merged: bool) -> Table:
    """An explicit table: `[groups, heads, n, m]`, one head's `[n, m]`, or `[heads, n, m]`; with `merged` the first axis
    of the latter holds groups and heads, and counts as groups.
    """
    if table.dim() == 3 and not merged:
        return Table(table)
    return Table(_first(table), _groups(table.shape[:-2]))


def _groups(leading: torch.Size) -> int:
    return leading[0] if len(leading) == 2 else leading.numel()


def _first(tensor: Tensor) -> Tensor:
    """The first group as `[heads, n, m]`, one head where there is no such axis."""
    if tensor.dim() < 4:
        return tensor[:1] if tensor.dim() == 3 else tensor[None]
    return tensor.flatten(0, -4)[0] if tensor.dim() > 4 else tensor[0]


def _visible(mask: Tensor, extra: int) -> Tensor:
    """A mask as a bias: bool turned to "may be seen", and keys that the layer added always seen."""
    mask = ~mask if mask.dtype == torch.bool else mask
    return F.pad(mask, (0, extra), value=float(mask.dtype == torch.bool)) if extra else mask
