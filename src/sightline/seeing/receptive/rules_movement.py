"""Rules of operations that only move elements: views, joins, slices, indexing, folding.

Most are a list of windows of one tap along each axis, or a change of shape. For the others the operation itself is
run on the numbers of the elements, which says where each element of the result came from.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils._pytree import tree_map

from sightline.seeing.receptive.call import Call, Rule, Source, known
from sightline.seeing.receptive.relations import (
    Every,
    Keep,
    Permute,
    Pick,
    Relation,
    Reshape,
    Same,
    Spread,
    Whole,
    Windows,
)
from sightline.seeing.receptive.tables import MASKED, NO_SOURCE, ZERO


def identity(call: Call) -> list[list[Source]]:
    """The same elements: a copy, a cast, an alias."""
    return call.every((call.args[0], ()))


def reshape(call: Call) -> list[list[Source]]:
    """The same elements in the same order under another shape."""
    x = call.args[0]
    return call.every((x, (Reshape(tuple(x.shape), tuple(call.outputs[0].shape)),)))


def permute(call: Call) -> list[list[Source]]:
    """Axes in another order."""
    x = call["self"]
    n = x.dim()
    if call.short == "permute":
        order = [d % n for d in call["dims"]]
    else:
        order = list(range(n))
        a, b = (call["dim0"] % n, call["dim1"] % n) if "dim0" in call.arguments else (0, n - 1)
        order[a], order[b] = order[b], order[a]
    return [[(x, (Permute(tuple(order)),))]]


def expand(call: Call) -> list[list[Source]]:
    """Axes of size 1 repeated without a copy."""
    return [[(call["self"], call.same(call["self"]))]]


def copy(call: Call) -> list[list[Source]]:
    """What is written over a tensor: nothing of the old values stays."""
    source = call.get("src", call.get("value"))
    return [[(source, call.same(source))] if isinstance(source, Tensor) else []]


def slicing(call: Call) -> list[list[Source]]:
    """Some of the elements along one axis."""
    x, axis = call["self"], call["dim"] % call["self"].dim() - call["self"].dim()
    n = x.shape[axis]
    start = call["start"] if call["start"] is not None else 0
    end = call["end"] if call["end"] is not None else n
    index = torch.arange(n)[start : end : call["step"]]
    return [[(x, (Windows(axis, index[:, None], n),))]]


def select(call: Call) -> list[list[Source]]:
    """One element along one axis, which goes."""
    return [[(call["self"], _one(call["self"], call["dim"], call["index"], call.outputs[0]))]]


def unbind(call: Call) -> list[list[Source]]:
    """Each element along one axis by itself."""
    return [[(call["self"], _one(call["self"], call["dim"], i, o))] for i, o in enumerate(call.outputs)]


def split(call: Call) -> list[list[Source]]:
    """Runs of elements along one axis."""
    x, axis = call["self"], call["dim"] % call["self"].dim() - call["self"].dim()
    found: list[list[Source]] = []
    start = 0
    for out in call.outputs:
        index = torch.arange(start, start + out.shape[axis])[:, None]
        found.append([(x, (Windows(axis, index, x.shape[axis]),))])
        start += out.shape[axis]
    return found


def join(call: Call) -> list[list[Source]]:
    """Tensors one after the other along an axis, new (stack) or old (cat)."""
    out = call.outputs[0]
    axis = call["dim"] % out.dim() - out.dim()
    places = torch.arange(out.shape[axis])
    sources: list[Source] = []
    start = 0
    for x in call["tensors"]:
        relation: Relation = ()
        shape = tuple(x.shape)
        if call.short == "stack":
            shape = (*shape[: axis + out.dim()], 1, *shape[axis + out.dim() :])
            relation = (Reshape(tuple(x.shape), shape),)
        elif x.dim() != out.dim():
            continue  # an empty vector, which cat accepts anywhere
        inside = (places >= start) & (places < start + shape[axis])
        index = torch.where(inside, places - start, NO_SOURCE)[:, None]
        sources.append((x, (*relation, Windows(axis, index, shape[axis]))))
        start += shape[axis]
    return [sources]


def repeat(call: Call) -> list[list[Source]]:
    """The whole tensor several times along each axis."""
    x, out = call["self"], call.outputs[0]
    shape = (*[1] * (out.dim() - x.dim()), *x.shape)
    steps: list[Any] = [Reshape(tuple(x.shape), shape)]
    now = list(shape)
    for axis, times in zip(range(-out.dim(), 0), call["repeats"], strict=True):
        if times > 1 and shape[axis] > 1:
            steps.append(Windows(axis, torch.arange(shape[axis]).repeat(times)[:, None], shape[axis]))
            now[axis] *= times
    return [[(x, (*steps, Same(tuple(now), tuple(out.shape))))]]


def choose(call: Call) -> list[list[Source]] | None:
    """Indexing, gathering, scattering, rolling, unfolding: the operation itself says which element went where.

    Indices that depend on the image: value-aware, those that ran; structural, all elements are assumed and named.
    What is gathered depends on its own index besides; what is scattered on all indices, which is named too.
    """
    whole = [t for t in call.live if not t.is_floating_point() and not t.is_complex()]
    if (whole and not call.values) or call.get("accumulate"):
        return None
    if any(not known(t) for t in _indices(call) if not call.is_live(t)):
        return None
    sources: list[Source] = []
    if whole:  # whether an index would have been another is more than these values tell
        call.dense = frozenset([call.short])
    for t in whole:
        own = _own_index(call, t)
        sources.append((t, (Whole(t.dim(), call.outputs[0].dim()),) if own is None else own))
    for t in call.live:
        if all(t is not s for s, _ in sources):
            sources.append((t, (Pick(_where_from(call, t), tuple(t.shape)),)))
    return call.every(*sources)


def _own_index(call: Call, index: Tensor) -> Relation | None:
    """How each gathered element depends on the index that chose it; None where indices do not stand side by side."""
    out = call.outputs[0]
    if call.short in ("gather", "take_along_dim"):
        return call.same(index)
    if call.short not in ("index", "_unsafe_index") or index.dtype == torch.bool:
        return None
    places = [i for i, t in enumerate(call["indices"]) if t is not None]
    if places != list(range(places[0], places[-1] + 1)):
        return None
    after = call["self"].dim() - places[-1] - 1
    line = (*index.shape, *[1] * after)
    return (Reshape(tuple(index.shape), line), Same(line, tuple(out.shape)))


def index_select(call: Call) -> list[list[Source]] | None:
    """Chosen elements along one axis."""
    x, index = call["self"], call["index"]
    if call.is_live(index) or not known(index):
        return choose(call)
    axis = call["dim"] % x.dim() - x.dim()
    return [[(x, (Windows(axis, index.detach().cpu().reshape(-1, 1).long(), x.shape[axis]),))]]


def fold(call: Call) -> list[list[Source]]:
    """Overlapping windows added into a map: the way back of unfolding."""
    x, out = call["self"], call.outputs[0]
    numbers = torch.arange(1, out.numel() + 1, dtype=torch.float64).reshape(out.shape)
    arguments = (call["kernel_size"], call["dilation"], call["padding"], call["stride"])
    index = torch.ops.aten.im2col(numbers, *arguments).long() - 1
    return [[(x, (Spread(index.reshape(x.shape), tuple(out.shape)),))]]


def embedding(call: Call) -> list[list[Source]]:
    """Rows of a table by number: the numbers count where they depend on the image, the table as a whole."""
    weight, indices, out = call["weight"], call["indices"], call.outputs[0]
    column = (*indices.shape, 1)
    return [
        [
            (indices, (Reshape(tuple(indices.shape), column), Same(column, tuple(out.shape)))),
            (weight, (Every((-2,)), Same((1, out.shape[-1]), tuple(out.shape)))),
        ]
    ]


def where(call: Call) -> list[list[Source]]:
    """One of two by a condition: where the code made the condition, only the one that is taken."""
    condition = call["condition"]
    if call.is_live(condition) or not known(condition):
        return [[(t, call.same(t)) for t in call.live]]
    call.moves = True
    taken = condition.detach().cpu()
    sources: list[Source] = []
    for name, other, kept in (("self", "other", taken), ("other", "self", ~taken)):
        if call.is_live(call[name]):
            sources.append((call[name], (*call.same(call[name]), Keep(kept), *_constant(call, call[other], ~kept))))
    return [sources]


def masked_fill(call: Call) -> list[list[Source]]:
    """A constant where the mask is set: where the code made the mask, nothing of the input stays there."""
    mask, x, value = call["mask"], call["self"], call["value"]
    if call.is_live(mask) or not known(mask):
        return [[(t, call.same(t)) for t in call.live]]
    call.moves = True
    filled = mask.detach().cpu()
    sources: list[Source] = []
    if call.is_live(x):
        sources.append((x, (*call.same(x), Keep(~filled), *_constant(call, value, filled))))
    if call.is_live(value):
        sources.append((value, (*call.same(value), Keep(filled))))
    return [sources]


def _constant(call: Call, value: Any, there: Bool[Tensor, "..."]) -> Relation:
    """What is known of the elements that a constant takes."""
    if call.is_live(value):
        return ()
    if isinstance(value, Tensor):
        found = [(call.masked(value), MASKED), (call.zeros(value), ZERO)]
        return tuple(Keep(~(there & m), known_as) for m, known_as in found if m is not None)
    dtype = call.outputs[0].dtype
    if dtype.is_floating_point and value <= torch.finfo(dtype).min / 2:
        return (Keep(~there, MASKED),)
    return (Keep(~there, ZERO),) if value == 0 else ()


def _one(x: Tensor, dim: int, index: int, out: Tensor) -> Relation:
    axis = dim % x.dim() - x.dim()
    n = x.shape[axis]
    kept = tuple(1 if a - x.dim() == axis else s for a, s in enumerate(x.shape))
    return (Windows(axis, torch.tensor([[index % n]]), n), Reshape(kept, tuple(out.shape)))


def _indices(call: Call) -> list[Tensor]:
    given: list[Any] = [*call.args, *call.kwargs.values()]
    flat = [u for v in given for u in (v if isinstance(v, list | tuple) else [v])]
    return [t for t in flat if isinstance(t, Tensor) and not t.is_floating_point() and not t.is_complex()]


def _where_from(call: Call, source: Tensor) -> Int[Tensor, "..."]:
    """For each element of the result, the number of the element of `source` that it is, or -1."""

    def stand_in(value: Any) -> Any:
        if value is source:
            return torch.arange(1, source.numel() + 1, dtype=torch.float64).reshape(source.shape)
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            return torch.zeros(value.shape, dtype=torch.float64)
        return value.detach().cpu() if isinstance(value, Tensor) else value

    args, kwargs = tree_map(stand_in, (tuple(call.args), dict(call.kwargs)))
    if isinstance(call.get("value"), int | float):  # a number that is written counts as none of the elements
        names = [a.name for a in call.function._schema.arguments]
        place = names.index("value")
        args = tuple(0 if i == place else a for i, a in enumerate(args))
        kwargs = {k: 0 if k == "value" else v for k, v in kwargs.items()}
    return call.function(*args, **kwargs).long() - 1


def _moving(rule: Rule) -> Rule:
    """The same rule; what is known of the constants among the elements stays known."""

    def moving(call: Call) -> Sequence[Sequence[Source]] | None:
        call.moves = True
        return rule(call)

    return moving


def _named(names: Sequence[str], rule: Rule) -> dict[str, Rule]:
    return {f"aten::{name}": rule for name in names}


RULES: dict[str, Rule] = {
    **_named(
        ("alias", "detach", "clone", "_to_copy", "lift_fresh", "contiguous", "lift", "positive", "to"),
        _moving(identity),
    ),
    **_named(
        ("view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "flatten"), _moving(reshape)
    ),
    **_named(("permute", "transpose", "t", "numpy_T"), _moving(permute)),
    **_named(("expand", "expand_copy"), _moving(expand)),
    **_named(("copy_", "copy", "fill_", "fill"), _moving(copy)),
    **_named(("slice",), _moving(slicing)),
    **_named(("select",), _moving(select)),
    **_named(("unbind",), _moving(unbind)),
    **_named(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _moving(split)),
    **_named(("cat", "stack"), _moving(join)),
    **_named(("repeat",), _moving(repeat)),
    **_named(("roll", "flip", "rot90", "unfold", "as_strided", "im2col", "diagonal", "tril", "triu"), _moving(choose)),
    **_named(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"), _moving(choose)),
    **_named(("index", "_unsafe_index", "gather", "take", "take_along_dim", "diag_embed"), _moving(choose)),
    **_named(("slice_scatter", "select_scatter", "diagonal_scatter", "as_strided_scatter"), _moving(choose)),
    **_named(("index_put", "index_put_", "index_copy", "index_fill", "scatter", "_index_put_impl_"), _moving(choose)),
    **_named(("index_select",), _moving(index_select)),
    **_named(("col2im",), fold),
    **_named(("embedding",), embedding),
    **_named(("where",), where),
    **_named(("masked_fill",), masked_fill),
}
