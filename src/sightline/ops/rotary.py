"""Rotary positions: turn queries and keys by angles that grow with the coordinate; scores then see differences alone.

Each pair (u, v) of a head's channels becomes (u cos a - v sin a, u sin a + v cos a); because turns add up,
<R_m q, R_n k> = <R_(m-n) q, k>.

- one axis: a_j = t T^(-j/P), P = d/2 pairs (RoFormer, Su et al., 2021, https://arxiv.org/abs/2104.09864, 3.2.2)
- axial: the pairs are shared out evenly among the axes (RoPE-ViT, Heo et al., 2024, https://arxiv.org/abs/2403.13298)
- mixed: every pair has its own frequency vector, a_j = x f_jx + y f_jy, learned (the same paper)

Which channels make a pair is a convention, and checkpoints depend on it: "interleaved" pairs channel 2j with 2j + 1
(RoFormer, RoPE-ViT, EVA in timm), "half" pairs j with j + d/2 (rotate-half: GPT-NeoX, DINOv3).

Left out: DINOv3's coordinates in [-1, 1] with random shifts; pass your own angles to `apply_rotary` for those.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.ops.positions import grid

PAIRINGS = ("interleaved", "half")


def apply_rotary(
    x: Float[Tensor, "b heads n d"], angles: Float[Tensor, "*per_head m pairs"], *, pairing: str
) -> Float[Tensor, "b heads n d"]:
    """Turn every pair of channels by its angle, in radians; at least float32 inside, the dtype of x outside.

    Angles are `[n, d / 2]` for all heads alike, or `[heads, n, d / 2]`.

    Raises:
        ValueError: d is not twice the number of angles, n or heads disagree, or the pairing is unknown.
    """
    choose("pairing", pairing, PAIRINGS)
    heads, n, d = x.shape[1:]
    fits = angles.dim() == 2 or (angles.dim() == 3 and angles.shape[0] == heads)
    if not fits or 2 * angles.shape[-1] != d or angles.shape[-2] != n:
        raise ValueError(
            f"{heads} heads of {n} tokens and width {d} need angles [{n}, {d // 2}] or [{heads}, {n}, {d // 2}] "
            f"and an even width, got {list(angles.shape)}"
        )
    exact = torch.promote_types(torch.promote_types(x.dtype, angles.dtype), torch.float32)
    turned, cos, sin = x.to(exact), angles.to(exact).cos(), angles.to(exact).sin()
    if pairing == "interleaved":
        u, v = turned.unflatten(-1, (d // 2, 2)).unbind(-1)
        return torch.stack([u * cos - v * sin, u * sin + v * cos], dim=-1).flatten(-2).to(x.dtype)
    u, v = turned.chunk(2, dim=-1)
    return torch.cat([u * cos - v * sin, u * sin + v * cos], dim=-1).to(x.dtype)


def rotary_angles(
    length: int,
    d: int,
    *,
    theta: float = 10000.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n pairs"]:
    """RoFormer's angles of a sequence: row t is `t * theta^(-j / (d/2))`, `[length, d / 2]`, in radians."""
    return axial_angles((length,), d, theta=theta, device=device, dtype=dtype)


def axial_angles(
    size: Sequence[int],
    d: int,
    *,
    theta: float = 100.0,
    first: str = "x",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n pairs"]:
    """Axial angles `[prod(size), d / 2]`, positions row by row, each axis with an equal share of the pairs.

    Args:
        size: the map's size, one to three axes.
        d: head width, a multiple of twice the number of axes.
        theta: base of the frequencies; RoPE-ViT's axial form takes 100, as a map's side is shorter than a text.
        first: whose pairs come first: "x", the last axis, as in RoPE-ViT; or "y", the first axis, as in timm.
        device: where the angles are made.
        dtype: float32 or float64.
    """
    choose("first axis", first, ("x", "y"))
    if d < 1 or d % (2 * len(size)):
        raise ValueError(
            f"rotary positions over {len(size)} axes need a head width divisible by {2 * len(size)}, got {d}"
        )
    pairs = d // (2 * len(size))
    steps = torch.arange(pairs, device=device, dtype=dtype)
    frequencies = torch.exp(-math.log(theta) / pairs * steps)
    coordinates = grid(size, device=device).to(dtype)
    if first == "x":
        coordinates = coordinates.flip(-1)
    return (coordinates[:, :, None] * frequencies).flatten(1)


def mixed_frequencies(
    heads: int, d: int, *, theta: float = 10.0, turn: bool = True, generator: torch.Generator | None = None
) -> Float[Tensor, "2 heads pairs"]:
    """RoPE-ViT's start for learned frequencies, `[x and y, heads, d / 2]`: two sets at right angles, turned per head.

    Magnitudes are `theta^(-j / (d/4))`; the first half of the pairs looks along the head's random direction, the second
    half a quarter turn on. `turn=False` starts from the axial scheme, x first.
    """
    if heads < 1 or d < 4 or d % 4:
        raise ValueError(f"mixed rotary positions need a head width divisible by 4, got {heads} heads of {d}")
    pairs = d // 4
    magnitude = torch.exp(-math.log(theta) / pairs * torch.arange(pairs))
    direction = torch.rand(heads, 1, generator=generator) * 2 * math.pi if turn else torch.zeros(heads, 1)
    # cos and sin of a quarter turn more, written out: exact zeros where the axes are not turned
    x = torch.cat([magnitude * direction.cos(), -magnitude * direction.sin()], dim=-1)
    y = torch.cat([magnitude * direction.sin(), magnitude * direction.cos()], dim=-1)
    return torch.stack([x, y])


def mixed_angles(frequencies: Float[Tensor, "2 heads pairs"], size: Sequence[int]) -> Float[Tensor, "heads n pairs"]:
    """a = x f_x + y f_y for every head and position of a map `(h, w)`, at least float32, differentiable in f."""
    if len(size) != 2:
        raise ValueError(f"mixed rotary positions live on a map (h, w), got size {tuple(size)}")
    exact = frequencies.to(torch.promote_types(frequencies.dtype, torch.float32))
    y, x = grid(size, device=frequencies.device).to(exact.dtype).unbind(-1)
    return x[:, None] * exact[0, :, None, :] + y[:, None] * exact[1, :, None, :]
