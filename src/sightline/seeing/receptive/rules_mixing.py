"""Rules of operations that mix elements: element-wise arithmetic, matrix products, sums, norms, softmax, attention.

A factor that is zero whatever the image is passes nothing on, and a score that a mask of an attention closes passes
nothing on either. Attention: Vaswani et al., 2017, equation 1.
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
from sightline.seeing.receptive.tables import MASKED, NOTHING, ZERO


def elementwise(call: Call) -> list[list[Source]]:
    """Element by element, with broadcasting."""
    return call.every(*((t, call.same(t)) for t in call.live))


def product(call: Call) -> list[list[Source]]:
    """Element by element; nothing passes where a factor is zero whatever the image is, and zero it stays."""
    return _binary(call, [call.zeros(call["self"]), call.zeros(call["other"])], ZERO)


def addition(call: Call) -> list[list[Source]]:
    """Element by element; what a mask of -inf is added to is masked."""
    if isinstance(call["alpha"], int | float) and call["alpha"] > 0:
        return _binary(call, [call.masked(call["self"]), call.masked(call["other"])], MASKED)
    return elementwise(call)


def gated(call: Call) -> list[list[Source]]:
    """A gated linear unit: one half of an axis times a gate from the other."""
    x = call["self"]
    axis = call["dim"] % x.dim() - x.dim()
    half = torch.arange(x.shape[axis] // 2)[:, None]
    return [[(x, (Windows(axis, torch.cat([half, half + len(half)], 1), x.shape[axis]),))]]


def _binary(call: Call, constant: list[Bool[Tensor, "..."] | None], known_as: int) -> list[list[Source]]:
    steps = tuple(Keep(~there, known_as) for there in constant if there is not None)
    return [[(t, (*call.same(t), *steps)) for t in call.live]]


def matrix_product(call: Call) -> list[list[Source]]:
    """Rows with columns: each entry depends on a row of the left and a column of the right."""
    left, right = next(
        (call[a], call[b]) for a, b in (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2")) if a in call.arguments
    )
    added = call["self"] if call["self"] is not left else None
    of_left: Relation = (Every((-1,)),)
    of_right: Relation = (Every((-2,)),)
    zeros = call.zeros(right)
    if zeros is not None:
        of_left = (Table(-1, ~zeros.transpose(-1, -2)),)
    zeros = call.zeros(left)
    if zeros is not None:
        of_right = (Table(-2, ~zeros),)
    masked = call.masked(added) if added is not None and call.get("beta", 1) > 0 else None
    closed: Relation = () if masked is None else (Keep(~masked, MASKED),)  # scores and their mask, as one operation
    sources: list[Source] = [(left, (*of_left, *closed)), (right, (*of_right, *closed))]
    if added is not None:
        sources.append((added, (*call.same(added), *closed)))
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


def fourier(call: Call) -> list[list[Source]]:
    """A Fourier transform: all along its axes."""
    x = call["self"]
    return [[(x, (Every(tuple(a % x.dim() - x.dim() for a in call["dim"])),))]]


def softmax(call: Call) -> list[list[Source]]:
    """All scores along one axis; a masked score neither counts nor receives."""
    x = call["self"]
    axis = call["dim"] % x.dim() - x.dim()
    masked = call.masked(x)
    if masked is None:
        return [[(x, (Every((axis,)),))]]
    counts = ~masked | masked.all(axis, keepdim=True)  # a line that is masked from end to end counts alike everywhere
    after: Relation = () if "log" in call.name else (Keep(counts, ZERO),)
    return [[(x, (Keep(counts), Every((axis,)), *after))]]


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
    relation = (*relation, *_factor(call, (-1, *[1] * (x.dim() - 2))))
    return [[(x, relation if i == 0 else (Whole(x.dim(), o.dim()),))] for i, o in enumerate(call.outputs)]


def layer_norm(call: Call) -> list[list[Source]] | None:
    """All of the normalised axes, which are the last; layer norm and root-mean-square norm."""
    x = call["input"]
    if any(t is not x for t in call.live):
        return None
    axes = len(call["normalized_shape"])
    relation: Relation = (Every(tuple(range(-axes, 0))),)
    scaled: Relation = (*relation, *_factor(call, tuple(call["normalized_shape"])))
    return [[(x, relation if i else scaled)] for i, _ in enumerate(call.outputs)]


def group_norm(call: Call) -> list[list[Source]] | None:
    """All positions of all channels of a group."""
    x, groups = call["input"], call["group"]
    if any(t is not x for t in call.live):
        return None
    apart = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    together = Every(tuple(range(2 - len(apart), 0)))
    relation: Relation = (Reshape(tuple(x.shape), apart), together)
    statistics: Relation = (*relation, Reshape((*apart[:2], *[1] * (len(apart) - 2)), apart[:2]))
    factor = _factor(call, (-1, *[1] * (x.dim() - 2)))
    back: Relation = (*relation, Full(apart), Reshape(apart, tuple(x.shape)), *factor)
    return [[(x, back if i == 0 else statistics)] for i, _ in enumerate(call.outputs)]


def _factor(call: Call, shape: tuple[int, ...]) -> Relation:
    """A norm's own factor stops what it multiplies by zero; its offset is then what is left."""
    zeros = call.zeros(call["weight"])
    return () if zeros is None else (Keep(~zeros.reshape(shape), NOTHING),)


def dot_product_attention(call: Call) -> list[list[Source]]:
    """softmax(q k^T) v: a query with all keys it may see, and their values channel by channel."""
    query, key, value = call["query"], call["key"], call["value"]
    out = call.outputs[0]
    rows, keys = query.shape[-2], key.shape[-2]
    allowed: Bool[Tensor, "..."] | None = None
    mask = call.get("attn_mask", call.get("attn_bias"))
    if isinstance(mask, Tensor):
        if mask.dtype == torch.bool and known(mask) and not call.is_live(mask):
            allowed = mask.detach().cpu()
        elif (masked := call.masked(mask)) is not None:
            allowed = ~masked | masked.all(-1, keepdim=True)
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
    of_key: Relation = (*keep, Every((-1,)), Reshape((b, 1), (b, 1, 1)), Same((b, 1, 1), tuple(call.outputs[0].shape)))
    of_value: Relation = (*(Keep(s.kept[:, None]) for s in keep if isinstance(s, Keep)), Every((-1,)))
    of_query: Relation = (Reshape((b, n), (b, 1, n)), Same((b, 1, n), tuple(call.outputs[0].shape)))
    return [[(query, of_query), (key, of_key), (value, of_value)]]


def affine_grid(call: Call) -> list[list[Source]]:
    """Sampling positions from a matrix: each depends on the whole matrix of its image."""
    theta = call["theta"]
    b = theta.shape[0]
    spread = Same((b, 1, 1, 1), tuple(call.outputs[0].shape))
    return [[(theta, (Every((-2, -1)), Reshape((b, 1, 1), (b, 1, 1, 1)), spread))]]


def as_complex(call: Call) -> list[list[Source]]:
    """Pairs of real numbers as complex ones."""
    x = call["self"]
    return [[(x, (Every((-1,)), Reshape((*x.shape[:-1], 1), tuple(x.shape[:-1]))))]]


def as_real(call: Call) -> list[list[Source]]:
    """Complex numbers as pairs of real ones."""
    x = call["self"]
    return [[(x, (Reshape(tuple(x.shape), (*x.shape, 1)), Same((*x.shape, 1), (*x.shape, 2))))]]


_SUMS = "sum mean nansum nanmean amax amin aminmax max min var std var_mean std_mean prod logsumexp norm any all argmax"
_SUMS += " argmin median nanmedian mode kthvalue linalg_vector_norm count_nonzero"
_ATTENTIONS = "flash_attention_for_cpu flash_attention efficient_attention cudnn_attention fused_attention_overrideable"
_BATCH = "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional cudnn_batch_norm"
_BATCH += " _native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update miopen_batch_norm"
_UNTAGGED = (
    "hardswish log_sigmoid_forward _prelu_kernel rrelu_with_noise native_dropout dropout polar complex real imag"
)
_UNTAGGED += " conj _conj resolve_conj resolve_neg _fused_dropout"  # element by element, though not tagged as such
RULES: dict[str, Rule] = {
    "aten::mul": product,
    "aten::add": addition,
    **{f"aten::{n}": matrix_product for n in ("mm", "bmm", "addmm", "baddbmm", "_addmm_activation")},
    **{f"aten::{n}": matrix_vector for n in ("mv", "addmv")},
    "aten::linear": linear,
    **{f"aten::{n}": whole for n in ("dot", "vdot", "dist", "equal", "_local_scalar_dense", "is_nonzero")},
    **{f"aten::{n}": reduction for n in _SUMS.split()},
    **{f"aten::{n}": along for n in ("sort", "argsort", "topk", "renorm")},
    **{f"aten::{n}": fourier for n in ("_fft_r2c", "_fft_c2c", "_fft_c2r")},
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
    **{f"aten::{n}": elementwise for n in _UNTAGGED.split()},
    "aten::glu": gated,
    "sightline::criss_cross_attention": criss_cross,
    **{f"sightline::{n}_attention": non_local for n in ("softmax", "dot_product", "fused")},
    "sightline::concatenation_attention": concatenation,
}
