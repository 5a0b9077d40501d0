"""Who sets the scale, and what to do at the borders, on Pendulum-v1: the library's PPO, and looks at what it does.

A torque in [-2, 2] is a number of a Gaussian: of a fixed scale, of one that is learned and the same in every state, of
one that the network gives for each state; clipped to the box, or squashed into it. A look plays whole episodes in
environments of its own, with drawn actions, and counts what left the box on the way. Clipped numbers are in units of
torque, squashed ones are tanh's argument, which is stretched to the box: their scales cannot be compared.

Left out: other environments, and other agents.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from sightline.envs.making import make_environments
from sightline.rl import ppo
from sightline.rl.acting import Acting, to_tensors
from sightline.rl.distributions import SquashedGaussian
from sightline.rl.learner import Learner
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.rollout import Collector
from sightline.rl.runs.evaluate import evaluate
from sightline.run import seed_everything

NAME, LENGTH, BORDER = "Pendulum-v1", 200, 2.0
ENVIRONMENTS, EPISODES = 8, 16
AGENT = ppo.PPO(rollout=256, batch=256, epochs=10, learning_rate=1e-3, gamma=0.9)
STEPS, LOOKS = 100_000, 8
LATE = 0.98  # of the box: a squashed action beyond this share of it counts as at the border
GRID = 21  # angles and speeds at which a scale by state is drawn
FAR = 50_000  # added to the seed of environments that are looked at


@dataclasses.dataclass(frozen=True)
class Kind:
    """A Gaussian policy."""

    name: str
    scale: float | None = None  # fixed at this
    by_state: bool = False
    squash: bool = False


FIXED = tuple(Kind(f"fixed {scale:g}", scale) for scale in (0.1, 0.5, 2.0))
LEARNED, BY_STATE, SQUASHED = Kind("learned"), Kind("by state", by_state=True), Kind("squashed", squash=True)
KINDS = (*FIXED, LEARNED, BY_STATE, SQUASHED)


def make(kind: Kind, envs: VectorEnv[Any, Any, Any]) -> Policy:
    """The policy; a fixed scale is a parameter that does not learn."""
    settings = PolicySettings(scale="state" if kind.by_state else "free", squash=kind.squash)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, settings)
    if kind.scale is not None:
        assert policy.log_scale is not None
        policy.log_scale.requires_grad_(False).fill_(math.log(kind.scale))
    return policy


def learn(kind: Kind, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """Train, and look now and then.

    Returns:
        At every look what `look` says, in lists, with the steps so far; `greedy`, the mean return at the end without
        drawing; and of a scale by state `field`, its values over angles (columns) and speeds (rows).
    """
    seed_everything(seed)
    torch.set_num_threads(1)
    envs, others = (make_environments(NAME, ENVIRONMENTS, workers="sync") for _ in range(2))
    policy = make(kind, envs)
    learner = Learner(
        policy,
        envs,
        rollout=AGENT.rollout,
        gamma=AGENT.gamma,
        learning_rate=AGENT.learning_rate,
        seed=seed,
        normalise_observations=True,
        normalise_rewards=True,
    )
    looks = [look(learner, others, seed) | {"steps": 0}]
    for _ in ppo.train(learner, AGENT, steps):
        if learner.steps >= len(looks) * steps / LOOKS:
            looks.append(look(learner, others, seed + len(looks)) | {"steps": learner.steps})
    found: dict[str, Any] = {name: [one[name] for one in looks] for name in looks[0]}
    greedy = evaluate(Acting(policy, learner.normaliser, greedy=True), others, EPISODES, seed=FAR + seed)
    found["greedy"] = greedy.mean
    if kind.by_state:
        found["field"] = field(policy, learner.normaliser)
    envs.close()
    others.close()
    return found


def look(learner: Learner, envs: VectorEnv[Any, Any, Any], seed: int) -> dict[str, float]:
    """Whole episodes with drawn actions.

    Returns:
        `value`, the mean return; `border`, the share of executed actions that lie at the border: clipped there, or
        squashed to within a fiftieth of it; `outside`, the share of states whose mean action does; `scale`, the mean.
    """
    policy = learner.policy
    acting = Acting(policy, learner.normaliser)
    collector = Collector(
        envs, LENGTH, policy.fit.draw, seed=FAR + 100 * seed, to_space=None if policy.plain else policy.to_space
    )
    rollout = collector.collect(acting)
    observation = rollout.observation.reshape(LENGTH * envs.num_envs, -1)
    if learner.normaliser is not None:
        observation = learner.normaliser(observation)
    distribution: Any
    with torch.no_grad():
        distribution = policy.distribution(to_tensors(observation, "cpu"))
    squashed = isinstance(distribution, SquashedGaussian)
    inner = distribution.inner if isinstance(distribution, SquashedGaussian) else distribution
    mean, scale = inner.mean.numpy(), inner.log_scale.exp()
    raw = rollout.action
    if squashed:
        mean, raw = BORDER * np.tanh(mean), BORDER * np.tanh(raw)
    beyond = LATE * BORDER if squashed else BORDER
    return {
        "value": float(rollout.reward.sum(0).mean()),
        "border": float((np.abs(raw) >= beyond).mean()),
        "outside": float((np.abs(mean) >= beyond).mean()),
        "scale": float(scale.mean()),
    }


def field(policy: Policy, normaliser: ObservationNormaliser | None) -> list[list[float]]:
    """The scale of a policy over angle (from -pi to pi, 0 upright) and speed (from -8 to 8)."""
    angle, speed = np.meshgrid(np.linspace(-math.pi, math.pi, GRID), np.linspace(-8, 8, GRID))
    observation = np.stack([np.cos(angle), np.sin(angle), speed], -1).reshape(-1, 3).astype(np.float32)
    rows = observation if normaliser is None else normaliser(observation)
    with torch.no_grad():
        distribution = policy.distribution(to_tensors(rows, "cpu"))
    scale = distribution.log_scale.exp().numpy().reshape(GRID, GRID)  # type: ignore[attr-defined]
    return [[round(float(one), 4) for one in row] for row in scale]
