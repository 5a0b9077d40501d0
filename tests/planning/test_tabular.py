"""Tables against hand-worked numbers, brute force, simulation, and each other."""

import itertools
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from tests.planning.worlds import random_world, two_states

import sightline.planning.tabular as tabular
from sightline.envs.maze import PLANS, Maze, number
from sightline.planning.tabular import (
    World,
    check_size,
    discrete_sizes,
    greedy,
    policy_iteration,
    policy_values,
    value_iteration,
    values_within,
    world_of,
)


def test_two_states_by_hand() -> None:
    world, q = two_states()
    np.testing.assert_allclose(value_iteration(world, 0.5), q, atol=1e-9)
    np.testing.assert_allclose(policy_iteration(world, 0.5)[0], q, atol=1e-12)
    np.testing.assert_allclose(policy_values(world, np.full((2, 2), 0.5), 0.5), [8 / 9, 8 / 3], atol=1e-12)
    # v0 = (v0 / 2 + v1 / 2) / 2 and v1 = (1 + v1 / 2) / 2 + 3 / 2: v1 = 8 / 3, v0 = 8 / 9
    assert values_within(world, 3).tolist() == [4.0, 5.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outcomes", [1, 3])
def test_the_best_policy_is_the_best_of_all(seed: int, outcomes: int) -> None:
    world = random_world(seed, states=4, actions=2, outcomes=outcomes)
    values = [policy_values(world, np.eye(2)[list(actions)], 0.9) for actions in itertools.product(range(2), repeat=4)]
    best = np.max(values, 0)
    assert any(np.allclose(one, best) for one in values), "one policy is best everywhere"
    q = value_iteration(world, 0.9)
    np.testing.assert_allclose(q.max(1), best, atol=1e-8)
    other, count = policy_iteration(world, 0.9)
    np.testing.assert_allclose(other, q, atol=1e-8)
    assert 1 <= count < 10
    np.testing.assert_allclose(policy_values(world, greedy(q), 0.9), best, atol=1e-8)


def test_a_policys_values_are_the_means_of_what_is_played() -> None:
    world, rng = random_world(7, ends=0.3), np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(3), 6)
    wanted = policy_values(world, policy, 0.8)[2]
    returns = []
    for _ in range(4000):
        s, total, factor = 2, 0.0, 1.0
        for _ in range(60):
            a = rng.choice(3, p=policy[s])
            k = rng.choice(2, p=world.probability[s, a])
            total, factor = total + factor * world.reward[s, a, k], factor * 0.8
            if world.over[s, a, k]:
                break
            s = world.next_state[s, a, k]
        returns.append(total)
    assert abs(np.mean(returns) - wanted) < 4 * np.std(returns) / np.sqrt(len(returns))


def test_published_optima_of_toy_text() -> None:
    lake = world_of(gymnasium.make("FrozenLake-v1"))
    assert values_within(lake, 100)[0] == pytest.approx(0.744, abs=5e-4)
    assert value_iteration(lake, 0.99).max(1)[0] == pytest.approx(0.542, abs=5e-4)
    cliff = world_of(gymnasium.make("CliffWalking-v1"))
    assert value_iteration(cliff, 1.0).max(1) @ cliff.start == pytest.approx(-13)
    taxi = world_of(gymnasium.make("Taxi-v4"))
    assert (taxi.states, taxi.actions) == (500, 6)
    assert value_iteration(taxi, 1.0).max(1) @ taxi.start == pytest.approx(7.93, abs=5e-3)


@pytest.mark.parametrize(("plan", "first", "second"), [("dyna", 14, 14), ("blocking", 10, 16), ("shortcut", 16, 10)])
def test_the_ways_through_the_mazes(plan: str, first: int, second: int) -> None:
    env = Maze(plan)
    start = number(PLANS[plan].start)
    for shortest in (first, second):
        world = world_of(env)
        assert values_within(world, shortest)[start] == 1
        assert values_within(world, shortest - 1)[start] == 0
        assert value_iteration(world, 0.95).max(1)[start] == pytest.approx(0.95 ** (shortest - 1))
        if env.change is not None:
            env.steps = env.change


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CartPole-v1", r"a table needs observations that are whole numbers from 0, Discrete\(n\), and this .* Box"),
        ("Blackjack-v1", r"a table needs observations .* Tuple\(.*: wrap it, or take an agent with a network"),
    ],
)
def test_what_no_table_holds(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        discrete_sizes(gymnasium.make(name))


class Few(gymnasium.Env[Any, Any]):
    observation_space, action_space = gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2)


def test_more_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert discrete_sizes(Few()) == (3, 2)
    with pytest.raises(ValueError, match=r"^Few gives no table of its outcomes .*: learn in it instead"):
        world_of(Few())
    with pytest.raises(
        ValueError, match=r"one table of 10000000 states, 100 actions and 1 outcomes takes 7\.5 GiB, mo"
    ):
        check_size(10**7, 100)
    monkeypatch.setattr(tabular, "LARGEST", 8 * 500 * 6 * 1 - 1)
    with pytest.raises(ValueError, match="500 states, 6 actions"):
        discrete_sizes(gymnasium.make("Taxi-v4"))
    world, _ = two_states()
    for gamma in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"gamma, the discount, lies in \[0, 1\], got {gamma}"):
            value_iteration(world, gamma)
    with pytest.raises(ValueError, match="needs a gamma in"):
        policy_iteration(world, 1.0)
    with pytest.raises(ValueError, match=r"values still move by 1.0e\+00 after 50 sweeps: some episodes never end"):
        value_iteration(world, 1.0, sweeps=50)
    with pytest.raises(ValueError, match="under this policy some episodes never end"):
        policy_values(world, np.eye(2)[[0, 0]], 1.0)
    with pytest.raises(ValueError, match="probabilities of the outcomes of every state and action are not all"):
        replace(world, probability=world.probability * 0.9)
    with pytest.raises(ValueError, match="an outcome leads outside of the 2 states"):
        World(world.probability, world.next_state + 1, world.reward, world.over, world.start)
