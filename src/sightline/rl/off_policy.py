"""An agent that learns from a replay: what acts, what it remembers, and the parts of its network that learn.

DQN and SAC (`dqn.py`, `sac.py`) share this and no base class. Between two bursts of updates they act for a few steps
in all environments (`rollout.py`), which the replay takes in as they come; observations are normalised when they are
drawn, by what is known then.

Left out: losses; several processes.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import nn

from sightline.rl.acting import Acting
from sightline.rl.counting import Pace, load_parts
from sightline.rl.episodes import EpisodeCounter
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.face import ActsByHand
from sightline.rl.policies.flat import Adam, Flat
from sightline.rl.policies.q_network import QNetwork
from sightline.rl.policies.soft_actor_critic import SoftActorCritic
from sightline.rl.replay import Batch, Replay
from sightline.rl.rollout import Act, Collector, autoreset_mode
from sightline.run.processes import processes

STREAM = 4  # of the updates' own noise, beside the replay's


class Part:
    """A module that learns: its parameters in one piece, their optimiser and, where asked, a copy that follows it.

    Args:
        module: on its device.
        learning_rate: of Adam.
        followed: whether there is a copy, `target`.
    """

    def __init__(self, module: nn.Module, learning_rate: float, *, followed: bool = False) -> None:
        self.module, self.flat = module, Flat(module)
        self.optimizer = Adam(self.flat, learning_rate, epsilon=1e-8)
        self.target = copy.deepcopy(module) if followed else module
        self._target = Flat(self.target) if followed else self.flat
        self._buffers = list(zip(self.target.buffers(), module.buffers(), strict=True))  # to look for them takes longer

    def step(self, largest: float | None = None) -> None:
        """One step of the optimiser with the gradient as it is, clipped to a norm; the gradient is then 0."""
        if largest is not None:
            self.flat.clip(largest)
        self.optimizer.step()
        self.flat.clear()

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Move the copy so far towards the module: by 1, it is the same."""
        self._target.parameter.lerp_(self.flat.parameter, share)
        for there, here in self._buffers:
            there.copy_(here)

    def state_dict(self) -> dict[str, Any]:
        """Of optimiser and copy."""
        target = None if self.target is self.module else self.target.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "target": target}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back.

        Raises:
            ValueError: they are of other parameters.
        """
        self.optimizer.load_state_dict(state["optimizer"])
        if state["target"] is not None:
            self.target.load_state_dict(state["target"])


class OffPolicy:
    """What an agent with a replay is while it learns.

    Args:
        policy: the whole network, on its device.
        parts: of the network, by name; together they are all that learns.
        envs: the environments.
        rollout: steps of every environment between two bursts of updates.
        capacity: rows of the replay.
        action: an array like one action, as the policy says it.
        seed: of everything that is random.
        alpha: exponent of the replay's priorities; None: there are none.
        by_hand: the policy in NumPy, where there is one.
        normalise_observations: whether the network sees numbers of mean 0 and deviation 1; bytes stay as they are.

    Raises:
        ValueError: something is out of range or does not fit.
    """

    def __init__(
        self,
        policy: QNetwork | SoftActorCritic,
        parts: Mapping[str, Part],
        envs: VectorEnv[Any, Any, Any],
        *,
        rollout: int,
        capacity: int,
        action: np.ndarray,
        seed: int,
        alpha: float | None = None,
        by_hand: ActsByHand | None = None,
        normalise_observations: bool = False,
    ) -> None:
        if processes().count > 1:
            raise ValueError(
                f"an agent with a replay learns in one process and here are {processes().count}: start it without "
                "torchrun"
            )
        self.policy, self.envs, self.states = policy, envs, dict(parts)
        self.device = next(policy.parameters()).device
        space, count = envs.single_observation_space, envs.num_envs
        self.collector = Collector(
            envs, rollout, policy.fit.draw, seed=seed, to_space=None if policy.plain else policy.to_space
        )
        self.replay = Replay(space, action, count, capacity, mode=autoreset_mode(envs), seed=seed, alpha=alpha)
        self.episodes = EpisodeCounter(count)
        self.normaliser = ObservationNormaliser(space) if normalise_observations else None
        self.acting = Acting(policy, self.normaliser, by_hand=by_hand)
        self.generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, STREAM)))
        self.steps = self.updates = 0
        self.beside: dict[str, Any] = {}  # what else is saved, a world model say: it has `state_dict` and its inverse
        self._pace = Pace()

    def collect(self, act: Act | None = None) -> None:
        """Act for a rollout and remember it.

        Args:
            act: instead of the policy, at the beginning say.

        Raises:
            RuntimeError: an environment failed.
            ValueError: a number of the environments or the policy is none.
        """
        rollout = self.collector.collect(self.acting if act is None else act)
        self.episodes.add(rollout.reward, rollout.terminated, rollout.truncated, rollout.valid)
        if self.normaliser is not None:
            self.normaliser.add(rollout.observation, rollout.valid)
        self.replay.add(rollout)
        self.steps += int(rollout.valid.sum())

    def sample(self, count: int, *, gamma: float, steps: int = 1, beta: float = 0.0) -> Batch:
        """Transitions as `Replay.sample` draws them, as the network sees them."""
        return self.seen(self.replay.sample(count, gamma=gamma, steps=steps, beta=beta))

    def seen(self, batch: Batch) -> Batch:
        """Transitions as the network sees them."""
        if self.normaliser is None:
            return batch
        seen = {name: self.normaliser(getattr(batch, name)) for name in ("observation", "next_observation")}
        return Batch(**{**vars(batch), **seen})

    def finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return all(bool(part.flat.parameter.isfinite().all()) for part in self.states.values())

    def row(self, losses: Mapping[str, float]) -> dict[str, float | int]:
        """What a row of metrics says.

        Raises:
            ValueError: a loss is no number, or parameters were moved.
        """
        for part in self.states.values():
            part.flat.check()
        for name, value in losses.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} after {self.steps} steps: the network has diverged; go on from the last "
                    "checkpoint with a smaller learning rate (--learning-rate)"
                )
        mean, length = self.episodes.mean()
        return {
            "steps": self.steps,
            "updates": self.updates,
            "return_mean": mean,
            "length_mean": length,
            **losses,
            "steps_per_second": self._pace.rate(self.steps),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, save weights, `states` and the environments themselves."""
        return {
            "steps": self.steps,
            "updates": self.updates,
            "generator": self.generator.bit_generator.state,
            **{name: part.state_dict() for name, part in self._kept()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            ValueError: it is of other environments, another replay, or was normalised otherwise.
        """
        load_parts(dict(self._kept()), state, {"steps", "updates", "generator"})
        self.generator.bit_generator.state = state["generator"]
        self.steps, self.updates = state["steps"], state["updates"]
        self._pace.restart(self.steps)

    def restart(self, seed: int | None = None) -> None:
        """Begin new episodes everywhere; without a seed the environments' generators go on."""
        self.replay.cut()
        self.collector.reset(seed)
        self.episodes.restart()

    def _kept(self) -> list[tuple[str, Any]]:
        parts = {
            "collector": self.collector,
            "replay": self.replay,
            "episodes": self.episodes,
            "observations": self.normaliser,
            **self.beside,
        }
        return [(name, part) for name, part in parts.items() if part is not None]


def due(steps: int, before: int, every: int, end: int) -> bool:
    """Whether one of every so many steps lies after `before`, up to `steps`, or the end does."""
    return steps // every > before // every or steps >= end
