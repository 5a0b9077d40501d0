"""Where things are, as modules; and the two contracts by which attention takes a position scheme.

An attention layer knows a scheme by one method: `rotate` (rotary schemes turn queries and keys) or `bias` (relative
schemes add to the scores). `size` is the map's size, `(h, w)` or `(length,)`; positions are flattened row by row.
Schemes that act on the features alone take a map `[b, c, h, w]` and return one. The formulas and papers stand in
`sightline.ops.positions`, `sightline.ops.rotary` and `sightline.ops.relative`.

Left out: caches. Tables and angles are made anew in every forward, so that any size works; they are small beside it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.attention import check_map
from sightline.ops import positions, relative, rotary
from sightline.ops.arguments import choose

CONVENTIONS = {
    "mae": positions.sincos_mae,
    "moco_v3": positions.sincos_moco_v3,
    "big_vision": positions.sincos_big_vision,
    "timm": positions.sincos_timm,
}


@runtime_checkable
class RotatesPositions(Protocol):
    """A scheme that turns queries and keys so that their product depends on where they stand relative to each other."""

    def rotate(
        self, query: Float[Tensor, "b heads n d"], key: Float[Tensor, "b heads n d"], size: Sequence[int]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """Return both, turned, in their own dtype; n is `prefix + prod(size)`, prefix tokens come first, untouched."""


@runtime_checkable
class BiasesPositions(Protocol):
    """A scheme that adds a number to every score before the softmax."""

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """Return the bias, query by key, of the `n = prod(size)` grid positions.

        Prefix tokens are not counted: the attention layer pads their rows and columns with zeros
        (`sightline.ops.relative.bias_with_prefix`) and casts to the scores' dtype.
        """


class LearnedPositions(nn.Module):
    """A learned code per position, added to the map; another map size gets the table resized (bicubic).

    The parameter is `pos_embed` `[1, prefix + h * w, channels]`, as in timm, DeiT and MAE. Those keep it in the network
    itself, and so may you: `sightline.ops.positions.resize_table` is all that this module adds.
    """

    def __init__(self, size: Sequence[int], channels: int, prefix: int = 0, *, antialias: bool = True) -> None:
        super().__init__()
        if len(size) != 2 or any(s < 1 for s in size) or prefix < 0:
            raise ValueError(
                f"learned positions need a size (h, w) and a prefix of 0 or more, got {tuple(size)}, {prefix}"
            )
        self.size = tuple(size)
        self.prefix = prefix
        self.antialias = antialias
        self.pos_embed = nn.Parameter(torch.empty(1, prefix + size[0] * size[1], channels))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def table(self, size: Sequence[int]) -> Float[Tensor, "one n c"]:
        """The codes of the prefix tokens, then of a map of this size row by row, `[1, prefix + h * w, channels]`."""
        return positions.resize_table(self.pos_embed, self.size, size, prefix=self.prefix, antialias=self.antialias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add each position's code; the rows of prefix tokens are for the caller, from `table`."""
        return _add_rows(x, self.table(x.shape[2:])[0, self.prefix :])


class SinCosPositions(nn.Module):
    """A fixed sin-cos code added to the map: nothing to learn, nothing in the state dict, any size.

    `convention` is "mae", "moco_v3", "big_vision" or "timm", or any function `(size, channels, *, device, dtype) ->
    [n, c]`, for example `functools.partial(sincos_timm, interleave_sin_cos=True)`. Prefix tokens get zeros, as in MAE.
    """

    def __init__(self, convention: str | Callable[..., Tensor] = "mae", *, prefix: int = 0) -> None:
        super().__init__()
        if isinstance(convention, str):
            convention = CONVENTIONS[choose("sin-cos convention", convention, CONVENTIONS)]
        if prefix < 0:
            raise ValueError(f"the number of prefix tokens cannot be negative, got {prefix}")
        self.convention = convention
        self.prefix = prefix

    def table(
        self,
        size: Sequence[int],
        channels: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "one n c"]:
        """Zeros for the prefix tokens, then the codes of a map of this size, `[1, prefix + h * w, channels]`."""
        rows = self.convention(size, channels, device=device, dtype=dtype)
        return torch.cat([rows.new_zeros(self.prefix, channels), rows])[None]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add row t of the table to the t-th position of the map, row by row."""
        return _add_rows(x, self.table(x.shape[2:], x.shape[1], device=x.device, dtype=x.dtype)[0, self.prefix :])


class CoordinateChannels(nn.Module):
    """Append the coordinates y and x in [-1, 1], with `radius` also the distance to the centre: half of CoordConv."""

    def __init__(self, *, radius: bool = False) -> None:
        super().__init__()
        self.radius = radius

    @property
    def added(self) -> int:
        """How many channels the map gains."""
        return 3 if self.radius else 2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b more h w"]:
        """Return the map with its coordinates behind the channels."""
        return positions.coordinate_channels(x, radius=self.radius)


class ConditionalPositions(nn.Module):
    """CPVT's position encoding generator: x + a zero-padded depthwise convolution of x, any size.

    State-dict names, `proj.0.weight` and `proj.0.bias`, are those of Twins, where CPVT's authors released it.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"conditional positions need an odd kernel, so that the map keeps its size, got {kernel}")
        self.channels = channels
        self.proj = nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the map with the generated positions added."""
        check_map("ConditionalPositions", x, self.channels, 2)
        return x + self.proj(x)


class RelativeBias1d(nn.Module):
    """One learned number per head and offset of a sequence, for every length up to `length`."""

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.size = (length,)
        self.relative_position_bias_table = _bias_table((length,), heads)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a sequence `(length,)`; a longer one than the table's raises."""
        return relative.relative_bias(self.relative_position_bias_table, size, self.size)


class RelativeBias2d(nn.Module):
    """Swin's learned number per head and offset on a map, for every map no larger than `size` along either axis.

    The parameter is `relative_position_bias_table` `[(2h - 1)(2w - 1), heads]`, as in Swin; Swin's buffer
    `relative_position_index` is computed here, so drop that key from a checkpoint. For larger maps see
    `sightline.ops.relative.resize_relative_table`.
    """

    def __init__(self, heads: int, size: Sequence[int]) -> None:
        super().__init__()
        if len(size) != 2:
            raise ValueError(f"a relative bias on a map needs a size (h, w), got {tuple(size)}")
        self.size = tuple(size)
        self.relative_position_bias_table = _bias_table(self.size, heads)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a map `(h, w)`; a larger one than the table's raises."""
        return relative.relative_bias(self.relative_position_bias_table, size, self.size)


class RelativeBiasT5(nn.Module):
    """T5's learned number per head and bucket of offsets of a sequence, any length, both directions.

    The parameter's name is T5's, `relative_attention_bias.weight` `[buckets, heads]`.
    """

    def __init__(self, heads: int, *, buckets: int = 32, furthest: int = 128) -> None:
        super().__init__()
        relative.t5_buckets(torch.zeros(1, dtype=torch.long), buckets=buckets, furthest=furthest)
        self.furthest = furthest
        self.relative_attention_bias = nn.Embedding(buckets, heads)
        nn.init.trunc_normal_(self.relative_attention_bias.weight, std=0.02)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a sequence `(length,)`."""
        if len(size) != 1:
            raise ValueError(f"T5's buckets are for a sequence (length,), got size {tuple(size)}: take RelativeBias2d")
        return relative.t5_bias(self.relative_attention_bias.weight, size[0], furthest=self.furthest)


class AlibiBias(nn.Module):
    """ALiBi: minus slope times distance, nothing learned, any size; which `distance` matters from two axes on."""

    slopes: Tensor

    def __init__(self, heads: int, *, distance: str = "euclidean") -> None:
        super().__init__()
        self.distance = choose("distance", distance, relative.DISTANCES)
        self.register_buffer("slopes", relative.alibi_slopes(heads), persistent=False)

    def bias(self, size: Sequence[int]) -> Float[Tensor, "heads n n"]:
        """The bias of a map of any size."""
        return relative.alibi_bias(self.slopes, size, distance=self.distance)


class RotaryAxial(nn.Module):
    """Rotary positions with a fixed, equal share of each head's pairs per axis: a sequence, a map or a volume.

    RoPE-ViT takes theta 100 on maps, RoFormer 10000 on text. `d` is the width of one head.
    """

    def __init__(
        self, d: int, *, axes: int = 2, theta: float = 100.0, first: str = "x", pairing: str = "interleaved"
    ) -> None:
        super().__init__()
        self.d, self.axes, self.theta = d, axes, theta
        self.first = choose("first axis", first, ("x", "y"))
        self.pairing = choose("pairing", pairing, rotary.PAIRINGS)
        rotary.axial_angles((1,) * axes, d, theta=theta)  # a width that cannot be shared out is said now

    def angles(
        self,
        size: Sequence[int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n pairs"]:
        """How far each pair of channels is turned at each position, in radians, `[prod(size), d / 2]`."""
        if len(size) != self.axes:
            raise ValueError(f"these rotary positions were made for {self.axes} axes, got size {tuple(size)}")
        return rotary.axial_angles(size, self.d, theta=self.theta, first=self.first, device=device, dtype=dtype)

    def rotate(
        self, query: Float[Tensor, "b heads n d"], key: Float[Tensor, "b heads n d"], size: Sequence[int]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """Turn queries and keys; tokens before the last `prod(size)` are left as they are."""
        exact = torch.promote_types(query.dtype, torch.float32)
        angles = self.angles(size, device=query.device, dtype=exact)
        return _rotate_grid(query, angles, self.pairing), _rotate_grid(key, angles, self.pairing)


class RotaryMixed(nn.Module):
    """Rotary positions whose pairs learn their direction and frequency on the map, per head (RoPE-ViT, mixed).

    The parameter is `freqs` `[2, heads, d / 2]`, x first. RoPE-ViT holds all blocks, `[2, blocks, heads * d / 2]`:
    block i takes `freqs[:, i].unflatten(-1, (heads, d // 2))`. Its authors keep it out of the weight decay.
    """

    def __init__(self, heads: int, d: int, *, theta: float = 10.0, pairing: str = "interleaved") -> None:
        super().__init__()
        self.pairing = choose("pairing", pairing, rotary.PAIRINGS)
        self.freqs = nn.Parameter(rotary.mixed_frequencies(heads, d, theta=theta))

    def angles(self, size: Sequence[int]) -> Float[Tensor, "heads n pairs"]:
        """How far each pair of channels is turned at each position, in radians, `[heads, h * w, d / 2]`."""
        return rotary.mixed_angles(self.freqs, size)

    def rotate(
        self, query: Float[Tensor, "b heads n d"], key: Float[Tensor, "b heads n d"], size: Sequence[int]
    ) -> tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]:
        """Turn queries and keys; tokens before the last `prod(size)` are left as they are."""
        angles = self.angles(size)
        return _rotate_grid(query, angles, self.pairing), _rotate_grid(key, angles, self.pairing)


def _add_rows(x: Tensor, rows: Tensor) -> Tensor:
    if rows.shape[-1] != x.shape[1]:
        raise ValueError(f"these positions have {rows.shape[-1]} channels, the map has {x.shape[1]}")
    return x + rows.t().unflatten(1, x.shape[2:]).to(x.dtype)


def _bias_table(size: Sequence[int], heads: int) -> nn.Parameter:
    if heads < 1 or any(s < 1 for s in size):
        raise ValueError(f"a relative bias needs at least one head and one position, got {heads} and {tuple(size)}")
    rows = 1
    for s in size:
        rows *= 2 * s - 1
    table = nn.Parameter(torch.empty(rows, heads))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def _rotate_grid(x: Tensor, angles: Tensor, pairing: str) -> Tensor:
    prefix = x.shape[-2] - angles.shape[-2]
    if prefix < 0:
        raise ValueError(f"the size has {angles.shape[-2]} positions, but there are {x.shape[-2]} tokens")
    turned = rotary.apply_rotary(x[..., prefix:, :], angles, pairing=pairing)
    return torch.cat([x[..., :prefix, :], turned], dim=-2) if prefix else turned
