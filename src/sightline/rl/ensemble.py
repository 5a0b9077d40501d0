"""Probabilistic networks that learn the same thing from different draws of the data (Chua et al., 2018, PETS).

    loss = mean over rows of  sum_d [(y_d - m_d)^2 exp(-l_d) + l_d] / 2,  summed over members,
         + 0.01 sum_d (highest_d - lowest_d)

(https://arxiv.org/abs/1805.12114, equation 1 and appendix A.1.) Each member gives a mean m and a log-variance l of
every number, l kept softly between bounds that are learned with it. How far a member's own variance goes is the world's
chance, and how far the members lie apart is what they do not know. Members are one batched product each layer. The
same networks with one logit each say yes or no (`chance_loss`).

A member learns from a bootstrap of the rows, drawn once, and is done when the same loss on rows held out has not fallen
by a hundredth for `patience` passes; its best weights are kept. By squared errors, which are common, it would be done
before it knows its variances.

Left out: random priors, dropout, networks of different shapes.
"""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

BOUND_FACTOR = 0.01  # of the authors' code
GAIN = 0.01  # share of an error, or nats of a larger one, that count as progress


class Ensemble(nn.Module):
    """So many networks in one.

    Args:
        members: how many.
        inputs: numbers that each reads.
        outputs: numbers that each gives.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, members: int, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.members = members
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in itertools.pairwise((inputs, *hidden, outputs)):
            weight = torch.empty(members, before, after)
            self.weights.append(nn.init.trunc_normal_(weight, std=1 / (2 * math.sqrt(before)), a=-1.0, b=1.0))
            self.biases.append(torch.zeros(members, 1, after))

    def forward(self, x: Float[Tensor, "m n i"], which: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n o"]:
        """What each says of its own rows; some members where asked."""
        last = len(self.weights) - 1
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if which is not None:
                weight, bias = weight[which], bias[which]
            x = torch.baddbmm(bias, x, weight)
            if place < last:
                x = F.silu(x)
        return x


class Gaussians(nn.Module):
    """An ensemble that gives means and variances.

    Args:
        members: how many.
        inputs: numbers that each reads.
        outputs: numbers that each gives a mean and a variance of.
        hidden: sizes of the hidden layers.
    """

    def __init__(self, members: int, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.members, self.ensemble = members, Ensemble(members, inputs, 2 * outputs, hidden)
        self.highest = nn.Parameter(torch.full((members, 1, outputs), 0.5))
        self.lowest = nn.Parameter(torch.full((members, 1, outputs), -10.0))

    def forward(
        self, x: Float[Tensor, "m n i"], which: Int[Tensor, " m"] | None = None
    ) -> tuple[Float[Tensor, "m n o"], Float[Tensor, "m n o"]]:
        """Means and log-variances, each member's of its own rows; of some members where asked."""
        mean, asked = self.ensemble(x, which).chunk(2, -1)
        taken = slice(None) if which is None else which
        highest, lowest = self.highest[taken], self.lowest[taken]
        below = highest - F.softplus(highest - asked)
        return mean, lowest + F.softplus(below - lowest)


def surprises(network: Gaussians, x: Float[Tensor, "m n i"], y: Float[Tensor, "m n o"]) -> Float[Tensor, " m"]:
    """Every member's negative log-likelihood, the mean over rows of the sum over outputs, without its constant."""
    mean, log_variance = network(x)
    return (0.5 * ((y - mean).square() * torch.exp(-log_variance) + log_variance)).sum(-1).mean(1)


def likelihood_loss(network: Gaussians, x: Float[Tensor, "m n i"], y: Float[Tensor, "m n o"]) -> Float[Tensor, ""]:
    """What is made small, summed over members: each learns as if it were alone."""
    return surprises(network, x, y).sum() + BOUND_FACTOR * (network.highest - network.lowest).sum()


def chance_errors(network: Ensemble, x: Float[Tensor, "m n i"], y: Float[Tensor, "m n 1"]) -> Float[Tensor, " m"]:
    """Every member's mean cross-entropy, of outputs that are 0 or 1."""
    return F.binary_cross_entropy_with_logits(network(x), y, reduction="none").mean((1, 2))


def chance_loss(network: Ensemble, x: Float[Tensor, "m n i"], y: Float[Tensor, "m n 1"]) -> Float[Tensor, ""]:
    """The same, summed over members."""
    return chance_errors(network, x, y).sum()


@dataclass(frozen=True)
class Learned:
    """How a training went."""

    passes: int
    error: Float[np.ndarray, " m"]
    """Of every member at its best, on the rows held out: in nats."""


def learn(
    network: Gaussians | Ensemble,
    x: Float32[np.ndarray, "n i"],
    y: Float32[np.ndarray, "n o"],
    held_out: Int[np.ndarray, " k"],
    rng: np.random.Generator,
    *,
    learning_rate: float,
    decay: float,
    batch: int,
    patience: int,
    most: int,
) -> Learned:
    """Train all members until none gets better, from the weights that they have.

    Args:
        network: what learns; numbers by `likelihood_loss`, or yes and no by `chance_loss`.
        x: inputs, of mean 0 and deviation 1.
        y: outputs, likewise; or 0 and 1.
        held_out: rows that nothing learns from.
        rng: of bootstraps and orders.
        learning_rate: of Adam.
        decay: of the weights.
        batch: rows of a step.
        patience: passes without progress before a member is done.
        most: passes.

    Raises:
        ValueError: an error is no number.
    """
    loss, errors = LEARNS[type(network)]
    device = next(network.parameters()).device
    inputs, outputs = (torch.from_numpy(one).to(device) for one in (x, y))
    test = [one[torch.from_numpy(held_out)].expand(network.members, -1, -1) for one in (inputs, outputs)]
    rows = np.setdiff1d(np.arange(len(x)), held_out)
    drawn = rng.choice(rows, (network.members, len(rows)))  # with replacement: a bootstrap each
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, weight_decay=decay)
    with torch.no_grad():
        best, kept = errors(network, *test), copy.deepcopy(network.state_dict())
    waited, passes = torch.zeros(network.members, device=device), 0
    while passes < most and bool((waited < patience).any()):
        drawn = rng.permuted(drawn, axis=1)
        for begin in range(0, drawn.shape[1], batch):
            take = torch.from_numpy(drawn[:, begin : begin + batch])
            optimizer.zero_grad(set_to_none=True)
            loss(network, inputs[take], outputs[take]).backward()
            optimizer.step()
        passes += 1
        with torch.no_grad():
            now = errors(network, *test)
        if not bool(now.isfinite().all()):
            raise ValueError(
                f"the model's error is {float(now.max())} after {passes} passes over {len(rows)} steps: use a smaller "
                "--world.learning-rate"
            )
        better = now < best - GAIN * best.abs().clamp(max=1.0)
        waited = torch.where(better, 0, waited + 1)
        best = torch.where(better, now, best)
        for name, one in network.state_dict().items():
            kept[name][better] = one[better]
    network.load_state_dict(kept)
    return Learned(passes, best.numpy(force=True).astype(np.float64))


LEARNS: dict[type[nn.Module], tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    Gaussians: (likelihood_loss, surprises),
    Ensemble: (chance_loss, chance_errors),
}
