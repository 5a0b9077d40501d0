"""What does a Transformer know of where its patches lie? Its learned table of positions, as similarity maps: the cosine
of each position's vector with every other's (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, figure 7,
middle). Near positions of a trained table are alike, and often those of the same row or column.

Rows before the grid (class token, registers) are kept apart: they have no place.

Left out: positions that are no table of vectors, such as relative biases and rotations; tables computed anew for each
size, which no parameter or buffer holds.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Similarity:
    """Cosines between the vectors of positions, in [-1, 1]; a vector of zeros is similar to none, 0."""

    grid: Float[Tensor, "y x y x"]
    """By position (first two axes): its similarity to every position."""
    prefix: Float[Tensor, "p y x"]
    """By row before the grid: its similarity to every position."""


def position_tables(network: nn.Module) -> dict[str, Float[Tensor, "n d"]]:
    """The network's absolute tables of positions by name: what has "pos" in its name and the form of a table.

    `[n, d]`, `[1, n, d]` and maps `[1, y, x, d]` or `[1, d, y, x]`, the width being the longer end, as rows of `d`.
    """
    found = {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if "pos" not in name.lower() or "relative" in name.lower() or not tensor.is_floating_point():
            continue
        table = tensor.detach()
        if table.dim() == 4 and len(table) == 1:
            table = table[0] if table.shape[3] >= table.shape[1] else table[0].movedim(0, -1)
            table = table.flatten(0, 1)
        elif table.dim() == 3 and len(table) == 1:
            table = table[0]
        if table.dim() == 2 and len(table) > 1 and table.shape[1] > 1:
            found[name] = table
    return found


def similarity(
    table: Float[Tensor, "n d"], *, prefix: int | None = None, grid: tuple[int, int] | None = None
) -> Similarity:
    """Cosine similarity of each position's vector with all others.

    Args:
        table: the prefix's rows first, then the grid's row by row.
        prefix: how many rows come before the grid; None: what the grid leaves over.
        grid: (rows, columns); None: the largest square that leaves the fewest rows over.

    Raises:
        ValueError: prefix and grid do not make up the table.
    """
    if grid is None:
        side = math.isqrt(len(table) - (0 if prefix is None else prefix))
        grid = (side, side)
    before = len(table) - grid[0] * grid[1]
    if before < 0 or (prefix is not None and before != prefix):
        raise ValueError(
            f"a table of {len(table)} rows was to hold a grid of {grid[0]} x {grid[1]} after "
            f"{'any' if prefix is None else prefix} others: give the grid and the prefix that it has"
        )
    vectors = F.normalize(table.detach().double(), dim=1)
    cosines = (vectors @ vectors[before:].T).unflatten(1, grid)
    return Similarity(cosines[before:].unflatten(0, grid), cosines[:before])
