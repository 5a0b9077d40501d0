"""The lean loops of criss-cross attention: line by line, weights never stored (the operator is `ops/criss_cross.py`).

Criss-cross attention (Huang et al., 2019, https://arxiv.org/abs/1811.11721, equation 2) is two families of ordinary
attention, columns and rows, under one softmax. A block of lines is computed at a time and its weights are forgotten.
Forward: columns first, centre left out, unnormalised, with their running maximum m and sum z; then rows, merged as
    out = (exp(m_column - m) out_column + exp(row scores - m) v) / z,    lse = m + log z.
Backward recomputes each block, P = exp(scores - lse), dS = P (g v^T - rowsum(g out)), and adds rows and columns.

Everything runs in powers of two, P = 2^(scores log2(e) - lse): the logarithm's base is folded into the scale, and
PyTorch's exp2 is several times faster than its exp on a processor, most of all where weights vanish. Half precision is
computed in float32 and rounded once, at the end. A query that sees nothing has lse = +inf, so that each of its weights
is 2^-inf = 0 in every later formula.

Left out: multiplications in half precision, and any kernel of our own.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.ops.layouts import accumulation_type

LOG2_E = math.log2(math.e)
# Elements of one block of scores: on a processor it stays in cache; elsewhere it is launches that cost.
BLOCK_ON_PROCESSOR = 1 << 18
BLOCK_ELSEWHERE = 1 << 24
NARROW = 16  # channels

Block = tuple[slice, slice]


def empty_in_layout_of(like: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape: channels_last where the channels of `like` lie side by side."""
    layout = torch.channels_last if _side_by_side(like) else torch.contiguous_format
    return torch.empty(like.shape, dtype=like.dtype, device=like.device, memory_format=layout)


def forward(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """The output `[b, c, h, w]` in the layout of `value`, and the base-2 log-sum-exp `[b, h, w]`."""
    b, _, h, w = query.shape
    out = empty_in_layout_of(value)
    lse = torch.empty(b, h, w, dtype=accumulation_type(query.dtype), device=query.device)
    for group in _groups(value):
        q, k, v = (_positions_first(t[group]) for t in (query, key, value))
        o = out[group].permute(0, 2, 3, 1) if _direct(out) else torch.empty_like(v)
        _forward_group(q, k, v, None if mask is None else ~mask[group], scale, o, lse[group])
        del q, k, v  # they may be copies: let go of them before a result in another layout is written
        if not _direct(out):
            out = _put_channels_first(o, out, group)
    return out, lse


def _forward_group(
    q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None, scale: float, out: Tensor, lse: Tensor
) -> None:
    """Fill `out` `[b, h, w, c]` and `lse` `[b, h, w]` from positions-first operands `[b, h, w, .]`."""
    lowest = torch.finfo(q.dtype).min
    maximum, total = torch.empty_like(lse), torch.empty_like(lse)
    qc, kc, vc, oc, mc, zc = (t.transpose(1, 2) for t in (q, k, v, out, maximum, total))
    for block in _blocks(qc, v.shape[-1]):
        scores = _scores(qc[block], kc[block], scale * LOG2_E)
        scores.diagonal(dim1=1, dim2=2).fill_(-math.inf)  # the centre belongs to the row
        if hidden is not None:
            scores.masked_fill_(_flat(hidden.transpose(1, 2)[block])[:, None], -math.inf)
        m = scores.amax(-1, keepdim=True).clamp_min_(lowest)
        weights = scores.sub_(m).exp2_()
        mc[block] = m.view(mc[block].shape)
        zc[block] = weights.sum(-1).view(zc[block].shape)
        _put(weights, _flat(vc[block]), 1.0, oc[block], add=False)
    for block in _blocks(q, v.shape[-1]):
        scores = _scores(q[block], k[block], scale * LOG2_E)
        if hidden is not None:
            scores.masked_fill_(_flat(hidden[block])[:, None], -math.inf)
        m_column, z_column = (_flat(t[block])[..., None] for t in (maximum, total))
        m = torch.maximum(scores.amax(-1, keepdim=True), m_column)
        weights = scores.sub_(m).exp2_()
        keep = m_column.sub_(m).exp2_()
        z = weights.sum(-1, keepdim=True).addcmul_(keep, z_column)
        lse[block] = torch.where(z > 0, m + z.log2(), math.inf).view(lse[block].shape)
        z.clamp_min_(torch.finfo(q.dtype).tiny)
        o = _flat(out[block])
        o.mul_(keep.div_(z))
        if weights.shape[-1] > o.shape[-1]:  # divide whichever is smaller, the weights or the result
            o.addcmul_(torch.bmm(weights, _flat(v[block])), z.reciprocal_())
        else:
            o.baddbmm_(weights.div_(z), _flat(v[block]))


def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, each in the layout of its own tensor."""
    likes = (query, key, value)
    results: dict[int, Tensor] = {i: empty_in_layout_of(t) for i, t in enumerate(likes) if _direct(t)}
    for group in _groups(value):
        delta = _row_sums(gradient[group], out[group], lse.dtype)
        q, k, v, g = (_positions_first(t[group]) for t in (query, key, value, gradient))
        grads = [
            results[i][group].permute(0, 2, 3, 1) if _direct(like) else torch.empty_like(lines)
            for i, (like, lines) in enumerate(zip(likes, (q, k, v), strict=True))
        ]
        hidden = None if mask is None else ~mask[group]
        _backward_group(q, k, v, g, hidden, delta, lse[group], scale, grads)
        del q, k, v, g  # as above, before the gradients
        for i, like in enumerate(likes):
            if not _direct(like):
                if i not in results:
                    results[i] = empty_in_layout_of(like)
                results[i] = _put_channels_first(grads[i], results[i], group)
    if not results:
        return torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
    return results[0], results[1], results[2]


def _backward_group(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    hidden: Tensor | None,
    delta: Tensor,
    lse: Tensor,
    scale: float,
    grads: list[Tensor],
) -> None:
    """Fill `grads` (of q, k, v, positions first): columns write, rows, whose sums lie together, add."""
    for columns in (True, False):
        turn = (lambda t: t.transpose(1, 2)) if columns else (lambda t: t)
        ql, kl, vl, gl, lsel, deltal = (turn(t) for t in (q, k, v, g, lse, delta))
        dq, dk, dv = (turn(t) for t in grads)
        for block in _blocks(ql, v.shape[-1]):
            qb, kb, vb, gb = (_flat(t[block]) for t in (ql, kl, vl, gl))
            lse_block, delta_block = (_flat(t[block]).neg()[..., None] for t in (lsel, deltal))
            weights = torch.baddbmm(lse_block, qb, kb.mT, alpha=scale * LOG2_E).exp2_()
            if columns:
                weights.diagonal(dim1=1, dim2=2).zero_()
            if hidden is not None:
                weights.masked_fill_(_flat(turn(hidden)[block])[:, None], 0.0)
            scores = torch.baddbmm(delta_block, gb, vb.mT).mul_(weights)
            _put(weights.mT, gb, 1.0, dv[block], add=not columns)
            _put(scores, kb, scale, dq[block], add=not columns)
            _put(scores.mT, qb, scale, dk[block], add=not columns)


def _put(left: Tensor, right: Tensor, scale: float, target: Tensor, *, add: bool) -> None:
    """Write or add `scale * left @ right` to `target`, a block of lines `[samples, lines, length, .]`."""
    if right.shape[-1] < NARROW:  # a product with a few columns is slow; its transpose has a few rows and is not
        product = torch.bmm(right.mT, left.mT).mT.reshape(target.shape)
    elif len(target) > 1 and target.stride(0) != target.shape[1] * target.stride(1):  # columns of several samples
        product = torch.bmm(left, right).view(target.shape)
    else:
        lines = target.flatten(0, 1)
        torch.baddbmm(lines, left, right, beta=int(add), alpha=scale, out=lines)
        return
    if add:
        target.add_(product, alpha=scale)
    else:
        torch.mul(product, scale, out=target)


def _scores(query: Tensor, key: Tensor, scale: float) -> Tensor:
    q, k = _flat(query), _flat(key)
    scores = torch.empty(q.shape[0], q.shape[1], k.shape[1], dtype=q.dtype, device=q.device)
    return torch.baddbmm(scores, q, k.mT, beta=0, alpha=scale, out=scores)


def _row_sums(gradient: Tensor, out: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over channels of `gradient * out`, `[b, h, w]`, a few rows of the map at a time."""
    b, c, h, w = out.shape
    sums = torch.empty(b, h, w, dtype=dtype, device=out.device)
    rows = max(1, _block_size(out) // max(1, b * c * w))
    for start in range(0, h, rows):
        part = slice(start, start + rows)
        sums[:, part] = (gradient[:, :, part].to(dtype) * out[:, :, part].to(dtype)).sum(1)
    return sums


def _block_size(tensor: Tensor) -> int:
    return BLOCK_ON_PROCESSOR if tensor.device.type == "cpu" else BLOCK_ELSEWHERE


def _blocks(lines: Tensor, channels: int) -> Iterator[Block]:
    """Cut `[b, lines, length, .]` into blocks: some lines of one sample, or all lines of several samples."""
    b, n, length, _ = lines.shape
    at_once = max(1, _block_size(lines) // (length * max(length, channels // 4)))
    samples = max(1, at_once // n)
    for first in range(0, b, samples):
        for start in range(0, n, at_once):
            yield slice(first, first + samples), slice(start, start + at_once)


def _flat(block: Tensor) -> Tensor:
    """`[samples, lines, ...]` to `[samples * lines, ...]`: a copy only for the columns of several samples."""
    return block.flatten(0, 1)


def _groups(value: Tensor) -> Iterator[slice]:
    """Samples that are laid out anew together: one where maps are large, many where they are small."""
    b, c, h, w = value.shape
    samples = max(1, 8 * _block_size(value) // max(1, h * w * c))
    return (slice(start, start + samples) for start in range(0, b if h * w else 0, samples))


def _direct(tensor: Tensor) -> bool:
    """Whether a fresh tensor in this one's layout and type can be written position by position."""
    return _side_by_side(tensor) and tensor.dtype == accumulation_type(tensor.dtype)


def _side_by_side(tensor: Tensor) -> bool:
    return tensor.shape[1] > 1 and tensor.stride(1) == 1 and not tensor.is_contiguous()


def _positions_first(tensor: Tensor) -> Tensor:
    """`[b, c, h, w]` to a contiguous `[b, h, w, c]` in the working type; no copy where channels lie side by side."""
    b, c, h, w = tensor.shape
    dtype = accumulation_type(tensor.dtype)
    if tensor.is_contiguous():
        return _transposed(tensor.to(dtype).view(b, c, h * w)).view(b, h, w, c)
    return tensor.permute(0, 2, 3, 1).to(dtype).contiguous()


def _put_channels_first(lines: Tensor, whole: Tensor, group: slice) -> Tensor:
    """Write a contiguous `[b, h, w, c]` to `whole[group]`, of any layout and type; returns the whole, old or new."""
    target = whole[group]
    if target.is_contiguous():
        turned = _transposed(lines.flatten(1, 2)).view(target.shape)
        if target.shape == whole.shape and turned.dtype == whole.dtype:
            return turned  # spares a copy where one group is everything
        target.copy_(turned)
    else:
        target.copy_(lines.permute(0, 3, 1, 2))
    return whole


def _transposed(matrices: Tensor) -> Tensor:
    """Contiguous `[b, n, m]` to contiguous `[b, m, n]`.

    Shuffling n m "channels" in n groups is this transposition, and on a processor PyTorch has a vectorised kernel for
    it where channels lie side by side; its copy of a transposed matrix is not vectorised.
    """
    if matrices.device.type != "cpu" or not matrices.numel():
        return matrices.mT.contiguous()
    b, n, m = matrices.shape
    return torch.channel_shuffle(matrices.view(b, 1, 1, n * m).permute(0, 3, 1, 2), n).permute(0, 2, 3, 1).view(b, m, n)
