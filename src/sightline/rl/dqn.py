"""Deep Q-learning (Mnih et al., 2015, https://doi.org/10.1038/nature14236) with what made it good.

A network learns what return to expect from each action, from transitions that a replay remembers:

    y = r + discount * Q_target(s', argmax_a Q_target(s', a))       and L = mean w H(Q(s, a) - y), H Huber's loss

- double (van Hasselt et al., 2016, https://arxiv.org/abs/1509.06461): the argmax is the learning network's;
- duelling (`policies/q_network.py`); prioritised replay (`priorities.py`);
- n-step returns (`replay.py`), whose later actions are those of older policies, uncorrected as in Rainbow (Hessel et
  al., 2018, https://arxiv.org/abs/1710.02298).

Left out: noisy networks, distributions of returns, several choices at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import VectorEnv
from jaxtyping import Float
from torch import Tensor

from sightline.rl.acting import to_tensors
from sightline.rl.off_policy import OffPolicy, Part, due
from sightline.rl.policies.q_by_hand import QByHand
from sightline.rl.policies.q_network import QNetwork
from sightline.rl.replay import Batch


@dataclass(frozen=True)
class DQN:
    """Settings of DQN."""

    rollout: int = 4
    """Steps of every environment between two bursts of updates."""
    updates: int = 1
    """Updates of a burst, of a batch each."""
    batch: int = 32
    """Transitions of an update."""
    capacity: int = 100_000
    """Rows of the replay."""
    starts: int = 1000
    """Environment steps before the first update."""
    learning_rate: float = 5e-4
    """Of Adam."""
    gamma: float = 0.99
    """The discount."""
    n_step: int = 1
    """Rewards that are summed before a value is trusted."""
    double: bool = True
    """Whether the learning network chooses the action that the target network values."""
    duelling: bool = False
    """Whether a state's value and the actions' advantages are learned apart."""
    prioritised: bool = False
    """Whether transitions with large errors are learned from more often."""
    alpha: float = 0.6
    """Exponent of the priorities; 0: all alike."""
    beta: float = 0.4
    """Exponent of the weights that correct for priorities, at first; it rises to 1."""
    target_every: int = 250
    """Updates after which the target network follows."""
    target_share: float = 1.0
    """How far it then moves towards the learning network; 1: it becomes the same."""
    epsilon: float = 1.0
    """Probability of any action, at first."""
    epsilon_end: float = 0.05
    """The same after `explores`."""
    explores: float = 0.1
    """Share of the training in which it falls."""
    gradient_clip: float = 10.0
    """Largest norm of a gradient; 0: any."""
    row_every: int = 1000
    """Environment steps between two rows of metrics."""


def make_learner(
    network: QNetwork,
    envs: VectorEnv[Any, Any, Any],
    dqn: DQN,
    *,
    seed: int,
    normalise_observations: bool = False,
) -> OffPolicy:
    """What `train` changes.

    Args:
        network: on its device; its parameters are joined into one tensor.
        envs: the environments.
        dqn: settings.
        seed: of everything that is random.
        normalise_observations: whether the network sees numbers of mean 0 and deviation 1.

    Raises:
        ValueError: settings that cannot be, or a replay that does not fit in the memory.
    """
    _check(dqn)
    part = Part(network, dqn.learning_rate, followed=True)
    return OffPolicy(
        network,
        {"network": part},
        envs,
        rollout=dqn.rollout,
        capacity=dqn.capacity,
        action=np.zeros((), np.int64),
        seed=seed,
        alpha=dqn.alpha if dqn.prioritised else None,
        by_hand=QByHand.of(network),
        normalise_observations=normalise_observations,
    )


@torch.no_grad()
def targets(network: QNetwork, target: QNetwork, batch: dict[str, Any], *, double: bool) -> Float[Tensor, " n"]:
    """What the values of a batch's actions are to become."""
    there = target.values(batch["next_observation"])
    chooser = network.values(batch["next_observation"]) if double else there
    value = there.gather(1, chooser.argmax(1, keepdim=True)).squeeze(1)
    return batch["reward"] + batch["discount"] * value


def loss(
    network: QNetwork, batch: dict[str, Any], target: Float[Tensor, " n"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """DQN's loss of a batch; the errors and the values of its actions, without gradients."""
    taken = network.values(batch["observation"]).gather(1, batch["action"].unsqueeze(1)).squeeze(1)
    each = F.huber_loss(taken, target, reduction="none")
    if batch["weight"] is not None:
        each = each * batch["weight"]
    return each.mean(), (taken - target).detach(), taken.detach()


def train(
    learner: OffPolicy, dqn: DQN, steps: int, *, sample: Callable[[int], Batch] | None = None
) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row every `row_every` steps.

    Args:
        learner: what learns.
        dqn: settings.
        steps: environment steps at the end.
        sample: gives so many transitions to learn from; the learner's own by default.

    Raises:
        ValueError: settings that cannot be, or a number that is none (it is named).
    """
    _check(dqn)
    network, part = learner.policy, learner.states["network"]
    assert isinstance(network, QNetwork)
    hands = _hands(part)
    sums, count, before = np.zeros(2), 0, learner.steps
    while learner.steps < steps:
        gone = learner.steps / steps
        network.explore(epsilon(dqn, gone))
        learner.collect()
        if learner.steps >= dqn.starts:
            for _ in range(dqn.updates):
                beta = dqn.beta + (1 - dqn.beta) * gone
                batch = (
                    learner.sample(dqn.batch, gamma=dqn.gamma, steps=dqn.n_step, beta=beta)
                    if sample is None
                    else sample(dqn.batch)
                )
                found, error, taken = _gradient(learner, hands, batch, double=dqn.double)
                part.step(dqn.gradient_clip or None)
                if learner.replay.priorities is not None:
                    learner.replay.priorities.update(batch.index, error)
                learner.updates += 1
                if learner.updates % dqn.target_every == 0:
                    part.follow(dqn.target_share)
                sums += found, taken
                count += 1
        if due(learner.steps, before, dqn.row_every, steps):
            losses = dict(zip(("value_loss", "value_mean"), (sums / count).tolist(), strict=True)) if count else {}
            yield learner.row({**losses, "epsilon": float(network.epsilon)})
            sums, count, before = np.zeros(2), 0, learner.steps


def epsilon(dqn: DQN, gone: float | int) -> float:
    """The probability of any action, after such a share of a training."""
    left = max(1 - gone / dqn.explores, 0.0) if dqn.explores else 0.0
    return dqn.epsilon_end + (dqn.epsilon - dqn.epsilon_end) * left


def _hands(part: Part) -> tuple[QByHand, QByHand] | None:
    """Network and target in NumPy, where both are served."""
    network, target = (QByHand.of(one) for one in (part.module, part.target) if isinstance(one, QNetwork))
    return None if network is None or target is None else (network, target)


def _gradient(
    learner: Any, hands: tuple[QByHand, QByHand] | None, batch: Batch, *, double: bool
) -> tuple[float, np.ndarray, float]:
    """Write the gradient of a batch; return its loss, its errors and the mean value of its actions."""
    if hands is not None:
        network, target = hands
        there, here = target.values(batch.next_observation), np.arange(len(batch.action))
        chooser = network.values(batch.next_observation) if double else there
        wanted = batch.reward + batch.discount * there[here, chooser.argmax(1)]
        found, error, taken = network.gradient(batch.observation, batch.action, wanted, batch.weight)
        return found, error, float(taken.mean())
    part = learner.states["network"]
    assert isinstance(part.module, QNetwork)
    assert isinstance(part.target, QNetwork)
    rows = {name: None if one is None else to_tensors(one, learner.device) for name, one in vars(batch).items()}
    total, errors, values = loss(part.module, rows, targets(part.module, part.target, rows, double=double))
    total.backward()
    return float(total.detach()), errors.numpy(force=True), float(values.mean())


def _check(dqn: DQN) -> None:
    least = {"rollout": 1, "updates": 1, "batch": 1, "n_step": 1, "target_every": 1, "row_every": 1, "starts": 0}
    for name, low in least.items():
        if getattr(dqn, name) < low:
            raise ValueError(
                f"DQN's {name} is {low} or more, got {getattr(dqn, name)}: {getattr(DQN, name)} is the default"
            )
    for name in ("gamma", "beta", "epsilon", "epsilon_end", "explores", "target_share"):
        if not 0 <= getattr(dqn, name) <= 1:
            raise ValueError(
                f"DQN's {name} lies in [0, 1], got {getattr(dqn, name)}: {getattr(DQN, name)} is the default"
            )
    for name in ("learning_rate", "alpha", "gradient_clip"):
        if not getattr(dqn, name) >= 0:
            raise ValueError(
                f"DQN's {name} is 0 or more, got {getattr(dqn, name)}: {getattr(DQN, name)} is the default"
            )
