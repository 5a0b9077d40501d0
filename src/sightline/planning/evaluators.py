"""What a place is worth before anything below it was tried, for models that only know rules.

An evaluator is called with a model, a `Step` of it and a generator, and gives the Step with other `logits` and `value`:

    Rollout(n)     the mean return of n games played on at random; the logits stay as they are
    Net(module)    both from a network

Where the model says -inf, it stays. A search calls it for all new places of one simulation at once, and never for one
that is over.

Left out: playouts by a policy; a store of what was evaluated before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Shaped

from sightline.planning.model import Model, Step
from sightline.planning.states import taken


@runtime_checkable
class Evaluator(Protocol):
    """What fills in logits and value."""

    def __call__(self, model: Model, step: Step, rng: np.random.Generator) -> Step:
        """The same places, evaluated."""
        ...


@dataclass(frozen=True)
class Rollout:
    """Random playouts, every legal action equally probable.

    Raises:
        ValueError: fewer than one playout or step.
    """

    playouts: int = 1
    limit: int = 10_000
    """Steps after which a playout is cut; it then ends with the model's own value."""

    def __post_init__(self) -> None:
        if self.playouts < 1 or self.limit < 1:
            raise ValueError(
                f"a rollout takes 1 playout of 1 step or more, got {self.playouts} of {self.limit}: give larger numbers"
            )

    def __call__(self, model: Model, step: Step, rng: np.random.Generator) -> Step:
        """The mean return of the playouts, for the one to move."""
        count = len(step.value)
        every = np.repeat(np.arange(count), self.playouts)
        total, factor, alive = np.zeros(len(every)), np.ones(len(every)), np.arange(len(every))
        state, logits, value = taken(step.state, every), step.logits[every], step.value[every]
        for _ in range(self.limit):
            if not len(alive):
                break
            after = model.step(state, anything(model, state, logits, rng), rng)
            total[alive] += factor[alive] * after.reward
            factor[alive] *= after.discount
            on = np.flatnonzero(after.discount != 0)
            alive, state = alive[on], taken(after.state, on)
            logits, value = after.logits[on], after.value[on]
        total[alive] += factor[alive] * value
        return step._replace(value=total.reshape(count, self.playouts).mean(1).astype(np.float32))


def anything(
    model: Model, state: Any, logits: Float[np.ndarray, "b a"], rng: np.random.Generator
) -> Shaped[np.ndarray, "b ..."]:
    """A random action of every state, or what happens there by itself.

    Raises:
        ValueError: a state has no legal action and is not over.
    """
    propose, chance = getattr(model, "propose", None), getattr(model, "chance", None)
    if propose is not None:
        return np.asarray(propose(state, 1, rng))[:, 0]
    weight = (logits > -np.inf).astype(float)
    if chance is not None:
        happens = np.asarray(chance(state), float)
        nobody = happens.sum(1) > 0
        if nobody.any():
            width = max(weight.shape[1], happens.shape[1])
            weight = np.pad(weight, ((0, 0), (0, width - weight.shape[1])))
            weight[nobody] = np.pad(happens, ((0, 0), (0, width - happens.shape[1])))[nobody]
    sums = weight.cumsum(1)
    if (sums[:, -1] == 0).any():
        raise ValueError(
            "a playout came to a state that is not over and has no legal action: give it a discount of 0, or an action "
            "to pass"
        )
    return (sums > rng.random(len(sums))[:, None] * sums[:, -1:]).argmax(1)


@dataclass(frozen=True)
class Net:
    """A network's policy and value.

    The module is called as it is: put it in evaluation mode and on its device before.
    """

    module: Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
    """What it sees -> logits [b, a] and value, [b] or [b, 1], for the one to move."""
    observe: Callable[[Any], Any] = torch.as_tensor
    """A state, as the model gives it -> what the module sees."""

    def __call__(self, model: Model, step: Step, rng: np.random.Generator) -> Step:
        """Logits and value of the network, -inf where the model says so.

        Raises:
            ValueError: there are not as many logits as actions, or not one value each.
        """
        with torch.inference_mode():
            logits, value = self.module(self.observe(step.state))
        if logits.shape != step.logits.shape or value.numel() != len(step.value):
            raise ValueError(
                f"the network of a search gives logits {list(step.logits.shape)} and {len(step.value)} values, got "
                f"{list(logits.shape)} and {list(value.shape)}: give its heads these sizes"
            )
        found = logits.float().cpu().numpy()
        return step._replace(
            logits=np.where(step.logits > -np.inf, found, -np.inf).astype(np.float32),
            value=value.float().cpu().numpy().reshape(-1),
        )
