"""Advantage actor-critic: Mnih et al. (2016), https://arxiv.org/abs/1602.01783, algorithm S3, its actors in step.

Act for a few steps, then take one gradient step on all of them: the policy gradient with advantages for weights, the
value's squared error and an entropy bonus. With `gae_lambda` 1 every row looks to the end of its rollout and is
bootstrapped there, as in the paper; less is Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16. With
a rollout of 1 this is the one-step actor-critic of Sutton & Barto (2018), section 13.5, for many environments at once.

Left out: actors that each learn in their own time (A3C), and RMSProp, the paper's optimiser: ours is Adam.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.rl.advantages import advantages_and_targets
from sightline.rl.learner import Learner, falling, read, rows_of
from sightline.rl.losses import entropy_bonus, policy_gradient_loss, value_loss
from sightline.rl.policies.policy import Policy
from sightline.run.processes import add_up

STATISTICS = ("policy_loss", "value_loss", "entropy")


@dataclass(frozen=True)
class A2C:
    """Settings of A2C."""

    rollout: int = 8
    """Steps of every environment between two updates."""
    learning_rate: float = 7e-4
    """Of Adam."""
    learning_rate_end: float = 0.0
    """Factor of the learning rate that is left at the end; it falls linearly. 1: constant."""
    gamma: float = 0.99
    """The discount."""
    gae_lambda: float = 1.0
    """Of the generalised advantages: 0 trusts the values, 1 the rewards."""
    value_factor: float = 0.5
    """Of the value's loss."""
    entropy_factor: float = 0.0
    """Of the entropy bonus."""
    gradient_clip: float = 0.5
    """Largest norm of a gradient; 0: any."""
    normalise_advantages: bool = False
    """Whether advantages are brought to mean 0 and deviation 1."""


def loss(policy: Policy, rows: dict[str, Any], a2c: A2C) -> tuple[Float[Tensor, ""], Float[Tensor, "statistics"]]:
    """A2C's loss over some rows, and what `STATISTICS` names; each a mean over the rows that count."""
    distribution, values, rows = read(policy, rows)
    gain = policy_gradient_loss(policy.log_prob(distribution, rows["action"]), rows["advantage"])
    value, entropy = value_loss(values, rows["target"]), entropy_bonus(distribution.entropy())
    total = gain + a2c.value_factor * value - a2c.entropy_factor * entropy
    return total, torch.stack([gain, value, entropy]).detach()


def train(learner: Learner, a2c: A2C, steps: int) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row per update.

    Raises:
        ValueError: a number is none (it is named).
    """
    while learner.steps < steps:
        left = 1 - learner.steps / steps
        learner.set_rate(falling(a2c.learning_rate, a2c.learning_rate_end, left))
        seen = learner.collect()
        advantages, targets = advantages_and_targets(
            seen, gamma=a2c.gamma, gae_lambda=a2c.gae_lambda, normalise=a2c.normalise_advantages
        )
        here = seen.reward.numel() if seen.valid is None else int(seen.valid.sum())
        count = float(add_up(torch.tensor(float(here), dtype=torch.float64)))
        if not count:  # every environment was only reset
            continue
        means = torch.zeros(len(STATISTICS), dtype=torch.float64)
        if here:
            everything = torch.arange(seen.reward.numel(), device=learner.device)
            rows = rows_of(seen, everything, advantage=advantages, target=targets)
            total, statistics = loss(learner.policy, rows, a2c)
            (total * (here / count)).backward()
            means = statistics.double().cpu() * (here / count)
        learner.step(a2c.gradient_clip or None)
        yield learner.row(dict(zip(STATISTICS, add_up(means).tolist(), strict=True)))
