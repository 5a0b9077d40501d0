"""Telling attention where things are by adding to the scores a number that depends on query minus key alone.

Every bias is `[heads, n, m]`, query by key, positions flattened row by row, to be added before the softmax.

- relative tables: one learned number per offset and head (1-D: Shaw et al., 2018, in its scalar form; 2-D: Swin, Liu et
  al., 2021, https://arxiv.org/abs/2103.14030, equation 4)
- T5 buckets: far offsets share numbers (Raffel et al., 2020, https://arxiv.org/abs/1910.10683, section 2.1)
- ALiBi: minus slope times distance, nothing learned (Press et al., 2022, https://arxiv.org/abs/2108.12409, section 3)

ALiBi is defined for causal text. On text it is used here symmetrically, -m |i - j|, which is the paper's for j <= i. On
maps no form is a standard: our default is the Euclidean distance between positions in units of one step (as in CROMA,
Fuller et al., 2023, https://arxiv.org/abs/2311.00566), and "manhattan" adds the axes' distances.

Left out: Swin v2's continuous bias, BEiT's extra entries for the class token, causal masks.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.ops.positions import grid, resize_bicubic

DISTANCES = ("euclidean", "manhattan")
NO_ROW = 2**40  # of any table, and of no later arithmetic on it


def relative_index(
    size: Sequence[int], table_size: Sequence[int], *, device: torch.device | str | None = None
) -> Int[Tensor, "n n"]:
    """Which row of a relative table each pair uses: query - key, shifted to start from 0, row by row, as in Swin.

    A table for maps of `table_size` has `prod(2 * s - 1)` rows and serves every map that is no larger along any axis.

    Raises:
        ValueError: the map has other axes than the table, or is larger along one of them.
    """
    if len(size) != len(table_size) or any(s > t for s, t in zip(size, table_size, strict=True)):
        raise ValueError(
            f"a relative table made for size {tuple(table_size)} cannot serve size {tuple(size)}: "
            f"resize it first with resize_relative_table, or make it for the largest map"
        )
    at = grid(size, device=device)
    n = at.shape[0]  # len(at) would fix the size in an exported network
    index = torch.zeros(n, n, dtype=torch.long, device=device)
    for axis, t in enumerate(table_size):
        offset = at[:, None, axis] - at[None, :, axis]
        index = index * (2 * t - 1) + offset + (t - 1)
        if torch.compiler.is_exporting():  # a graph cannot say the sentence above: no such row stops whatever runs it
            index = index.masked_fill(offset.abs() >= t, NO_ROW)
    return index


def relative_bias(
    table: Float[Tensor, "rows heads"], size: Sequence[int], table_size: Sequence[int]
) -> Float[Tensor, "heads n n"]:
    """The bias of a map of any size up to `table_size`, one or more axes, from `[prod(2 s - 1), heads]`."""
    rows = math.prod([2 * t - 1 for t in table_size])  # a list: torch.compile traces no generators here
    if table.shape[0] != rows:
        raise ValueError(f"a relative table for size {tuple(table_size)} has {rows} rows, got {table.shape[0]}")
    return table[relative_index(size, table_size, device=table.device)].permute(2, 0, 1)


def resize_relative_table(
    table: Float[Tensor, "rows heads"], old: Sequence[int], new: Sequence[int], *, antialias: bool = False
) -> Float[Tensor, "more heads"]:
    """Resize a 2-D relative table by bicubic interpolation, as Swin's released code does between window sizes."""
    if len(old) != 2 or len(new) != 2 or any(s < 1 for s in (*old, *new)):
        raise ValueError(f"a relative table is resized between maps (h, w), got {tuple(old)} to {tuple(new)}")
    rows = (2 * old[0] - 1) * (2 * old[1] - 1)
    if table.shape[0] != rows:
        raise ValueError(f"a relative table for size {tuple(old)} has {rows} rows, got {table.shape[0]}")
    if tuple(old) == tuple(new):
        return table
    offsets = table.unflatten(0, (2 * old[0] - 1, 2 * old[1] - 1))[None]
    return resize_bicubic(offsets, (2 * new[0] - 1, 2 * new[1] - 1), antialias=antialias)[0].flatten(0, 1)


def t5_buckets(
    offset: Int[Tensor, "*any"], *, buckets: int = 32, furthest: int = 128, bidirectional: bool = True
) -> Int[Tensor, "*any"]:
    """T5's bucket of each offset key - query: near ones exact, then logarithmic, all beyond `furthest` in the last.

    Bidirectional: keys after the query take the second half. Otherwise keys after the query share bucket 0.
    """
    side = buckets // 2 if bidirectional else buckets
    exact = side // 2
    if exact < 1 or furthest <= exact or (bidirectional and buckets % 2):
        raise ValueError(
            f"T5 needs {'an even number of at least 4' if bidirectional else 'at least 2'} buckets and a furthest "
            f"distance beyond the exact ones, got {buckets} buckets and furthest {furthest}"
        )
    distance = offset.abs() if bidirectional else (-offset).clamp_min(0)
    ratio = distance.clamp_min(exact).float() / exact  # float32, as published: where a bucket starts depends on it
    far = exact + (ratio.log() / math.log(furthest / exact) * (side - exact)).long()
    bucket = torch.where(distance < exact, distance, far.clamp_max(side - 1))
    return bucket + side * (offset > 0) if bidirectional else bucket


def t5_bias(
    table: Float[Tensor, "buckets heads"], length: int, *, furthest: int = 128, bidirectional: bool = True
) -> Float[Tensor, "heads n n"]:
    """T5's bias of a sequence of any length from `[buckets, heads]`."""
    at = torch.arange(length, device=table.device)
    offset = at[None, :] - at[:, None]
    bucket = t5_buckets(offset, buckets=table.shape[0], furthest=furthest, bidirectional=bidirectional)
    return table[bucket].permute(2, 0, 1)


def alibi_slopes(
    heads: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, " heads"]:
    """2^(-8 i / heads), i = 1 .. heads; if heads is no power of two, its largest one, then every other of twice that.

    The second rule is the authors' released code; the paper has powers of two alone.
    """
    if heads < 1:
        raise ValueError(f"ALiBi needs at least one head, got {heads}")
    power = 2 ** (heads.bit_length() - 1)
    exponents = [8 * i / power for i in range(1, power + 1)]
    exponents += [8 * i / (2 * power) for i in range(1, 2 * power + 1, 2)][: heads - power]
    return torch.tensor([2.0**-e for e in exponents], device=device, dtype=dtype)


def alibi_bias(
    slopes: Float[Tensor, " heads"], size: Sequence[int], *, distance: str = "euclidean"
) -> Float[Tensor, "heads n n"]:
    """-slope x distance between query and key, in steps of the map, for one axis (-m |i - j|) or more."""
    choose("distance", distance, DISTANCES)
    at = grid(size, device=slopes.device).to(slopes.dtype)
    offset = at[:, None] - at[None, :]
    apart = offset.abs().sum(-1) if distance == "manhattan" else offset.square().sum(-1).sqrt()
    return -slopes[:, None, None] * apart


def bias_with_prefix(bias: Float[Tensor, "heads n m"], prefix: int) -> Float[Tensor, "heads more_n more_m"]:
    """Zeros in front for prefix tokens, as queries and as keys: class and register tokens stand nowhere."""
    if prefix < 0:
        raise ValueError(f"the number of prefix tokens cannot be negative, got {prefix}")
    return F.pad(bias, (prefix, 0, prefix, 0))
