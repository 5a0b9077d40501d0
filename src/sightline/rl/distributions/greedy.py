"""The best action, and any legal one with a small probability: how a network of action values explores."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.rl.distributions.discrete import Categorical


@dataclass(frozen=True)
class EpsilonGreedy:
    """One of k actions: with probability epsilon any legal one, else the one of the largest value."""

    values: Float[Tensor, "*b k"]  # -inf: illegal
    epsilon: Float[Tensor, ""]  # in [0, 1]

    @property
    def log_probabilities(self) -> Float[Tensor, "*b k"]:
        """(1 - epsilon) [best] + epsilon / legal, -inf for an illegal action."""
        legal = ~self.values.isneginf()
        each = self.epsilon / legal.sum(-1, keepdim=True) * legal
        best = torch.zeros_like(self.values).scatter(-1, self.mode().unsqueeze(-1), 1.0)
        return (each + (1 - self.epsilon) * best).log()

    def sample(self, noise: Float[Tensor, "*b k"]) -> Int[Tensor, "*b"]:
        """Standard Gumbel noise in, an action out."""
        return (self.log_probabilities + noise).argmax(-1)

    def mode(self) -> Int[Tensor, "*b"]:
        """The action of the largest value, the first of equals."""
        return self.values.argmax(-1)

    def log_prob(self, action: Int[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Log-probability; -inf for an illegal action."""
        return Categorical(self.log_probabilities).log_prob(action)

    def entropy(self) -> Float[Tensor, "*b"]:
        """In nats."""
        return Categorical(self.log_probabilities).entropy()

    def kl(self, other: "EpsilonGreedy") -> Float[Tensor, "*b"]:
        """KL(self, other)."""
        return Categorical(self.log_probabilities).kl(Categorical(other.log_probabilities))
