"""Non-local attention: every query position over every key position, and no form of it stores an N x N tensor.

Wang et al., 2018 (https://arxiv.org/abs/1711.07971), equation 1, out_i = (1 / C) sum_j f(q_i, k_j) v_j, with f one of
softmax (the paper's Gaussian forms), dot product, and concatenation ReLU(a_i + b_j); for the last two C is the number
of visible keys. Softmax goes block by block (`ops/softmax.py`) or through PyTorch's fused kernels (`ops/fused.py`), dot
product by associativity in O(N) (`ops/dot_product.py`), and concatenation by sorting in O(N log N)
(`ops/concatenation.py`).

Left out: projections, residual and sub-sampling, which are the layer's; attention dropout; keys that differ per query.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.ops.concatenation import concatenation_op
from sightline.ops.dot_product import dot_product_op, plain_dot_product
from sightline.ops.fused import fused_op, why_not_fused
from sightline.ops.layouts import is_channels_last
from sightline.ops.reference import attention
from sightline.ops.softmax import softmax_op

PAIRWISE = ("softmax", "dot_product", "concatenation")
BACKENDS = ("fused", "torch", "reference")  # "auto" takes the first that can serve, on a CPU from the second on
SERVED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def non_local_attention(
    query: Float[Tensor, "b d *positions"],
    key: Float[Tensor, "b d *keys"],
    value: Float[Tensor, "b c *keys"],
    *,
    pairwise: str = "softmax",
    mask: Bool[Tensor, "b *keys"] | None = None,
    scale: float = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "b c *positions"]:
    """Attention of all positions over all keys, in one to three dimensions, without an N x N tensor.

    Keys may lie on another grid than queries. `pairwise` is "softmax", "dot_product" (divided by the number of visible
    keys) or "concatenation" (d = 1: query and key are a and b of ReLU(a_i + b_j), divided likewise). `mask` is True
    where a key may be looked at; a query with nothing to see gives zeros. `scale` multiplies the products of query and
    key. Half precision inputs keep float32 scores, inputs of unlike precision meet in the wider one, and a
    channels_last query or value gives a channels_last output. All gradients are exact; those of second order take the
    plain N x N form, except for the dot product, which needs it nowhere.

    `backend` is "torch", this library's own forms on any device; "fused", PyTorch's kernels for softmax (on a CPU for
    query and value of one width; on CUDA not measured); "reference", the slow table; or "auto": on CUDA the first of
    these that can serve, fused before torch, and elsewhere torch.

    Raises:
        ValueError: shapes, dtype or devices do not fit, an option is unknown, or the backend cannot serve the request.
    """
    choose("pairwise function", pairwise, PAIRWISE)
    _check(query, key, value, mask, pairwise, scale)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    serving = _serving(backend, pairwise, query, value)
    if serving == "reference":
        return attention(query, key, value, pairwise=pairwise, mask=mask, scale=scale)
    last = is_channels_last(query) or is_channels_last(value)
    q, k, v = query.flatten(2), key.flatten(2), value.flatten(2)
    visible = None if mask is None else mask.flatten(1)
    if torch.compiler.is_exporting():
        return _exported(q, k, v, pairwise, visible, scale).unflatten(2, query.shape[2:])
    if pairwise == "softmax":
        out = (fused_op if serving == "fused" else softmax_op)(q, k, v, visible, scale, last)[0]
    elif pairwise == "dot_product":
        out = dot_product_op(q, k, v, visible, scale, last)[0]
    else:
        out = concatenation_op(q[:, 0], k[:, 0], v, visible, last)
    if query.dim() == 3:
        return out
    if last:  # unflattened as [b, n, c]: for one sample a view of the transposed form has a stride that is no layout's
        return out.transpose(1, 2).unflatten(1, query.shape[2:]).movedim(-1, 1)
    return out.unflatten(2, query.shape[2:])


def _exported(
    query: Float[Tensor, "b d n"],
    key: Float[Tensor, "b d m"],
    value: Float[Tensor, "b c m"],
    pairwise: str,
    mask: Bool[Tensor, "b m"] | None,
    scale: float,
) -> Float[Tensor, "b c n"]:
    """The same from PyTorch's own operators: a network that leaves must run where none of this library is.

    Only the dot product stays O(N); softmax is whatever the receiver makes of `scaled_dot_product_attention`, and
    concatenation has its N x N table.
    """
    if pairwise == "dot_product":
        return plain_dot_product(query, key, value, mask, scale)
    if pairwise == "softmax" and mask is None:
        q, k, v = (t.transpose(1, 2)[:, None] for t in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, scale=scale)[:, 0].transpose(1, 2)
    return attention(query, key, value, pairwise=pairwise, mask=mask, scale=scale)


def why_not(backend: str, pairwise: str, query: Tensor, value: Tensor) -> str | None:
    """Why a backend cannot serve such a request, in words, or None where it can."""
    if backend == "torch" and query.dtype not in SERVED:
        return f"it computes in {', '.join(str(t).removeprefix('torch.') for t in SERVED)}, got {query.dtype}"
    if backend == "fused":
        if pairwise != "softmax":
            return f"it computes softmax alone, got pairwise function '{pairwise}'"
        return why_not_fused(query, value)
    return None


def _serving(backend: str, pairwise: str, query: Tensor, value: Tensor) -> str:
    """The backend that will serve.

    Raises:
        ValueError: unknown, or asked for and unable.
    """
    if choose("backend", backend, ("auto", *BACKENDS)) == "auto":
        # on a CPU the fused kernel copies maps that are channels first, and one sample's gradients take one core
        order = BACKENDS if query.device.type == "cuda" else BACKENDS[1:]
        return next(name for name in order if why_not(name, pairwise, query, value) is None)
    reason = why_not(backend, pairwise, query, value)
    if reason is not None:
        raise ValueError(f"backend '{backend}' cannot serve non_local_attention: {reason}")
    return backend


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, pairwise: str, scale: float) -> None:
    """Say in one sentence what does not fit."""
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not (3 <= query.dim() <= 5 and query.dim() == key.dim() == value.dim()):
        raise ValueError(
            f"non-local attention needs query, key and value [batch, channels, positions in one to three axes], "
            f"all of one rank, got {shapes}: reshape them"
        )
    if not query.shape[0] == key.shape[0] == value.shape[0]:
        raise ValueError(f"query, key and value must have one batch size, got {shapes}: expand the smaller ones")
    if query.shape[1] != key.shape[1]:
        raise ValueError(f"query and key must have equally many channels, got {shapes}: project them to one width")
    if key.shape[2:] != value.shape[2:]:
        raise ValueError(f"key and value must lie on the same positions, got {shapes}: sub-sample both alike")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != key.shape[:1] + key.shape[2:]):
        raise ValueError(
            f"a mask must be bool and of shape {tuple(key.shape[:1] + key.shape[2:])}, batch and key positions, "
            f"got {mask.dtype} {tuple(mask.shape)}: True marks the keys that may be looked at"
        )
    if pairwise == "concatenation" and query.shape[1] != 1:
        raise ValueError(
            f"concatenation needs query and key of one channel, the a and b of ReLU(a + b), got {shapes}: "
            f"project each to one number per position first"
        )
    if pairwise == "concatenation" and scale != 1.0:
        raise ValueError(f"concatenation has no scale, got {scale}: leave it at 1.0, or scale query and key yourself")
    if not (query.is_floating_point() and key.is_floating_point() and value.is_floating_point()):
        raise ValueError(
            f"non-local attention needs floating-point maps, got query {query.dtype}, key {key.dtype}, "
            f"value {value.dtype}: convert them"
        )
    if any(t.device != query.device for t in (key, value, mask) if t is not None):
        raise ValueError(
            f"query, key, value and mask must be on one device, got query on {query.device}, key on {key.device}, "
            f"value on {value.device}{'' if mask is None else f', mask on {mask.device}'}: move them together"
        )
