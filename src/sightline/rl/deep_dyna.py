"""Dyna with networks: a learned model dreams up most of what an agent learns from.

Sutton (1990) in the form of Janner et al. (2019, MBPO, https://arxiv.org/abs/1906.08253): the agent acts, a model is
learned from all that was lived through (`world_model.py`), and between two real steps the agent learns from many
batches that are imagined, in short branches:

    s from the replay;   a ~ policy(s);   s', r, over ~ model(s, a);   and on from s', `horizon` steps

The agent is SAC where actions are real numbers and DQN where they are a choice, as they stand (`sac.py`, `dqn.py`): all
that changes is where its batches come from. Branches are dreamed when a batch is asked for, by the policy and the model
of that moment, so there is no second replay whose contents grow old; a share of every batch is real.

Left out: horizons that grow with time, several processes, observations that are no row of numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from sightline.rl import dqn as deep_q
from sightline.rl import sac as soft
from sightline.rl.acting import to_tensors
from sightline.rl.dqn import DQN
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies.q_network import QNetwork
from sightline.rl.policies.soft_actor_critic import SoftActorCritic
from sightline.rl.replay import Batch
from sightline.rl.sac import SAC
from sightline.rl.world_model import OUTSIDE, Ending, Evaluate, WorldModel, WorldModelSettings
from sightline.run.config import resolve

GLANCE = 256  # states that a row of metrics asks the model about


@dataclass(frozen=True)
class DeepDyna:
    """Settings of deep Dyna."""

    horizon: int = 1
    """Steps of a branch."""
    real: float = 0.1
    """Share of every batch that is real."""
    model_every: int = 250
    """Environment steps between two trainings of the model."""
    world: WorldModelSettings = field(default_factory=WorldModelSettings)
    """How the model is learned."""
    sac: SAC = field(default_factory=lambda: SAC(updates=20, starts=500))
    """The agent where actions are a Box."""
    dqn: DQN = field(default_factory=lambda: DQN(rollout=1, updates=4, batch=64, starts=500))
    """The agent where they are Discrete."""


class Imagination:
    """Where a learner's batches come from.

    Args:
        learner: its replay, its policy and its generator are used.
        dyna: settings.
        trust: whether what says that an episode terminated may come from outside sightline.
    """

    def __init__(self, learner: OffPolicy, dyna: DeepDyna, *, trust: bool = False) -> None:
        self.learner, self.dyna, self.fitted = learner, dyna, -1
        envs = learner.envs
        self.world = WorldModel(
            envs.single_observation_space,
            envs.single_action_space,
            dyna.world,
            gamma=agent_of(dyna, envs.single_action_space).gamma,
            ending=ending_of(dyna.world.ending, trust=trust),
            device=learner.device,
        )

    def sample(self, count: int) -> Batch:
        """So many transitions, of which a share is real; the model is learned first where that is due.

        Raises:
            ValueError: the model's error is no number.
        """
        learner = self.learner
        if self.fitted < 0 or learner.steps - self.fitted >= self.dyna.model_every:
            self.learn()
        real = round(self.dyna.real * count)
        branches = -(-(count - real) // self.dyna.horizon)
        lived = learner.replay.sample(real + branches, gamma=self.world.gamma)
        parts = [_rows(lived, slice(0, real)), *self.dream(lived.observation[real:])]
        return learner.seen(_joined(parts, count))

    def learn(self) -> None:
        """Train the model on all that the replay remembers."""
        everything = self.learner.replay.everything()
        self.world.fit(
            everything.observation,
            self.learner.policy.to_space(everything.action),
            everything.reward,
            everything.discount == 0,
            everything.next_observation,
            rng=self.learner.generator,
            place=everything.index,
        )
        self.fitted = self.learner.steps

    def dream(self, observation: np.ndarray) -> Iterator[Batch]:
        """Branches from these observations, step by step; those that ended go no further."""
        learner, rng = self.learner, self.learner.generator
        for _ in range(self.dyna.horizon):
            raw = learner.acting(observation, learner.policy.fit.draw(rng, len(observation)))
            step = self.world.step(observation, learner.policy.to_space(raw), rng)
            none = np.full(len(raw), -1)  # they are nowhere in the replay
            yield Batch(observation, raw, step.reward, step.discount, step.state, none, None)
            observation = step.state[step.discount > 0]
            if not len(observation):
                return

    def row(self) -> dict[str, float | int]:
        """What a row of metrics says of the model: its error, and how often it is asked outside of its data."""
        if not self.world.learned:
            return {}
        learner, rng = self.learner, np.random.default_rng(self.learner.steps)  # to look changes nothing
        lived = learner.replay.everything().observation
        observation = lived[rng.integers(len(lived), size=GLANCE)]
        raw = learner.acting(observation, learner.policy.fit.draw(rng, len(observation)))
        doubt = self.world.doubt(observation, learner.policy.to_space(raw))
        return {"model_error": self.world.error, "outside": float((doubt > OUTSIDE).mean())}

    def state_dict(self) -> dict[str, Any]:
        """The model, and when it was learned."""
        return {"fitted": self.fitted, "world": self.world.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back.

        Raises:
            ValueError: it is another model.
        """
        self.world.load_state_dict(state["world"])
        self.fitted = state["fitted"]


def make_learner(
    network: QNetwork | SoftActorCritic,
    envs: VectorEnv[Any, Any, Any],
    dyna: DeepDyna,
    *,
    seed: int,
    normalise_observations: bool = False,
    trust: bool = False,
) -> OffPolicy:
    """What `train` changes; the model is `learner.beside["imagination"].world`.

    Args:
        network: on its device; it chooses between SAC and DQN.
        envs: the environments.
        dyna: settings.
        seed: of everything that is random.
        normalise_observations: whether the agent sees numbers of mean 0 and deviation 1; the model always does.
        trust: whether what says that an episode terminated may come from outside sightline.

    Raises:
        ValueError: settings or spaces that cannot be.
    """
    _check(dyna)
    if isinstance(network, SoftActorCritic):
        learner = soft.make_learner(network, envs, dyna.sac, seed=seed, normalise_observations=normalise_observations)
    else:
        learner = deep_q.make_learner(network, envs, dyna.dqn, seed=seed, normalise_observations=normalise_observations)
    learner.beside["imagination"] = Imagination(learner, dyna, trust=trust)
    return learner


def train(learner: OffPolicy, dyna: DeepDyna, steps: int) -> Iterator[dict[str, float | int]]:
    """Learn until so many steps were taken; a row every `row_every` steps of the agent.

    Raises:
        ValueError: settings that cannot be, or a number that is none (it is named).
    """
    _check(dyna)
    imagination, agent = learner.beside["imagination"], agent_of(dyna, learner.envs.single_action_space)
    if isinstance(agent, SAC):
        rows = soft.train(learner, agent, steps, sample=imagination.sample)
    else:
        rows = deep_q.train(learner, agent, steps, sample=imagination.sample)
    for row in rows:
        yield row | imagination.row()


def agent_of(dyna: DeepDyna, action_space: spaces.Space[Any]) -> SAC | DQN:
    """Whose batches are imagined."""
    return dyna.dqn if isinstance(action_space, spaces.Discrete) else dyna.sac


def ending_of(asked: str, *, trust: bool = False) -> Ending | None:
    """What says that an episode terminated, by its name in the settings; none: the model learns that.

    Raises:
        ValueError: there is no such function, or it is not trusted.
    """
    if asked == "learned":
        return None
    if asked == "never":
        return _never
    if ":" not in asked:
        raise ValueError(f"--world.ending is learned, never or package.module:function, got '{asked}'")
    found: Ending = resolve(asked, trust)
    return found


def _never(observation: np.ndarray, action: np.ndarray, next_observation: np.ndarray) -> np.ndarray:
    return np.zeros(len(observation), bool)


def worth(policy: QNetwork | SoftActorCritic, normaliser: ObservationNormaliser | None) -> Evaluate:
    """What a policy lets a search begin with: the value of its best action, and no preference among them."""
    device = next(policy.parameters()).device

    def evaluate(observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = to_tensors(observation if normaliser is None else normaliser(observation), device)
        with torch.inference_mode():
            _, value = policy.heads(policy.features(seen), seen)
        choices = policy.fit.outputs if isinstance(policy, QNetwork) else 0
        return np.zeros((len(observation), choices), np.float32), value.numpy(force=True)

    return evaluate


def _rows(batch: Batch, which: slice) -> Batch:
    columns: dict[str, Any] = {name: None if one is None else one[which] for name, one in vars(batch).items()}
    return Batch(**columns)


def _joined(parts: list[Batch], count: int) -> Batch:
    """The first so many of all, repeated from the beginning where branches ended early."""
    take = np.arange(count) % sum(len(part.reward) for part in parts)
    columns = {name: [vars(part)[name] for part in parts] for name in vars(parts[0]) if name != "weight"}
    return Batch(**{name: np.concatenate(some)[take] for name, some in columns.items()}, weight=None)


def _check(dyna: DeepDyna) -> None:
    for name in ("horizon", "model_every"):
        if getattr(dyna, name) < 1:
            raise ValueError(
                f"deep Dyna's {name} is 1 or more, got {getattr(dyna, name)}: {getattr(DeepDyna, name)} is the default"
            )
    if not 0 <= dyna.real < 1:
        raise ValueError(
            f"a share of every batch in [0, 1) is real, got {dyna.real}: {DeepDyna.real} is the default, and sac or "
            "dqn learn from real steps alone"
        )
    if dyna.dqn.n_step != 1 or dyna.dqn.prioritised:
        raise ValueError(
            "imagined steps have no n-step returns and no priorities: leave --dqn.n-step at 1 and --dqn.prioritised out"
        )
