"""The corridor against the book's numbers, a linear system, and episodes played out."""

import numpy as np
import pytest

from sightline.envs.corridor import BEST_RIGHT, LEFT, RIGHT, Corridor, CorridorState, corridor_value

RNG = np.random.default_rng(0)


def test_every_transition_is_the_books() -> None:
    place = np.array([0, 0, 1, 1, 2, 2])
    action = np.array([LEFT, RIGHT] * 3)
    after, observation, reward, terminated = Corridor().step(CorridorState(place), action, RNG)
    assert after.place.tolist() == [0, 1, 2, 0, 1, 3]  # the wall, right; switched; left, the goal
    assert reward.tolist() == [-1.0] * 6
    assert terminated.tolist() == [False] * 5 + [True]
    assert observation.dtype == np.float32
    assert observation.tolist() == [[1.0]] * 6, "all states look alike"


def test_states_are_told_apart_on_request_and_the_way_out_then_takes_three_steps() -> None:
    corridor = Corridor(show_state=True)
    state, observation = corridor.reset(RNG, 1)
    total, terminated = 0.0, np.array([False])
    while not terminated[0]:
        action = np.array([(RIGHT, LEFT, RIGHT)[int(observation[0].argmax())]])
        state, observation, reward, terminated = corridor.step(state, action, RNG)
        total += float(reward[0])
    assert total == -3
    assert observation.tolist() == [[0.0, 0.0, 0.0]]
    assert corridor.observe(CorridorState(np.arange(3))).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("right", [0.05, 0.3, BEST_RIGHT, 0.9, 0.95])
def test_the_value_solves_bellmans_equation_of_the_environment_itself(right: float) -> None:
    chances = np.zeros((3, 4))
    for action, chance in ((LEFT, 1 - right), (RIGHT, right)):
        after, _, reward, _ = Corridor().step(CorridorState(np.arange(3)), np.full(3, action), RNG)
        chances[np.arange(3), after.place] += chance
        assert (reward == -1).all()
    value = np.linalg.solve(np.eye(3) - chances[:, :3], np.full(3, -1.0))
    assert corridor_value(right) == pytest.approx(value[0], rel=1e-9)


def test_the_books_numbers() -> None:
    assert round(BEST_RIGHT, 2) == 0.59
    assert round(corridor_value(BEST_RIGHT), 1) == -11.7  # the book cuts it off, to -11.6
    assert corridor_value(BEST_RIGHT) == pytest.approx(-(6 + 4 * 2**0.5))
    assert (round(corridor_value(0.95)), round(corridor_value(0.05))) == (-44, -82)
    grid = np.linspace(0.01, 0.99, 9801)
    assert grid[np.argmax([corridor_value(p) for p in grid])] == pytest.approx(BEST_RIGHT, abs=1e-4)
    assert corridor_value(0.0) == corridor_value(1.0) == -np.inf


def test_the_mean_return_of_played_episodes_is_the_value() -> None:
    rng, b = np.random.default_rng(3), 4000
    state, _ = Corridor().reset(rng, b)
    over, total = np.zeros(b, dtype=bool), np.zeros(b)
    for _ in range(400):
        action = (rng.random(b) < BEST_RIGHT).astype(np.int64)
        state, _, reward, _ = Corridor().step(state, action, rng)
        total += np.where(over, 0, reward)
        over |= state.place == 3
    assert over.all()
    error = total.std() / b**0.5
    assert abs(total.mean() - corridor_value(BEST_RIGHT)) < 4 * error


def test_the_picture_shows_where_the_walker_is() -> None:
    pictures = Corridor().picture(CorridorState(np.arange(4)))
    assert pictures.shape == (4, 32, 128, 3)
    walker = (pictures == (240, 130, 30)).all(-1)
    assert [(np.flatnonzero(one.any(0)) // 32).tolist() for one in walker] == [[i] * 32 for i in range(4)]
