"""Actions in a box [-1, 1]: clipped there, or squashed into it by tanh; what either does to the gradient, exactly.

The reward is -(a - c)^2 of the action that is executed. Clipped, a = clip(u) for u normal of mean m and scale s, and
wherever u lies outside, a small change of it changes nothing: only what falls into the box has a say,

    dJ/dm = E[-2 (u - c); u in the box] = -2 ((m - c) (F(h) - F(l)) - s (f(h) - f(l)))
    l, h  = (-1 - m) / s, (1 - m) / s

with f and F the standard normal density and distribution: beyond the border the gradient dies like the Gaussian's tail.
Squashed, a = tanh(u), and dJ/dm = E[-2 (tanh u - c) (1 - tanh^2 u)], which dies like exp(-2 |m|), later and never
within the box; the border itself is never reached.

`learn` follows estimates of the policy gradient, as in `bandit.py`, mean and scale learned, exact baseline.

Left out: inverting gradients, penalties on means outside, and bounded distributions (Beta).
"""

import math
from typing import Any

import numpy as np

WAYS = ("clipped", "squashed")
TASKS = {"back from outside": (2.0, 0.0), "to the border": (0.0, 1.0)}  # mean at the start, best action
SCALE = 0.3  # of the first chart, and at the start of learning
RATE, BATCH, UPDATES, LOOKS = 0.05, 16, 1500, 30
LEARNED = 0.01  # what the mean's own action may lose at the end
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
Array = Any  # a number, or an array of numbers
_erf = np.vectorize(math.erf)


def _normal(x: Array) -> tuple[Array, Array]:
    """Density and distribution."""
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), (1 + _erf(x / math.sqrt(2))) / 2


def outside(mean: Array, scale: Array) -> Array:
    """The share of drawn numbers that lie outside the box."""
    mean, scale = np.asarray(mean, float), np.asarray(scale, float)
    return 1 - _normal((1 - mean) / scale)[1] + _normal((-1 - mean) / scale)[1]


def gradient(way: str, mean: Array, scale: Array, best: float) -> Array:
    """The exact gradient of the expected return by the mean."""
    mean, scale = np.asarray(mean, float), np.asarray(scale, float)
    if way == "clipped":
        (low, below), (high, above) = (_normal((edge - mean) / scale) for edge in (-1.0, 1.0))
        return -2 * ((mean - best) * (above - below) - scale * (high - low))
    action = np.tanh(mean[..., None] + scale[..., None] * NODES)
    return (-2 * (action - best) * (1 - action**2)) @ WEIGHTS


def value(way: str, mean: Array, scale: Array, best: float) -> Array:
    """The exact expected return."""
    mean, scale = np.asarray(mean, float), np.asarray(scale, float)
    if way == "squashed":
        return -((np.tanh(mean[..., None] + scale[..., None] * NODES) - best) ** 2) @ WEIGHTS
    (low, below), (high, above) = (_normal((edge - mean) / scale) for edge in (-1.0, 1.0))
    inside = ((mean - best) ** 2 + scale**2) * (above - below)
    # E[z; l < z < h] = f(l) - f(h), E[z^2; l < z < h] = F(h) - F(l) + l f(l) - h f(h)
    inside += 2 * (mean - best) * scale * (low - high)
    inside += scale**2 * ((-1 - mean) / scale * low - (1 - mean) / scale * high)
    return -(inside + below * (-1 - best) ** 2 + (1 - above) * (1 - best) ** 2)


def executed(way: str, number: Array) -> Array:
    """The action that is executed."""
    return np.clip(number, -1, 1) if way == "clipped" else np.tanh(number)


def estimate(way: str, mean: float, scale: float, best: float, episodes: int, seed: int) -> tuple[float, float]:
    """The mean's gradient from drawn episodes, and its standard error."""
    z = np.random.default_rng(seed).standard_normal(episodes)
    reward = -((executed(way, mean + scale * z) - best) ** 2)
    each = (reward - value(way, np.array(mean), np.array(scale), best)) * z / scale
    return float(each.mean()), float(each.std() / math.sqrt(episodes))


def learn(way: str, task: str, seeds: int, updates: int = UPDATES) -> dict[str, Any]:
    """Gradient ascent from many seeds.

    Returns:
        At every look: updates so far, the exact return (mean over seeds and quartiles), that of the mean's own action,
        and the share of drawn actions at the border (clipped there, or within a hundredth of it); and how many seeds
        learned it.
    """
    start, best = TASKS[task]
    rng = np.random.default_rng(0)
    mean, log_scale = np.full(seeds, start), np.full(seeds, math.log(SCALE))
    names = ("updates", "drawn", "low", "high", "mean_alone", "border")
    found: dict[str, Any] = {name: [] for name in names}
    every = max(updates // LOOKS, 1)
    alone = np.zeros(seeds)
    for update in range(updates + 1):
        scale = np.exp(log_scale)
        expected = value(way, mean, scale, best)
        z = rng.standard_normal((BATCH, seeds))
        action = executed(way, mean + scale * z)
        if update % every == 0:
            alone = -((executed(way, mean) - best) ** 2)
            found["updates"].append(update)
            found["drawn"].append(float(expected.mean()))
            found["low"].append(float(np.quantile(expected, 0.25)))
            found["high"].append(float(np.quantile(expected, 0.75)))
            found["mean_alone"].append(float(alone.mean()))
            found["border"].append(float((np.abs(action) > 0.99).mean()))
        weight = -((action - best) ** 2) - expected
        mean = mean + RATE * (weight * z / scale).mean(0)
        log_scale = log_scale + RATE * (weight * (z**2 - 1)).mean(0)
    found["learned"] = int((alone > -LEARNED).sum())
    found["seeds"] = seeds
    return found
