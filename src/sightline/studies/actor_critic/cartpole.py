"""CartPole: how noisy each way to weigh a gradient is at three stages of training, and what lambda does to learning.

At every stage the policy and its critic stand still, and many updates' worth of whole episodes are played. Each of them
is weighed in every way, so that the ways are compared on the same episodes; the noise of a way is the variance of its
gradients of the actor (the trace of their covariance).

Left out: the exact gradient, which nobody knows here (`walk.py` has it).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.wrappers.vector import TransformReward
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.envs.making import make_environments
from sightline.rl import ppo
from sightline.rl.learner import Experience, Learner
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.reinforce import Reinforce, advantages_of, collect_episodes
from sightline.rl.returns import gae
from sightline.rl.trees import map_arrays
from sightline.run import seed_everything

ENVIRONMENT, GAMMA = "CartPole-v1", 0.98  # a step's reward is 1 - gamma, so that values lie in [0, 1]
LAMBDAS = (0.0, 0.5, 0.9, 0.95, 1.0)
STAGES = (0.1, 0.5, 1.0)  # of a training
NONE, CONSTANT = "none", "constant"


@dataclass(frozen=True)
class Budget:
    """How long agents learn, and how much is played at every stage."""

    steps: int = 40_000
    environments: int = 8
    rollout: int = 128
    batch: int = 256
    epochs: int = 6
    learning_rate: float = 1e-3
    updates: int = 32  # played at a stage, each of one episode of every environment
    looks: int = 40


def new_learner(budget: Budget, seed: int) -> Learner:
    """An agent that knows nothing, in environments of its own."""
    seed_everything(seed)
    envs = TransformReward(make_environments(ENVIRONMENT, budget.environments), lambda reward: (1 - GAMMA) * reward)
    policy = make_policy(envs.single_observation_space, envs.single_action_space)
    return Learner(policy, envs, rollout=budget.rollout, gamma=GAMMA, learning_rate=budget.learning_rate, seed=seed)


def settings_of(budget: Budget, lambda_: float) -> ppo.PPO:
    """PPO with this lambda; all else is alike."""
    return ppo.PPO(
        rollout=budget.rollout,
        batch=budget.batch,
        epochs=budget.epochs,
        learning_rate=budget.learning_rate,
        gamma=GAMMA,
        gae_lambda=lambda_,
    )


def learn(lambda_: float, seed: int, budget: Budget) -> dict[str, Any]:
    """The mean return of the latest episodes, at every look, and over the whole training."""
    learner = new_learner(budget, seed)
    rows = [
        (row["steps"], row["return_mean"] / (1 - GAMMA))
        for row in ppo.train(learner, settings_of(budget, lambda_), budget.steps)
    ]
    learner.envs.close()
    known = [(float(steps), float(mean)) for steps, mean in rows if mean == mean]  # before the first end there is none
    looks = np.linspace(0, budget.steps, budget.looks + 1)[1:]
    means = np.interp(looks, [steps for steps, _ in known], [mean for _, mean in known])
    return {
        "steps": [round(look) for look in looks],
        "returns": [round(float(one), 2) for one in means],
        "over_all": float(means.mean()),
        "last": float(means[-1]),
    }


def stages(seed: int, budget: Budget) -> list[dict[str, Any]]:
    """The noise of every way to weigh, at each stage of one training."""
    learner = new_learner(budget, seed)
    waiting = [round(stage * budget.steps) for stage in STAGES]
    found = []
    for row in ppo.train(learner, settings_of(budget, 0.95), budget.steps):
        if waiting and row["steps"] >= waiting[0]:
            waiting = waiting[1:]
            found.append({"steps": int(row["steps"]), "return_mean": row["return_mean"] / (1 - GAMMA),
                          **measure(learner.policy, seed, budget)})  # fmt: skip
    learner.envs.close()
    return found


def measure(trained: Policy, seed: int, budget: Budget) -> dict[str, Any]:
    """The variance of every way's gradients under this policy."""
    player = new_learner(budget, seed + 1000)
    player.policy.load_state_dict(trained.state_dict())
    reinforce = Reinforce(rollout=budget.rollout, episodes=1, gamma=GAMMA)
    gradients: dict[str, list[Tensor]] = {}
    lengths = []
    for _ in range(budget.updates):
        seen, used = collect_episodes(player, reinforce)
        ways = weights_of(seen, used)
        for name, gradient in gradients_of(player.policy, seen, used, ways).items():
            gradients.setdefault(name, []).append(gradient)
        lengths.append(int(used.sum()) / budget.environments)
    player.envs.close()
    stacked = {name: torch.stack(many).double() for name, many in gradients.items()}
    return {
        "variance": {name: float(many.var(0).sum()) for name, many in stacked.items()},
        "mean_square": {name: float(many.mean(0).square().sum()) for name, many in stacked.items()},
        "length": float(np.mean(lengths)),
    }


def weights_of(seen: Experience, used: Bool[Tensor, "t b"]) -> dict[str, Float[Tensor, "t b"]]:
    """What each row's score is multiplied by: no baseline, a constant, and the critic with every lambda."""
    plain, constant = (Reinforce(baseline=name, episodes=1, gamma=GAMMA) for name in (NONE, CONSTANT))
    ways = {NONE: advantages_of(seen, used, plain)[0], CONSTANT: advantages_of(seen, used, constant)[0]}
    for lambda_ in LAMBDAS:
        ways[f"{lambda_:g}"] = gae(
            seen.reward, seen.values, seen.next_values, seen.terminated, seen.truncated, gamma=GAMMA, lambda_=lambda_,
            valid=seen.valid,
        )  # fmt: skip
    return ways


def gradients_of(
    policy: Policy, seen: Experience, used: Bool[Tensor, "t b"], ways: Mapping[str, Float[Tensor, "t b"]]
) -> dict[str, Float[Tensor, " p"]]:
    """The gradient of the actor that each way makes of the same episodes, a mean over episodes."""
    index = used.flatten().nonzero().squeeze(1)
    observation = map_arrays(lambda one: one.flatten(0, 1)[index], seen.observation)
    distribution = policy.distribution(observation)
    log_probability = policy.log_prob(distribution, seen.action.flatten(0, 1)[index])
    actor = [*policy.actor_body.parameters(), *policy.actor.parameters()]
    found = {}
    for name, weights in ways.items():
        gain = (log_probability * weights.flatten()[index]).sum() / used.shape[1]
        parts = torch.autograd.grad(gain, actor, retain_graph=True)
        found[name] = torch.cat([one.flatten() for one in parts])
    return found
