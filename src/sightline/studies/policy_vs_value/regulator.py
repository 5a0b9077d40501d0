"""An action that is a dial: bring a state to zero in one step, with dials that turn freely or with stops.

The one-step linear-quadratic regulator in d dimensions: the state s is uniform in [-1, 1]^d, an action a moves it to
s + a, and the reward is -|s + a|^2. The best action is -s and the best return 0. With K stops on each dial, the middles
of K equal parts of [-1, 1], the best that can be had is known too: what is left of each number is uniform in an
interval of length 2 / K, so that it costs d / (3 K^2); and there are K^d actions.

The value method is given the best case: the features in which every action's value is exact (all products of two
numbers out of 1 and s), least squares for each action instead of a network, and a start at 0, which no return exceeds,
so that it tries what could be best before it settles (optimism). The policy is the library's Gaussian, learned by PPO.

Left out: value methods that generalise over actions; those with an actor of their own are policy methods again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Float, Float32, Int

from sightline.rl import ppo
from sightline.rl.learner import Learner
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.run import seed_everything

ENVIRONMENTS, ROLLOUT, BATCH = 32, 16, 256
LIMIT = 4.0  # of a dial; far enough that a Gaussian's noise does not meet it, which would bend its mean
STEPS, HIDDEN = 50_000, (64,)
RIDGE = 1e-6  # of the least squares, in units of a row
EPSILON = 0.3  # of actions that are taken to find out
TESTED = 1000  # states that a policy's cost is a mean over; alike for all


@dataclass(frozen=True)
class Dials:
    """How many numbers an action has, and how long agents learn, in actions taken."""

    dimensions: int
    steps: int = STEPS


class Regulator(VectorEnv[Any, Any, Any]):
    """The task as Gymnasium's vector environment; every step is an episode, and resets itself."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, environments: int, dimensions: int) -> None:
        self.num_envs = environments
        self.single_observation_space = spaces.Box(-1.0, 1.0, (dimensions,), np.float32)
        self.single_action_space = spaces.Box(-LIMIT, LIMIT, (dimensions,), np.float32)
        self.observation_space = spaces.Box(-1.0, 1.0, (environments, dimensions), np.float32)
        self.action_space = spaces.Box(-LIMIT, LIMIT, (environments, dimensions), np.float32)
        self._rng = np.random.default_rng()
        self._state: np.ndarray = np.zeros((environments, dimensions), np.float32)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "b d"], dict[str, Any]]:
        """New states."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        self._state = draw(self._rng, *self._state.shape)
        return self._state.copy(), {}

    def step(self, actions: Float32[np.ndarray, "b d"]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The end of an episode everywhere, and the first observation of the next."""
        final = self._state + actions
        self._state = draw(self._rng, *self._state.shape)
        ended = np.ones(self.num_envs, bool)
        reward = -np.square(final, dtype=np.float64).sum(1)
        return self._state.copy(), reward, ended, np.zeros_like(ended), {"final_obs": final}


def draw(rng: np.random.Generator, count: int, dimensions: int) -> Float32[np.ndarray, "n d"]:
    """States, uniform in the box."""
    return rng.uniform(-1, 1, (count, dimensions)).astype(np.float32)


def stops(count: int, dimensions: int) -> Float[np.ndarray, "k d"]:
    """All actions of dials with so many stops each."""
    one = (2 * np.arange(count) + 1) / count - 1
    return np.stack(np.meshgrid(*[one] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)


def cost_of_stops(count: int, dimensions: int) -> float:
    """What the best policy on these stops loses to the best action, exactly."""
    return dimensions / (3 * count**2)


def test_states(dimensions: int) -> Float32[np.ndarray, "n d"]:
    """Evenly spaced along each axis, each axis in an order of its own, so that means are close to the box's."""
    rng, even = np.random.default_rng(0), (2 * np.arange(TESTED) + 1) / TESTED - 1
    return np.stack([rng.permutation(even) for _ in range(dimensions)], 1).astype(np.float32)


def looks(steps: int, count: int = 30) -> list[int]:
    """When it is looked at an agent: evenly on a logarithmic scale."""
    return sorted({round(steps ** (place / count)) for place in range(count // 4, count + 1)})


def learn_by_policy(dials: Dials, seed: int) -> dict[str, Any]:
    """PPO with a Gaussian: the mean cost of its mean action, at every update."""
    seed_everything(seed)
    envs = Regulator(ENVIRONMENTS, dials.dimensions)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=HIDDEN))
    settings = ppo.PPO(rollout=ROLLOUT, batch=BATCH, epochs=10, learning_rate=2e-3, gamma=0.0, learning_rate_end=0.05)
    learner = Learner(policy, envs, rollout=ROLLOUT, gamma=0.0, learning_rate=settings.learning_rate, seed=seed)
    states = test_states(dials.dimensions)
    steps, costs = [0], [cost_of_policy(policy, states)]
    wanted = looks(dials.steps)
    for row in ppo.train(learner, settings, dials.steps):
        if not wanted or row["steps"] >= wanted[0]:
            wanted = [one for one in wanted if one > row["steps"]]
            steps.append(int(row["steps"]))
            costs.append(cost_of_policy(policy, states))
    return {"steps": steps, "costs": costs, "scale": policy.log_scale.exp().mean().item()}  # type: ignore[union-attr]


def cost_of_policy(policy: Policy, states: Float32[np.ndarray, "n d"]) -> float:
    """Of the mean action."""
    with torch.no_grad():
        action = policy.mode(policy.distribution(torch.from_numpy(states))).numpy()
    return float(np.square(states + np.clip(action, -LIMIT, LIMIT)).sum(1).mean())


def features(states: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n f"]:
    """All products of two numbers out of 1 and the state's: every action's value is a sum of them."""
    rows = np.concatenate([np.ones((len(states), 1)), states], 1)
    first, second = np.triu_indices(rows.shape[1])
    return rows[:, first] * rows[:, second]


def unknowns(dimensions: int) -> int:
    """Of one action's value: the number of features."""
    return features(np.zeros((1, dimensions))).shape[1]


def learn_by_value(dials: Dials, count: int, seed: int) -> dict[str, Any]:
    """A value for each of the K^d actions by least squares: the mean cost of the greedy action, at every look."""
    rng = np.random.default_rng(seed)
    actions, states = stops(count, dials.dimensions), test_states(dials.dimensions)
    tests = features(states)
    width = tests.shape[1]
    moments = np.repeat(RIDGE * np.eye(width)[None], len(actions), 0)  # of the rows, for each action
    sums, weights = np.zeros((len(actions), width)), np.zeros((len(actions), width))
    steps, costs = [0], [cost_of_values(weights, actions, states, tests)]
    wanted = looks(dials.steps)
    for step in range(ENVIRONMENTS, dials.steps + 1, ENVIRONMENTS):
        state = draw(rng, ENVIRONMENTS, dials.dimensions)
        rows = features(state)
        chosen = best(rows @ weights.T, rng)
        curious = rng.random(ENVIRONMENTS) < EPSILON
        chosen[curious] = rng.integers(len(actions), size=int(curious.sum()))
        reward = -np.square(state + actions[chosen]).sum(1)
        np.add.at(moments, chosen, rows[:, :, None] * rows[:, None, :])
        np.add.at(sums, chosen, reward[:, None] * rows)
        weights[chosen] = np.linalg.solve(moments[chosen], sums[chosen][:, :, None])[:, :, 0]
        if wanted and step >= wanted[0]:
            wanted = [one for one in wanted if one > step]
            steps.append(step)
            costs.append(cost_of_values(weights, actions, states, tests))
    return {"steps": steps, "costs": costs, "actions": len(actions)}


def best(values: Float[np.ndarray, "n k"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The best action of every row, one of equals by chance."""
    at_best = values >= values.max(1, keepdims=True) - 1e-12
    first = rng.integers(values.shape[1], size=len(values))[:, None]  # where to begin to look
    order = (np.arange(values.shape[1])[None] + first) % values.shape[1]
    return np.take_along_axis(order, np.take_along_axis(at_best, order, 1).argmax(1)[:, None], 1)[:, 0]


def cost_of_values(
    weights: Float[np.ndarray, "k f"], actions: Float[np.ndarray, "k d"], states: Float32[np.ndarray, "n d"],
    tests: Float[np.ndarray, "n f"],
) -> float:  # fmt: skip
    """The mean cost of the greedy actions."""
    greedy = np.concatenate([(some @ weights.T).argmax(1) for some in np.array_split(tests, 10)])
    return float(np.square(states + actions[greedy]).sum(1).mean())
