"""What a policy thought at one step, as words and bars: the action, how probable or valuable it and the others were.

Names of actions: what an environment says itself (`get_action_meanings`, an `actions` enumeration), then those that
Gymnasium's documentation gives its classic environments and those of ours; numbers elsewhere.

Left out: names of the numbers of a continuous action.
"""

import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from sightline.rl.distributions import Bernoulli, EpsilonGreedy, SquashedGaussian
from sightline.rl.policies.face import Acts

NAMES = {
    "sightline/Catch": ("left", "stay", "right"),
    "sightline/BoxWorld": ("up", "down", "left", "right"),
    "sightline/BoxWorldSmall": ("up", "down", "left", "right"),
    "sightline/Corridor": ("left", "right"),
    "CartPole": ("push left", "push right"),
    "MountainCar": ("push left", "wait", "push right"),
    "Acrobot": ("torque -1", "no torque", "torque +1"),
    "LunarLander": ("wait", "left engine", "main engine", "right engine"),
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Taxi": ("south", "north", "east", "west", "pick up", "drop off"),
}


@dataclass(frozen=True)
class Bar:
    """One line: a probability from 0 to `to`, or a band from `start` to `to` with a mark `at`; all in [0, 1]."""

    label: str
    text: str
    to: float
    start: float = 0.0
    at: float | None = None
    chosen: bool = False


def action_names(env: Any, space: spaces.Space[Any]) -> tuple[str, ...]:
    """One name for each action of a Discrete space; none for others."""
    if not isinstance(space, spaces.Discrete):
        return ()
    inner, count = env.unwrapped, int(space.n)
    meanings = getattr(inner, "get_action_meanings", None)
    said: tuple[str, ...] = tuple(str(one).lower() for one in meanings()) if callable(meanings) else ()
    actions = getattr(inner, "actions", None)
    if not said and isinstance(actions, enum.EnumMeta):
        said = tuple(one.name for one in actions)  # type: ignore[var-annotated]
    if not said and env.spec is not None:
        said = NAMES.get(env.spec.id.rpartition("-v")[0], ())
    return said if len(said) == count else tuple(str(int(space.start) + i) for i in range(count))


def thoughts(policy: Acts, distribution: Any, raw: torch.Tensor, names: tuple[str, ...]) -> tuple[str, list[Bar]]:
    """The action in words, and a bar for each alternative.

    Args:
        policy: whose.
        distribution: of one row.
        raw: the action that was taken, `[1, ...]`, as a rollout keeps it.
        names: from `action_names`.
    """
    space, taken = policy.fit.space, raw[0].reshape(-1)
    if isinstance(space, spaces.Box):
        return _of_numbers(policy, distribution, raw)
    if isinstance(distribution, Bernoulli):
        shares = distribution.logits[0].sigmoid().tolist()
        bars = [
            Bar(f"bit {i}", f"{p:.2f}", p, chosen=bool(on)) for i, (p, on) in enumerate(zip(shares, taken, strict=True))
        ]
        return "".join(str(int(on)) for on in taken), bars
    if isinstance(distribution, EpsilonGreedy):
        assert isinstance(space, spaces.Discrete)
        return _of_values(distribution, int(taken[0]), names or tuple(str(space.start + i) for i in range(space.n)))
    choices = getattr(distribution, "choices", distribution).log_probabilities[0].exp()
    table = choices.reshape(-1, choices.shape[-1])
    sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()  # type: ignore[attr-defined]
    starts = np.ravel(space.start).tolist()  # type: ignore[attr-defined]
    bars, words = [], []
    for choice, (row, size, start) in enumerate(zip(table, sizes, starts, strict=True)):
        for i in range(size):
            name = names[i] if names else f"choice {choice}: {start + i}"
            bars.append(Bar(name, f"{float(row[i]):.2f}", float(row[i]), chosen=int(taken[choice]) == i))
        words.append(names[int(taken[0])] if names else str(start + int(taken[choice])))
    return ", ".join(words), bars


def _of_values(distribution: EpsilonGreedy, taken: int, names: tuple[str, ...]) -> tuple[str, list[Bar]]:
    """What return is expected from each action; the bars reach from the least to the largest of them."""
    values = distribution.values[0].tolist()
    legal = [one for one in values if math.isfinite(one)]
    low, width = min(legal, default=0.0), max(legal, default=0.0) - min(legal, default=0.0)
    bars = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        is_legal = math.isfinite(value)
        share = (value - low) / width if is_legal and width > 0 else float(is_legal)
        bars.append(Bar(name, f"{value:.3g}" if is_legal else "forbidden", share, chosen=i == taken))
    return names[taken], bars


def _of_numbers(policy: Acts, distribution: Any, raw: torch.Tensor) -> tuple[str, list[Bar]]:
    space = policy.fit.space
    assert isinstance(space, spaces.Box)
    inner = distribution.inner if isinstance(distribution, SquashedGaussian) else distribution
    mean, scale = inner.mean, inner.log_scale.exp().expand_as(inner.mean)
    given = policy.to_space(raw.numpy()).ravel()
    edges = [mean - scale, mean, mean + scale]
    if policy.fit.squash is not None:
        edges = [policy.fit.squash(one) for one in edges]
    bars = []
    borders = (one.ravel().tolist() for one in (given, space.low, space.high))
    for i, (value, low, high) in enumerate(zip(*borders, strict=True)):
        start, middle, end = (float(one[0, i]) for one in edges)
        if not math.isfinite(low) or not math.isfinite(high):
            low, high = middle - 3 * (middle - start), middle + 3 * (end - middle)
        place = [min(max((x - low) / max(high - low, 1e-12), 0.0), 1.0) for x in (start, end, value)]
        text = f"{value:.2f} (mean {middle:.2f}, one deviation {start:.2f} to {end:.2f})"
        bars.append(Bar(f"number {i}", text, place[1], place[0], place[2], chosen=True))
    return ", ".join(f"{float(one):.2f}" for one in given), bars
