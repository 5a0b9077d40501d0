"""Criss-cross attention: each position looks at its row and its column, exactly, and no weight is ever stored.

    out_u = sum over i in row(u) and column(u) of softmax_i(scale q_u . k_i) v_i

(Huang et al., 2019, https://arxiv.org/abs/1811.11721, equations 1 and 2.) One softmax over both lines, H + W - 1
keys, the centre counted once. The operator is a pair of custom operators, forward and backward, each with a gradient
of its own: it compiles without a graph break, and it can be differentiated again. What is kept for the backward pass is
query, key, value, output and one log-sum-exp per position. Only the *second* order, and a network that is exported,
go through the plain form (`ops/criss_cross_plain.py`), which stores H W (H + W) weights.

Left out: projections, gamma and the residual (a layer's affair), and compiled kernels.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.ops import criss_cross_lines, criss_cross_plain, reference
from sightline.ops.arguments import choose
from sightline.ops.layouts import accumulation_type
from sightline.ops.patterns import criss_cross

BACKENDS = ("torch", "reference")  # "auto" takes the first that can serve
SERVED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def criss_cross_attention(
    query: Float[Tensor, "b d h w"],
    key: Float[Tensor, "b d h w"],
    value: Float[Tensor, "b c h w"],
    *,
    mask: Bool[Tensor, "b h w"] | None = None,
    scale: float = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "b c h w"]:
    """Attend along row and column; the output has the type and the memory layout of `value`.

    Args:
        query: what each position asks for.
        key: what each position answers to.
        value: what each position gives.
        mask: True where a key may be looked at; a query that may look at nothing gives zeros, and zero gradients.
        scale: multiplies the scores; 1 is the paper's, d ** -0.5 the transformer's.
        backend: "torch", the lean form; "reference", the slow table of all pairs; "auto", the first that can serve.

    Half precision has its scores, softmax and sums in float32, under autocast too; inputs of unlike precision meet in
    the wider one.

    Raises:
        ValueError: shapes or devices do not fit, the backend is unknown, or it cannot serve these tensors.
    """
    _check(query, key, value, mask)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if _serving(backend, query) == "reference":
        return reference.attention(query, key, value, pattern=criss_cross, mask=mask, scale=scale)
    if torch.compiler.is_exporting():  # what leaves must run where no operator of this library is
        return criss_cross_plain.attention(query, key, value, mask=mask, scale=scale)
    out, _ = torch.ops.sightline.criss_cross_attention(query, key, value, mask, scale)
    return out


def why_not(backend: str, query: Tensor) -> str | None:
    """Why a backend cannot serve such tensors, in words, or None where it can."""
    if query.dtype not in SERVED:
        return f"it computes in {', '.join(str(t).removeprefix('torch.') for t in SERVED)}, got {query.dtype}"
    return None


def _serving(backend: str, query: Tensor) -> str:
    """The backend that will serve.

    Raises:
        ValueError: unknown, or asked for and unable, or none is able.
    """
    asked = choose("backend", backend, ("auto", *BACKENDS))
    for name in BACKENDS if asked == "auto" else (asked,):
        reason = why_not(name, query)
        if reason is None:
            return name
    raise ValueError(f"backend '{asked}' cannot serve criss_cross_attention: {reason}")


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    """Say in one sentence what does not fit."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != 4:
            raise ValueError(f"{name} must be [b, channels, h, w], got {tensor.dim()} axes, {tuple(tensor.shape)}")
        if tensor.device != query.device:
            raise ValueError(f"{name} lies on {tensor.device}, query on {query.device}: move them to one device")
    if query.shape != key.shape:
        raise ValueError(f"query and key must have one shape, got {tuple(query.shape)} and {tuple(key.shape)}")
    if (value.shape[0], *value.shape[2:]) != (query.shape[0], *query.shape[2:]):
        raise ValueError(
            f"value must have the batch and map of query, got {tuple(value.shape)} for query {tuple(query.shape)}"
        )
    if mask is not None:
        wanted = (query.shape[0], *query.shape[2:])
        if mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, True where a key may be looked at, got {mask.dtype}")
        if mask.shape != wanted:
            raise ValueError(f"mask must be [b, h, w] = {tuple(wanted)}, got {tuple(mask.shape)}")
        if mask.device != query.device:
            raise ValueError(f"mask lies on {mask.device}, query on {query.device}: move them to one device")


@torch.library.custom_op("sightline::criss_cross_attention", mutates_args=())
def _forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:  # output, log-sum-exp
    with torch.autocast(query.device.type, enabled=False):
        return criss_cross_lines.forward(query, key, value, mask, scale)


@_forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    b, _, h, w = query.shape
    lse = torch.empty(b, h, w, dtype=accumulation_type(query.dtype), device=query.device)
    return criss_cross_lines.empty_in_layout_of(value), lse


@torch.library.custom_op("sightline::criss_cross_attention_backward", mutates_args=())
def _backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast(query.device.type, enabled=False):
        return criss_cross_lines.backward(gradient, query, key, value, mask, out, lse, scale)


@_backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (criss_cross_lines.empty_in_layout_of(t) for t in (query, key, value))
    return query, key, value


def _remember(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    query, key, value, mask, scale = inputs
    out, lse = output
    ctx.save_for_backward(query, key, value, mask, out, lse)
    ctx.mark_non_differentiable(lse)
    ctx.scale = scale


def _first_order(ctx, gradient, _):  # type: ignore[no-untyped-def]
    query, key, value, mask, out, lse = ctx.saved_tensors
    grads = torch.ops.sightline.criss_cross_attention_backward(gradient, query, key, value, mask, out, lse, ctx.scale)
    return *grads, None, None


def _remember_backward(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    gradient, query, key, value, mask, _, _, scale = inputs
    ctx.save_for_backward(gradient, query, key, value, mask)
    ctx.scale = scale


def _second_order(ctx, for_query, for_key, for_value):  # type: ignore[no-untyped-def]
    # The output and the log-sum-exp are functions of query, key and value: what flows through them is counted there.
    gradient, query, key, value, mask = ctx.saved_tensors
    grads = criss_cross_plain.second_order(
        (for_query, for_key, for_value), gradient, query, key, value, mask, ctx.scale
    )
    return *grads, None, None, None, None


_forward.register_autograd(_first_order, setup_context=_remember)
_backward.register_autograd(_second_order, setup_context=_remember_backward)
