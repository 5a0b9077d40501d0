"""An agent while it learns: policy, optimiser, environments and all that changes between two updates.

The three agents (`reinforce.py`, `a2c.py`, `ppo.py`) share this and no base class. A rollout comes out as `Experience`:
tensors `[t, b]`, normalised if asked, with values and log-probabilities from one batched pass at the end instead of one
small pass a step; while acting, the actor alone is asked. Observations are normalised by what was known before the
rollout, so that acting and learning see the same numbers; rewards by what is known after it.

With several processes (`run/processes.py`) each has a share of the environments; gradients are added up in one piece,
and all statistics are those of all environments.

A policy with a memory learns from what it remembered when the rollout began (`Experience.past`), and from there on
through every row. Its minibatches are whole environments.

Left out: losses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from sightline.rl.acting import Acting, to_tensors
from sightline.rl.counting import Pace, load_parts
from sightline.rl.distributions import Distribution
from sightline.rl.episodes import EpisodeCounter
from sightline.rl.minibatches import Order
from sightline.rl.normalise import ObservationNormaliser, RewardScaler
from sightline.rl.policies.by_hand import ByHand
from sightline.rl.policies.flat import Adam, Flat
from sightline.rl.policies.memory import Past
from sightline.rl.policies.policy import Policy
from sightline.rl.returns import next_values
from sightline.rl.rollout import Collector
from sightline.rl.transitions import Rollout, bootstrap_observation, bootstrap_rows, split_bootstrap
from sightline.rl.trees import Arrays, map_arrays
from sightline.run.processes import add_up, processes

CHUNK = 2048  # rows that are valued at once


@dataclass(frozen=True)
class Experience:
    """A rollout, ready to learn from; on the policy's device. The next rollout writes over observations and actions."""

    observation: Arrays  # [t, b, ...] what the policy read
    action: Shaped[Tensor, "t b ..."]  # as `Policy.draw` gave it
    reward: Float[Tensor, "t b"]  # scaled if asked
    terminated: Bool[Tensor, "t b"]
    truncated: Bool[Tensor, "t b"]
    valid: Bool[Tensor, "t b"] | None  # None: every row counts
    values: Float[Tensor, "t b"]
    next_values: Float[Tensor, "t b"]  # of the observation that each row truly led to
    log_probability: Float[Tensor, "t b"]  # of the actions, under the policy that took them
    past: Past | None = None  # of a policy with a memory


class Learner:
    """A policy that learns in some environments.

    Args:
        policy: on its device; its parameters are joined into one tensor (`policies/flat.py`).
        envs: this process's environments.
        rollout: steps of every environment between two updates.
        gamma: the discount, in [0, 1].
        learning_rate: of Adam.
        seed: of everything that is random.
        first: index of the first environment here, where other processes have those before it.
        normalise_observations: whether the policy sees numbers of mean 0 and deviation 1; bytes stay as they are.
        normalise_rewards: whether rewards are divided by the deviation of discounted returns.

    Raises:
        ValueError: something is out of range.
    """

    def __init__(
        self,
        policy: Policy,
        envs: VectorEnv[Any, Any, Any],
        *,
        rollout: int,
        gamma: float,
        learning_rate: float,
        seed: int,
        first: int = 0,
        normalise_observations: bool = False,
        normalise_rewards: bool = False,
    ) -> None:
        count = envs.num_envs
        self.policy, self.envs, self.gamma = policy, envs, gamma
        self.device = next(policy.parameters()).device
        self.flat = Flat(policy)
        self.optimizer = Adam(self.flat, learning_rate)
        self.collector = Collector(
            envs, rollout, policy.fit.draw, seed=seed, first=first, to_space=None if policy.plain else policy.to_space
        )
        self.order = Order(count, seed=seed, first=first, total=count * processes().count)
        self.episodes = EpisodeCounter(count)
        self.normaliser = ObservationNormaliser(envs.single_observation_space) if normalise_observations else None
        self.scaler = RewardScaler(count, gamma) if normalise_rewards else None
        self.by_hand = ByHand.of(policy)
        self._act = Acting(policy, self.normaliser, by_hand=self.by_hand)
        self.steps = self.updates = 0
        self._pace = Pace()

    def collect(self) -> Experience:
        """Act for a rollout, and value what came of it.

        Raises:
            RuntimeError: an environment failed.
            ValueError: a number of the environments or the policy is none, or the policy's parameters were moved.
        """
        self.flat.check()
        remembered = self._act.past
        rollout = self.collector.collect(self._act, self._act.begin)
        flags = (rollout.terminated, rollout.truncated, rollout.valid)
        self.episodes.add(rollout.reward, *flags)
        reward: np.ndarray = rollout.reward
        if self.scaler is not None:
            self.scaler.add(reward, *flags)
            reward = self.scaler(reward)
        observation, beyond = rollout.observation, bootstrap_observation(rollout)
        if self.normaliser is not None:
            raw, (observation, beyond) = observation, (self.normaliser(observation), self.normaliser(beyond))
            self.normaliser.add(raw, rollout.valid)
        self.steps += self._count(rollout)
        observation, beyond = to_tensors(observation, self.device), to_tensors(beyond, self.device)
        return self._valued(rollout, self._past(rollout, remembered), observation, beyond, reward)

    def minibatches(self, parts: int) -> Iterator[Tensor]:
        """Indices of a rollout's rows, shuffled and cut into so many parts; an epoch has each row once."""
        steps, order = self.collector.steps, self.order
        shuffled = order.epoch_of_environments if self.policy.remembers else order.epoch
        yield from (index.to(self.device) for index in shuffled(steps, parts))

    def step(self, largest: float | None) -> None:
        """Take one step of the optimiser with the gradients of all processes, clipped to a norm."""
        self.flat.add_up()
        if largest is not None:
            self.flat.clip(largest)
        self.optimizer.step()
        self.flat.clear()

    def set_rate(self, rate: float) -> None:
        """Of the next steps of the optimiser."""
        self.optimizer.rate = rate

    @property
    def states(self) -> dict[str, Adam]:
        """What a checkpoint keeps beside weights and `state_dict`."""
        return {"optimizer": self.optimizer}

    def finite(self) -> bool:
        """Whether all weights are finite numbers."""
        return bool(self.flat.parameter.isfinite().all())

    def row(self, losses: Mapping[str, float]) -> dict[str, float | int]:
        """What a row of metrics says after an update; all processes ask together."""
        self.updates += 1
        mean, length = self.episodes.mean()
        count = len(self.episodes.latest)
        sums = torch.tensor([mean * count if count else 0.0, length * count if count else 0.0, float(count)]).double()
        total, lengths, n = add_up(sums).tolist()
        return {
            "steps": self.steps,
            "updates": self.updates,
            "return_mean": total / n if n else float("nan"),
            "length_mean": lengths / n if n else float("nan"),
            **losses,
            "learning_rate": self.optimizer.rate,
            "steps_per_second": self._pace.rate(self.steps),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, save weights, optimiser and the environments themselves."""
        return {
            "steps": self.steps,
            "updates": self.updates,
            **{name: part.state_dict() for name, part in self._parts()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back.

        Raises:
            ValueError: it is of other environments, or was normalised otherwise.
        """
        load_parts(dict(self._parts()), state, {"steps", "updates"})
        self.steps, self.updates = state["steps"], state["updates"]
        self._pace.restart(self.steps)

    def restart(self, seed: int | None = None) -> None:
        """Begin new episodes everywhere; without a seed the environments' generators go on."""
        self.collector.reset(seed)
        self.episodes.restart()
        if self.scaler is not None:
            self.scaler.restart()

    def _parts(self) -> list[tuple[str, Any]]:
        parts = {
            "collector": self.collector,
            "order": self.order,
            "episodes": self.episodes,
            "observations": self.normaliser,
            "rewards": self.scaler,
            "memory": self._act if self.policy.remembers else None,
        }
        return [(name, part) for name, part in parts.items() if part is not None]

    @torch.no_grad()
    def _valued(
        self, rollout: Rollout, past: Past | None, observation: Arrays, beyond: Arrays, reward: np.ndarray
    ) -> Experience:
        policy, (steps, count) = self.policy, rollout.reward.shape
        action = torch.from_numpy(rollout.action).to(self.device)
        rows, actions = map_arrays(lambda one: one.flatten(0, 1), observation), action.flatten(0, 1)
        found: list[tuple[Tensor, Tensor]] = []
        states: list[Tensor] = []
        here, each = past, max(CHUNK // count, 1)
        for start in range(0, steps, each):
            some = slice(start * count, (start + each) * count)
            seen = map_arrays(lambda one, some=some: one[some], rows)
            if past is not None and here is not None:
                here = Past(here.state, past.begins[start : start + each])
            features = policy.features(seen, here)
            distribution, value = policy.heads(features, seen)
            found.append((policy.log_prob(distribution, actions[some]), value))
            if here is not None:
                states.append(policy.states(features))
                here = Past(states[-1][-count:], here.begins)
        log_probability, values = (torch.cat(one).view(steps, count) for one in zip(*found, strict=True))
        last = None if past is None else self._past_beyond(rollout, torch.cat(states).unflatten(0, (steps, count)))
        onward = next_values(values, *split_bootstrap(rollout, policy.value(beyond, last)))
        if not all(one.isfinite().all() for one in (log_probability, values, onward)):  # a choice of NaN is a number
            raise ValueError(
                f"the policy's values or log-probabilities after {self.steps} steps are not all finite numbers: the "
                "network has diverged; go on from the last checkpoint with a smaller learning rate"
            )
        flags = [torch.from_numpy(one.copy()).to(self.device) for one in (rollout.terminated, rollout.truncated)]
        return Experience(
            observation=observation,
            action=action,
            reward=torch.from_numpy(reward.astype(np.float32)).to(self.device),
            terminated=flags[0],
            truncated=flags[1],
            valid=None if rollout.valid.all() else torch.from_numpy(rollout.valid.copy()).to(self.device),
            values=values,
            next_values=onward,
            log_probability=log_probability,
            past=past,
        )

    def _past(self, rollout: Rollout, remembered: Past | None) -> Past | None:
        """What was remembered when a rollout began, and where in it that was forgotten."""
        none = self.policy.start(rollout.reward.shape[1])
        if none is None:
            return None
        begins = torch.from_numpy(rollout.begins.copy()).to(self.device)
        return Past((none if remembered is None else remembered).state.clone(), begins)

    def _past_beyond(self, rollout: Rollout, states: Float[Tensor, "t b m u"]) -> Past:
        """What is remembered where `bootstrap_observation` is read: after the row that led there."""
        ended, environment, begins = bootstrap_rows(rollout)
        return Past(states[ended, environment], torch.from_numpy(begins)[None].to(self.device))

    def _count(self, rollout: Rollout) -> int:
        """Transitions of all processes."""
        count = int(rollout.valid.sum())
        return count if processes().count == 1 else int(add_up(torch.tensor(count)))


def falling(start: float, end: float, left: float) -> float:
    """A number that falls linearly to `end` times itself, while `left`, the share of a training, goes from 1 to 0."""
    return start * (end + (1 - end) * left)


def rows_of(experience: Experience, index: Tensor, **others: Tensor) -> dict[str, Any]:
    """Some rows of a rollout, in this order: its observation, action, log-probability, value, and others `[t, b]`.

    Where a memory needs its `past`, they are all rows of some environments, by time and then environment.
    """
    columns = {
        "observation": experience.observation,
        "action": experience.action,
        "log_probability": experience.log_probability,
        "values": experience.values,
        **others,
    }
    if experience.valid is not None:
        columns["valid"] = experience.valid
    rows: dict[str, Any] = {
        name: map_arrays(lambda x: x.flatten(0, 1).index_select(0, index), one) for name, one in columns.items()
    }
    if experience.past is not None:
        some = index[: len(index) // len(experience.reward)]  # of the first row
        rows["past"] = Past(experience.past.state[some], experience.past.begins[:, some])
    return rows


def read(policy: Policy, rows: dict[str, Any]) -> tuple[Distribution, Float[Tensor, " n"], dict[str, Any]]:
    """What a policy says now of the rows that count, and those rows alone.

    Args:
        policy: that learns.
        rows: as `rows_of` gives them; a memory reads them all.
    """
    past, valid = rows.get("past"), rows.get("valid")
    counted = {
        name: part if valid is None else map_arrays(lambda one: one[valid], part)
        for name, part in rows.items()
        if name not in ("past", "valid")
    }
    if past is None:
        return *policy(counted["observation"]), counted
    features = policy.features(rows["observation"], past)
    if valid is not None:
        features = features[0][valid], features[1][valid]
    return *policy.heads(features, counted["observation"]), counted
