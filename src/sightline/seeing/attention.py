"""Where does a network look from one pixel? Every attention layer of any network, each head, each pass.

For the query pixel's token the row of softmax(scale q k^T + mask) (Vaswani et al., 2017,
https://arxiv.org/abs/1706.03762, equation 1) is computed alone, in O(N) beside the projections; the N x N table is
never made here. `attention_calls.py` says which layers are recognised, and which are not. Recurrent criss-cross
attention (Huang et al., 2019, https://arxiv.org/abs/1811.11721, section 3.3) is told pass by pass and composed.

A weight says where a layer takes from, not what it does with it: values, residuals and gains (a criss-cross gamma that
is still zero) are not counted. Left out: the places of windows. A layer that works on them is told in its own order of
tokens, never drawn over the image.
"""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.ops.attend_from import recurrent_criss_cross_weights_from
from sightline.ops.layouts import accumulation_type
from sightline.seeing.attention_calls import Call, Pass, watch_attention
from sightline.seeing.attention_places import Pixel, Place, nearest


@dataclasses.dataclass(frozen=True)
class Look:
    """Where one query looks in one attention layer. With the prefix a softmax's weights sum to one in every head."""

    layer: str
    """name of the module."""
    kind: str
    """"multi-head", "scaled dot product", "softmax written out", "non-local", "criss-cross" or "attention layer"."""
    grid: tuple[int, int] | None
    """rows and columns of the keys over the image; None where they could not be placed on it."""
    query_grid: tuple[int, int] | None
    """those of the queries, finer than the keys' where these are sub-sampled."""
    position: tuple[int, int] | None
    """row and column of the query on its grid; None where it has none."""
    weights: Float[Tensor, "heads y x"]
    """what is taken from each position of the grid; `[heads, 1, m]`, in the layer's own order, without one."""
    prefix: Float[Tensor, "heads p"]
    """what is taken from tokens that stand nowhere: class token, registers, then any behind the grid."""
    number: int | None = None
    """1, 2, ... where the layer runs several times, else None."""
    passes: int = 1
    """over how many passes the weights are composed."""
    note: str = ""
    """one sentence where the tokens could not be placed on the image."""


def looks(
    network: nn.Module, image: Float[Tensor, "b c h w"], query: Pixel, *, prefix: int | None = None
) -> list[Look]:
    """Where every attention layer of a network looks from one pixel of the first image, in order of execution.

    The network runs once, in evaluation mode; it is left as it was.

    Args:
        network: any module that takes the image alone.
        image: a batch of images, of which the first is looked at.
        query: row and column in pixels; the token is the one whose cell of the grid holds it.
        prefix: number of tokens before the grid, where that cannot be found by watching (`attention_places.py`).

    Raises:
        ValueError: the pixel is not on the image, or the image is none.
    """
    size = (image.shape[-2], image.shape[-1])
    if not all(-0.5 <= q < s - 0.5 for q, s in zip(query, size, strict=True)):
        raise ValueError(
            f"the query pixel {tuple(query)} does not lie on the image of {size[0]} x {size[1]}: rows go from 0 to "
            f"{size[0] - 1}, columns from 0 to {size[1] - 1}"
        )
    found: list[Look] = []
    chain: list[tuple[str, Pass]] = []

    def close() -> None:
        if len(chain) > 1:
            found.append(_composed(chain, query, size))
        chain.clear()

    def see(call: Call) -> None:
        if chain and not _continues(chain[-1][1], call.criss_cross):
            close()
        found.append(_look(call, query, size))
        if call.criss_cross is not None and call.groups == 1:
            chain.append((call.layer, call.criss_cross))

    watch_attention(network, image, see, prefix=prefix)
    close()
    runs = [look.layer for look in found if look.passes == 1]
    return [dataclasses.replace(k, number=None) if runs.count(k.layer) == 1 else k for k in found]


def _look(call: Call, query: Pixel, size: tuple[int, int]) -> Look:
    queries, keys = call.queries, call.keys
    if queries.grid is None:
        position, index = None, queries.count // 2
    else:
        position = nearest(query, size, queries.grid)
        index = queries.prefix + position[0] * queries.grid[1] + position[1]
    row = call.row(index).detach()
    weights, nowhere = on_grid(row.to(accumulation_type(row.dtype)), keys)
    return Look(
        call.layer,
        call.kind,
        keys.grid,
        queries.grid,
        position,
        weights,
        nowhere,
        call.number,
        note=_note(call, index),
    )


def on_grid(row: Float[Tensor, "heads m"], keys: Place) -> tuple[Float[Tensor, "heads y x"], Float[Tensor, "heads p"]]:
    """A row of weights as a map, and what goes to tokens that stand nowhere."""
    if keys.grid is None:
        return row[:, None], row[:, :0]
    end = keys.count - keys.suffix
    return row[:, keys.prefix : end].unflatten(1, keys.grid), torch.cat([row[:, : keys.prefix], row[:, end:]], 1)


def _note(call: Call, index: int) -> str:
    """Why a look is not a picture, in one sentence."""
    n, m = call.queries.count, call.keys.count
    if call.groups > 1:
        return (
            f"the layer works on {call.groups} groups of {n} tokens, windows for example, whose places are not known: "
            f"these are the weights of token {index} of the first group, in the layer's own order"
        )
    if call.keys.grid is None:
        place = f"token {index} of {n}" if call.queries.grid is None else "the query's token"
        return (
            f"the {m} tokens that are looked at fit no grid over the image: these are the weights of {place} in the "
            "layer's own order (give prefix= if other tokens stand before a grid)"
        )
    if call.queries.grid is None:
        return f"the {n} queries could not be placed on the image: these are the weights of query {index}"
    return ""


def _continues(last: Pass, following: Pass | None) -> bool:
    """Whether a pass got the very tensor that the last one returned: nothing was done between them."""
    return following is not None and following.source is last.output and following.mask is last.mask


def _composed(chain: list[tuple[str, Pass]], query: Pixel, size: tuple[int, int]) -> Look:
    """Where the last pass looks through all passes: one row of the product of their tables."""
    passes = [one for _, one in chain]
    grid = (passes[0].x.shape[2], passes[0].x.shape[3])
    position = nearest(query, size, grid)
    with torch.no_grad():
        weights = recurrent_criss_cross_weights_from(
            [one.layer.query_conv(one.x) for one in passes],
            [one.layer.key_conv(one.x) for one in passes],
            position,
            mask=passes[0].mask,
        )
    weights = weights.to(accumulation_type(weights.dtype))
    return Look(
        _common(chain), "criss-cross", grid, grid, position, weights, weights.new_zeros(1, 0), passes=len(passes)
    )


def _common(chain: list[tuple[str, Pass]]) -> str:
    """The layer's name, or that of the module around layers of different names."""
    names = [name.split(".") for name, _ in chain]
    shared = 0
    while all(len(name) > shared and name[: shared + 1] == names[0][: shared + 1] for name in names):
        shared += 1
        if shared == len(names[0]):
            break
    return ".".join(names[0][:shared])
