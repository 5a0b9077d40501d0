"""Tabular learning against hand-worked steps, a plain loop with dictionaries, and the values that are exact."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from tests.planning.worlds import random_world

from sightline.planning.tabular import World, greedy, policy_values, value_iteration, values_within, world_of
from sightline.rl.tabular.lives import Life, Mind, learn, new_mind, options_of, walk
from sightline.rl.tabular.q_learning import METHODS, QLearning
from sightline.rl.tabular.tables import choose, greatest

RNG = np.random.default_rng(0)


def before_a_step(agent: QLearning) -> Mind:
    """In state 0, about to take action 1."""
    mind = new_mind(agent, 2, 2)
    mind.known.q[:] = [[0, 1], [2, 4]]
    mind.place[:] = [0, 1, 0, 1]
    return mind


@pytest.mark.parametrize(
    ("method", "epsilon", "over", "value"),
    [
        ("q_learning", 0.4, False, 3.0),  # 1 + (3 + 4 / 2 - 1) / 2
        ("sarsa", 0.0, False, 3.0),
        ("expected_sarsa", 0.4, False, 2.9),  # the next state is worth 0.6 * 4 + 0.4 * 3
        ("q_learning", 0.4, True, 2.0),  # 1 + (3 - 1) / 2
        ("sarsa", 0.4, True, 2.0),
        ("expected_sarsa", 0.4, True, 2.0),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_step_by_hand(method: str, epsilon: float, over: bool, value: float, cut: bool) -> None:
    agent = QLearning(method=method, alpha=0.5, epsilon=epsilon, gamma=0.5)
    mind = before_a_step(agent)
    learn(mind, options_of(agent), 3.0, 1, over, cut, np.random.default_rng(0))
    np.testing.assert_allclose(mind.known.q, [[0, value], [2, 4]], atol=1e-12)
    assert mind.place[0] == (0 if over or cut else 1)
    assert mind.trail.length[0] == 0


def test_sarsa_learns_from_the_action_that_it_takes_next() -> None:
    agent, taken = QLearning(method="sarsa", alpha=0.5, epsilon=1.0, gamma=0.5), set()
    for seed in range(20):
        mind = before_a_step(agent)
        learn(mind, options_of(agent), 3.0, 1, False, False, np.random.default_rng(seed))
        taken.add(int(mind.place[1]))
        assert mind.known.q[0, 1] == 1 + (3 + 0.5 * [2, 4][mind.place[1]] - 1) / 2
    assert taken == {0, 1}


@pytest.mark.parametrize(("over", "cut"), [(False, False), (True, False), (False, True)])
def test_two_rewards_by_hand(over: bool, cut: bool) -> None:
    agent = QLearning(n=2, alpha=0.5, epsilon=0.0, gamma=0.5)
    mind = before_a_step(agent)
    learn(mind, options_of(agent), 3.0, 1, False, False, RNG)
    np.testing.assert_array_equal(mind.known.q, [[0, 1], [2, 4]])
    assert mind.place.tolist()[:3] == [1, 1, 1]
    learn(mind, options_of(agent), 1.0, 0, over, cut, RNG)
    first = 1 + (3 + 1 / 2 + (0 if over else 1 / 4) - 1) / 2
    assert mind.known.q[0, 1] == first
    if not over and not cut:
        assert mind.known.q[1, 1] == 4
        assert mind.trail.length[0] == 1
    else:  # what is left of the episode follows, with the value as it has just become
        ahead = 0 if over else max(0, 1)  # the state's worth was asked for before anything moved
        assert mind.known.q[1, 1] == 4 + (1 + ahead / 2 - 4) / 2
        assert mind.trail.length[0] == 0


def plain_loop(agent: QLearning, world: World, rng: np.random.Generator, steps: int, limit: int) -> np.ndarray:
    """The book's pseudo-code with lists, written for itself; numbers are drawn in the documented order."""
    q = [[agent.first_value] * world.actions for _ in range(world.states)]
    visits: dict[tuple[int, int], int] = {}

    def drawn(chances: Any) -> int:
        if max(chances) == 1:
            return int(np.argmax(chances))
        return int((rng.random() >= np.cumsum(chances)[:-1]).sum())

    def action(s: int) -> int:
        if rng.random() < agent.epsilon:
            return int(rng.random() * world.actions)
        best = [a for a in range(world.actions) if q[s][a] == max(q[s])]
        return best[0] if len(best) == 1 else best[int(rng.random() * len(best))]

    def value(s: int, a: int) -> float:
        if agent.method == "sarsa":
            return q[s][a]
        mean = sum(q[s]) / world.actions
        return max(q[s]) if agent.method == "q_learning" else (1 - agent.epsilon) * max(q[s]) + agent.epsilon * mean

    s = drawn(world.start)
    a, episode = action(s), []
    for _ in range(steps):
        k = drawn(world.probability[s, a])
        to, reward, over = int(world.next_state[s, a, k]), float(world.reward[s, a, k]), bool(world.over[s, a, k])
        episode.append((s, a, reward))
        ends = over or len(episode) == limit
        after = action(to) if agent.method == "sarsa" and not over else 0
        ahead = 0.0 if over else value(to, after)
        for t in range(len(episode) - agent.n, len(episode)):
            if t < 0 or (t > len(episode) - agent.n and not ends):
                continue
            rewards = [one[2] for one in episode[t:]]
            target = sum(agent.gamma**i * r for i, r in enumerate(rewards)) + agent.gamma ** len(rewards) * ahead
            pair = episode[t][:2]
            visits[pair] = visits.get(pair, 0) + 1
            q[pair[0]][pair[1]] += agent.alpha / visits[pair] ** agent.alpha_power * (target - q[pair[0]][pair[1]])
        if ends:
            s, episode = drawn(world.start), []
            a = action(s)
        else:
            s, a = to, after if agent.method == "sarsa" else action(to)
    return np.array(q)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("limit", "power"), [(0, 0.0), (7, 0.6)])
def test_a_life_is_a_plain_loops(method: str, n: int, limit: int, power: float) -> None:
    world = random_world(3)
    agent = QLearning(method=method, n=n, alpha=0.3, alpha_power=power, epsilon=0.3, gamma=0.9, first_value=0.5)
    mind, rng = new_mind(agent, 6, 3), np.random.default_rng(5)
    for steps in (1, 30, 469):  # in pieces, it is one life
        walk(mind, agent, world, rng, steps=steps, limit=limit)
    np.testing.assert_allclose(
        mind.known.q, plain_loop(agent, world, np.random.default_rng(5), 500, limit), rtol=1e-9, atol=1e-12
    )
    assert mind.known.counts[0] == 500


@pytest.mark.parametrize("seed", range(3))
def test_values_become_those_of_value_iteration(seed: int) -> None:
    """Exactly where nothing is random; elsewhere to what the mean of so many outcomes leaves, five deviations."""
    certain = random_world(seed, states=5, actions=2, outcomes=1, ends=0.2)
    agent = QLearning(alpha=0.5, epsilon=1.0, gamma=0.7)
    mind = new_mind(agent, 5, 2)
    walk(mind, agent, certain, np.random.default_rng(seed), steps=200_000, limit=20)
    assert mind.known.visits.min() > 100
    np.testing.assert_allclose(mind.known.q, value_iteration(certain, 0.7), atol=1e-9)
    world = random_world(seed, states=3, actions=2, ends=0.2)
    agent = QLearning(alpha=1.0, alpha_power=1.0, epsilon=1.0, gamma=0.2)
    mind = new_mind(agent, 3, 2)
    walk(mind, agent, world, np.random.default_rng(seed), steps=2_000_000, limit=20)
    q = value_iteration(world, 0.2)
    spread = np.ptp(world.reward + 0.2 * np.where(world.over, 0, q.max(1)[world.next_state]), 2) / 2
    assert abs(mind.known.q - q).max() < 5 * (spread / np.sqrt(mind.known.visits)).max() < 0.03


def test_expected_sarsa_finds_the_values_of_its_own_policy() -> None:
    """Where it explores always, these are the values of the uniform policy."""
    world = random_world(1, states=4, actions=2, outcomes=1, ends=0.2)
    agent = QLearning(method="expected_sarsa", alpha=0.5, epsilon=1.0, gamma=0.7)
    mind = new_mind(agent, 4, 2)
    walk(mind, agent, world, np.random.default_rng(0), steps=100_000, limit=20)
    value = policy_values(world, np.full((4, 2), 0.5), 0.7)
    assert mind.known.visits.min() > 100
    np.testing.assert_allclose(mind.known.q.mean(1), value, atol=1e-9)


def greedy_return(world: World, q: np.ndarray, steps: int) -> float:
    return float(values_within(world, steps, greedy(q)) @ world.start)


@pytest.mark.parametrize("seed", range(3))
def test_the_cliff_is_walked_along_or_kept_away_from(seed: int) -> None:
    """Example 6.6: Q-learning finds the shortest way, and while exploring falls off it more often than SARSA does."""
    world, gained = world_of(gymnasium.make("CliffWalking-v1")), {}
    for method in METHODS:
        agent = QLearning(method=method, alpha=0.5, epsilon=0.1, gamma=1.0)
        mind, rng = new_mind(agent, 48, 4), np.random.default_rng(seed)
        walk(mind, agent, world, rng, episodes=500)
        walked = walk(mind, agent, world, rng, steps=20_000)
        gained[method] = walked.rewards.sum() / len(walked.rewards)
        if method == "q_learning":
            assert greedy_return(world, mind.known.q, 100) == -13
    assert gained["q_learning"] < min(gained["sarsa"], gained["expected_sarsa"])


@pytest.mark.parametrize("seed", range(3))
def test_taxi_is_solved(seed: int) -> None:
    world = world_of(gymnasium.make("Taxi-v4"))
    agent = QLearning(alpha=0.5, epsilon=0.2, gamma=0.99)
    mind = new_mind(agent, 500, 6)
    walk(mind, agent, world, np.random.default_rng(seed), steps=2_000_000, limit=200)
    best = float(value_iteration(world, 1.0).max(1) @ world.start)
    assert greedy_return(world, mind.known.q, 200) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_slippery_lake_is_crossed_as_well_as_can_be(seed: int) -> None:
    world = world_of(gymnasium.make("FrozenLake-v1"))
    agent = QLearning(alpha=1.0, alpha_power=0.7, epsilon=0.5, gamma=0.99)
    mind = new_mind(agent, 16, 4)
    walk(mind, agent, world, np.random.default_rng(seed), steps=3_000_000, limit=100)
    best = value_iteration(world, 0.99)
    assert policy_values(world, greedy(mind.known.q), 0.99)[0] == pytest.approx(best[0].max(), abs=1e-3)
    played = greedy_return(world, mind.known.q, 100)
    assert 0.73 < played <= 0.744 + 1e-3, "a table for all steps is no better than the best for each"


class Told(gymnasium.Env[Any, Any]):
    """A world without chance as an environment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.observation_space, self.action_space = (
            gymnasium.spaces.Discrete(world.states), gymnasium.spaces.Discrete(world.actions),
        )  # fmt: skip

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.s = int(np.argmax(self.world.start))
        return self.s, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        s, world = self.s, self.world
        self.s = int(world.next_state[s, action, 0])
        return self.s, float(world.reward[s, action, 0]), bool(world.over[s, action, 0]), False, {}


@pytest.mark.parametrize("method", METHODS)
def test_in_an_environment_it_is_the_same_life(method: str) -> None:
    world = random_world(2, outcomes=1, ends=0.3)
    world = World(world.probability, world.next_state, world.reward, world.over, np.eye(6)[3])
    agent = QLearning(method=method, n=2, epsilon=0.3)
    mind = new_mind(agent, 6, 3)
    walked = walk(mind, agent, world, np.random.default_rng(9), steps=400)
    told: list[tuple[float, int]] = []
    life = Life(agent, Told(world), 9)
    rewards = [reward for steps in (150, 250) for reward in life.live(steps, lambda *one: told.append(one))]
    assert sum(total for total, _ in told) == pytest.approx(sum(rewards) - life.total)
    np.testing.assert_array_equal(rewards, walked.rewards)
    np.testing.assert_array_equal(life.mind.known.q, mind.known.q)
    whole = walk(new_mind(agent, 6, 3), agent, world, np.random.default_rng(9), episodes=len(told)).lengths
    assert len(told) > 5
    assert [length for _, length in told] == whole.tolist()


def test_equals_are_chosen_alike_often() -> None:
    rng = np.random.default_rng(1)
    row = np.array([1.0, 3.0, 3.0, 0.0, 3.0])
    counts = np.bincount([greatest(row, rng) for _ in range(6000)], minlength=5)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert (abs(counts[[1, 2, 4]] - 2000) < 5 * np.sqrt(6000 * 2 / 9)).all()
    counts = np.bincount([choose(row, 0.5, rng) for _ in range(6000)], minlength=5)
    assert (abs(counts - [600, 1600, 1600, 600, 1600]) < 5 * np.sqrt(6000 * 0.25)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"method": "td"}, "unknown method 'td'"),
        ({"n": 0}, "a target has 1 reward or more, got n 0"),
        ({"alpha": 0.0}, r"alpha, the rate, lies in \(0, 1\], got 0.0"),
        ({"alpha_power": -1.0}, "the rate falls with a power of 0 or more, got alpha_power -1.0"),
        ({"epsilon": 1.1}, r"epsilon lies in \[0, 1\], got 1.1"),
        ({"gamma": -0.1}, r"gamma lies in \[0, 1\], got -0.1"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        QLearning(**change)


def test_a_walk_has_an_end() -> None:
    agent = QLearning()
    with pytest.raises(ValueError, match="a walk ends after some steps or episodes: give one of them"):
        walk(new_mind(agent, 6, 3), agent, random_world(0), RNG)
