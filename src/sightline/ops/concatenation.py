"""Concatenation attention, ReLU(a_i + b_j), exactly and in O(N log N): one sort, suffix sums, one look-up per query.

Wang et al., 2018 (https://arxiv.org/abs/1711.07971), equation 6: f(i, j) = ReLU(w [theta_i, phi_j]), which is
ReLU(a_i + b_j) with a = w_theta theta_i and b = w_phi phi_j. Query i uses exactly the keys with b_j > -a_i, the end of
the sorted keys, so

    out_i = (a_i sum_{j: b_j > -a_i} v_j + sum_{j: b_j > -a_i} b_j v_j) / count

needs two suffix sums at one place. The gradients have the same form with the roles of a and b exchanged;
`docs/concatenation.md` derives them. Suffix sums are taken from the large end, never as a total minus a prefix, which
would cancel.

Left out: the second-order gradient in O(N log N); it recomputes the plain N x N form.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sightline.ops.dot_product import visible_keys
from sightline.ops.layouts import accumulation_type, empty_map, outside_autocast
from sightline.ops.reference import attention
from sightline.ops.second_order import second_order

CHUNK = 2**19  # values in memory at once: channels are independent, so tables are built for a few of them at a time


class Lookup(NamedTuple):
    """Where each query's keys end in the keys sorted from large to small."""

    order: Tensor  # [b, m] key positions, largest first, hidden ones last
    used: Tensor  # [b, n] how many of them a query uses
    query: Tensor  # [b, n] plus the mean of the keys
    key: Tensor  # [b, m] in the sorted order, minus their mean; 0 where hidden


def _look_up(query: Tensor, key: Tensor, visible: Tensor | None) -> Lookup:
    """Sort the keys and find every query's place among them; `visible` hides keys."""
    # the places come from the numbers as they are, so that a tie, a + b = 0, is told as exactly as ReLU tells it
    negative = -key if visible is None else (-key).masked_fill(~visible, float("inf"))
    ascending, order = negative.sort(dim=1, stable=True)
    used = torch.searchsorted(ascending, query.contiguous())
    # the sums come from centred numbers: a_i + b_j is small where a_i and b_j need not be
    if visible is None:
        mean = key.mean(1, keepdim=True)
    else:
        mean = (key * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True).clamp_min(1)
    centred = (key - mean).gather(1, order)
    if visible is not None:
        centred = centred.masked_fill(~visible.gather(1, order), 0)
    return Lookup(order, used, query + mean, centred)


def _suffix_sums(at: Lookup, values: Tensor, weighted: bool) -> Tensor:
    """The sum of the values (times the centred keys if weighted) that each query uses: `[b,c,m] -> [b,c,n]`."""
    b, c, m = values.shape
    table = values.new_empty(b, c, m + 1)
    table[:, :, 0] = 0
    ordered = values.gather(2, at.order[:, None].expand(b, c, m))
    torch.cumsum(ordered.mul_(at.key[:, None]) if weighted else ordered, 2, out=table[:, :, 1:])
    return table.gather(2, at.used[:, None].expand(b, c, at.used.shape[1]))


def _chunks(value: Tensor, positions: int) -> Iterator[slice]:
    """Channels, a few at a time."""
    channels = max(1, CHUNK // max(1, value.shape[0] * positions))
    return (slice(i, i + channels) for i in range(0, value.shape[1], channels))


@outside_autocast
def concatenation_forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, channels_last: bool
) -> Tensor:
    """`[b,n], [b,m], [b,c,m], mask [b,m] -> [b,c,n]`."""
    dtype = accumulation_type(query.dtype)
    n, m = query.shape[1], key.shape[1]
    out = empty_map(value, value.shape[1], n, channels_last)
    if out.numel() == 0 or m == 0:
        return out.zero_()
    at = _look_up(query.to(dtype), key.to(dtype), mask)
    count = visible_keys(key, mask)
    for c in _chunks(value, max(n, m)):
        v = value[:, c].to(dtype)
        total = _suffix_sums(at, v, weighted=False).mul_(at.query[:, None])
        out[:, c] = total.add_(_suffix_sums(at, v, weighted=True)).div_(count)
    return out


@outside_autocast
def concatenation_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value; key j serves the queries with a_i > -b_j, again a suffix of a sorted list."""
    dtype = accumulation_type(query.dtype)
    n, m = query.shape[1], key.shape[1]
    dq, dk = query.new_zeros(query.shape, dtype=dtype), key.new_zeros(key.shape, dtype=dtype)
    dv = torch.empty_like(value)
    if n * m == 0 or value.numel() == 0:
        return dq.to(query.dtype), dk.to(key.dtype), dv.zero_()
    a, b = query.to(dtype), key.to(dtype)
    keys, queries = _look_up(a, b, mask), _look_up(b, a, None)
    count = visible_keys(key, mask)
    for c in _chunks(value, max(n, m)):
        g, v = grad[:, c].to(dtype) / count, value[:, c].to(dtype)
        dq += _suffix_sums(keys, v, weighted=False).mul_(g).sum(1)
        used_by = _suffix_sums(queries, g, weighted=False)
        if mask is not None:
            v = v * mask[:, None]
        dk += (used_by * v).sum(1)
        total = used_by.mul_(queries.query[:, None]).add_(_suffix_sums(queries, g, weighted=True))
        dv[:, c] = total if mask is None else total.mul_(mask[:, None])
    return dq.to(query.dtype), dk.to(key.dtype), dv


concatenation_op = torch.library.custom_op("sightline::concatenation_attention", concatenation_forward, mutates_args=())
concatenation_backward_op = torch.library.custom_op(
    "sightline::concatenation_attention_backward", concatenation_backward, mutates_args=()
)


@concatenation_op.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, channels_last: bool) -> Tensor:
    return empty_map(value, value.shape[1], query.shape[1], channels_last)


@concatenation_backward_op.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), torch.empty_like(value)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:4])


def _first_order(ctx, grad):  # type: ignore[no-untyped-def]
    return *concatenation_backward_op(grad, *ctx.saved_tensors), None, None


def _keep_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _second_order(ctx, *grads):  # type: ignore[no-untyped-def]
    *saved, mask = ctx.saved_tensors

    def plain(a: Tensor, b: Tensor, v: Tensor) -> Tensor:
        return attention(a[:, None], b[:, None], v, pairwise="concatenation", mask=mask)

    second = second_order(plain, saved, grads)
    return *second, None


concatenation_op.register_autograd(_first_order, setup_context=_keep)
concatenation_backward_op.register_autograd(_second_order, setup_context=_keep_backward)
