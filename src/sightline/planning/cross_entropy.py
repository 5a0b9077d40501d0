"""Planning of real-valued actions by the cross-entropy method: draw sequences, keep the best, draw around them.

Rubinstein (1999, https://doi.org/10.1023/A:1010091220143); in a learned model, Chua et al. (2018, PETS,
https://arxiv.org/abs/1805.12114, section 5.2). A sequence a_1 ... a_h is worth

    sum_i d_1 ... d_(i-1) r_i + d_1 ... d_h v

with the model's rewards r, discounts d and its value v of the last place. The first action is taken and the rest, moved
on by one, is where the next plan begins.

Left out: two players, and smooth noise.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from sightline.planning.model import Model

SHARE = 0.1  # of the candidates that is kept


def plan(
    model: Model,
    state: Any,
    low: Float[np.ndarray, " d"],
    high: Float[np.ndarray, " d"],
    rng: np.random.Generator,
    *,
    horizon: int = 15,
    candidates: int = 100,
    rounds: int = 3,
    begin: Float[np.ndarray, "h d"] | None = None,
) -> Float[np.ndarray, "h d"]:
    """The mean of the best sequences of actions from one place.

    Args:
        model: whose `step` takes actions of real numbers.
        state: of one place, as `root` gives it; its arrays have a leading axis of 1.
        low: the least of every number of an action.
        high: the most.
        rng: of everything random.
        horizon: actions of a sequence.
        candidates: sequences of a round.
        rounds: how often they are drawn.
        begin: the mean of the first round; the middle of the box by default.

    Raises:
        ValueError: numbers that cannot be.
    """
    for name, value in {"horizon": horizon, "candidates": candidates, "rounds": rounds}.items():
        if value < 1:
            raise ValueError(f"a plan has a {name} of 1 or more, got {value}")
    mean = np.tile((low + high) / 2, (horizon, 1)) if begin is None else begin
    deviation = np.tile((high - low) / 2, (horizon, 1))
    kept = max(round(SHARE * candidates), 1)
    for _ in range(rounds):
        noise = rng.standard_normal((candidates, horizon, len(low)))
        actions = np.clip(mean + deviation * noise, low, high)
        best = actions[np.argsort(-worth_of(model, state, actions, rng), kind="stable")[:kept]]
        mean, deviation = best.mean(0), best.std(0)
    return mean


def worth_of(
    model: Model, state: Any, actions: Float[np.ndarray, "n h d"], rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """What every sequence is worth from one place, each drawn once."""
    here = _repeated(state, len(actions))
    total, weight = np.zeros(len(actions)), np.ones(len(actions))
    for place in range(actions.shape[1]):
        step = model.step(here, actions[:, place].astype(np.float32), rng)
        total += weight * step.reward
        weight *= step.discount
        here = step.state
    return total + weight * step.value


def _repeated(state: Any, count: int) -> Any:
    if isinstance(state, tuple):
        return tuple(_repeated(part, count) for part in state)
    return state * count if isinstance(state, list) else np.repeat(state, count, 0)
