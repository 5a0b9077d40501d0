"""The slow, obviously right attention: an N x N table, masked by a `Pattern`. Every fast operator is tested against it.

Softmax: A = softmax(scale q k^T), out = A v (Wang et al., 2018, https://arxiv.org/abs/1711.07971, equation 1, Gaussian
form; Huang et al., 2019 with the criss-cross pattern). Dot product and concatenation have no softmax: f(i, j) is
q_i k_j or ReLU(a_i + b_j), divided by the number of visible keys. A query that sees no key gives zeros.

Left out: speed, and any thought of memory.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.ops.patterns import Pattern, everything

PAIRWISE = ("softmax", "dot_product", "concatenation")


def attention(
    query: Float[Tensor, "b d *positions"],
    key: Float[Tensor, "b d *keys"],
    value: Float[Tensor, "b c *keys"],
    *,
    pairwise: str = "softmax",
    pattern: Pattern = everything,
    mask: Bool[Tensor, "b *keys"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "b c *positions"]:
    """Attention with the whole table in memory; keys may lie on another grid where the pattern is everything."""
    weights = attention_table(query, key, pairwise=pairwise, pattern=pattern, mask=mask, scale=scale)
    out = torch.einsum("bnm,bcm->bcn", weights, value.flatten(2))
    return out.reshape(value.shape[:2] + query.shape[2:])


def attention_table(
    query: Float[Tensor, "b d *positions"],
    key: Float[Tensor, "b d *keys"],
    *,
    pairwise: str = "softmax",
    pattern: Pattern = everything,
    mask: Bool[Tensor, "b *keys"] | None = None,
    scale: float = 1.0,
) -> Float[Tensor, "b n m"]:
    """The weights themselves, `[b, query, key]`: what each query position takes from each key position.

    Raises:
        ValueError: `pairwise` is unknown.
    """
    choose("pairwise function", pairwise, PAIRWISE)
    b, n, m = query.shape[0], math.prod(query.shape[2:]), math.prod(key.shape[2:])
    if pattern is everything:
        visible = torch.ones(b, n, m, dtype=torch.bool, device=query.device)
    else:
        visible = pattern.mask(query.shape[2:]).to(query.device).expand(b, n, m)
    if mask is not None:
        visible = visible & mask.reshape(b, 1, m)
    if pairwise == "concatenation":
        scores = torch.relu(query.flatten(2).transpose(1, 2) + key.flatten(2))
    else:
        scores = scale * torch.einsum("bdn,bdm->bnm", query.flatten(2), key.flatten(2))
    if pairwise == "softmax":
        seen = visible.any(-1, keepdim=True)
        scores = scores.masked_fill(~visible, float("-inf")).masked_fill(~seen, 0.0)
        return scores.softmax(-1) * (visible & seen)
    return scores * visible / visible.sum(-1, keepdim=True).clamp_min(1)
