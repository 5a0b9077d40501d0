"""Two hills: a task of one number where a policy gradient may come to the lower one, all of it in closed form.

The reward of an action a is a sum of two hills, h exp(-(a - c)^2 / 2 w^2): a low one and, further on, a high one. For a
Gaussian policy of mean m and scale s the expected reward is again a sum of hills, wider and lower,

    J(m, s) = sum h w / sqrt(w^2 + s^2) exp(-(m - c)^2 / 2 (w^2 + s^2))

so that a confident policy (small s) sees two hills and climbs the one that it stands on, while an open one sees a
single hill. The agents know nothing of this: each learns m and log s from sampled actions and their rewards alone
(REINFORCE with the mean of an update's other rewards for a baseline). An entropy bonus adds beta log s to what is
climbed; it falls to nothing until the middle of the training.

Left out: states.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sightline.rl.distributions import Gaussian
from sightline.rl.losses import policy_gradient_loss

LOW, HIGH = (0.6, -2.0, 0.5), (1.0, 2.0, 0.7)  # height, centre, width
STARTS = 20
MEANS = (-3.5, 3.5)  # the starts lie evenly between these
CONFIDENT, OPEN = 0.3, 2.0  # scales at the start
BONUSES = (0.0, 0.1, 0.5)
LIMITS = (0.02, 4.0)  # of a scale, so that no start runs away


@dataclass(frozen=True)
class Climb:
    """How long agents climb."""

    updates: int = 600
    batch: int = 32
    learning_rate: float = 0.05
    looks: int = 40


def reward(action: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Of an action, between 0 and about 1."""
    hills = [height * torch.exp(-0.5 * ((action - centre) / width) ** 2) for height, centre, width in (LOW, HIGH)]
    return hills[0] + hills[1]


def expected(mean: Float[np.ndarray, "..."], scale: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
    """The exact expected reward of a Gaussian policy."""
    total = np.zeros(np.broadcast(mean, scale).shape)
    for height, centre, width in (LOW, HIGH):
        wide = width**2 + np.square(scale)
        total = total + height * width / np.sqrt(wide) * np.exp(-0.5 * np.square(mean - centre) / wide)
    return total


def climb(scale: float, bonus: float, seed: int, task: Climb) -> dict[str, Any]:
    """All starts at once, each on its own: where they go, and how many end on the higher hill."""
    noise = torch.Generator().manual_seed(seed)
    mean = torch.linspace(*MEANS, STARTS).requires_grad_()
    log_scale = torch.full((STARTS,), math.log(scale)).requires_grad_()
    optimizer = torch.optim.Adam([mean, log_scale], task.learning_rate)
    paths, every = [], max(task.updates // task.looks, 1)
    for update in range(task.updates):
        if update % every == 0:
            paths.append(_where(mean, log_scale))
        policy = Gaussian(mean.unsqueeze(-1), log_scale.unsqueeze(-1))
        with torch.no_grad():
            action = policy.sample(torch.randn(task.batch, STARTS, 1, generator=noise))
            gained = reward(action.squeeze(-1))
            advantage = (gained - gained.mean(0)) * task.batch / (task.batch - 1)  # less the mean of the others
        left = max(1 - 2 * update / task.updates, 0.0)
        loss = policy_gradient_loss(policy.log_prob(action), advantage) * STARTS - bonus * left * log_scale.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            log_scale.clamp_(math.log(LIMITS[0]), math.log(LIMITS[1]))
    paths.append(_where(mean, log_scale))
    means, scales = (np.array(paths[-1][name]) for name in ("mean", "scale"))
    reached = expected(means, scales)
    return {
        "paths": paths if seed == 0 else paths[-1:],  # one seed's are drawn
        "higher": int(np.sum(np.abs(means - HIGH[1]) < HIGH[2])),
        "lower": int(np.sum(np.abs(means - LOW[1]) < LOW[2])),
        "value": float(reached.mean()),
    }


def enough_bonus() -> float:
    """The bonus beyond which nobody can stay on the lower hill, exactly.

    There J = h w / sqrt(w^2 + s^2), which falls fastest with log s at s^2 = 2 w^2, by 2 h / sqrt(27): a bonus beyond
    that widens the policy at any scale. The other hill, far away, is left aside.
    """
    return 2 * LOW[0] / math.sqrt(27)


def _where(mean: Float[Tensor, " n"], log_scale: Float[Tensor, " n"]) -> dict[str, list[float]]:
    found = {"mean": mean.detach(), "scale": log_scale.detach().exp()}
    return {name: [round(one, 2) for one in values.tolist()] for name, values in found.items()}
