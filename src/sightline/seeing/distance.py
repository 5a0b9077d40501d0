"""How far does each head look? Mean attention distance in pixels, and entropy, beside those of uniform attention.

Distance (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, figure 7 and appendix D.7): from the query's pixel
to every other, weighted by attention, averaged over queries and images; here between the centres of the grid's cells.
Entropy: -sum a log a in nats, log N where all N positions get the same. Neither can be read alone: a head is local only
if it lies below `uniform_distance`, which grows with the image.

Tokens that stand nowhere (class token, registers) have no distance: they are taken out, as queries and as keys, and
each row is divided by what is left of it. Rows are made in blocks, never the N x N table.

Left out: composed criss-cross passes, and layers without a grid, which get NaN and a sentence.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.seeing.attention_calls import Call, watch_attention
from sightline.seeing.attention_places import Place


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far the heads of one layer look, and how widely."""

    layer: str
    """name of the module."""
    kind: str
    """as in `Look`."""
    number: int | None
    """as in `Look`."""
    grid: tuple[int, int] | None
    """rows and columns of the keys over the image."""
    distance: Float[Tensor, "heads"]
    """mean distance in pixels; NaN where there is none."""
    entropy: Float[Tensor, "heads"]
    """mean entropy in nats; NaN where there is none."""
    uniform_distance: float
    """of attention that is the same everywhere."""
    uniform_entropy: float
    """of attention that is the same everywhere: the logarithm of the number of positions."""
    prefix_share: Float[Tensor, "heads"]
    """mean share of the weight that went to tokens that stand nowhere, and was taken out."""
    note: str = ""
    """one sentence where there is no distance."""


@dataclasses.dataclass
class _Sums:
    """What the images so far add up to, for one call."""

    call: Call
    sums: Float[Tensor, "3 heads"]
    rows: Float[Tensor, "heads"]
    negative: bool


def attention_distances(
    network: nn.Module, images: Float[Tensor, "b c h w"], *, block: int = 128, prefix: int | None = None
) -> list[Distance]:
    """Distance and entropy of each head of each attention layer, in order of execution, the mean over all images.

    Args:
        network: any module that takes images alone.
        images: a batch; the network sees one after the other.
        block: rows of a table that are computed at once.
        prefix: as in `looks`.

    Raises:
        ValueError: the images are none, a block of no rows, or the network does not do the same for every image.
    """
    if block < 1:
        raise ValueError(f"a block has at least one row, got {block}")
    size = (images.shape[-2], images.shape[-1])
    every: list[list[_Sums]] = []
    for image in images.split(1):
        every.append([])

        def see(call: Call) -> None:
            every[-1].append(_sums(call, size, block))

        watch_attention(network, image, see, prefix=prefix)
    if not every:
        raise ValueError("distances are a mean over images, got none: give one or more")
    met = [[(one.call.layer, one.call.number) for one in of_image] for of_image in every]
    if any(other != met[0] for other in met):
        raise ValueError("the network runs other attention layers for other images: give the images one by one")
    names = [layer for layer, _ in met[0]]
    return [_mean(list(sums), names.count(sums[0].call.layer) > 1, size) for sums in zip(*every, strict=True)]


def centres(grid: tuple[int, int], size: tuple[int, int]) -> Float[Tensor, "n 2"]:
    """Row and column in pixels of the centres of a grid's cells, row by row; pixel (0, 0) is a centre."""
    y, x = (
        (torch.arange(cells, dtype=torch.float64) + 0.5) * pixels / cells - 0.5
        for cells, pixels in zip(grid, size, strict=True)
    )
    return torch.cartesian_prod(y, x)


def uniform_distance(
    grid: tuple[int, int], size: tuple[int, int], *, queries: tuple[int, int] | None = None, block: int = 1024
) -> float:
    """Mean distance in pixels over all pairs of a query and a key, a position with itself included."""
    keys, of_queries = centres(grid, size), centres(grid if queries is None else queries, size)
    total = sum(float(torch.cdist(part, keys).sum()) for part in of_queries.split(block))
    return total / (len(keys) * len(of_queries))


def row_statistics(
    rows: Float[Tensor, "heads r n"], distances: Float[Tensor, "r n"]
) -> tuple[Float[Tensor, "heads r"], Float[Tensor, "heads r"]]:
    """Mean distance and entropy of rows of weights that sum to one."""
    return (rows * distances).sum(-1), torch.special.entr(rows).sum(-1)


def _sums(call: Call, size: tuple[int, int], block: int) -> _Sums:
    grids = call.queries.grid, call.keys.grid
    if grids[0] is None or grids[1] is None:
        heads = call.row(0).shape[0]
        return _Sums(_without_rows(call), torch.zeros(3, heads, dtype=torch.float64), torch.zeros(heads), False)
    sums, counted, negative = torch.zeros(()), torch.zeros(()), False
    of_queries, keys = centres(grids[0], size), centres(grids[1], size)
    first, last = call.queries.prefix, call.queries.prefix + len(of_queries)
    for start in range(first, last, block):
        stop = min(start + block, last)
        rows = call.rows(start, stop).double().cpu()
        negative |= bool((rows < 0).any())
        here = _only_grid(rows, call.keys)
        left, whole = here.sum(-1), rows.sum(-1)
        here = here / left.where(left > 0, 1)[..., None]
        far, wide = row_statistics(here, torch.cdist(of_queries[start - first : stop - first], keys))
        gone = 1 - left / whole.where(whole > 0, 1)
        sums = sums + torch.stack([far, wide, gone.where(left > 0, 0)]).sum(-1)  # an empty row adds nothing
        counted = counted + (left > 0).sum(-1)
    return _Sums(_without_rows(call), sums, counted, negative)


def _only_grid(rows: Float[Tensor, "heads r m"], keys: Place) -> Float[Tensor, "heads r n"]:
    return rows[..., keys.prefix : keys.count - keys.suffix]


def _without_rows(call: Call) -> Call:
    """The call without what holds on to the network's tensors."""

    def gone(*_: int) -> Tensor:
        raise RuntimeError("the rows of this call are no longer kept")

    return dataclasses.replace(call, row=gone, rows=gone, criss_cross=None)


def _mean(parts: list[_Sums], several: bool, size: tuple[int, int]) -> Distance:
    call = parts[0].call
    counted = torch.stack([part.rows for part in parts]).sum(0)
    far, wide, gone = torch.stack([part.sums for part in parts]).sum(0) / counted  # nothing over nothing is NaN
    note, line = "", math.nan
    if call.keys.grid is None or call.queries.grid is None:
        note = f"the layer's {call.queries.count} queries and {call.keys.count} keys could not be placed on the image"
    elif any(part.negative for part in parts):
        note = "the layer's weights may be negative, so that they have no mean distance"
        far, wide, gone = (torch.full_like(far, math.nan) for _ in range(3))
    if call.keys.grid is not None and call.queries.grid is not None:
        line = uniform_distance(call.keys.grid, size, queries=call.queries.grid)
    entropy = math.log(math.prod(call.keys.grid)) if call.keys.grid is not None else math.nan
    number = call.number if several else None
    return Distance(call.layer, call.kind, number, call.keys.grid, far, wide, line, entropy, gone, note)
