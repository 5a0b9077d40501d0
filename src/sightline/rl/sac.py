"""Soft actor-critic (Haarnoja et al., 2018, https://arxiv.org/abs/1812.05905) with an automatic temperature.

An actor that draws squashed Gaussian actions, two critics of actions and their slow copies, from a replay:

    y = r + discount (min_i Q_target_i(s', a') - t log p(a' | s')),    a' drawn from the actor (equation 3)
    critics: sum_i mean (Q_i(s, a) - y)^2 / 2                          (equation 5)
    actor:   mean t log p(a | s) - min_i Q_i(s, a), a drawn anew       (equation 7)
    temperature: - log t mean (log p + H), H the entropy that is wanted, minus the number of actions' numbers

The last one is of the logarithm, as in the authors' code, where equation 18 has t itself. Critics learn first, then the
actor from what they are now, then the temperature.

Left out: n-step returns and priorities.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Float
from torch import Tensor, nn

from sightline.rl.acting import to_tensors
from sightline.rl.off_policy import OffPolicy, Part, due
from sightline.rl.policies.sac_by_hand import SACByHand
from sightline.rl.policies.soft_actor_critic import SoftActorCritic
from sightline.rl.replay import Batch
from sightline.rl.trees import Arrays

NEARLY_1 = 1 - 2**-20  # whose inverse tanh is a number


@dataclass(frozen=True)
class SAC:
    """Settings of SAC."""

    rollout: int = 1
    """Steps of every environment between two bursts of updates."""
    updates: int = 1
    """Updates of a burst, of a batch each."""
    batch: int = 256
    """Transitions of an update."""
    capacity: int = 100_000
    """Rows of the replay."""
    starts: int = 1000
    """Environment steps before the first update; their actions are uniform in the box."""
    learning_rate: float = 3e-4
    """Of Adam, for actor, critics and temperature."""
    gamma: float = 0.99
    """The discount."""
    target_share: float = 0.005
    """How far the critics' copies move towards them after every update."""
    temperature: float = 1.0
    """Worth of a nat of entropy, at first."""
    learn_temperature: bool = True
    """Whether the temperature is learned; otherwise it stays."""
    target_entropy: float | None = None
    """The entropy that is wanted, of actions in [-1, 1], in nats; none: minus the number of an action's numbers."""
    row_every: int = 1000
    """Environment steps between two rows of metrics."""


def make_learner(
    network: SoftActorCritic,
    envs: VectorEnv[Any, Any, Any],
    sac: SAC,
    *,
    seed: int,
    normalise_observations: bool = False,
) -> OffPolicy:
    """What `train` changes.

    Args:
        network: on its device; the parameters of each part are joined into one tensor.
        envs: the environments.
        sac: settings.
        seed: of everything that is random.
        normalise_observations: whether the networks see numbers of mean 0 and deviation 1.

    Raises:
        ValueError: settings that cannot be, or a replay that does not fit in the memory.
    """
    _check(sac)
    parts = {
        "actor": Part(network.actor, sac.learning_rate),
        "critics": Part(network.critics, sac.learning_rate, followed=True),
        "temperature": Part(network.temperature, sac.learning_rate),
    }
    return OffPolicy(
        network,
        parts,
        envs,
        rollout=sac.rollout,
        capacity=sac.capacity,
        action=np.zeros(network.fit.noise, np.float32),
        seed=seed,
        by_hand=SACByHand.of(network, parts["critics"].target),
        normalise_observations=normalise_observations,
    )


@torch.no_grad()
def targets(
    network: SoftActorCritic, critics: nn.Module, rows: dict[str, Any], noise: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, " n"]:
    """What the critics' values of a batch's actions are to become, by their copies."""
    there = network.unit(rows["next_observation"])
    u = there.inner.sample(noise)
    value = network.worst(critics, rows["next_observation"], u.tanh())
    return rows["reward"] + rows["discount"] * (value - temperature * there.log_prob_inner(u))


def critic_loss(network: SoftActorCritic, rows: dict[str, Any], target: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Half the squared errors of both critics."""
    action = rows["action"].tanh()
    errors = [critic(rows["observation"], action) - target for critic in network.critics]
    return 0.5 * torch.stack(errors).square().sum(0).mean()


def actor_loss(
    network: SoftActorCritic, rows: dict[str, Any], noise: Float[Tensor, "n d"], temperature: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The actor's loss, and the mean log-probability of its actions."""
    here = network.unit(rows["observation"])
    u = here.inner.sample(noise)
    log_p = here.log_prob_inner(u)
    value = network.worst(network.critics, rows["observation"], u.tanh())
    return (temperature * log_p - value).mean(), log_p.mean()


def temperature_loss(log_temperature: Float[Tensor, "1"], log_p: float, wanted: float) -> Float[Tensor, ""]:
    """Of a mean log-probability and the entropy that is wanted."""
    return -(log_temperature * (log_p + wanted)).sum()


def uniform_action(observation: Arrays, noise: Float[np.ndarray, "b d"]) -> Float[np.ndarray, "b d"]:
    """Numbers whose tanh is uniform in [-1, 1], from standard normal noise."""
    share = torch.erf(torch.from_numpy(noise) / math.sqrt(2))
    return torch.atanh(share.clamp(-NEARLY_1, NEARLY_1)).numpy()


def train(
    learner: OffPolicy, sac: SAC, steps: int, *, sample: Callable[[int], Batch] | None = None
) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row every `row_every` steps.

    Args:
        learner: what learns.
        sac: settings.
        steps: environment steps at the end.
        sample: gives so many transitions to learn from; the learner's own by default.

    Raises:
        ValueError: settings that cannot be, or a number that is none (it is named).
    """
    _check(sac)
    network, (actor, critics, temperature) = learner.policy, learner.states.values()
    assert isinstance(network, SoftActorCritic)
    numbers = network.fit.noise
    wanted = -float(numbers) if sac.target_entropy is None else sac.target_entropy
    hands = _hands(network, critics)
    sums, count, before = np.zeros(3), 0, learner.steps
    while learner.steps < steps:
        learner.collect(uniform_action if learner.steps < sac.starts else None)
        if learner.steps >= sac.starts:
            for _ in range(sac.updates):
                batch = learner.sample(sac.batch, gamma=sac.gamma) if sample is None else sample(sac.batch)
                noise = learner.generator.standard_normal((2, sac.batch, numbers), np.float32)
                worth = math.exp(network.temperature.log.item())
                rows = None if hands is not None else _rows(learner, batch)
                critic = _critics(network, critics, hands, batch, rows, noise[0], worth)
                critics.step()
                loss, log_p = _actor(network, critics, hands, batch, rows, noise[1], worth)
                actor.step()
                if sac.learn_temperature:
                    temperature_loss(network.temperature.log, log_p, wanted).backward()
                    temperature.step()
                critics.follow(sac.target_share)
                learner.updates += 1
                sums += critic, loss, -log_p
                count += 1
        if due(learner.steps, before, sac.row_every, steps):
            names = ("critic_loss", "actor_loss", "entropy")
            losses = dict(zip(names, (sums / count).tolist(), strict=True)) if count else {}
            yield learner.row({**losses, "temperature": math.exp(network.temperature.log.item())})
            sums, count, before = np.zeros(3), 0, learner.steps


def _hands(network: SoftActorCritic, critics: Part) -> SACByHand | None:
    return SACByHand.of(network, critics.target)


def _rows(learner: OffPolicy, batch: Batch) -> dict[str, Any]:
    return {name: None if one is None else to_tensors(one, learner.device) for name, one in vars(batch).items()}


def _critics(
    network: SoftActorCritic,
    critics: Part,
    hands: SACByHand | None,
    batch: Batch,
    rows: dict[str, Any] | None,
    noise: np.ndarray,
    worth: float,
) -> float:
    """Write the critics' gradient; return their loss."""
    if hands is not None:
        target = hands.targets(batch.next_observation, batch.reward, batch.discount, noise, worth)
        return hands.critics(batch.observation, batch.action, target)
    assert rows is not None
    drawn = to_tensors(noise, rows["reward"].device)
    loss = critic_loss(network, rows, targets(network, critics.target, rows, drawn, worth))
    loss.backward()
    return float(loss.detach())


def _actor(
    network: SoftActorCritic,
    critics: Part,
    hands: SACByHand | None,
    batch: Batch,
    rows: dict[str, Any] | None,
    noise: np.ndarray,
    worth: float,
) -> tuple[float, float]:
    """Write the actor's gradient; return its loss and the mean log-probability."""
    if hands is not None:
        return hands.actor(batch.observation, noise, worth)
    assert rows is not None
    loss, log_p = actor_loss(network, rows, to_tensors(noise, rows["reward"].device), worth)
    loss.backward()
    critics.flat.clear()  # the loss led through them
    return float(loss.detach()), float(log_p.detach())


def _check(sac: SAC) -> None:
    for name, low in {"rollout": 1, "updates": 1, "batch": 1, "row_every": 1, "starts": 0}.items():
        if getattr(sac, name) < low:
            raise ValueError(
                f"SAC's {name} is {low} or more, got {getattr(sac, name)}: {getattr(SAC, name)} is the default"
            )
    for name in ("gamma", "target_share"):
        if not 0 <= getattr(sac, name) <= 1:
            raise ValueError(
                f"SAC's {name} lies in [0, 1], got {getattr(sac, name)}: {getattr(SAC, name)} is the default"
            )
    if not (sac.learning_rate >= 0 and sac.temperature > 0):
        raise ValueError(
            "SAC's learning_rate is 0 or more and its temperature above 0, got "
            f"{sac.learning_rate} and {sac.temperature}: {SAC.learning_rate} and {SAC.temperature} are the defaults"
        )
