"""Attention rollout: where a query's final token draws from through the whole depth (Abnar and Zuidema, 2020,
https://arxiv.org/abs/2005.00928, equation 1 and section 4).

    A'_l = 0.5 A_l + 0.5 I,    rollout = A'_L ... A'_1

A_l is the mean over the heads. One query needs one row of the product: it goes back through the layers as a row vector,
r <- r A'_l, block by block, so that neither the product nor a whole table is made. Each row of A_l is divided by *its
own* sum; popular code divides columns by row sums (no `keepdim`), after which rows no longer sum to one. Sums are kept
in float64.

A network that writes its tables out has them kept, over heads, until the row has passed. Left out: discarding the
smallest weights, weighting by gradients, and values: rollout says how positions mix, not what is carried.
"""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.ops.arguments import choose
from sightline.seeing.attention import on_grid
from sightline.seeing.attention_calls import Call, watch_attention
from sightline.seeing.attention_places import Pixel, Place, nearest

FUSE: dict[str, Callable[[Tensor], Tensor]] = {"mean": lambda heads: heads.mean(0), "max": lambda heads: heads.amax(0)}


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Where one token of the last layer draws from, in the tokens before the first. All of it sums to one."""

    layers: tuple[str, ...]
    """the layers passed through, first to last."""
    grid: tuple[int, int] | None
    """rows and columns of the tokens over the image; None where they could not be placed."""
    position: tuple[int, int] | None
    """the query on that grid; None for a token that stands nowhere."""
    weights: Float[Tensor, "y x"]
    """float64; `[1, n]` without a grid."""
    prefix: Float[Tensor, "p"]
    """what comes from tokens that stand nowhere."""


def attention_rollout(
    network: nn.Module,
    image: Float[Tensor, "b c h w"],
    query: Pixel | int,
    *,
    residual: float = 0.5,
    heads: str = "mean",
    depth: int | None = None,
    block: int = 256,
    prefix: int | None = None,
) -> Rollout:
    """Roll one query's attention back through every layer of a network, for the first image.

    Args:
        network: any module whose attention layers all work on the same tokens.
        image: a batch of images.
        query: row and column in pixels, or the number of a token counted from the first: 0 is the class token.
        residual: share of the identity, in [0, 1]; the paper's is a half.
        heads: "mean" (paper) or "max".
        depth: roll back from the layer so many layers deep instead of the last.
        block: rows of a table that are computed at once.
        prefix: as in `looks`.

    Raises:
        ValueError: no layer was seen, the layers work on different tokens, an argument is out of range.
    """
    fuse = FUSE[choose("way to join heads", heads, FUSE)]
    if not 0 <= residual <= 1:
        raise ValueError(f"the share of the residual lies in [0, 1], got {residual}")
    if block < 1:
        raise ValueError(f"a block has at least one row, got {block}")
    calls: list[Call] = []
    watch_attention(network, image, lambda call: calls.append(_light(call, fuse)), prefix=prefix)
    if not calls:
        raise ValueError(
            f"no attention layer was seen in {type(network).__name__}: rollout needs one (`attention_calls.py` says "
            "which are recognised)"
        )
    _check(calls)
    if depth is not None and not 1 <= depth <= len(calls):
        raise ValueError(f"depth counts attention layers, 1 to {len(calls)} here, got {depth}")
    calls = calls[:depth]
    tokens = calls[0].queries
    index, position = _query(query, tokens, (image.shape[2], image.shape[3]))
    row = torch.zeros(tokens.count, dtype=torch.float64, device=image.device)
    row[index] = 1
    with torch.no_grad():
        for call in reversed(calls):
            row = residual * row + (1 - residual) * _through(call, row, fuse, block)
    weights, nowhere = on_grid(row[None], tokens)
    return Rollout(tuple(call.layer for call in calls), tokens.grid, position, weights[0], nowhere[0])


def _light(call: Call, fuse: Callable[[Tensor], Tensor]) -> Call:
    """Of tables that the network wrote out, one for each head, keep what the rollout needs."""
    if not call.written_out:
        return call
    table = fuse(call.rows(0, call.queries.count))[None].clone()
    return dataclasses.replace(call, rows=lambda start, stop: table[:, start:stop])


def _check(calls: list[Call]) -> None:
    first = calls[0]
    for call in calls:
        if call.groups > 1 or call.queries.count != call.keys.count:
            what = f"{call.groups} groups" if call.groups > 1 else f"{call.keys.count} keys"
            raise ValueError(
                f"rollout follows one set of tokens through the depth, and layer '{call.layer}' has {what} for "
                f"{call.queries.count} queries: look at its layers one by one with `looks`"
            )
        if call.queries.count != first.queries.count:
            raise ValueError(
                f"rollout follows one set of tokens through the depth, and layer '{first.layer}' has "
                f"{first.queries.count}, layer '{call.layer}' {call.queries.count}: give depth=, or use `looks`"
            )


def _query(query: Pixel | int, tokens: Place, size: tuple[int, int]) -> tuple[int, tuple[int, int] | None]:
    """Which token is asked about, and where it stands."""
    if isinstance(query, int):
        if not 0 <= query < tokens.count:
            raise ValueError(f"token {query} was asked for, there are {tokens.count}: 0 to {tokens.count - 1}")
        place = query - tokens.prefix
        if tokens.grid is None or not 0 <= place < tokens.grid[0] * tokens.grid[1]:
            return query, None
        return query, divmod(place, tokens.grid[1])
    if tokens.grid is None:
        raise ValueError(
            f"the {tokens.count} tokens fit no grid over the image, so that no token belongs to pixel {tuple(query)}: "
            "give prefix=, or the number of a token"
        )
    if not all(-0.5 <= q < s - 0.5 for q, s in zip(query, size, strict=True)):
        raise ValueError(f"the query pixel {tuple(query)} does not lie on the image of {size[0]} x {size[1]}")
    position = nearest(query, size, tokens.grid)
    return tokens.prefix + position[0] * tokens.grid[1] + position[1], position


def _through(call: Call, row: Float[Tensor, "n"], fuse: Callable[[Tensor], Tensor], block: int) -> Float[Tensor, "n"]:
    """The row vector times the layer's table, whose rows are made to sum to one; an empty row stands for itself."""
    out = torch.zeros_like(row)
    for start in range(0, len(row), block):
        stop = min(start + block, len(row))
        part = row[start:stop]
        if not part.any():
            continue
        table = fuse(call.rows(start, stop).to(torch.float64))
        if (table < 0).any():
            raise ValueError(
                f"layer '{call.layer}' has negative weights: a rollout needs weights that share out a whole"
            )
        total = table.sum(-1)
        out += (part / total.where(total > 0, 1)) @ table
        out[start:stop] += part.where(total == 0, 0)
    return out
