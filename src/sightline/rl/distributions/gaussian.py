"""Distributions over real numbers: the diagonal Gaussian, and the same squashed by tanh into a box.

The scale is given by its logarithm and broadcasts: of the mean's shape it depends on the state, of shape `[d]` it does
not.
`sample` is differentiable in both (noise drawn outside is the reparametrisation).

The squashed Gaussian is the distribution of a = middle + half tanh(u) for u Gaussian (Haarnoja et al., 2018,
https://arxiv.org/abs/1801.01290, appendix C). Its log-probability is exact: log N(u) minus the log-Jacobian
log half + log(1 - tanh^2 u), with the latter as 2 (log 2 - u - softplus(-2u)), which does not cancel. Its entropy has
no closed form; `_expected_log_cosh` integrates it to within 1e-6 for every mean and scale.

Left out: full covariances, and gSDE.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LOG_2 = math.log(2)
LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal numbers."""

    mean: Float[Tensor, "*b d"]
    log_scale: Float[Tensor, "*#b d"]  # broadcasts to the mean: `[d]` does not depend on the state

    def sample(self, noise: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Standard normal noise in, an action out."""
        return torch.addcmul(self.mean, self.log_scale.exp(), noise)

    def mode(self) -> Float[Tensor, "*b d"]:
        """The mean."""
        return self.mean

    def log_prob(self, action: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Log-density, summed over d."""
        distance = (action - self.mean) * torch.exp(-self.log_scale)
        return -(0.5 * distance.square() + self.log_scale + 0.5 * LOG_2_PI).sum(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """Differential entropy, summed over d; the same in every state where the scale is."""
        return (self.log_scale + 0.5 * (1 + LOG_2_PI)).expand_as(self.mean).sum(-1)

    def kl(self, other: "Gaussian") -> Float[Tensor, "*b"]:
        """KL(self, other), summed over d."""
        apart = self.log_scale - other.log_scale
        distance = (self.mean - other.mean) * torch.exp(-other.log_scale)
        # expm1 keeps the digits that 1 - 1 would lose where two policies are almost the same.
        return (0.5 * (distance.square() + torch.expm1(2 * apart)) - apart).sum(-1)


@dataclass(frozen=True)
class SquashedGaussian:
    """tanh of independent normal numbers, stretched to a box.

    A number's tanh rounds to 1 from about 9 on in float32, so that an action alone does not tell such numbers apart.
    Who needs the exact log-probability even there keeps the number before the squashing: `inner.sample(noise)`,
    `squash(u)`, `log_prob_inner(u)`.
    """

    inner: Gaussian
    low: Float[Tensor, "d"]
    high: Float[Tensor, "d"]

    def sample(self, noise: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Standard normal noise in, an action inside the box out."""
        return self.squash(self.inner.sample(noise))

    def mode(self) -> Float[Tensor, "*b d"]:
        """The squashed mean: the median of each number. The density itself may be highest at a border."""
        return self.squash(self.inner.mean)

    def squash(self, u: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """From a number to the box; the last rounding never leaves it."""
        half = (self.high - self.low) / 2
        return torch.clamp(self.low + half + half * u.tanh(), self.low, self.high)

    def unsquash(self, action: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """From the box back: half the difference of the logarithms of the distances to both borders.

        An action at a border is read as the nearest number whose tanh rounds to 1.
        """
        least = (self.high - self.low) * (torch.finfo(action.dtype).eps / 8)
        below, above = torch.maximum(action - self.low, least), torch.maximum(self.high - action, least)
        return (below.log() - above.log()) / 2

    def log_prob(self, action: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Log-density of an action, summed over d; -inf outside the box."""
        outside = ((action < self.low) | (action > self.high)).any(-1)
        return self.log_prob_inner(self.unsquash(action)).masked_fill(outside, -torch.inf)

    def log_prob_inner(self, u: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Log-density of the action `squash(u)`, exact for every u."""
        jacobian = 2 * (LOG_2 - u - F.softplus(-2 * u)) + self._log_half()
        return self.inner.log_prob(u) - jacobian.sum(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """The Gaussian's entropy plus the expected log-Jacobian, within 1e-6 a dimension or float32's rounding."""
        jacobian = self._log_half() - 2 * _expected_log_cosh(self.inner.mean, self.inner.log_scale.exp())
        return self.inner.entropy() + jacobian.sum(-1)

    def kl(self, other: "SquashedGaussian") -> Float[Tensor, "*b"]:
        """KL(self, other): the Gaussians', as both are squashed alike.

        Raises:
            ValueError: the boxes differ.
        """
        if not (torch.equal(self.low, other.low) and torch.equal(self.high, other.high)):
            raise ValueError("a KL divergence compares policies of one action space, got two boxes: use one box")
        return self.inner.kl(other.inner)

    def _log_half(self) -> Float[Tensor, "d"]:
        return ((self.high - self.low) / 2).log()


REACH = 8.0  # beyond it the remainder below is less than 1.2e-7
SIGMAS = 6.0  # beyond them lies 2e-9 of a Gaussian
WIDTH = 1.5
NODES = 40


def _expected_log_cosh(mean: Float[Tensor, "*b d"], scale: Float[Tensor, "*#b d"]) -> Float[Tensor, "*b d"]:
    """E[log cosh u] for u ~ N(mean, scale^2): a closed form that takes the bulk, and a quadrature of what remains.

    log cosh u = u erf(u / w) - log 2 + rest(u). The first term's expectation is known (Stein: E[u f] = mean E[f] +
    scale^2 E[f']). The rest is smooth and dies out like exp(-2|u|), so Gauss-Legendre nodes on the overlap of
    |u| <= REACH and of |u - mean| <= SIGMAS scale serve scales from tiny to huge. Gauss-Hermite nodes alone would not:
    for a large scale, log cosh is a kink among them.
    """
    spread = (scale.square() + WIDTH**2 / 2).sqrt()
    z = mean / spread
    bulk = mean * torch.erf(z / math.sqrt(2)) + math.sqrt(2 / math.pi) * scale.square() / spread * torch.exp(-z * z / 2)
    lower = ((-REACH - mean) / scale).clamp(-SIGMAS, SIGMAS)
    upper = ((REACH - mean) / scale).clamp(-SIGMAS, SIGMAS)
    nodes, weights = (torch.from_numpy(part).to(mean) for part in _legendre())
    half = (upper - lower).unsqueeze(-1) / 2
    t = lower.unsqueeze(-1) + half * (1 + nodes)
    u = mean.unsqueeze(-1) + scale.unsqueeze(-1) * t
    size = u.abs()
    rest = size + F.softplus(-2 * size) - u * torch.erf(u / WIDTH)
    density = torch.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return bulk - LOG_2 + (half * rest * density) @ weights


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-1, 1]."""
    return np.polynomial.legendre.leggauss(NODES)
