"""Criss-cross attention in its plain form: einsum, all H W (H + W) weights in memory at once.

It follows the published code (Huang et al., 2019, https://arxiv.org/abs/1811.11721; the column's own centre is hidden
so that it counts once). It serves two masters: the yardstick of the benchmark, and the second order of the lean
operator (`ops/criss_cross.py`). With weights P, scores S and output gradient G, first order is
    dV = P^T G,  dS = P (G V^T - D),  D = rowsum(P G V^T),  dQ = s dS K,  dK = s dS^T Q.
`second_order` is the gradient of those three lines, written out, in differentiable operations: third order works too.

Left out: leanness.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def attention(
    query: Float[Tensor, "b d h w"],
    key: Float[Tensor, "b d h w"],
    value: Float[Tensor, "b c h w"],
    *,
    mask: Bool[Tensor, "b h w"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "b c h w"]:
    """The same function as `criss_cross_attention`, by ordinary autograd."""
    return _take(_weights(query, key, mask, scale), value)


def second_order(
    cotangents: tuple[Tensor, Tensor, Tensor],
    gradient: Float[Tensor, "b c h w"],
    query: Float[Tensor, "b d h w"],
    key: Float[Tensor, "b d h w"],
    value: Float[Tensor, "b c h w"],
    mask: Bool[Tensor, "b h w"] | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `(dQ, dK, dV)` contracted with `cotangents`, in `gradient`, `query`, `key` and `value`."""
    dtypes = gradient.dtype, query.dtype, key.dtype, value.dtype
    half = query.dtype in (torch.float16, torch.bfloat16)
    gradient, query, key, value, for_query, for_key, for_value = (
        t.float() if half else t for t in (gradient, query, key, value, *cotangents)
    )
    P = _weights(query, key, mask, scale)
    dP = _pairs(gradient, value)
    D = _over_keys(P, dP)
    dS = P * (dP - D)
    T = scale * (_pairs(for_query, key) + _pairs(query, for_key))  # what reaches dS
    t = _over_keys(P, T)
    U = _pairs(gradient, for_value)  # what reaches P through dV
    E = P * (T - t)  # what reaches dP
    R = dP * T - D * T - t * dP + U  # what reaches P
    R = P * (R - _over_keys(P, R))  # what reaches S
    results = (
        _take(E, value) + _take(P, for_value),
        scale * (_take(R, key) + _take(dS, for_key)),
        scale * (_give(R, query) + _give(dS, for_query)),
        _give(E, gradient),
    )
    first, second, third, fourth = (r.to(dtype) for r, dtype in zip(results, dtypes, strict=True))
    return first, second, third, fourth


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax weights `[b, h, w, H + W]`: the column's keys, then the row's; a query that sees nothing has zeros."""
    if scale != 1.0:
        query = scale * query
    centre = torch.eye(query.shape[2], dtype=torch.bool, device=query.device)[:, None]
    column = torch.einsum("bchw,bciw->bhwi", query, key).masked_fill(centre, -math.inf)
    scores = torch.cat([column, torch.einsum("bchw,bchj->bhwj", query, key)], -1)
    if mask is None:  # exactly the published form, so that it may stand as a yardstick
        return scores.softmax(-1)
    shape = scores.shape
    along_column, along_row = ~mask.transpose(1, 2)[:, None], ~mask[:, :, None]
    hidden = torch.cat([along_column.expand(*shape[:3], -1), along_row.expand(*shape[:3], -1)], -1)
    scores = scores.masked_fill(hidden, -math.inf)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)


def _pairs(x: Tensor, y: Tensor) -> Tensor:
    """Inner products of `x` at each position with `y` along its column, then along its row, `[b, h, w, H + W]`."""
    return torch.cat([torch.einsum("bchw,bciw->bhwi", x, y), torch.einsum("bchw,bchj->bhwj", x, y)], -1)


def _take(weights: Tensor, y: Tensor) -> Tensor:
    """Each position gathers `y` along its lines, `[b, c, h, w]`."""
    h = y.shape[2]
    column, row = weights[..., :h], weights[..., h:]
    return torch.einsum("bhwi,bciw->bchw", column, y) + torch.einsum("bhwj,bchj->bchw", row, y)


def _give(weights: Tensor, x: Tensor) -> Tensor:
    """The transpose of `_take`: each position spreads `x` along its lines, `[b, c, h, w]`."""
    h = x.shape[2]
    column, row = weights[..., :h], weights[..., h:]
    return torch.einsum("bhwi,bchw->bciw", column, x) + torch.einsum("bhwj,bchw->bchj", row, x)


def _over_keys(weights: Tensor, y: Tensor) -> Tensor:
    return (weights * y).sum(-1, keepdim=True)
