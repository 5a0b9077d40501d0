"""Telling a network where things are by adding or appending to the features: sin-cos tables, learned tables, channels.

A table row is one position's code, `[n, c]`, n positions flattened row by row unless a convention says otherwise. With
t a coordinate and P pairs, `sin(t / T^(j/P))` and `cos(t / T^(j/P))`, j = 0 .. P-1, T = 10000 (Vaswani et al., 2017,
https://arxiv.org/abs/1706.03762, section 3.5). The published two-dimensional forms agree on that and differ in the
order of the channels, the order of the tokens and the divisor in the exponent; each stands here under its own name:

- `sincos_mae`         He et al., 2022, https://arxiv.org/abs/2111.06377, as in its released code
- `sincos_moco_v3`     Chen et al., 2021, https://arxiv.org/abs/2104.02057, as in its released code
- `sincos_big_vision`  Beyer et al., 2022, https://arxiv.org/abs/2205.01580: the "simple ViT"
- `sincos_timm`        the timm library, with its two options

Angles are computed in float32 (float64 if asked for), as published. Left out: Fourier features of pixel coordinates.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def grid(size: Sequence[int], *, device: torch.device | str | None = None) -> Int[Tensor, "n axes"]:
    """The integer coordinates of every position of a map, row by row: `grid((2, 3))[4]` is `[1, 1]`."""
    if len(size) == 0 or any(s < 1 for s in size):
        raise ValueError(f"a map has one or more axes, each of at least 1 position, got size {tuple(size)}")
    axes = torch.meshgrid(*(torch.arange(s, device=device) for s in size), indexing="ij")
    return torch.stack([axis.flatten() for axis in axes], dim=-1)


def sinusoidal(
    length: int,
    channels: int,
    *,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n c"]:
    """The 1-D table of Vaswani et al., 2017, `[length, channels]`: sine in even channels, cosine in odd ones."""
    if channels < 2 or channels % 2:
        raise ValueError(f"sinusoidal positions need an even number of channels, got {channels}")
    angles = _angles(grid((length,), device=device)[:, 0], channels // 2, channels // 2, temperature, dtype)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(dtype)


def sincos_mae(
    size: Sequence[int],
    channels: int,
    *,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n c"]:
    """MAE: tokens row by row, channels [sin x, cos x, sin y, cos y].

    The released code calls the first half `emb_h`, but fills it from the x grid, and serves square maps alone; this is
    its only continuation to H != W that keeps the tokens' order.
    """
    quarter = _quarter(size, channels)
    y, x = grid(size, device=device).unbind(-1)
    return _halves(x, y, quarter, quarter, temperature, dtype)


def sincos_moco_v3(
    size: Sequence[int],
    channels: int,
    *,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n c"]:
    """MoCo v3: channels [sin x, cos x, sin y, cos y], rows in column-major order, row t at x = t // H, y = t % H.

    The released code adds row t to token t of a row-major map. On a square map x and y merely swap their names; on
    H != W the codes no longer lie where the tokens are: that is what is published, so it is what stands here.
    """
    quarter = _quarter(size, channels)
    x, y = grid((size[1], size[0]), device=device).unbind(-1)
    return _halves(x, y, quarter, quarter, temperature, dtype)


def sincos_big_vision(
    size: Sequence[int],
    channels: int,
    *,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n c"]:
    """big_vision and simple ViT: rows as in MAE, but the exponent is j / (P - 1), so that the last frequency is 1/T."""
    quarter = _quarter(size, channels)
    if quarter < 2:
        raise ValueError(f"big_vision positions divide by channels / 4 - 1: take 8 channels or more, not {channels}")
    y, x = grid(size, device=device).unbind(-1)
    return _halves(x, y, quarter, quarter - 1, temperature, dtype)


def sincos_timm(
    size: Sequence[int],
    channels: int,
    *,
    interleave_sin_cos: bool = False,
    reverse_coord: bool = False,
    temperature: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n c"]:
    """The timm library: tokens row by row, channels [sin y, sin x, cos y, cos x].

    Args:
        size: `(h, w)`.
        channels: a multiple of 4.
        interleave_sin_cos: channels [sin y, cos y, sin x, cos x] instead; by blocks, despite the name.
        reverse_coord: run over (w, h) instead of (h, w): x takes y's place and rows come in column-major order.
            On a square map the table is the same; on H != W it disagrees with row-major tokens, as MoCo v3's does.
        temperature: T.
        device: where the table is made.
        dtype: of the table; angles are at least float32.
    """
    quarter = _quarter(size, channels)
    first, second = grid((size[1], size[0]) if reverse_coord else size, device=device).unbind(-1)
    a, b = (_angles(t, quarter, quarter, temperature, dtype) for t in (first, second))
    blocks = [a.sin(), a.cos(), b.sin(), b.cos()] if interleave_sin_cos else [a.sin(), b.sin(), a.cos(), b.cos()]
    return torch.cat(blocks, dim=1).to(dtype)


def resize_table(
    table: Float[Tensor, "one n c"],
    old: Sequence[int],
    new: Sequence[int],
    *,
    prefix: int = 0,
    antialias: bool,
    offset: float = 0.0,
) -> Float[Tensor, "one m c"]:
    """Resize a learned position table by bicubic interpolation, half-pixel centres; prefix rows stay as they are.

    `[1, prefix + h * w, c]` for `old = (h, w)` becomes `[1, prefix + y * x, c]` for `new = (y, x)`. The same checkpoint
    gives different features in different libraries, because DeiT and MAE resize without antialiasing and timm with it;
    so nothing is assumed here. The two differ when the table grows, too (see `bicubic_matrix`). With an `offset` the
    new size counts as so much larger, as in DINOv2 (0.1), but where it is the old one.

    Raises:
        ValueError: the table does not have the rows that `old` and `prefix` call for, or a size is no map's.
    """
    for name, size in (("old", old), ("new", new)):
        if len(size) != 2 or any(s < 1 for s in size):
            raise ValueError(f"a position table is resized between maps (h, w), got {name} size {tuple(size)}")
    if prefix < 0 or table.shape[0] != 1 or table.shape[1] != prefix + old[0] * old[1]:
        raise ValueError(
            f"a table for {prefix} prefix tokens and a map of {old[0]} x {old[1]} has shape [1, "
            f"{prefix + old[0] * old[1]}, c], got {list(table.shape)}: pass the size and prefix it was made for"
        )
    # at its own size the resize changes nothing; an exported network has one graph for every size
    if not torch.compiler.is_exporting() and tuple(old) == tuple(new):
        return table
    if offset:  # nothing at the table's own size, which an exported network does not know: arithmetic, no branch
        changed = sum((a - b) * (a - b) for a, b in zip(old, new, strict=True))
        offset = offset * torch.sym_min(changed, 1)
    maps = table[:, prefix:].unflatten(1, (old[0], old[1]))
    resized = resize_bicubic(maps, new, antialias=antialias, offset=offset)
    return torch.cat([table[:, :prefix], resized.flatten(1, 2)], dim=1)


def resize_bicubic(
    maps: Float[Tensor, "b h w c"], size: Sequence[int], *, antialias: bool, offset: float = 0.0
) -> Float[Tensor, "b y x c"]:
    """Bicubic resize of a channels-last map as two matrix products, equal to `torch.nn.functional.interpolate`.

    Its antialiased backward cannot be compiled for sizes that vary, and on a GPU its backward is not deterministic.
    Half precision is interpolated in float32.
    """
    exact = maps.to(torch.promote_types(maps.dtype, torch.float32))
    rows, columns = (
        bicubic_matrix(old, new, antialias=antialias, offset=offset, device=maps.device, dtype=exact.dtype)
        for old, new in zip(maps.shape[1:3], size, strict=True)
    )
    return torch.einsum("yh,bhwc,xw->byxc", rows, exact, columns).to(maps.dtype)


def bicubic_matrix(
    old: int,
    new: int,
    *,
    antialias: bool,
    offset: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "new old"]:
    """Row j holds what position j of the new axis takes from each position of the old one; each row sums to one.

    Keys' cubic kernel (1981) about the half-pixel centre. PyTorch, hence every library built on it, takes a = -0.75 and
    repeats the border without antialiasing; a = -0.5, a kernel widened by old / new, and renormalisation at the border
    with it. An `offset` makes the new axis count as `new + offset` long, as the factor (new + offset) / old does there.
    """
    sources = torch.arange(old, device=device, dtype=dtype)
    step = old / (new + offset)
    centres = (torch.arange(new, device=device, dtype=dtype)[:, None] + 0.5) * step - 0.5
    if antialias:
        kernel = _cubic((sources - centres) / torch.sym_max(step, 1.0), -0.5)
        return kernel / kernel.sum(1, keepdim=True)
    before = centres.floor()
    taps = [before + step for step in (-1, 0, 1, 2)]
    weights = [_cubic(tap - centres, -0.75) * (tap.clamp(0, old - 1) == sources) for tap in taps]
    return torch.stack(weights).sum(0)


def coordinate_channels(x: Float[Tensor, "b c h w"], *, radius: bool = False) -> Float[Tensor, "b more h w"]:
    """Append y, then x, each from -1 to 1 over the map (CoordConv, Liu et al., 2018, https://arxiv.org/abs/1807.03247).

    With `radius` also the distance to the map's centre, sqrt(y^2 + x^2): the released code subtracts one half first
    although its coordinates are already centred; we do not. An axis of one position gets 0, where it divides by zero.
    """
    if x.dim() != 4:
        raise ValueError(f"coordinates are appended to a map [b, c, h, w], got a tensor of shape {tuple(x.shape)}")
    b, _, h, w = x.shape
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    y, x_axis = (
        (2 * torch.arange(s, device=x.device, dtype=exact) - (s - 1)) / max(s - 1, 1) for s in (h, w)
    )  # exactly antisymmetric about the centre, and 0 for one position
    channels = [y[:, None].expand(h, w), x_axis[None, :].expand(h, w)]
    if radius:
        channels.append((y[:, None].square() + x_axis[None, :].square()).sqrt())
    added = torch.stack(channels).to(x.dtype).expand(b, -1, h, w)
    if not x.is_contiguous():  # the joined map keeps the layout of its parts only where they agree
        added = added.contiguous(memory_format=torch.channels_last)
    return torch.cat([x, added], dim=1)


def conditional_positions(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "filters 1 kh kw"], bias: Float[Tensor, " filters"] | None = None
) -> Float[Tensor, "b c h w"]:
    """x + depthwise convolution of x, zero padding: CPVT's PEG (Chu et al., 2021, https://arxiv.org/abs/2102.10882).

    It knows where things are by the zeros beyond the border alone: far from it the map is shift-equivariant.
    """
    kh, kw = weight.shape[2:]
    if kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"conditional positions need an odd kernel, so that the map keeps its size, got {kh} x {kw}")
    if weight.shape[0] != x.shape[1]:
        raise ValueError(
            f"conditional positions need one filter per channel: {weight.shape[0]} for {x.shape[1]} channels"
        )
    return x + F.conv2d(x, weight, bias, padding=(kh // 2, kw // 2), groups=x.shape[1])


def _cubic(distance: Tensor, a: float) -> Tensor:
    x = distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))


def _quarter(size: Sequence[int], channels: int) -> int:
    if len(size) != 2:
        raise ValueError(f"two-dimensional sin-cos positions need a size (h, w), got {tuple(size)}")
    if channels < 4 or channels % 4:
        raise ValueError(f"two-dimensional sin-cos positions need a multiple of 4 channels, got {channels}")
    return channels // 4


def _angles(
    coordinate: Tensor, pairs: int, divisor: int, temperature: float, dtype: torch.dtype
) -> Float[Tensor, "n pairs"]:
    """t / T^(j / divisor), never in half precision: there, coordinates beyond a few hundred already collide."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    exponent = torch.arange(pairs, device=coordinate.device, dtype=exact) / divisor
    return coordinate.to(exact)[:, None] * torch.exp(-math.log(temperature) * exponent)


def _halves(
    first: Tensor, second: Tensor, pairs: int, divisor: int, temperature: float, dtype: torch.dtype
) -> Float[Tensor, "n c"]:
    a, b = (_angles(t, pairs, divisor, temperature, dtype) for t in (first, second))
    return torch.cat([a.sin(), a.cos(), b.sin(), b.cos()], dim=1).to(dtype)
