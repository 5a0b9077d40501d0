"""Distributions over choices: one of k, several at once, and yes or no. Closed forms, masks included.

An illegal action has the log-probability -inf. It is never sampled, adds nothing to an entropy, and gets no gradient.
Sampling is Gumbel's trick: argmax(log p + noise) with standard Gumbel noise drawn outside, one number an action.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Categorical:
    """One of k actions. Made by `categorical`, which normalises."""

    log_probabilities: Float[Tensor, "*b k"]  # normalised; -inf: illegal

    def sample(self, noise: Float[Tensor, "*b k"]) -> Int[Tensor, "*b"]:
        """Standard Gumbel noise in, an action out. The noise must be finite."""
        return (self.log_probabilities + noise).argmax(-1)

    def mode(self) -> Int[Tensor, "*b"]:
        """The most probable action, the first of equals."""
        return self.log_probabilities.argmax(-1)

    def log_prob(self, action: Int[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Log-probability; -inf for an illegal action."""
        return self.log_probabilities.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """-sum p log p, in nats."""
        return -(self.log_probabilities.exp() * _finite(self.log_probabilities)).sum(-1)

    def kl(self, other: "Categorical") -> Float[Tensor, "*b"]:
        """sum p log(p / q); inf where this one may do what the other may not."""
        terms = self.log_probabilities.exp() * (_finite(self.log_probabilities) - _finite(other.log_probabilities))
        forbidden = other.log_probabilities.isneginf() & ~self.log_probabilities.isneginf()
        return terms.masked_fill(forbidden, torch.inf).sum(-1)


def categorical(logits: Float[Tensor, "*b k"], mask: Bool[Tensor, "*#b k"] | None = None) -> Categorical:
    """The distribution of these unnormalised log-probabilities, over the actions that the mask marks as legal.

    Raises:
        ValueError: a row has no legal action.
    """
    if mask is not None:
        logits = _masked(logits, mask)
    return Categorical(logits.log_softmax(-1))


@dataclass(frozen=True)
class MultiDiscrete:
    """Several independent choices at once, padded with illegal actions to the largest. Made by `multi_discrete`."""

    choices: Categorical  # over [*b, m, k]

    def sample(self, noise: Float[Tensor, "*b m_times_k"]) -> Int[Tensor, "*b m"]:
        """Standard Gumbel noise in, k numbers a choice one after the other; an action per choice out."""
        return self.choices.sample(noise.reshape(self.choices.log_probabilities.shape))

    def mode(self) -> Int[Tensor, "*b m"]:
        """The most probable action of each choice."""
        return self.choices.mode()

    def log_prob(self, action: Int[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """Sum over the choices."""
        return self.choices.log_prob(action).sum(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """Sum over the choices."""
        return self.choices.entropy().sum(-1)

    def kl(self, other: "MultiDiscrete") -> Float[Tensor, "*b"]:
        """Sum over the choices."""
        return self.choices.kl(other.choices).sum(-1)


def multi_discrete(
    logits: Float[Tensor, "*b n"], sizes: Sequence[int], mask: Bool[Tensor, "*#b n"] | None = None
) -> MultiDiscrete:
    """The distribution of several choices, whose logits (and masks) stand one after the other: n = sum(sizes).

    Raises:
        ValueError: the logits are not as many as the choices need, or a choice has no legal action in some row.
    """
    if logits.shape[-1] != sum(sizes):
        raise ValueError(
            f"choices of sizes {list(sizes)} need {sum(sizes)} logits, got {logits.shape[-1]}: widen the head"
        )
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    parts = logits.split(list(sizes), -1)
    widest = max(sizes)
    if min(sizes) != widest:
        parts = tuple(F.pad(part, (0, widest - part.shape[-1]), value=-torch.inf) for part in parts)
    table = torch.stack(parts, -2)
    if mask is not None:
        _someone_legal(~table.isneginf())
    return MultiDiscrete(Categorical(table.log_softmax(-1)))


@dataclass(frozen=True)
class Bernoulli:
    """Independent yes-or-no choices: p(yes) = sigmoid(logit)."""

    logits: Float[Tensor, "*b n"]

    def sample(self, noise: Float[Tensor, "*b n"]) -> Int[Tensor, "*b n"]:
        """Noise uniform in [0, 1) in, zeros and ones out."""
        return (noise < self.logits.sigmoid()).long()

    def mode(self) -> Int[Tensor, "*b n"]:
        """1 where yes is more probable than no."""
        return (self.logits > 0).long()

    def log_prob(self, action: Int[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
        """Sum over the choices."""
        return -F.softplus(torch.where(action > 0, -self.logits, self.logits)).sum(-1)

    def entropy(self) -> Float[Tensor, "*b"]:
        """Sum over the choices, as terms that are all positive, so that a sure choice loses no digits."""
        size = self.logits.abs()
        return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(-1)

    def kl(self, other: "Bernoulli") -> Float[Tensor, "*b"]:
        """Sum over the choices."""
        yes = self.logits.sigmoid() * (F.logsigmoid(self.logits) - F.logsigmoid(other.logits))
        no = torch.sigmoid(-self.logits) * (F.logsigmoid(-self.logits) - F.logsigmoid(-other.logits))
        return (yes + no).sum(-1)


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    _someone_legal(mask)
    return logits.masked_fill(~mask, -torch.inf)


def _someone_legal(mask: Tensor) -> None:
    legal = mask.any(-1)
    if not legal.all():
        row = tuple((~legal).nonzero()[0].tolist())
        raise ValueError(f"the action mask forbids every action in row {row}: mark at least one as legal")


def _finite(log_probabilities: Tensor) -> Tensor:
    """0 for -inf: times the probability, 0, it is 0 forth and back, where -inf would be NaN."""
    return log_probabilities.masked_fill(log_probabilities.isneginf(), 0.0)
