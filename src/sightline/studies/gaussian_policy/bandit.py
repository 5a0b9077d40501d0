"""One step, one number, one quadratic: everything that the scale does is known in closed form here.

The reward of an action a is -(a - c)^2 plus noise of deviation n, the policy a Gaussian of mean m and scale s. With the
distance d = m - c, the exact values are

    expected return        J = -(d^2 + s^2)
    its gradients          dJ/dm = -2 d,   dJ/dlog s = -2 s^2

and an episode's estimate (r - b) dlog p (Williams, 1992, https://doi.org/10.1007/BF00992696), whose mean these are, has
the variance, with the baseline b = J,

    of the mean's gradient        8 d^2 + 10 s^2 + n^2 / s^2
    of the log-scale's gradient   40 d^2 s^2 + 56 s^4 + 2 n^2

and without one (d^2 + s^2)^2 / s^2 + 4 (d^2 + s^2) more of the first, 2 (d^2 + s^2)^2 + 16 s^2 (d^2 + s^2) more of the
second. So a small scale loses little and learns from noise, a large one loses much and learns from its own width; the
mean's gradient is surest at s^4 = n^2 / 10.

`learn` follows such estimates from many seeds at once, with two states that differ in how steep the reward is.

Left out: several numbers, and learned baselines (the exact one is given to all alike).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sightline.rl.distributions import Gaussian

STEEP, FLAT = 4.0, 0.25  # the two states: the reward is -k (a - c)^2
FAR = 1.0  # from the best action, at the start
NOISE = 1.0  # deviation of a reward, of learning
RATE, BATCH, UPDATES = 0.01, 16, 4000
LOOKS = 40


@dataclass(frozen=True)
class Moments:
    """Expected return, and of both gradients mean and variance."""

    value: float
    mean_gradient: float
    scale_gradient: float
    mean_variance: float
    scale_variance: float


def exact(distance: float, scale: float, noise: float, *, baseline: bool = True) -> Moments:
    """The closed forms."""
    d2, s2, n2 = distance**2, scale**2, noise**2
    mean, log_scale = 8 * d2 + 10 * s2 + n2 / s2, 40 * d2 * s2 + 56 * s2**2 + 2 * n2
    if not baseline:
        mean += (d2 + s2) ** 2 / s2 + 4 * (d2 + s2)
        log_scale += 2 * (d2 + s2) ** 2 + 16 * s2 * (d2 + s2)
    return Moments(-(d2 + s2), -2 * distance, -2 * s2, mean, log_scale)


def surest_scale(noise: float) -> float:
    """The scale at which an episode says most about the mean's gradient."""
    return math.sqrt(noise / math.sqrt(10))


def estimate(
    distance: float, scale: float, noise: float, episodes: int, seed: int, *, baseline: bool = True
) -> Moments:
    """The same from drawn episodes and the library's own log-probability."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, episodes, 1, generator=generator, dtype=torch.float64)
    mean = torch.full((episodes, 1), distance, dtype=torch.float64, requires_grad=True)
    log_scale = torch.full((episodes, 1), math.log(scale), dtype=torch.float64, requires_grad=True)
    policy = Gaussian(mean, log_scale)
    action = policy.sample(drawn[0]).detach()
    reward = -action.square()[:, 0] + noise * drawn[1, :, 0]
    weight = reward + (distance**2 + scale**2 if baseline else 0.0)
    gradients = torch.autograd.grad((weight * policy.log_prob(action)).sum(), [mean, log_scale])
    (m, m_variance), (s, s_variance) = ((float(one.mean()), float(one.var())) for one in gradients)
    return Moments(float(reward.mean()), m, s, m_variance, s_variance)


@dataclass(frozen=True)
class Kind:
    """Who sets the scale, and where it starts."""

    name: str
    start: float
    learned: bool = False
    by_state: bool = False


KINDS = (
    Kind("fixed 0.03", 0.03),
    Kind("fixed 0.1", 0.1),
    Kind("fixed 0.3", 0.3),
    Kind("fixed 1", 1.0),
    Kind("learned", 1.0, learned=True),
    Kind("by state", 1.0, learned=True, by_state=True),
)


def learn(kind: Kind, seeds: int, updates: int = UPDATES) -> dict[str, Any]:
    """Plain gradient ascent on estimates of `BATCH` episodes of each state, from many seeds; means and spreads of them.

    Returns:
        At every look: updates so far, the exact return of drawn actions and of the mean alone (mean over seeds and
        states, and quartiles over seeds of the first), and the mean scale in either state.
    """
    rng = np.random.default_rng(0)
    steep = np.array([STEEP, FLAT])
    distance = np.full((seeds, 2), FAR)
    log_scale = np.full((seeds, 2), math.log(kind.start))
    found: dict[str, list[Any]] = {name: [] for name in ("updates", "drawn", "low", "high", "mean_alone", "scales")}
    every = max(updates // LOOKS, 1)
    for update in range(updates + 1):
        scale = np.exp(log_scale)
        if update % every == 0:
            drawn, alone = (-(steep * (distance**2 + spread)).mean(1) for spread in (scale**2, 0.0))
            found["updates"].append(update)
            found["drawn"].append(float(drawn.mean()))
            found["low"].append(float(np.quantile(drawn, 0.25)))
            found["high"].append(float(np.quantile(drawn, 0.75)))
            found["mean_alone"].append(float(alone.mean()))
            found["scales"].append([round(float(one), 4) for one in scale.mean(0)])
        z, noise = rng.standard_normal((2, BATCH, seeds, 2))
        weight = steep * (distance**2 + scale**2 - (distance + scale * z) ** 2) + NOISE * noise
        distance = distance + RATE * (weight * z / scale).mean(0)
        if kind.learned:
            slope = (weight * (z**2 - 1)).mean(0)
            log_scale = log_scale + RATE * (slope if kind.by_state else slope.sum(1, keepdims=True))
    return found


def of_scales(
    scales: Float[np.ndarray, " n"], distance: float, noise: float, what: Callable[[Moments], float], baseline: bool
) -> list[tuple[float, float]]:
    """A closed form over the scale, as points of a line."""
    return [(float(s), what(exact(distance, float(s), noise, baseline=baseline))) for s in scales]
