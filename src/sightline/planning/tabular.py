"""Worlds as tables, and what is best in them: value iteration and policy iteration (Sutton & Barto, 2018, chapter 4).

A world of s states and a actions is a list of up to k outcomes of every (state, action): how probable, where to, what
reward, whether the episode is over. Gymnasium's toy text gives exact ones (`env.unwrapped.P`), and so do our mazes.

    q(s, a) = sum_k p_k (r_k + gamma [not over_k] max_a' q(s'_k, a'))                      (equation 4.10)

A value at a discount below 1 is exact to gamma / (1 - gamma) times the last change. Policy iteration solves the linear
equations of each policy, which is exact to rounding, for worlds of a few thousand states.

Left out: worlds whose rewards are random beside the outcome, and continuous states.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Int

LARGEST = 4 * 2**30  # bytes of a table


@dataclass(frozen=True)
class World:
    """What happens, and how probable it is."""

    probability: Float[np.ndarray, "s a k"]
    """Of each outcome; 0 where there are fewer."""
    next_state: Int[np.ndarray, "s a k"]
    reward: Float[np.ndarray, "s a k"]
    over: Bool[np.ndarray, "s a k"]
    """Whether the episode ends there."""
    start: Float[np.ndarray, " s"]
    """How probable it is to begin in each state."""

    def __post_init__(self) -> None:
        for name, one in (("outcomes of every state and action", self.probability), ("start", self.start)):
            if (one < 0).any() or not np.allclose(one.sum(-1), 1, atol=1e-6):
                raise ValueError(f"the probabilities of the {name} are not all 0 or more with a sum of 1: correct them")
        if self.next_state.min() < 0 or self.next_state.max() >= len(self.start):
            raise ValueError(f"an outcome leads outside of the {len(self.start)} states: number them from 0")

    @property
    def states(self) -> int:
        """Number of states."""
        return self.probability.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.probability.shape[1]


def discrete_sizes(env: gymnasium.Env[Any, Any]) -> tuple[int, int]:
    """How many states and actions an environment has, if a table can hold them.

    Raises:
        ValueError: one of its spaces is none of whole numbers from 0, or a table over them would be too large.
    """
    sizes = []
    for name, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if not isinstance(space, spaces.Discrete) or int(space.start) != 0:
            raise ValueError(
                f"a table needs {name} that are whole numbers from 0, Discrete(n), and this environment has {space}: "
                "wrap it, or take an agent with a network (sightline act dqn)"
            )
        sizes.append(int(space.n))
    check_size(*sizes)
    return sizes[0], sizes[1]


def check_size(states: int, actions: int, outcomes: int = 1) -> None:
    """Say how large tables would be before they fill the memory.

    Raises:
        ValueError: too large.
    """
    size = 8 * states * actions * outcomes
    if size > LARGEST:
        raise ValueError(
            f"one table of {states} states, {actions} actions and {outcomes} outcomes takes {size / 2**30:.1f} GiB, "
            f"more than {LARGEST / 2**30:g}: join states that are alike, or take a network (sightline act dqn)"
        )


def world_of(env: gymnasium.Env[Any, Any]) -> World:
    """The exact table of an environment that has one: Gymnasium's toy text, and our mazes as their walls stand.

    Raises:
        ValueError: it has none.
    """
    states, actions = discrete_sizes(env)
    inner: Any = env.unwrapped
    if callable(getattr(inner, "outcomes", None)):
        to, rewards, ends, first = inner.outcomes()
        one = np.ones((states, actions, 1))
        return World(one, to[..., None], rewards[..., None], ends[..., None], np.eye(states)[first])
    listed, start = getattr(inner, "P", None), getattr(inner, "initial_state_distrib", None)
    if not isinstance(listed, Mapping) or start is None:
        raise ValueError(
            f"{type(inner).__name__} gives no table of its outcomes (P and initial_state_distrib, or outcomes()): "
            "learn in it instead (sightline act q-learning or dyna)"
        )
    most = max(len(outcomes) for row in listed.values() for outcomes in row.values())
    check_size(states, actions, most)
    probability, reward = np.zeros((2, states, actions, most))
    next_state, over = np.zeros((states, actions, most), np.int64), np.zeros((states, actions, most), bool)
    for s, row in listed.items():
        for a, outcomes in row.items():
            for k, (p, to, r, ends) in enumerate(outcomes):
                probability[s, a, k], next_state[s, a, k], reward[s, a, k], over[s, a, k] = p, to, r, ends
    return World(probability, next_state, reward, over, np.asarray(start, float))


def action_values(world: World, value: Float[np.ndarray, " s"], gamma: float) -> Float[np.ndarray, "s a"]:
    """What each action is worth if every state is worth `value`."""
    onward = np.where(world.over, 0.0, value[world.next_state])
    return (world.probability * (world.reward + gamma * onward)).sum(2)


def value_iteration(
    world: World, gamma: float, *, tolerance: float = 1e-10, sweeps: int = 1_000_000
) -> Float[np.ndarray, "s a"]:
    """The best action values, by equation 4.10 until no value moves by more than the tolerance.

    Raises:
        ValueError: gamma lies outside of [0, 1], or values still move after so many sweeps.
    """
    _check_gamma(gamma)
    value = np.zeros(world.states)
    for _ in range(sweeps):
        q = action_values(world, value, gamma)
        moved = np.abs(q.max(1) - value).max()
        value = q.max(1)
        if moved <= tolerance:
            return action_values(world, value, gamma)
    raise ValueError(
        f"values still move by {moved:.1e} after {sweeps} sweeps: some episodes never end, so give a gamma below 1"
    )


def policy_values(world: World, policy: Float[np.ndarray, "s a"], gamma: float) -> Float[np.ndarray, " s"]:
    """What every state is worth under a policy, the probabilities of its actions: the solution of linear equations.

    Raises:
        ValueError: gamma lies outside of [0, 1], or at 1 the policy walks for ever and no value is finite.
    """
    _check_gamma(gamma)
    weight = world.probability * policy[..., None]
    onward = np.zeros((world.states, world.states))
    origin = np.broadcast_to(np.arange(world.states)[:, None, None], weight.shape)
    np.add.at(onward, (origin.ravel(), world.next_state.ravel()), (weight * ~world.over).ravel())
    try:
        return np.linalg.solve(np.eye(world.states) - gamma * onward, (weight * world.reward).sum((1, 2)))
    except np.linalg.LinAlgError:
        raise ValueError(
            "under this policy some episodes never end, and values have no limit: give a gamma below 1"
        ) from (None)


def policy_iteration(world: World, gamma: float) -> tuple[Float[np.ndarray, "s a"], int]:
    """The best action values by evaluating and improving in turn (section 4.3), and how many policies it took.

    Raises:
        ValueError: gamma lies outside of [0, 1), where every policy has a value.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"policy iteration evaluates every policy and needs a gamma in [0, 1), got {gamma}")
    best = np.zeros(world.states, np.int64)
    for count in range(1, world.states * world.actions + 2):
        q = action_values(world, policy_values(world, np.eye(world.actions)[best], gamma), gamma)
        better = q.argmax(1)
        # An action of equal value, to rounding, is no improvement: the policy would change for ever.
        rows = np.arange(world.states)
        better = np.where(q[rows, better] > q[rows, best] + 1e-12 * (1 + np.abs(q).max()), better, best)
        if (better == best).all():
            return q, count
        best = better
    raise AssertionError("a policy came back although every one is better than the last")


def values_within(world: World, steps: int, policy: Float[np.ndarray, "s a"] | None = None) -> Float[np.ndarray, " s"]:
    """The undiscounted return of so many steps from every state: of a policy, or the most that any can have."""
    value = np.zeros(world.states)
    for _ in range(steps):
        q = action_values(world, value, 1.0)
        value = q.max(1) if policy is None else (q * policy).sum(1)
    return value


def greedy(q: Float[np.ndarray, "s a"]) -> Float[np.ndarray, "s a"]:
    """The policy that takes the action of the largest value, the first of equals."""
    return np.eye(q.shape[1])[q.argmax(1)]


def _check_gamma(gamma: float) -> None:
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma, the discount, lies in [0, 1], got {gamma}")
