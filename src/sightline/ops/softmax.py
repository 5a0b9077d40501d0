"""Softmax attention of all positions over all positions, block by block: no N x N table in forward or backward.

Wang et al., 2018 (https://arxiv.org/abs/1711.07971), equation 1 with the Gaussian form:

    out_i = sum_j softmax_j(scale q_i k_j) v_j

A block of queries meets every key at once, so the softmax needs no merging; what is kept for the backward pass is the
log-sum-exp of each row (Dao et al., 2022, https://arxiv.org/abs/2205.14135), from which a block's weights come back.
Query and value may differ in width, and both memory layouts are read and written without copies of whole maps.

The blocks are plain matrix products, so they run on any device; `ops/fused.py` is the same pair of operators through
PyTorch's fused kernels. Left out: a lean second order; it recomputes the plain N x N form.
"""

import torch
from torch import Tensor
from torch.library import CustomOpDef

from sightline.ops.layouts import accumulation_type, empty_map, outside_autocast
from sightline.ops.reference import attention
from sightline.ops.second_order import second_order

BLOCK = 2**20  # weights in memory at once: 4 MB of float32 stay in a processor's cache
BLOCK_ON_ACCELERATOR = 2**25  # there a small block leaves most of the device idle
FEWEST_ROWS = 64  # fewer queries than this make thin, slow matrix products


def _block(query: Tensor, keys: int) -> tuple[int, int]:
    """How many batch items and how many queries of each are taken at once."""
    size = BLOCK if query.device.type == "cpu" else BLOCK_ON_ACCELERATOR
    rows = min(query.shape[2], max(FEWEST_ROWS, size // keys))
    return max(1, size // (query.shape[2] * keys)) if rows == query.shape[2] else 1, rows


def _tile(query: Tensor, keys: int) -> tuple[int, int, int]:
    """Batch items, queries and keys of one step backwards: its sums over queries want tiles that are nearly square."""
    size = BLOCK if query.device.type == "cpu" else BLOCK_ON_ACCELERATOR
    n = query.shape[2]
    if n * keys <= size:
        return size // (n * keys), n, keys
    rows = min(n, max(1, int(size**0.5)))
    return 1, rows, min(keys, max(1, size // rows))


def _scores(query: Tensor, key: Tensor, mask: Tensor | None, buffer: Tensor) -> Tensor:
    """`[e,d,r], [e,d,m] -> [e,r,m]` into the buffer; fresh memory for every block would cost more than the product."""
    e, _, r = query.shape
    out = torch.bmm(query.transpose(1, 2), key, out=buffer[: e * r * key.shape[2]].view(e, r, key.shape[2]))
    return out if mask is None else out.masked_fill_(~mask[:, None], float("-inf"))


@outside_autocast
def softmax_forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, channels_last: bool
) -> tuple[Tensor, Tensor]:
    """`[b,d,n], [b,d,m], [b,c,m], mask [b,m] -> out [b,c,n], log-sum-exp [b,n]` (+inf where a query sees nothing)."""
    dtype = accumulation_type(query.dtype)
    b, n, m = query.shape[0], query.shape[2], key.shape[2]
    out = empty_map(value, value.shape[1], n, channels_last)
    lse = query.new_empty(b, n, dtype=dtype)
    if out.numel() == 0 or m == 0:
        return out.zero_(), lse.fill_(float("inf"))
    items, rows = _block(query, m)
    buffer = query.new_empty(items * rows * m, dtype=dtype)
    for i in range(0, b, items):
        e = slice(i, i + items)
        k, v = key[e].to(dtype), value[e].to(dtype)
        visible = None if mask is None else mask[e]
        for j in range(0, n, rows):
            r = slice(j, j + rows)
            s = _scores(query[e, :, r].to(dtype) * scale, k, visible, buffer)
            # the floor keeps -inf - -inf, where nothing is visible, from becoming NaN
            top = s.amax(2, keepdim=True).clamp_min_(torch.finfo(dtype).min)
            total = s.sub_(top).exp_().sum(2, keepdim=True)
            lse[e, r] = (top + total.log()).masked_fill_(total == 0, float("inf")).squeeze(2)
            out[e, :, r] = torch.bmm(s, v.transpose(1, 2)).div_(total.masked_fill_(total == 0, 1)).transpose(1, 2)
    return out, lse


@outside_autocast
def softmax_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, each in the layout of its input; the log-sum-exp gives the weights back."""
    dtype = accumulation_type(query.dtype)
    b, n, m = query.shape[0], query.shape[2], key.shape[2]
    dq, dk, dv = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    if n * m == 0 or b == 0:
        return dq.zero_(), dk.zero_(), dv.zero_()
    items, rows, columns = _tile(query, m)
    buffers = query.new_empty(2, items * rows * columns, dtype=dtype)
    for i in range(0, b, items):
        e = slice(i, i + items)
        k, v = key[e].to(dtype), value[e].to(dtype)
        sum_k, sum_v = (t[e].zero_() if t.dtype == dtype else torch.zeros_like(t[e], dtype=dtype) for t in (dk, dv))
        for j in range(0, n, rows):
            r = slice(j, j + rows)
            q, g = query[e, :, r].to(dtype) * scale, grad[e, :, r].to(dtype)
            # d softmax = p (dp - sum_j p dp), and that sum is the output times its gradient
            inner = (g * out[e, :, r]).sum(1)[:, :, None]
            sum_q = q.new_zeros(q.shape[0], q.shape[2], q.shape[1])
            for x in range(0, m, columns):
                s = slice(x, x + columns)
                visible = None if mask is None else mask[e, s]
                p = _scores(q, k[:, :, s], visible, buffers[0]).sub_(lse[e, r, None]).exp_()
                sum_v[:, :, s].baddbmm_(g, p)
                d = _scores(g, v[:, :, s], None, buffers[1]).sub_(inner).mul_(p)
                sum_k[:, :, s].baddbmm_(q, d)
                sum_q.baddbmm_(d, k[:, :, s].transpose(1, 2))
            dq[e, :, r] = sum_q.mul_(scale).transpose(1, 2)
        if sum_k.dtype != dk.dtype:
            dk[e], dv[e] = sum_k, sum_v
    return dq, dk, dv


def register_derivatives(forward: CustomOpDef, backward: CustomOpDef) -> None:
    """Shapes without data and the gradients of both orders, for a pair of operators with the signatures above."""

    @forward.register_fake
    def _(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, channels_last: bool
    ) -> tuple[Tensor, Tensor]:
        lse = query.new_empty(query.shape[0], query.shape[2], dtype=accumulation_type(query.dtype))
        return empty_map(value, value.shape[1], query.shape[2], channels_last), lse

    @backward.register_fake
    def _(
        grad: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        out: Tensor,
        lse: Tensor,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)

    def first_order(ctx, grad, _):  # type: ignore[no-untyped-def]
        query, key, value, mask, out, lse = ctx.saved_tensors
        return *backward(grad, query, key, value, mask, out, lse, ctx.scale), None, None, None

    forward.register_autograd(first_order, setup_context=_keep)
    backward.register_autograd(_second_order, setup_context=_keep_backward)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    query, key, value, mask, scale, _ = inputs
    ctx.save_for_backward(query, key, value, mask, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.scale = scale


def _keep_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    grad, query, key, value, mask, _, _, scale = inputs
    ctx.save_for_backward(grad, query, key, value, mask)
    ctx.scale = scale


def _second_order(ctx, *grads):  # type: ignore[no-untyped-def]
    # output and log-sum-exp are functions of query, key and value: their share is counted there
    *saved, mask = ctx.saved_tensors
    second = second_order(lambda q, k, v: attention(q, k, v, mask=mask, scale=ctx.scale), saved, grads)
    return *second, None, None, None, None


softmax_op = torch.library.custom_op("sightline::softmax_attention", softmax_forward, mutates_args=())
softmax_backward_op = torch.library.custom_op(
    "sightline::softmax_attention_backward", softmax_backward, mutates_args=()
)
register_derivatives(softmax_op, softmax_backward_op)
