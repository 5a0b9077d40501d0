"""The pre-norm transformer block of the Vision Transformer (Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929,
equations 2 and 3), with layer scale (Touvron et al., 2021, https://arxiv.org/abs/2103.17239, equation 3) and stochastic
depth (Huang et al., 2016, https://arxiv.org/abs/1603.09382) on request.

Parameters are named as in timm: `norm1`, `attn`, `ls1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `ls2`. Norms have eps 1e-6
unless told otherwise, and the MLP the exact GELU, as there.

Left out: dropout, gated MLPs, parallel blocks.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sightline.layers.multi_head import MultiHeadAttention
from sightline.ops.patterns import Pattern, everything


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, on each token apart, `[b, n, c] -> [b, n, c]`."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Widen, bend, narrow."""
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch; a small start makes a deep stack begin near the identity."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Multiply."""
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's branch is left out with this probability, the others scaled up."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"the probability of dropping a path lies in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Keep all in evaluation, some in training."""
        if not self.training or self.probability == 0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) >= self.probability
        return x * kept / (1 - self.probability)


class TransformerBlock(nn.Module):
    """`x + attn(norm1(x))`, then `x + mlp(norm2(x))`; tokens `[b, n, c]` in and out.

    Args:
        channels: width of the tokens.
        heads: number of attention heads.
        mlp_ratio: width of the MLP over that of the tokens.
        layer_scale: start of the learned factors on both branches; None for none.
        drop_path: probability of leaving out a branch in training.
        position: as in `MultiHeadAttention`.
        norm_eps: of both norms.

    Raises:
        ValueError: what `MultiHeadAttention` raises, or what is given is no `[b, n, channels]`.
    """

    pattern: Pattern = everything

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        position: nn.Module | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=norm_eps)
        self.attn = MultiHeadAttention(channels, heads, position=position)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(channels, layer_scale)
        self.norm2 = nn.LayerNorm(channels, eps=norm_eps)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(channels, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Float[Tensor, "b n c"],
        *,
        size: tuple[int, ...] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b n c"]:
        """`size` is the grid on which the last tokens lie, `mask` is True where a token may be looked at."""
        self._check(x)
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), size=size, mask=mask)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))

    def weights(
        self,
        x: Float[Tensor, "b n c"],
        query: int | tuple[int, ...],
        *,
        size: tuple[int, ...] | None = None,
        mask: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b heads n"]:
        """Where one token looks, given the block's own input; residual and MLP are not counted."""
        self._check(x)
        return self.attn.weights(self.norm1(x), query, size=size, mask=mask)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 3 or x.shape[2] != self.attn.channels:
            raise ValueError(
                f"TransformerBlock was built for tokens [b, n, {self.attn.channels}], got shape {tuple(x.shape)}: "
                "a map becomes tokens by x.flatten(2).transpose(1, 2)"
            )
