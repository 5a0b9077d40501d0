"""Dyna against hand-worked updates, plain loops, the book's figures over 300 and 100 runs, and value iteration."""

import heapq
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tests.planning.worlds import random_world, two_states

from sightline.envs.maze import Maze
from sightline.planning import jit
from sightline.planning.tabular import World, value_iteration, world_of
from sightline.rl.tabular.dyna import PLANNING, Dyna, plan_at_random, plan_fully
from sightline.rl.tabular.lives import Life, Mind, new_mind, walk
from sightline.rl.tabular.sweeping import NOWHERE, empty_queue, lead, pop, push
from sightline.rl.tabular.tables import NEVER, note, nothing_known


def test_planning_by_hand() -> None:
    """One thing tried, so that there is one thing to remember: 0 -1, reward 2-> 1, which is worth 4."""
    known = nothing_known(3, 2)
    known.q[1] = [4, 1]
    note(known, 0, 1, 2.0, 1, False)
    plan_at_random(known, 1, 0.5, 0.5, 0.0, False, np.random.default_rng(0))
    assert known.q[0].tolist() == [0, 2]  # half way to 2 + 4 / 2
    plan_at_random(known, 1, 0.5, 0.5, 0.0, False, np.random.default_rng(0))
    assert known.q[0].tolist() == [0, 3]
    assert known.counts.tolist() == [1, 1, 2]
    note(known, 0, 1, 2.0, 1, True)
    plan_fully(known, 0.5, 1e-9)
    assert known.q[0].tolist() == [0, 2]
    assert known.states[0] == 0
    assert known.counts[1] == 1, "a state is discovered once"


def test_the_bonus_by_hand() -> None:
    """After 9 steps: what was tried last at step 4 has waited 5, what was never tried 9 and leads nowhere."""
    known = nothing_known(2, 2)
    for step in range(9):
        note(known, 1 if step != 4 else 0, 0, 1.0, 1, True)
    found = {}
    for seed in range(40):
        known.q[:] = 0
        plan_at_random(known, 1, 1.0, 0.9, 0.1, True, np.random.default_rng(seed))
        (moved,) = np.argwhere(known.q)
        found[tuple(moved.tolist())] = known.q[tuple(moved)]
    expected = {(0, 0): 1 + 0.1 * 5**0.5, (0, 1): 0.1 * 9**0.5, (1, 0): 1 + 0.1, (1, 1): 0.1 * 9**0.5}
    assert found == pytest.approx(expected)


def runs(agent: Dyna, count: int, **until: int) -> np.ndarray:
    world, lengths = world_of(Maze()), []
    for seed in range(count):
        lengths.append(walk(new_mind(agent, 54, 4), agent, world, np.random.default_rng(seed), **until).lengths)
    return np.array(lengths)


@pytest.mark.parametrize(
    ("n", "first_below_20", "early"),
    [(0, 29, {0: (893, 46), 1: (715, 37), 9: (129, 20)}), (5, 6, {0: (908, 47), 1: (154, 4), 4: (22.4, 1)}),
     (50, 3, {0: (910, 47), 1: (40, 1), 2: (17.5, 0.4)})],
)  # fmt: skip
def test_figure_8_2(n: int, first_below_20: int, early: dict[int, tuple[float, float]]) -> None:
    """The means of an independent program over as many runs, with their standard errors."""
    lengths = runs(Dyna(n=n, alpha=0.1, epsilon=0.1, gamma=0.95), 300, episodes=50)
    mean, error = lengths.mean(0), lengths.std(0) / np.sqrt(300)
    assert abs(int((mean < 20).argmax()) + 1 - first_below_20) <= 1
    for episode, (other, spread) in early.items():
        assert abs(mean[episode] - other) < 4 * np.hypot(error[episode], spread), episode
    assert 16.4 < mean[40:].mean() < 18.2


def lived(plan: str, agent: Dyna, steps: int, seeds: int) -> np.ndarray:
    """Rewards of every step of each life, the walls moving where they do."""
    return np.array([life_through(Maze(plan), agent, steps, seed)[0] for seed in range(seeds)])


def life_through(env: Maze, agent: Dyna, steps: int, seed: int) -> tuple[np.ndarray, Mind]:
    """One of them, and what it knows in the end."""
    assert env.change is not None
    before = world_of(env)
    env.steps = env.change
    mind, rng = new_mind(agent, 54, 4), np.random.default_rng(seed)
    parts = [(before, env.change), (world_of(env), steps - env.change)]
    return np.concatenate([walk(mind, agent, world, rng, steps=n).rewards for world, n in parts]), mind


def test_figures_8_4_and_8_5() -> None:
    """Over 100 lives: the bonus gets around the wall sooner, and it alone finds the shortcut."""
    late = {}
    for planning in ("random", "plus"):
        agent = Dyna(planning=planning, n=10, alpha=1.0, kappa=1e-4)
        late[planning] = lived("blocking", agent, 3000, 100)[:, 1000:].sum(1)
    apart = late["plus"].mean() - late["random"].mean()
    assert apart > 4 * np.hypot(*(one.std() / 10 for one in late.values()))
    assert (late["plus"] > 0).mean() > 0.95
    late = {}
    for planning in ("random", "plus"):
        agent = Dyna(planning=planning, n=50, alpha=1.0, kappa=1e-3)
        late[planning] = lived("shortcut", agent, 6000, 100)[:, 5000:].sum(1)
    per_step = {name: one / 1000 for name, one in late.items()}
    assert (per_step["random"] < 1 / 15).mean() > 0.9, "the old way takes 16 steps and more"
    assert (per_step["plus"] > 1 / 15).mean() > 0.9, "the new one 10"


@pytest.mark.parametrize("planning", PLANNING)
@pytest.mark.parametrize("seed", range(2))
def test_all_planning_ends_at_value_iteration(planning: str, seed: int) -> None:
    world = random_world(seed, states=5, actions=2, outcomes=1, ends=0.2)
    agent = Dyna(planning=planning, n=20, alpha=0.5, epsilon=1.0, gamma=0.8, kappa=0.0, theta=1e-12)
    mind = new_mind(agent, 5, 2)
    walk(mind, agent, world, np.random.default_rng(seed), steps=6000, limit=20)
    assert mind.known.tried.min() > NEVER
    np.testing.assert_allclose(mind.known.q, value_iteration(world, 0.8), atol=1e-9)


def plain_sweeping(agent: Dyna, world: World, rng: np.random.Generator, steps: int) -> tuple[np.ndarray, int]:
    """Section 8.4's pseudo-code with dictionaries and scans, up to where two are first: the book leaves that open."""
    q = np.zeros((world.states, world.actions))
    model: dict[tuple[int, int], tuple[float, int, bool]] = {}
    waiting: dict[tuple[int, int], float] = {}

    def action(s: int) -> int:
        if rng.random() < agent.epsilon:
            return int(rng.random() * world.actions)
        best = np.flatnonzero(q[s] == q[s].max())
        return int(best[0] if len(best) == 1 else best[int(rng.random() * len(best))])

    def gap(pair: tuple[int, int]) -> float:
        reward, to, over = model[pair]
        return float(reward + (0 if over else agent.gamma * q[to].max()) - q[pair])

    def wait(pair: tuple[int, int]) -> None:
        size = abs(gap(pair))
        if size > agent.theta:
            waiting[pair] = max(size, waiting.get(pair, 0))

    s = int(world.start.argmax())
    a = action(s)
    for step in range(steps):
        before = q.copy()
        to, over = int(world.next_state[s, a, 0]), bool(world.over[s, a, 0])
        model[s, a] = (float(world.reward[s, a, 0]), to, over)
        wait((s, a))
        for _ in range(agent.n):
            if not waiting:
                break
            pair = max(waiting, key=lambda one: waiting[one])
            top = sorted(waiting.values())[-2:]
            if len(top) == 2 and top[1] - top[0] < 1e-12:
                return before, step
            del waiting[pair]
            q[pair] += agent.alpha * gap(pair)
            for other, (_, leads, _) in list(model.items()):
                if leads == pair[0]:
                    wait(other)
        s = int(world.start.argmax()) if over else to
        a = action(s)
    return q, steps


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 4])
def test_sweeping_is_the_books(seed: int, n: int) -> None:
    world = random_world(seed, states=7, actions=3, outcomes=1)
    world = World(world.probability, world.next_state, world.reward, world.over, np.eye(7)[0])
    agent = Dyna(planning="sweeping", n=n, alpha=0.7, epsilon=0.5, gamma=0.9, theta=1e-3)
    mind = new_mind(agent, 7, 3)
    q, steps = plain_sweeping(agent, world, np.random.default_rng(seed), 400)
    assert steps > 15
    walk(mind, agent, world, np.random.default_rng(seed), steps=steps)
    np.testing.assert_allclose(mind.known.q, q, atol=1e-12)


def test_sweeping_needs_fewer_updates() -> None:
    """Example 8.4's point, in the Dyna maze: updates until the start is worth nine tenths of what it can be."""
    world, needed = world_of(Maze()), {}
    best = value_iteration(world, 0.95)
    for planning in ("random", "sweeping"):
        counts = []
        for seed in range(10):
            agent = Dyna(planning=planning, n=5, alpha=1.0)
            mind, rng = new_mind(agent, 54, 4), np.random.default_rng(seed)
            while mind.known.q[18].max() < 0.9 * best[18].max():
                walk(mind, agent, world, rng, steps=10)
            counts.append(int(mind.known.counts[2]))
        needed[planning] = np.median(counts)
    assert needed["sweeping"] < needed["random"] / 10


def test_the_queue_gives_the_highest_first() -> None:
    rng, queue = np.random.default_rng(0), empty_queue(10, 5)
    waiting: dict[int, float] = {}
    for _ in range(3000):
        if waiting and rng.random() < 0.4:
            best = max(waiting, key=lambda one: waiting[one])
            assert pop(queue) == best
            del waiting[best]
        else:
            pair, priority = int(rng.integers(50)), float(rng.random())
            push(queue, pair, priority)
            waiting[pair] = max(priority, waiting.get(pair, 0.0))
        assert queue.size[0] == len(waiting)
        assert set(np.flatnonzero(queue.place != NOWHERE)) == set(waiting)
    assert [waiting[pop(queue)] for _ in range(len(waiting))] == heapq.nlargest(50, waiting.values())


def test_who_leads_where_is_kept_when_it_changes() -> None:
    rng, queue = np.random.default_rng(1), empty_queue(6, 3)
    now: dict[int, int] = {}
    for _ in range(2000):
        pair, to = int(rng.integers(18)), int(rng.integers(6))
        lead(queue, pair, now.get(pair, NOWHERE), to)
        now[pair] = to
        for state in range(6):
            found, one = [], queue.first[state]
            while one != NOWHERE:
                found.append(int(one))
                one = queue.following[one]
            assert sorted(found) == sorted(pair for pair, leads in now.items() if leads == state)


@pytest.mark.parametrize("planning", PLANNING)
def test_in_the_maze_itself_it_is_the_same_life(planning: str) -> None:
    """Step by step in Gymnasium's environment, through a change of its walls in the middle of an episode."""
    agent = Dyna(planning=planning, n=5, kappa=1e-2)
    rewards, mind = life_through(Maze("blocking", change=333), agent, 1000, 4)
    life = Life(agent, Maze("blocking", change=333), 4)
    np.testing.assert_array_equal(list(life.live(1000)), rewards)
    np.testing.assert_array_equal(life.mind.known.q, mind.known.q)
    np.testing.assert_array_equal(life.mind.known.tried, mind.known.tried)


ALONE = """
import numpy as np
from sightline.envs.maze import Maze
from sightline.planning.tabular import world_of
from sightline.rl.tabular.dyna import Dyna
from sightline.rl.tabular.lives import new_mind, walk
from sightline.rl.tabular.q_learning import QLearning
for agent in (Dyna(planning="plus", n=3), Dyna(planning="sweeping", n=3), QLearning(method="sarsa", n=2)):
    mind = new_mind(agent, 54, 4)
    walk(mind, agent, world_of(Maze()), np.random.default_rng(3), steps=300)
    print(mind.known.q.tobytes().hex())
"""


def test_without_numba_it_is_the_same_life() -> None:
    if not jit.COMPILED:
        pytest.skip("Numba is not installed: there is nothing to compare with")
    found = [
        subprocess.run(
            [sys.executable, "-c", ALONE], check=True, capture_output=True, text=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
        ).stdout
        for disabled in ("0", "1")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) > 1000


def test_what_calls_a_changed_function_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    before = jit.kept_in()
    assert before == jit.kept_in()
    monkeypatch.setattr(jit, "ROOMS", ("planning",))
    assert jit.kept_in() != before
    monkeypatch.setattr(jit.os, "access", lambda *_: False)
    monkeypatch.setattr(jit.Path, "home", lambda: tmp_path)
    assert jit.kept_in().parent == tmp_path / ".cache" / "sightline"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"planning": "mcts"}, "unknown planning 'mcts'"),
        ({"n": -1}, "n is 0 or more, got -1"),
        ({"kappa": -1.0}, "kappa is 0 or more, got -1.0"),
        ({"alpha": 2.0}, r"alpha, the rate, lies in \(0, 1\], got 2.0"),
        ({"planning": "full", "theta": 0.0}, "full planning ends when no value moves by theta"),
        ({"planning": "full", "gamma": 1.0}, "give a theta above 0 and a gamma below 1"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Dyna(**change)


def test_a_hand_worked_world_is_learned() -> None:
    world, q = two_states()
    agent = Dyna(planning="full", gamma=0.5, epsilon=1.0, theta=1e-12)
    mind = new_mind(agent, 2, 2)
    walk(mind, agent, world, np.random.default_rng(0), steps=50)
    np.testing.assert_allclose(mind.known.q, q, atol=1e-9)
