"""Criss-cross attention: each position looks along its own row and column (Huang et al., CCNet, 2019,
https://arxiv.org/abs/1811.11721, equations 1 and 2), and, repeated, at everything (section 3.3).

The parameters have the published code's names (`query_conv`, `key_conv`, `value_conv`, `gamma`), and the scores, as
there, are not divided by the square root of the width. The code learns a factor `gamma` that the paper's formula lacks.

Left out: the category consistent loss, the three-dimensional form, and the head around it (`models/ccnet.py`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sightline.layers.attention import check_map, check_position
from sightline.ops.attend_from import criss_cross_weights_from, recurrent_criss_cross_weights_from
from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.patterns import Pattern, criss_cross, everything


def run_passes(
    passes: Sequence["CrissCross"], x: Float[Tensor, "b c h w"], mask: Bool[Tensor, "b h w"] | None = None
) -> Float[Tensor, "b c h w"]:
    """One criss-cross layer after the other; the same layer may occur several times."""
    for layer in passes:
        x = layer(x, mask)
    return x


def weights_of_passes(
    passes: Sequence["CrissCross"],
    x: Float[Tensor, "b c h w"],
    query: tuple[int, int],
    *,
    mask: Bool[Tensor, "b h w"] | None = None,
    residual: bool = False,
) -> Float[Tensor, "b h w"]:
    """Where the last pass looks through all passes before it: the product of their attention tables, one row of it.

    Without `residual` that is A_R ... A_1, every row summing to one. With it each factor is gamma A + 1, the path
    around the attention counted. The value projections act on channels, not on positions, and are not counted in
    either.
    """
    queries: list[Tensor] = []
    keys: list[Tensor] = []
    gammas: list[Tensor] = []
    for layer in passes:
        queries.append(layer.query_conv(x))
        keys.append(layer.key_conv(x))
        gammas.append(layer.gamma)
        if len(queries) < len(passes):
            x = layer(x, mask)
    return recurrent_criss_cross_weights_from(
        queries, keys, query, mask=mask, residual=torch.cat(gammas) if residual else None
    )


class CrissCross(nn.Module):
    """One criss-cross attention with its residual: `gamma * attention(x) + x`, `[b, c, h, w] -> [b, c, h, w]`.

    `gamma` starts at zero, as published, so that **a new layer returns its input unchanged**: it is not broken, it has
    not learned yet. Give another start with `gamma=`.

    Args:
        channels: width of the map.
        reduction: queries and keys have `channels // reduction` channels.
        gamma: where the learned factor of the attention starts.
        backend: as in `ops.criss_cross.criss_cross_attention`.

    Raises:
        ValueError: the reduction leaves no channel for queries and keys; a map of another rank or width is given.
    """

    pattern: Pattern = criss_cross

    def __init__(self, channels: int, reduction: int = 8, *, gamma: float = 0.0, backend: str = "auto") -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(
                f"queries and keys get channels // reduction channels: reduction must lie between 1 and {channels},"
                f" got {reduction}"
            )
        self.channels, self.backend = channels, backend
        self.query_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.key_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.full((1,), gamma))

    def attend(
        self, x: Float[Tensor, "b c h w"], mask: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """The attention alone, without gamma and without the residual."""
        check_map("CrissCross", x, self.channels, 2)
        return criss_cross_attention(
            self.query_conv(x), self.key_conv(x), self.value_conv(x), mask=mask, backend=self.backend
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], mask: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """`mask` is True where a position may be looked at; a position with nothing to see keeps its input."""
        return self.gamma * self.attend(x, mask) + x

    def weights(
        self, x: Float[Tensor, "b c h w"], query: tuple[int, int], *, mask: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b h w"]:
        """Where the position `(y, x)` looks: sums to one, zero off its cross. Gamma and residual are not counted."""
        check_map("CrissCross", x, self.channels, 2)
        check_position(query, x.shape[2:])
        return criss_cross_weights_from(self.query_conv(x), self.key_conv(x), query, mask=mask)


class RecurrentCrissCross(nn.Module):
    """Criss-cross attention repeated, `[b, c, h, w] -> [b, c, h, w]`: from the second pass on every position sees all.

    With `shared=True`, as published, one set of weights serves every pass, under the published name `cca`; otherwise
    each pass has its own (`cca.0`, `cca.1`, ...). Every gamma starts at zero: **a new layer returns its input
    unchanged**.

    Args:
        channels: width of the map.
        recurrence: number of passes, R in the paper.
        reduction: queries and keys have `channels // reduction` channels.
        shared: whether all passes share their weights.
        gamma: where the learned factor of the attention starts.
        backend: as in `ops.criss_cross.criss_cross_attention`.

    Raises:
        ValueError: fewer than one pass, or what `CrissCross` raises.
    """

    def __init__(
        self,
        channels: int,
        recurrence: int = 2,
        reduction: int = 8,
        shared: bool = True,
        *,
        gamma: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if recurrence < 1:
            raise ValueError(f"recurrent criss-cross attention needs at least one pass, got recurrence={recurrence}")
        self.recurrence = recurrence
        layers = [
            CrissCross(channels, reduction, gamma=gamma, backend=backend) for _ in range(1 if shared else recurrence)
        ]
        self.cca: nn.Module = layers[0] if shared else nn.ModuleList(layers)

    @property
    def passes(self) -> list[CrissCross]:
        """The layers in the order in which they are run; with shared weights one layer, several times."""
        if isinstance(self.cca, CrissCross):
            return [self.cca] * self.recurrence
        return [layer for layer in self.cca.children() if isinstance(layer, CrissCross)]

    @property
    def pattern(self) -> Pattern:
        """One pass sees the cross; two or more, composed, see everything."""
        return criss_cross if self.recurrence == 1 else everything

    def forward(
        self, x: Float[Tensor, "b c h w"], mask: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """`mask` is True where a position may be looked at, in every pass."""
        return run_passes(self.passes, x, mask)

    def weights(
        self,
        x: Float[Tensor, "b c h w"],
        query: tuple[int, int],
        *,
        mask: Bool[Tensor, "b h w"] | None = None,
        residual: bool = False,
    ) -> Float[Tensor, "b h w"]:
        """Where the position `(y, x)` looks through all passes; see `weights_of_passes` for what `residual` counts."""
        check_map("RecurrentCrissCross", x, self.passes[0].channels, 2)
        check_position(query, x.shape[2:])
        return weights_of_passes(self.passes, x, query, mask=mask, residual=residual)
