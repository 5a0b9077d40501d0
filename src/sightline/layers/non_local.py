"""The non-local block: every position looks at every other (Wang et al., 2018, https://arxiv.org/abs/1711.07971,
equations 1 to 6), in one, two or three dimensions, with all four pairwise functions.

    z = W(y) + x,    y_i = sum_j f(x_i, x_j) g(x_j) / C(x)

Published code disagrees on two points, both named arguments here. `scale`: the paper and the best known PyTorch port
use none; the authors' Caffe2 code and mmcv divide by the square root of the inner width. `pool`: the paper and the
ports pool *after* the projections phi and g; the Caffe2 code pools the input *before* them. State-dict names are those
of AlexHex7/Non-local_pytorch: `g`, `theta`, `phi`, `W.0`, `W.1`, `concat_project.0.weight`, with `.0` where
sub-sampled.

Left out: the N x N tensor that every published form makes (`ops/non_local.py`).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sightline.layers.attention import check_map, check_position
from sightline.ops.arguments import choose
from sightline.ops.attend_from import non_local_weights_from
from sightline.ops.non_local import non_local_attention
from sightline.ops.patterns import Pattern, everything

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
OPERATOR = {  # what the pairwise function is called among the operators
    "embedded_gaussian": "softmax",
    "gaussian": "softmax",
    "dot_product": "dot_product",
    "concatenation": "concatenation",
}


class NonLocal(nn.Module):
    """Non-local block with its residual, `[b, c, *positions] -> [b, c, *positions]`.

    The last norm (or, without one, the last convolution) starts at zero, as published, so that **a new block returns
    its input unchanged** and can be put into a trained network; `zero_initialised=False` starts it as an ordinary
    layer.

    Args:
        channels: width of the map.
        pairwise: "embedded_gaussian", "gaussian", "dot_product" or "concatenation".
        dimensions: number of position axes; three are time, height and width.
        inner: width of the bottleneck; half the channels where None.
        subsample: factor by which keys and values are max-pooled along height and width (along time only if it is the
            sole axis); 1 is no pooling.
        pool: "after" the projections (paper) or "before" them (Caffe2 code).
        scale: "none" (paper) or "inverse_sqrt" (Caffe2 code, mmcv): scores over the square root of their width; it has
            no meaning but for the two Gaussian forms.
        norm: "batch" or "none", after the last convolution.
        zero_initialised: whether the block starts as the identity.
        backend: as in `ops.non_local.non_local_attention`.

    Raises:
        ValueError: an unknown option, a scale where it has no meaning, or a map of another rank or width.
    """

    pattern: Pattern = everything

    def __init__(
        self,
        channels: int,
        pairwise: str = "embedded_gaussian",
        dimensions: int = 2,
        *,
        inner: int | None = None,
        subsample: int = 1,
        pool: str = "after",
        scale: str = "none",
        norm: str = "batch",
        zero_initialised: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.pairwise = choose("pairwise function", pairwise, OPERATOR)
        self.pool_when = choose("pooling order", pool, ("after", "before"))
        choose("scale", scale, ("none", "inverse_sqrt"))
        choose("norm", norm, ("batch", "none"))
        if dimensions not in CONVOLUTION:
            raise ValueError(f"a non-local block has 1, 2 or 3 dimensions, got {dimensions}")
        if subsample < 1:
            raise ValueError(f"subsample is a pooling factor of at least 1, got {subsample}")
        if inner is not None and inner < 1:
            raise ValueError(f"the bottleneck needs at least 1 channel, got inner={inner}")
        if scale != "none" and OPERATOR[pairwise] != "softmax":
            raise ValueError(f"scale '{scale}' has a meaning under a softmax only: leave it at 'none' for '{pairwise}'")
        self.channels, self.dimensions, self.subsample, self.backend = channels, dimensions, subsample, backend
        self.inner = max(channels // 2, 1) if inner is None else inner
        width = channels if pairwise == "gaussian" else self.inner
        self.scale = width**-0.5 if scale == "inverse_sqrt" else 1.0

        convolution = CONVOLUTION[dimensions]
        kernel = (1, subsample, subsample) if dimensions == 3 else (subsample,) * dimensions
        self.pool = MAX_POOL[dimensions](kernel) if subsample > 1 else nn.Identity()

        def projection() -> nn.Module:
            # Always wrapped where the published code wraps it, so that names do not depend on the order of pooling.
            layer = convolution(channels, self.inner, 1)
            return nn.Sequential(layer) if subsample > 1 else layer

        self.g = projection()
        if pairwise != "gaussian":
            self.theta = convolution(channels, self.inner, 1)
            self.phi = projection()
        if pairwise == "concatenation":
            self.concat_project = nn.Sequential(nn.Conv2d(2 * self.inner, 1, 1, bias=False), nn.ReLU())

        last = convolution(self.inner, channels, 1)
        self.W = nn.Sequential(last, BATCH_NORM[dimensions](channels)) if norm == "batch" else last
        if zero_initialised:
            final = self.W[1] if isinstance(self.W, nn.Sequential) else self.W
            assert isinstance(final.weight, Tensor)
            assert isinstance(final.bias, Tensor)
            nn.init.zeros_(final.weight)
            nn.init.zeros_(final.bias)

    def _pooled(self, layer: nn.Module, x: Float[Tensor, "b c *positions"]) -> Float[Tensor, "b d *keys"]:
        return self.pool(layer(x)) if self.pool_when == "after" else layer(self.pool(x))

    def _query_and_key(
        self, x: Float[Tensor, "b c *positions"]
    ) -> tuple[Float[Tensor, "b d *positions"], Float[Tensor, "b d *keys"]]:
        if self.pairwise == "gaussian":
            return x, self.pool(x)
        query, key = self.theta(x), self._pooled(self.phi, x)
        if self.pairwise == "concatenation":
            # w [theta_i, phi_j] splits into two scalars per position, a_i + b_j: no pair is ever put side by side.
            project = self.concat_project.get_parameter("0.weight")
            first, second = project.flatten().to(query.dtype).chunk(2)
            query = torch.einsum("bd...,d->b...", query, first)[:, None]
            key = torch.einsum("bd...,d->b...", key, second)[:, None]
        return query, key

    def value(self, x: Float[Tensor, "b c *positions"]) -> Float[Tensor, "b d *keys"]:
        """What there is to be taken from every key position: g(x), sub-sampled where asked."""
        return self._pooled(self.g, x)

    def _key_mask(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        if mask is None or self.subsample == 1:
            return mask
        expected = (x.shape[0], *x.shape[2:])
        if mask.dtype != torch.bool or mask.shape != expected:
            raise ValueError(
                f"the mask must be bool, with one entry for every position, {expected}, got {mask.dtype} "
                f"{tuple(mask.shape)}: True marks the positions that may be looked at"
            )
        # A pooled key mixes its whole window: it is shown only where every position of the window may be seen.
        hidden = self.pool((~mask)[:, None].to(x.dtype))
        return hidden[:, 0] == 0

    def _check(self, x: Tensor) -> None:
        check_map("NonLocal", x, self.channels, self.dimensions)
        pooled = x.shape[2:] if self.dimensions < 3 else x.shape[3:]
        if min(pooled) < self.subsample:
            raise ValueError(
                f"sub-sampling by {self.subsample} leaves no key on a map of size {tuple(x.shape[2:])}:"
                " give a larger map or a smaller factor"
            )

    def attend(
        self, x: Float[Tensor, "b c *positions"], mask: Bool[Tensor, "b *positions"] | None = None
    ) -> Float[Tensor, "b d *positions"]:
        """The attention alone, in the bottleneck: y of the paper, before W and the residual."""
        self._check(x)
        query, key = self._query_and_key(x)
        return non_local_attention(
            query,
            key,
            self.value(x),
            pairwise=OPERATOR[self.pairwise],
            mask=self._key_mask(x, mask),
            scale=self.scale,
            backend=self.backend,
        )

    def forward(
        self, x: Float[Tensor, "b c *positions"], mask: Bool[Tensor, "b *positions"] | None = None
    ) -> Float[Tensor, "b c *positions"]:
        """`mask` is True where a position may be looked at; a sub-sampled key needs its whole window to be."""
        return self.W(self.attend(x, mask)) + x

    def weights(
        self,
        x: Float[Tensor, "b c *positions"],
        query: tuple[int, ...],
        *,
        mask: Bool[Tensor, "b *positions"] | None = None,
    ) -> Float[Tensor, "b *keys"]:
        """Where one position looks, on the grid of the keys (coarser than the map where sub-sampled), in O(N).

        The Gaussian forms sum to one; dot product and concatenation do not, and the former may be negative.
        """
        self._check(x)
        check_position(query, x.shape[2:])
        of_query, of_key = self._query_and_key(x)
        return non_local_weights_from(
            of_query,
            of_key,
            query,
            pairwise=OPERATOR[self.pairwise],
            mask=self._key_mask(x, mask),
            scale=self.scale,
        )
