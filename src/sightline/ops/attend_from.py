"""Where does one query position look? Its weights alone, in O(N), without the table of all pairs.

Non-local attention (Wang et al., 2018, https://arxiv.org/abs/1711.07971, equation 1): one row of the table. Criss-cross
attention (Huang et al., 2019, https://arxiv.org/abs/1811.11721, equation 2): one softmax over a row and a column.
Recurrent criss-cross attention composes R of them; the weights of the composition come from its gradient. The output at
one position is linear in the first pass's values, out_u = sum_i A_ui v_i, so A_u = d out_u / d v, and the gradient of a
one-hot output flows back through R passes in O(R N (H + W)), by the lean backward pass, with nothing stored.

Left out: what the layer does around attention. Projections of the values never enter; the residual and gamma enter only
where `residual` is given.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.ops import criss_cross_lines
from sightline.ops.layouts import accumulation_type
from sightline.ops.reference import attention_table


def non_local_weights_from(
    query: Float[Tensor, "b d *positions"],
    key: Float[Tensor, "b d *keys"],
    position: tuple[int, ...],
    *,
    pairwise: str = "softmax",
    mask: Bool[Tensor, "b *keys"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "b *keys"]:
    """What the query at `position` takes from each key, residual and gamma not counted.

    Softmax weights sum to 1, or are all 0 where nothing may be seen; the other two are divided by the number of visible
    keys. Cost and memory: O(N). `position` has one index per axis of the grid of `query`, the same for all samples.

    Raises:
        ValueError: `pairwise` is unknown, the position lies off the grid, or shapes do not fit; as the operator does.
    """
    _check(query, key, mask)
    if pairwise == "concatenation" and (query.shape[1] != 1 or scale != 1.0):
        raise ValueError(
            f"concatenation needs query and key of one channel and no scale, got {query.shape[1]} channels and scale "
            f"{scale}: project each to one number per position first"
        )
    dtype = accumulation_type(query.dtype)
    here = _at(query, position).to(dtype)
    table = attention_table(here, key.to(dtype), pairwise=pairwise, mask=mask, scale=scale)  # of one query: [b, 1, m]
    return table.reshape(key.shape[0], *key.shape[2:]).to(query.dtype)


def criss_cross_weights_from(
    query: Float[Tensor, "b d h w"],
    key: Float[Tensor, "b d h w"],
    position: tuple[int, ...],
    *,
    mask: Bool[Tensor, "b h w"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "b h w"]:
    """What the query at `position` takes from each position of the map: zero off its row and column.

    Weights sum to 1, or are all 0 where nothing may be seen. Residual and gamma are not counted.

    Raises:
        ValueError: the position lies off the map, or shapes do not fit; as the operator does.
    """
    _check_maps(query, key, mask)
    b, _, h, w = query.shape
    dtype = accumulation_type(query.dtype)
    here = _at(query, position).to(dtype)
    y, x = position
    lines = torch.cat([key[:, :, :, x], key[:, :, y]], -1).to(dtype)  # the column, then the row: [b, d, h + w]
    visible = torch.ones(b, h + w, dtype=torch.bool, device=query.device)
    visible[:, y] = False  # the centre counts once, in the row
    if mask is not None:
        visible &= torch.cat([mask[:, :, x], mask[:, y]], -1)
    weights = attention_table(here, lines, mask=visible, scale=scale)[:, 0]
    column = torch.nn.functional.pad(weights[:, :h, None], (x, w - 1 - x))
    row = torch.nn.functional.pad(weights[:, None, h:], (0, 0, y, h - 1 - y))
    return (column + row).to(query.dtype)


def recurrent_criss_cross_weights_from(
    queries: list[Tensor],
    keys: list[Tensor],
    position: tuple[int, ...],
    *,
    mask: Bool[Tensor, "b h w"] | None = None,
    scale: float = 1.0,
    residual: float | Tensor | None = None,
) -> Float[Tensor, "b h w"]:
    """What the output at `position` takes, through R criss-cross passes, from each position before the first pass.

    Args:
        queries: R tensors `[b, d, h, w]`, the first pass first.
        keys: R tensors of the same shapes.
        position: row and column of the output position, the same for all samples.
        mask: True where a key may be looked at, in every pass.
        scale: multiplies the scores.
        residual: None counts attention alone: the result is the row of the product of R weight tables. A number gamma
            counts the layer's residual too: each pass is then identity + gamma times its table. A tensor may hold one
            gamma per pass, first pass first.

    The weights tell how positions mix; the projection of the values inside a pass mixes channels, not positions, and is
    not counted. The result is a constant: no gradient flows back from it. Memory: O(N), not O(N (H + W)).

    Raises:
        ValueError: there is no pass, the lists differ in length or shape, the position lies off the map, or the mask or
            the number of gammas does not fit.
    """
    if not queries or len(queries) != len(keys):
        raise ValueError(f"queries and keys need one tensor per pass each, got {len(queries)} and {len(keys)}")
    if any(q.dim() != 4 or q.shape[:1] + q.shape[2:] != queries[0].shape[:1] + queries[0].shape[2:] for q in queries):
        raise ValueError(f"every pass needs [b, d, h, w] on one map, got {[tuple(q.shape) for q in queries]}")
    if any(q.shape != k.shape for q, k in zip(queries, keys, strict=True)):
        raise ValueError(
            f"each pass needs a query and a key of one shape, got {[tuple(q.shape) for q in queries]} "
            f"and {[tuple(k.shape) for k in keys]}"
        )
    _check_maps(queries[0], keys[0], mask)
    b, _, h, w = queries[0].shape
    _inside(position, (h, w))
    if isinstance(residual, Tensor) and residual.numel() not in (1, len(queries)):
        raise ValueError(f"residual needs one gamma, or one for each of {len(queries)} passes, got {residual.numel()}")
    dtype = accumulation_type(queries[0].dtype)
    weights = torch.zeros(b, 1, h, w, dtype=dtype, device=queries[0].device)
    weights[:, :, position[0], position[1]] = 1
    with torch.no_grad():
        gammas = None if residual is None else torch.as_tensor(residual).to(weights).expand(len(queries))
        for i in reversed(range(len(queries))):
            through = _value_gradient(queries[i].to(dtype), keys[i].to(dtype), weights, mask, scale)
            weights = through if gammas is None else weights + gammas[i] * through
    return weights[:, 0].to(queries[0].dtype)


def _check_maps(query: Tensor, key: Tensor, mask: Tensor | None) -> None:
    if query.dim() != 4 or query.shape != key.shape:
        raise ValueError(
            f"query and key must be [b, d, h, w] of one shape, got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    _check(query, key, mask)


def _check(query: Tensor, key: Tensor, mask: Tensor | None) -> None:
    """Refuse what the operator refuses: a mask that merely has as many entries would hide the wrong keys in silence."""
    if query.dim() < 3 or query.dim() != key.dim() or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            f"query and key must be [b, d, *positions] of one rank, batch and width, got {tuple(query.shape)} and "
            f"{tuple(key.shape)}"
        )
    wanted = (key.shape[0], *key.shape[2:])
    if mask is not None and (mask.dtype != torch.bool or mask.shape != wanted):
        raise ValueError(
            f"a mask must be bool, batch and key positions, {wanted}, got {mask.dtype} {tuple(mask.shape)}: True marks "
            "the keys that may be looked at"
        )


def _value_gradient(query: Tensor, key: Tensor, gradient: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """What an output gradient `[b, 1, h, w]` becomes at the values of one pass: the table's transpose applied to it."""
    value = torch.zeros_like(gradient)
    out, lse = criss_cross_lines.forward(query, key, value, mask, scale)
    return criss_cross_lines.backward(gradient, query, key, value, mask, out, lse, scale)[2]


def _at(query: Tensor, position: tuple[int, ...]) -> Tensor:
    """The query at one position, as a grid of one: `[b, d, 1]`."""
    _inside(position, query.shape[2:])
    index: tuple[slice | int, ...] = (slice(None), slice(None), *position)
    return query[index][..., None]


def _inside(position: tuple[int, ...], size: tuple[int, ...]) -> None:
    """A position off the grid would wrap around in silence."""
    if len(position) != len(size) or not all(0 <= p < s for p, s in zip(position, size, strict=False)):
        raise ValueError(f"position must have one index per axis, each inside {tuple(size)}, got {tuple(position)}")
