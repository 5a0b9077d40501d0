"""Proximal policy optimisation (Schulman et al., 2017, https://arxiv.org/abs/1707.06347).

Act for a rollout, then several epochs of minibatches on it: the clipped surrogate (equation 7), the value's squared
error and an entropy bonus (equation 9), with generalised advantages (Schulman et al., 2016, equation 16). An epoch
after which the policy has moved farther than `target_kl` is the last one for its rollout.

Left out: the adaptive KL penalty of equation 8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sightline.rl.advantages import advantages_and_targets
from sightline.rl.learner import Experience, Learner, falling, read, rows_of
from sightline.rl.minibatches import minibatches
from sightline.rl.policies.by_hand import STATISTICS
from sightline.rl.policies.policy import Policy
from sightline.rl.ppo_loss import surrogate_and_value_loss
from sightline.run.processes import add_up, processes


@dataclass(frozen=True)
class PPO:
    """Settings of PPO."""

    rollout: int = 128
    """Steps of every environment between two updates."""
    batch: int = 256
    """Rows of a minibatch, over all environments."""
    epochs: int = 4
    """Times that every row is learned from."""
    learning_rate: float = 3e-4
    """Of Adam."""
    learning_rate_end: float = 0.0
    """Factor of the learning rate that is left at the end; it falls linearly. 1: constant."""
    gamma: float = 0.99
    """The discount."""
    gae_lambda: float = 0.95
    """Of the generalised advantages: 0 trusts the values, 1 the rewards."""
    clip: float = 0.2
    """How far the ratio of new and old probability may move before its gradient stops."""
    clip_end: float = 1.0
    """Factor of the clip that is left at the end; it falls linearly. 1: constant."""
    value_clip: float | None = None
    """How far a value may move in an update, in units of (scaled) return; none: as far as it likes."""
    value_factor: float = 0.5
    """Of the value's loss."""
    entropy_factor: float = 0.0
    """Of the entropy bonus."""
    gradient_clip: float = 0.5
    """Largest norm of a gradient; 0: any."""
    target_kl: float | None = None
    """KL divergence after which an epoch is the last one for its rollout; none: all epochs."""
    normalise_advantages: bool = True
    """Whether advantages are brought to mean 0 and deviation 1."""


def loss(
    policy: Policy, rows: dict[str, Any], ppo: PPO, clip: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "statistics"]]:
    """PPO's loss over some rows, and what `STATISTICS` names; each a mean over the rows that count."""
    distribution, values, rows = read(policy, rows)
    total, surrogate, value, kl, outside = surrogate_and_value_loss(
        policy.log_prob(distribution, rows["action"]),
        values,
        rows["log_probability"],
        rows["advantage"],
        rows["target"],
        clip=clip,
        value_factor=ppo.value_factor,
        old_values=rows["values"],
        value_clip=ppo.value_clip,
    )
    with torch.set_grad_enabled(ppo.entropy_factor != 0):
        entropy = distribution.entropy().mean()
    if ppo.entropy_factor:
        total = total - ppo.entropy_factor * entropy
    return total, torch.stack([surrogate, value, entropy.detach(), kl, outside])


def train(learner: Learner, ppo: PPO, steps: int) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row per update.

    Raises:
        ValueError: settings that cannot be, a batch that does not share out a rollout evenly, or a number that is
            none (it is named).
    """
    _check(learner, ppo)
    environments = learner.envs.num_envs * processes().count
    parts = minibatches(ppo.rollout, environments, ppo.batch, whole=learner.policy.remembers)
    while learner.steps < steps:
        left = 1 - learner.steps / steps
        learner.set_rate(falling(ppo.learning_rate, ppo.learning_rate_end, left))
        clip = falling(ppo.clip, ppo.clip_end, left)
        seen = learner.collect()
        advantages, targets = advantages_and_targets(
            seen, gamma=ppo.gamma, gae_lambda=ppo.gae_lambda, normalise=ppo.normalise_advantages
        )
        sums, epochs = np.zeros(len(STATISTICS)), 0
        for _ in range(ppo.epochs):
            before = sums.copy()
            for index, count in _counted(learner, seen, parts):
                rows = rows_of(seen, index, advantage=advantages, target=targets)
                sums += _gradient(learner, rows, ppo, clip, count)
                learner.step(ppo.gradient_clip or None)
            epochs += 1
            if ppo.target_kl is not None and _everywhere(sums - before)[3] / parts > ppo.target_kl:
                break
        means = _everywhere(sums) / (parts * epochs)
        yield learner.row({**dict(zip(STATISTICS, means.tolist(), strict=True)), "epochs": epochs})


def _gradient(learner: Learner, rows: dict[str, Any], ppo: PPO, clip: float, count: float) -> np.ndarray:
    """Write this process's share of the gradient; return its share of the statistics."""
    if learner.by_hand is not None:
        return learner.by_hand.gradient(
            rows,
            clip=clip,
            value_clip=ppo.value_clip,
            value=ppo.value_factor,
            entropy=ppo.entropy_factor,
            count=count,
        )
    here = int(rows["valid"].sum()) if "valid" in rows else len(rows["values"])
    if not here:
        return np.zeros(len(STATISTICS))
    total, statistics = loss(learner.policy, rows, ppo, clip)
    share = here / count
    (total if share == 1 else total * share).backward()
    return statistics.cpu().numpy() * share


def _counted(learner: Learner, seen: Experience, parts: int) -> Iterator[tuple[Tensor, float]]:
    """An epoch's minibatches, each with how many of its rows count in all processes."""
    indices = list(learner.minibatches(parts))
    if seen.valid is None and processes().count == 1:
        yield from ((index, float(len(index))) for index in indices)
        return
    valid = torch.ones_like(seen.terminated) if seen.valid is None else seen.valid
    counts = add_up(torch.stack([valid.flatten()[index].sum() for index in indices]).double())
    yield from ((i, c) for i, c in zip(indices, counts.tolist(), strict=True) if c)


def _everywhere(sums: np.ndarray) -> np.ndarray:
    return add_up(torch.from_numpy(sums)).numpy()


def _check(learner: Learner, ppo: PPO) -> None:
    here = (learner.collector.steps, learner.gamma)
    if here != (ppo.rollout, ppo.gamma):
        raise ValueError(
            f"the learner acts for {here[0]} steps with gamma {here[1]}, PPO is to learn from {ppo.rollout} with gamma "
            f"{ppo.gamma}: give both the same"
        )
    for name in ("epochs", "clip", "value_clip", "target_kl"):
        number = getattr(ppo, name)
        if number is not None and not number > 0:
            raise ValueError(f"PPO's {name} lies above 0, got {number}: {getattr(PPO, name)} is the default")
