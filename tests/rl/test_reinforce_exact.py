"""REINFORCE against the exact gradient of an expected return, and where the best policy is stochastic."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from sightline.envs.corridor import BEST_RIGHT, Corridor, corridor_value
from sightline.envs.gymnasium import Vector
from sightline.rl.distributions import Categorical, fit_distribution
from sightline.rl.learner import Experience, Learner, rows_of
from sightline.rl.policies import Policy
from sightline.rl.policies.body import Body
from sightline.rl.reinforce import (
    BASELINES,
    Reinforce,
    advantages_of,
    loss,
    train,
)

# A world of two states: what action a gives in state s, and where it leads; 2 is the end. At most LONGEST steps.
REWARD = np.array([[5.0, 6.0], [8.0, 3.0]])
AFTER = np.array([[1, 0], [0, 2]])
LONGEST = 3


def linear(envs_or_spaces: Any) -> Policy:
    """A policy without a hidden layer."""
    seen, does = envs_or_spaces.single_observation_space, envs_or_spaces.single_action_space
    return Policy(Body(seen, hidden=()), fit_distribution(does), Body(seen, hidden=()))


@dataclass
class TwoStates:
    """The spaces of the world above."""

    single_observation_space = spaces.Box(0, 1, (2,), np.float32)
    single_action_space = spaces.Discrete(2)


@dataclass(frozen=True)
class Trajectory:
    states: list[int]
    actions: list[int]
    rewards: list[float]


def trajectories() -> list[Trajectory]:
    """Every course that an episode can take."""
    found: dict[tuple[int, ...], Trajectory] = {}
    for actions in itertools.product(range(2), repeat=LONGEST):
        state, states, rewards = 0, [], []
        for action in actions:
            if state == 2:
                break
            states.append(state)
            rewards.append(float(REWARD[state, action]))
            state = int(AFTER[state, action])
        taken = actions[: len(states)]
        found[taken] = Trajectory(states, list(taken), rewards)
    return list(found.values())


def probabilities(policy: Policy, observation: torch.Tensor) -> torch.Tensor:
    """[n, action]"""
    distribution = policy.distribution(observation)
    assert isinstance(distribution, Categorical)
    return distribution.log_probabilities.exp()


def values_by_recursion(pi: torch.Tensor, gamma: float) -> list[list[torch.Tensor]]:
    """[steps left][state]: Bellman's equation, no trajectories."""
    values = [[torch.zeros(()), torch.zeros(()), torch.zeros(())]]
    for _ in range(LONGEST):
        now = [sum(pi[s, a] * (REWARD[s, a] + gamma * values[-1][AFTER[s, a]]) for a in range(2)) for s in range(2)]
        values.append([*now, torch.zeros(())])
    return values


def together(courses: tuple[Trajectory, ...], values: list[list[torch.Tensor]]) -> tuple[Experience, torch.Tensor]:
    """One environment each; those that end early go on with rows that must not count."""
    b = len(courses)
    observation, reward = torch.zeros(LONGEST, b, 2), torch.full((LONGEST, b), 1e6)
    action, value = torch.zeros(LONGEST, b, dtype=torch.long), torch.full((LONGEST, b), -1e6)
    terminated, used = torch.zeros(LONGEST, b, dtype=torch.bool), torch.zeros(LONGEST, b, dtype=torch.bool)
    for i, course in enumerate(courses):
        for t, (s, a, r) in enumerate(zip(course.states, course.actions, course.rewards, strict=True)):
            observation[t, i, s], action[t, i], reward[t, i], used[t, i] = 1.0, a, r, True
            value[t, i] = values[LONGEST - t][s].detach()
        terminated[len(course.states) - 1, i] = True
    seen = Experience(
        observation=observation,
        action=action,
        reward=reward,
        terminated=terminated,
        truncated=torch.zeros_like(terminated),
        valid=None,
        values=value,
        next_values=torch.full_like(value, 1e6),
        log_probability=torch.zeros_like(value),
    )
    return seen, used


def gradient_of(policy: Policy, seen: Experience, used: torch.Tensor, settings: Reinforce, episodes: int) -> np.ndarray:
    """Of the actor."""
    policy.zero_grad()
    advantages, targets = advantages_of(seen, used, settings)
    index = used.flatten().nonzero().squeeze(1)
    rows = rows_of(seen, index, advantage=advantages, target=targets)
    loss(policy, rows, settings, episodes)[0].backward()
    return torch.cat([p.grad.flatten() for p in policy.actor.parameters() if p.grad is not None]).double().numpy()


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_expected_gradient_is_that_of_the_expected_return_and_baselines_lower_its_variance(gamma: float) -> None:
    torch.manual_seed(2)
    policy = linear(TwoStates)
    for p in policy.actor.parameters():
        torch.nn.init.normal_(p, std=0.7)
    values = values_by_recursion(probabilities(policy, torch.eye(2)), gamma)
    exact = torch.autograd.grad(values[LONGEST][0], list(policy.actor.parameters()))
    expected = torch.cat([one.flatten() for one in exact]).double().numpy()
    pi = probabilities(policy, torch.eye(2)).detach().double().numpy()
    variance = {}
    for baseline in BASELINES:
        settings = Reinforce(baseline=baseline, gamma=gamma, discount_state=True, episodes=1)
        mean, square, whole = np.zeros_like(expected), 0.0, 0.0
        for pair in itertools.product(trajectories(), repeat=2):
            chance = np.prod([pi[s, a] for one in pair for s, a in zip(one.states, one.actions, strict=True)])
            gradient = gradient_of(policy, *together(pair, values), settings, 2)
            mean += chance * gradient
            square += chance * gradient @ gradient
            whole += chance
        assert whole == pytest.approx(1)
        np.testing.assert_allclose(-mean, expected, rtol=1e-4, atol=1e-5)
        variance[baseline] = square - mean @ mean
    assert variance["constant"] < 0.7 * variance["none"]
    assert variance["value"] < 0.7 * variance["constant"]


def test_it_finds_the_stochastic_optimum_of_the_corridor() -> None:
    """Sutton & Barto (2018), figure 13.1: a value of -11.6 where going right has probability 0.59."""
    settings = Reinforce(rollout=16, episodes=1, baseline="constant", gamma=1.0, learning_rate=0.05)
    envs = Vector(Corridor(), 64, autoreset_mode="SameStep", max_episode_steps=1000)
    policy = linear(envs)
    with torch.no_grad():
        policy.actor.bias.copy_(torch.tensor([0.7, -0.7]))
    learner = Learner(policy, envs, rollout=16, gamma=1.0, learning_rate=0.05, seed=7)

    def right() -> float:
        return probabilities(policy, torch.ones(1, 1))[0, 1].item()

    assert right() == pytest.approx(0.2, abs=0.02)
    found = [right() for _ in itertools.islice(train(learner, settings, 10**9), 60)]
    mean = float(np.mean(found[-30:]))
    assert mean == pytest.approx(BEST_RIGHT, abs=0.03)
    assert corridor_value(mean) == pytest.approx(-11.66, abs=0.1)
