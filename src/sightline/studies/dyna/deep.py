"""The same question with networks: one pendulum, the same number of real steps, and a motor that is turned around.

- model-free: SAC, one update a step;
- as many updates: SAC with as many updates a step as Dyna makes, all of them from real steps;
- Dyna: SAC that dreams most of its batches (`rl/deep_dyna.py`);
- model-based: no policy and no values. The same model is learned at the same times, and every action is the first of
  the best sequence found in it (`planning/cross_entropy.py`).

What is told of a life are the returns of its own episodes, exploration included: nothing is evaluated apart. At the
step of the change the action's sign turns, within an episode, and nobody is told; replays and models keep all.

Left out: tuning each learner; their settings are alike where they can be.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from sightline.planning.cross_entropy import plan
from sightline.rl.deep_dyna import DeepDyna, Imagination, make_learner, train
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.policies.soft_actor_critic import make_soft_actor_critic
from sightline.rl.sac import NEARLY_1, SAC, uniform_action
from sightline.rl.sac import make_learner as make_sac
from sightline.rl.sac import train as train_sac
from sightline.rl.world_model import WorldModelSettings

LEARNERS = ("model-free", "as many updates", "Dyna", "model-based")
KNOWS = -250.0  # return of an episode that swings up and stands; a random one has -1200 or so
LENGTH = 200  # steps of an episode


@dataclass(frozen=True)
class Life:
    """How long a life is and what may be spent on it."""

    steps: int = 4000
    change: int = 2400
    starts: int = 400
    updates: int = 5
    horizon: int = 12
    candidates: int = 60
    rounds: int = 3
    passes: int = WorldModelSettings.passes


QUICK = Life(steps=600, change=400, starts=300, updates=1, horizon=2, candidates=5, rounds=1, passes=1)


class Turned(gymnasium.ActionWrapper):
    """Turns the action's sign from some step on, and keeps the return of every episode."""

    def __init__(self, env: gymnasium.Env[Any, Any], change: int) -> None:
        super().__init__(env)
        self.left, self.returns, self.total = change, list[float](), 0.0

    def action(self, action: np.ndarray) -> np.ndarray:
        """As the motor takes it."""
        self.left -= 1
        return action if self.left >= 0 else -action

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.total += float(reward)
        if terminated or truncated:
            self.returns.append(self.total)
            self.total = 0.0
        return observation, float(reward), terminated, truncated, info


def life(name: str, seed: int, how: Life) -> dict[str, Any]:
    """One learner's life: the return of every episode, and what was spent."""
    env = Turned(gymnasium.make("Pendulum-v1"), how.change)
    envs = SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.SAME_STEP)
    torch.manual_seed(seed)
    network = make_soft_actor_critic(
        envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=(64, 64))
    )
    updates = 1 if name == "model-free" else how.updates
    sac = SAC(updates=updates, starts=how.starts, learning_rate=1e-3, gamma=0.97, row_every=how.steps)
    dyna = DeepDyna(sac=sac, world=WorldModelSettings(passes=how.passes))
    dreams = name in ("Dyna", "model-based")
    learner = make_learner(network, envs, dyna, seed=seed) if dreams else make_sac(network, envs, sac, seed=seed)
    begun = time.process_time()
    with threadpool_limits(1):
        if name == "model-based":
            _plan(learner, dyna, how)
        else:
            for _ in train(learner, dyna, how.steps) if dreams else train_sac(learner, sac, how.steps):
                pass
    spent = time.process_time() - begun
    envs.close()
    return {
        "returns": [round(one, 2) for one in env.returns],
        "updates": learner.updates,
        "milliseconds_per_step": 1000 * spent / learner.steps,
    }


def _plan(learner: OffPolicy, dyna: DeepDyna, how: Life) -> None:
    """Act by planning in the model alone; its training and the steps before it are Dyna's."""
    imagination, rng = learner.beside["imagination"], learner.generator
    assert isinstance(imagination, Imagination)
    space = imagination.world.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    ahead: list[Float[np.ndarray, "h d"]] = []

    def act(observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        begin = np.concatenate([ahead[-1][1:], ahead[-1][-1:]]) if ahead else None
        ahead[:] = [
            plan(imagination.world, observation, space.low, space.high, rng, horizon=how.horizon,
                 candidates=how.candidates, rounds=how.rounds, begin=begin)
        ]  # fmt: skip
        unit = 2 * (ahead[0][:1] - space.low) / (space.high - space.low) - 1
        return np.arctanh(np.clip(unit, -NEARLY_1, NEARLY_1)).astype(np.float32)

    while learner.steps < how.steps:
        if learner.steps < how.starts:
            learner.collect(uniform_action)
            continue
        if imagination.fitted < 0 or learner.steps - imagination.fitted >= dyna.model_every:
            imagination.learn()
        learner.collect(act)


def summary_of(lives: Sequence[dict[str, Any]], how: Life) -> dict[str, Any]:
    """Of one learner's lives: every episode's mean, lowest and highest; before, after and long after the change."""
    returns = np.array([one["returns"] for one in lives])
    changed = how.change // LENGTH
    around = {
        "before": returns[:, max(changed - 3, 0) : changed],
        "after": returns[:, changed : changed + 2],
        "late": returns[:, -3:],
    }
    known = [next((LENGTH * (i + 1) for i, one in enumerate(row) if one > KNOWS), None) for row in returns]
    return {
        "steps": [LENGTH * (i + 1) for i in range(returns.shape[1])],
        "mean": returns.mean(0).round(1).tolist(),
        "low": returns.min(0).tolist(),
        "high": returns.max(0).tolist(),
        "knows": known,
        "updates_per_step": float(np.mean([one["updates"] for one in lives])) / how.steps,
        "milliseconds_per_step": float(np.mean([one["milliseconds_per_step"] for one in lives])),
        "seeds": len(lives),
        **{
            name: {"mean": float(part.mean()), "low": float(part.mean(1).min()), "high": float(part.mean(1).max())}
            for name, part in around.items()
        },
    }
