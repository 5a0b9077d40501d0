"""Dot-product attention in O(N): the products are summed over the keys before any query sees them.

Wang et al., 2018 (https://arxiv.org/abs/1711.07971), equation 4: f(i, j) = q_i k_j, divided by the number of visible
keys. Without a softmax the sum is linear, out_i = q_i (sum_j k_j v_j) / count, and the bracket is d x c numbers. The
gradients are three products of the same kind, and so is the second order: nothing here is ever N x N.

Left out: the direct order, (q k) v, which costs fewer products where N is smaller than d c / (d + c).
"""

import torch
from torch import Tensor

from sightline.ops.layouts import accumulation_type, empty_map, is_channels_last, outside_autocast
from sightline.ops.second_order import second_order


def visible_keys(key: Tensor, mask: Tensor | None) -> Tensor:
    """The number of keys that a query may look at, at least 1: `key [b, ..., m] -> [b or 1, 1, 1]`."""
    dtype = accumulation_type(key.dtype)
    if mask is None:
        return key.new_full((1, 1, 1), max(key.shape[-1], 1), dtype=dtype)
    return mask.sum(1).clamp_min(1).to(dtype)[:, None, None]


def plain_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The O(N) form, differentiable any number of times: `[b,d,n], [b,d,m], [b,c,m] -> [b,c,n]`."""
    seen = key if mask is None else key * mask[:, None]
    table = torch.bmm(seen, value.transpose(1, 2)) * (scale / visible_keys(key, mask))
    return torch.bmm(table.transpose(1, 2), query)


@outside_autocast
def dot_product_forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, channels_last: bool
) -> tuple[Tensor, Tensor]:
    """`[b,d,n], [b,d,m], [b,c,m], mask [b,m] -> out [b,c,n], table [b,d,c]` (the scaled sum of k v)."""
    dtype = accumulation_type(query.dtype)  # a sum over all keys leaves the range of half precision
    seen = key.to(dtype) if mask is None else key.to(dtype) * mask[:, None]
    table = torch.bmm(seen, value.to(dtype).transpose(1, 2)).mul_(scale / visible_keys(key, mask))
    out = empty_map(value, value.shape[1], query.shape[2], channels_last)
    _apply(table.transpose(1, 2), query.to(dtype), out)
    return out, table


@outside_autocast
def dot_product_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, table: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, each in the layout of its input."""
    dtype = accumulation_type(query.dtype)
    dq, dk, dv = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    g = grad.to(dtype)
    _apply(table, g, dq)
    back = torch.bmm(query.to(dtype), g.transpose(1, 2)).mul_(scale / visible_keys(key, mask))
    _apply(back, value.to(dtype), dk)
    _apply(back.transpose(1, 2), key.to(dtype), dv)
    if mask is not None:
        dk.mul_(mask[:, None])
        dv.mul_(mask[:, None])
    return dq, dk, dv


def _apply(table: Tensor, x: Tensor, out: Tensor) -> None:
    """`[b,c,d], [b,d,n] -> out [b,c,n]`, written in the layout of `out` without a copy where the dtypes agree."""
    turned = is_channels_last(out)
    left, right, target = (x.transpose(1, 2), table.transpose(1, 2), out.transpose(1, 2)) if turned else (table, x, out)
    if out.dtype == table.dtype:
        torch.bmm(left, right, out=target)
    else:
        target.copy_(torch.bmm(left, right))


dot_product_op = torch.library.custom_op("sightline::dot_product_attention", dot_product_forward, mutates_args=())
dot_product_backward_op = torch.library.custom_op(
    "sightline::dot_product_attention_backward", dot_product_backward, mutates_args=()
)


@dot_product_op.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, channels_last: bool
) -> tuple[Tensor, Tensor]:
    table = query.new_empty(query.shape[0], query.shape[1], value.shape[1], dtype=accumulation_type(query.dtype))
    return empty_map(value, value.shape[1], query.shape[2], channels_last), table


@dot_product_backward_op.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, table: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    query, key, value, mask, scale, _ = inputs
    ctx.save_for_backward(query, key, value, mask, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.scale = scale


def _first_order(ctx, grad, _):  # type: ignore[no-untyped-def]
    return *dot_product_backward_op(grad, *ctx.saved_tensors, ctx.scale), None, None, None


def _keep_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.scale = inputs[6]


def _second_order(ctx, *grads):  # type: ignore[no-untyped-def]
    # the table is a function of key and value: its share is counted there
    *saved, mask = ctx.saved_tensors
    second = second_order(lambda q, k, v: plain_dot_product(q, k, v, mask, ctx.scale), saved, grads)
    return *second, None, None, None


dot_product_op.register_autograd(_first_order, setup_context=_keep)
dot_product_backward_op.register_autograd(_second_order, setup_context=_keep_backward)
