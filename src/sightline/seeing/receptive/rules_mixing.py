"""Rules of operations that mix elements: element-wise arithmetic, matrix products, sums, norms, softmax, attention.

Value-aware, a factor that is exactly zero whatever the image is passes nothing on, and a score as low as the mask of an
attention passes nothing on either. Attention: Vaswani et al., 2017, equation 1.
"""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from sightline.seeing.receptive.call import Call, Rule, Source, known
from sightline.seeing.receptive.relations import (
    Cross,
    Every,
    Full,
    Keep,
    Prefix,
    Relation,
    Reshape,
    Same,
    Table,
    Whole,
    Windows,
)


def elementwise(call: Call) -> list[list[Source]]:
    """Element by element, with broadcasting."""
    return call.every(*((t, call.same(t)) for t in call.live))


def product(call: Call) -> list[list[Source]]:
    """Element by element; value-aware, nothing passes where the other factor is a constant zero."""
    sources: list[Source] = []
    for t, other in ((call["self"], call["other"]), (call["other"], call["self"])):
        if not call.is_live(t):
            continue
        zeros = call.constant_zeros(other)
        relation = call.same(t)
        sources.append((t, (*relation, Keep(~zeros.cpu())) if zeros is not None else relation))
    return [sources]


def matrix_product(call: Call) -> list[list[Source]]:
    """Rows with columns: each entry depends on a row of the left and a column of the right."""
    left, right = next(
        (call[a], call[b]) for a, b in (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2")) if a in call.arguments
    )
    added = call["self"] if call["self"] is not left else None
    of_left: Relation = (Every((-1,)),)
    of_right: Relation = (Every((-2,)),)
    zeros = call.constant_zeros(right)
    if zeros is not None:
        of_left = (Table(-1, ~zeros.cpu().transpose(-1, -2)),)
    zeros = call.constant_zeros(left)
    if zeros is not None:
        of_right = (Table(-2, ~zeros.cpu()),)
    sources: list[Source] = [(left, of_left), (right, of_right)]
    if added is not None:
        sources.append((added, call.same(added)))
    return [sources]


def matrix_vector(call: Call) -> list[list[Source]]:
    """A matrix with a vector: each entry depends on a row and on the whole vector."""
    matrix, vector = (call["mat"], call["vec"]) if "mat" in call.arguments else (call["self"], call["vec"])
    rows = matrix.shape[0]
    sources: list[Source] = [(matrix, (Every((-1,)), Reshape((rows, 1), (rows,)))), (vector, (Every((-1,)),))]
    if call["self"] is not matrix:
        sources.append((call["self"], call.same(call["self"])))
    return [sources]


def linear(call: Call) -> list[list[Source]] | None:
    """A linear layer that PyTorch runs as one operation."""
    return [[(call["input"], (Every((-1,)),))]] if not call.is_live(call["weight"]) else None


def whole(call: Call) -> list[list[Source]]:
    """Everything with everything, and rightly so: a dot product, a sum of all."""
    return [[(t, (Whole(t.dim(), o.dim()),)) for t in call.live] for o in call.outputs]


def reduction(call: Call) -> list[list[Source]]:
    """A sum, mean, maximum, variance, norm along some axes, or along all."""
    x = call.args[0]
    given = call.get("dim")
    axes = [given] if isinstance(given, int) else list(given or range(x.dim()))
    every = Every(tuple(a % x.dim() - x.dim() for a in axes)) if x.dim() else Every(())
    kept = tuple(1 if a - x.dim() in every.axes else s for a, s in enumerate(x.shape))
    return [[(x, (every,) if o.dim() == x.dim() else (every, Reshape(kept, tuple(o.shape))))] for o in call.outputs]


def along(call: Call) -> list[list[Source]]:
    """Sorting and choosing the largest: each result depends on all elements along one axis."""
    x = call["self"]
    axis = (call["dim"] if call.get("dim") is not None else -1) % x.dim() - x.dim()
    return call.every((x, (Every((axis,)),)))


def softmax(call: Call) -> list[list[Source]]:
    """All scores along one axis; value-aware, a masked score neither counts nor receives."""
    x = call["self"]
    axis = call["dim"] % x.dim() - x.dim()
    relation: Relation = (Every((axis,)),)
    if call.values and not x.is_meta:
        there = _unmasked(x, axis)
        if not bool(there.all()):
            relation = (Keep(there), *relation, Keep(there)) if "log" not in call.name else (Keep(there), *relation)
    return [[(x, relation)]]


def prefix(call: Call) -> list[list[Source]]:
    """Everything before along one axis: cumulative sums and products."""
    x = call["self"]
    axis = call["dim"] % x.dim() - x.dim()
    return call.every((x, (Full(tuple(x.shape)), Prefix(axis), Full(tuple(x.shape)))))


def batch_norm(call: Call) -> list[list[Source]] | None:
    """In training all of a channel, in evaluation the element alone. Instance norm arrives here too."""
    x = call["input"]
    if any(t is not x for t in call.live):
        return None
    training = call.get("training", "no_training" not in call.name and "no_update" not in call.name)
    relation: Relation = (Every(tuple(a - x.dim() for a in range(x.dim()) if a != 1)),) if training else ()
    rest: Relation = (Whole(x.dim(), 1),)
    return [[(x, relation if i == 0 else rest)] for i, _ in enumerate(call.outputs)]


def layer_norm(call: Call) -> list[list[Source]] | None:
    """All of the normalised axes, which are the last; layer norm and root-mean-square norm."""
    x = call["input"]
    if any(t is not x for t in call.live):
        return None
    return call.every((x, (Every(tuple(range(-len(call["normalized_shape"]), 0))),)))


def group_norm(call: Call) -> list[list[Source]] | None:
    """All positions of all channels of a group."""
    x, groups = call["input"], call["group"]
    if any(t is not x for t in call.live):
        return None
    apart = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    together = Every(tuple(range(2 - len(apart), 0)))
    relation: Relation = (Reshape(tuple(x.shape), apart), together)
    statistics: Relation = (*relation, Reshape((*apart[:2], *[1] * (len(apart) - 2)), apart[:2]))
    back: Relation = (*relation, Full(apart), Reshape(apart, tuple(x.shape)))
    return [[(x, back if i == 0 else statistics)] for i, _ in enumerate(call.outputs)]


def dot_product_attention(call: Call) -> list[list[Source]]:
    """softmax(q k^T) v: a query with all keys it may see, and their values channel by channel."""
    query, key, value = call["query"], call["key"], call["value"]
    out = call.outputs[0]
    rows, keys = query.shape[-2], key.shape[-2]
    allowed: Bool[Tensor, "..."] | None = None
    mask = call.get("attn_mask", call.get("attn_bias"))
    if isinstance(mask, Tensor) and known(mask) and not call.is_live(mask):
        if mask.dtype == torch.bool:
            allowed = mask.detach().cpu()
        elif call.values:
            allowed = _unmasked(mask, -1)
    if call.get("is_causal"):
        causal = torch.ones(rows, keys, dtype=torch.bool).tril()
        allowed = causal if allowed is None else allowed & causal
    if allowed is not None and bool(allowed.all()):
        allowed = None
    if allowed is not None:
        allowed = allowed.expand(*allowed.shape[:-2], rows, keys)
    seen = Every((-2,)) if allowed is None else Table(-2, allowed)
    sources: list[Source] = [
        (query, (Every((-1,)),)),
        (key, (*_heads(key, query), Every((-1,)), seen)),
        (value, (*_heads(value, query), seen)),
    ]
    if call.is_live(mask):
        line = (*mask.shape[:-1], 1)
        sources.append((mask, (Every((-1,)), Same(line, (*out.shape[:-1], 1)))))
    return [sources, *whole(call)[1:]]


def _heads(t: Tensor, query: Tensor) -> Relation:
    """Fewer heads of keys than of queries: several queries share one."""
    if t.dim() < 3 or t.shape[-3] == query.shape[-3]:
        return ()
    shared = query.shape[-3] // t.shape[-3]
    return (Windows(-3, (torch.arange(query.shape[-3]) // shared)[:, None], t.shape[-3]),)


def _unmasked(scores: Tensor, axis: int) -> Bool[Tensor, "..."]:
    """Where a score is not masked: masks are -inf or the lowest number there is. A row of lowest numbers is no mask."""
    scores = scores.detach().cpu()
    there = scores > torch.finfo(scores.dtype).min / 2
    finite = scores > -torch.inf
    return there | (~there.any(axis, keepdim=True) & finite)


def criss_cross(call: Call) -> list[list[Source]]:
    """Criss-cross attention: the row and the column of each position."""
    return _whole_image(call, cross=True)


def non_local(call: Call) -> list[list[Source]]:
    """Non-local attention, softmax or dot product, over flattened positions."""
    return _whole_image(call, cross=False)


def _whole_image(call: Call, *, cross: bool) -> list[list[Source]]:
    query, key, value, mask = call["query"], call["key"], call["value"], call["mask"]
    axes = query.dim() - 2
    channels = Every((-axes - 1,))
    seen: Any = Cross() if cross else Every((-1,))
    keep: Relation = ()
    if isinstance(mask, Tensor) and known(mask) and not call.is_live(mask):
        keep = (Keep(mask.detach().cpu()[:, None]),)
    sources: list[Source] = [(query, (channels,)), (key, (channels, *keep, seen)), (value, (*keep, seen))]
    return [sources, *whole(call)[1:]]


def concatenation(call: Call) -> list[list[Source]]:
    """The concatenation form of non-local attention: one number for each query and each key."""
    query, key, value, mask = call["query"], call["key"], call["value"], call["mask"]
    keep: Relation = ()
    if isinstance(mask, Tensor) and known(mask) and not call.is_live(mask):
        keep = (Keep(mask.detach().cpu()),)
    b, n = query.shape
    of_key: Relation = (*keep, Every((-1,)), Reshape((b, 1), (b, 1, 1)))
    of_value: Relation = (*(Keep(s.kept[:, None]) for s in keep if isinstance(s, Keep)), Every((-1,)))
    return [[(query, (Reshape((b, n), (b, 1, n)),)), (key, of_key), (value, of_value)]]


def affine_grid(call: Call) -> list[list[Source]]:
    """Sampling positions from a matrix: each depends on the whole matrix of its image."""
    theta = call["theta"]
    return [[(theta, (Every((-2, -1)), Reshape((theta.shape[0], 1, 1), (theta.shape[0], 1, 1, 1))))]]


def as_complex(call: Call) -> list[list[Source]]:
    """Pairs of real numbers as complex ones."""
    x = call["self"]
    return [[(x, (Every((-1,)), Reshape((*x.shape[:-1], 1), tuple(x.shape[:-1]))))]]


def as_real(call: Call) -> list[list[Source]]:
    """Complex numbers as pairs of real ones."""
    x = call["self"]
    return [[(x, (Reshape(tuple(x.shape), (*x.shape, 1)),))]]


_SUMS = "sum mean nansum nanmean amax amin aminmax max min var std var_mean std_mean prod logsumexp norm any all argmax"
_SUMS += " argmin median nanmedian mode kthvalue linalg_vector_norm count_nonzero"
_ATTENTIONS = "flash_attention_for_cpu flash_attention efficient_attention cudnn_attention fused_attention_overrideable"
_BATCH = "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional cudnn_batch_norm"
_BATCH += " _native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update miopen_batch_norm"
RULES: dict[str, Rule] = {
    "aten::mul": product,
    **{f"aten::{n}": matrix_product for n in ("mm", "bmm", "addmm", "baddbmm", "_addmm_activation")},
    **{f"aten::{n}": matrix_vector for n in ("mv", "addmv")},
    "aten::linear": linear,
    **{f"aten::{n}": whole for n in ("dot", "vdot", "dist", "equal", "_local_scalar_dense", "is_nonzero")},
    **{f"aten::{n}": reduction for n in _SUMS.split()},
    **{f"aten::{n}": along for n in ("sort", "argsort", "topk", "renorm")},
    **{f"aten::{n}": softmax for n in ("_softmax", "_log_softmax", "_safe_softmax")},
    **{f"aten::{n}": prefix for n in ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")},
    **{f"aten::{n}": batch_norm for n in _BATCH.split()},
    **{f"aten::{n}": layer_norm for n in ("native_layer_norm", "_fused_rms_norm", "rms_norm")},
    "aten::native_group_norm": group_norm,
    **{f"aten::_scaled_dot_product_{n}": dot_product_attention for n in _ATTENTIONS.split()},
    "aten::scaled_dot_product_attention": dot_product_attention,
    "aten::affine_grid_generator": affine_grid,
    "aten::view_as_complex": as_complex,
    "aten::view_as_real": as_real,
    "aten::native_dropout": elementwise,
    "sightline::criss_cross_attention": criss_cross,
    **{f"sightline::{n}_attention": non_local for n in ("softmax", "dot_product", "fused")},
    "sightline::concatenation_attention": concatenation,
}
