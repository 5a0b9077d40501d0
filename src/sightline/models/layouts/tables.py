"""A published table of positions made to fit a network: its grid told, its prefix rows placed, its size changed by the
rule of the code that it comes from.

A row that stands for a token may stand in the table or be added to the token itself: what enters the first block is
the same. So a table with rows for the class token fits a network whose table has none, and the other way round.

Left out: tables of anything but positions on a map (h, w).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sightline.models.layouts.draft import Translation

RULES = {
    "bicubic": "bicubic",  # DeiT, MAE, Hugging Face
    "antialias": "bicubic, antialiased",  # timm, DINOv2 with registers
    "offset": "bicubic by the factor (new + 0.1) / old",  # DINOv2 without registers
    "align_corners": "bicubic, corners on corners",  # torchvision
}
TOKENS = ("cls_token", "dist_token", "reg_token")  # in the order in which they stand before the patches


def resize_as_published(table: Float[Tensor, "h w c"], size: Sequence[int], rule: str) -> Float[Tensor, "y x c"]:
    """A grid of positions at another size, by one of `RULES`; half precision is resized in float32."""
    maps = table.movedim(-1, 0)[None].to(torch.promote_types(table.dtype, torch.float32))
    h, w = table.shape[:2]
    y, x = size
    if rule == "offset":
        factors = ((y + 0.1) / h, (x + 0.1) / w)
        resized = F.interpolate(maps, scale_factor=factors, mode="bicubic", align_corners=False)
    elif rule == "align_corners":
        resized = F.interpolate(maps, size=(y, x), mode="bicubic", align_corners=True)
    else:
        resized = F.interpolate(maps, size=(y, x), mode="bicubic", align_corners=False, antialias=rule == "antialias")
    return resized[0].movedim(0, -1).to(table.dtype)


def tell_grid(
    rows: int, prefix_rows: Sequence[int], grid: tuple[int, int] | None, here: tuple[int, int]
) -> tuple[int, tuple[int, int]]:
    """For how many prefix tokens a table has rows, and the grid of the others.

    Without `grid` it must be square, and be so in one way only.

    Raises:
        ValueError: it cannot be told, or does not have the rows that `grid` calls for.
    """
    ways = " or ".join(str(n) for n in prefix_rows)
    if grid is not None:
        if rows - math.prod(grid) not in prefix_rows:
            raise ValueError(
                f"the file's table of positions has {rows} rows, a grid of {grid[0]} x {grid[1]} and {ways} prefix"
                f" tokens have another number: give the grid that it was trained for by grid=(h, w)"
            )
        return rows - math.prod(grid), grid
    square = [(p, math.isqrt(rows - p)) for p in prefix_rows if rows > p and math.isqrt(rows - p) ** 2 == rows - p]
    if len(square) != 1:
        kind = "in two ways" if square else "not"
        raise ValueError(
            f"the grid of the file's table of positions cannot be told: {rows} rows less {ways} prefix tokens are a"
            f" square {kind}; give it by grid=(h, w), such as grid={here} if it lies as this network's"
        )
    prefix, side = square[0]
    if side * side == math.prod(here) and (side, side) != here:
        raise ValueError(
            f"the file's table of positions has {side * side} places, {side} x {side} or {here[0]} x {here[1]} as in"
            f" this network: say which by grid=({side}, {side}) or grid={here}"
        )
    return prefix, (side, side)


def fit_table(
    translation: Translation, here: Float[Tensor, "one n c"], grid_here: tuple[int, int], *,
    grid: tuple[int, int] | None, counts_here: dict[str, int],
) -> tuple[dict[str, Tensor], dict[str, str]]:  # fmt: skip
    """The table, and the tokens that take up or give away a row of it; beside them what was done to each.

    Args:
        translation: of the file; it has a `pos_embed`.
        here: the network's own table.
        grid_here: for which grid that is.
        grid: the file's grid, where the caller says it.
        counts_here: how many tokens of each of `TOKENS` the network has.
    """
    state, table = translation.state, translation.state["pos_embed"]
    if table.dim() != 3 or table.shape[0] != 1:
        raise ValueError(f"a table of positions is [1, n, c], the file's is {list(table.shape)}")
    grid = translation.grid if grid is None else grid
    rows, there = tell_grid(table.shape[1], translation.prefix_rows, grid, grid_here)
    counts = {name: state[name].shape[1] for name in TOKENS if name in state}
    names = [(name, i) for name in TOKENS for i in range(counts.get(name, 0))][:rows]
    row_of = dict(zip(names, table[0, :rows], strict=True))
    rows_here = here.shape[1] - math.prod(grid_here)
    wanted = [(name, i) for name in TOKENS for i in range(counts_here.get(name, 0))][:rows_here]
    places, done = table[0, rows:].unflatten(0, there), []
    if there != grid_here:
        places = resize_as_published(places, grid_here, translation.resize)
        done.append(f"{there[0]} x {there[1]} resized to {grid_here[0]} x {grid_here[1]}, {RULES[translation.resize]}")
    folded = [token for token in names if token not in wanted]
    if folded:
        done.append(f"{len(folded)} prefix rows added to their tokens")
    added = [token for token in wanted if token not in row_of]
    if added:
        done.append(f"{len(added)} prefix rows of zeros: the file adds nothing to these tokens")
    prefix = [row_of.get(token, torch.zeros_like(table[0, 0])) for token in wanted]
    new = {"pos_embed": torch.cat([*(row[None] for row in prefix), places.flatten(0, 1)])[None]}
    changed = {"pos_embed": "; ".join(done)} if done else {}
    for name in {name for name, _ in folded}:
        token = state[name].clone()
        for i in range(counts[name]):
            if (name, i) in folded:
                token[:, i] += row_of[name, i]
        new[name], changed[name] = token, "its row of the table of positions added"
    return new, changed
