"""Catch against hand-played episodes, pictures written by hand, and every state there is."""

import itertools

import numpy as np
import pytest

from sightline.envs.catch import BALL, LEFT, PADDLE, RIGHT, STAY, Catch, CatchState
from sightline.envs.environment import draw

RNG = np.random.default_rng(0)


def begin(*columns: int) -> CatchState:
    b = len(columns)
    return CatchState(np.zeros(b, dtype=np.int64), np.array(columns), np.full(b, 2))


def board(pixels: np.ndarray) -> list[str]:
    return ["".join("#" if cell else "." for cell in row) for row in pixels[..., 0]]


def test_an_episode_played_by_hand() -> None:
    catch, state = Catch(rows=4), begin(0)
    assert board(catch.observe(state)[0]) == ["#....", ".....", ".....", "..#.."]
    seen = []
    for action in (LEFT, STAY, LEFT):
        state, observation, reward, terminated = catch.step(state, np.array([action]), RNG)
        seen.append((board(observation[0]), float(reward[0]), bool(terminated[0])))
    assert seen == [
        ([".....", "#....", ".....", ".#..."], 0.0, False),
        ([".....", ".....", "#....", ".#..."], 0.0, False),
        ([".....", ".....", ".....", "#...."], 1.0, True),
    ]


def test_a_miss_costs_one_and_shows_ball_and_paddle() -> None:
    catch, state = Catch(rows=3), begin(4)
    for action in (LEFT, STAY):
        state, observation, reward, terminated = catch.step(state, np.array([action]), RNG)
    assert board(observation[0]) == [".....", ".....", ".#..#"]
    assert (reward.tolist(), terminated.tolist()) == ([-1.0], [True])


def test_the_paddle_stays_on_the_board() -> None:
    catch, state = Catch(), begin(0, 0)
    for _ in range(5):
        state, *_ = catch.step(state, np.array([LEFT, RIGHT]), RNG)
    assert state.paddle.tolist() == [0, 4]


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 3), (3, 4), (2, 1)])
def test_the_best_policy_always_catches_and_every_plan_is_judged_by_where_it_ends(rows: int, columns: int) -> None:
    catch, best = Catch(rows=rows, columns=columns), np.full(columns, -np.inf)
    for plan in itertools.product(range(3), repeat=rows - 1):
        state = CatchState(
            np.zeros(columns, dtype=np.int64), np.arange(columns), np.full(columns, columns // 2, dtype=np.int64)
        )
        place, total = columns // 2, np.zeros(columns)
        for step, action in enumerate(plan):
            place = sorted((0, place + action - 1, columns - 1))[1]
            state, _, reward, terminated = catch.step(state, np.full(columns, action), RNG)
            total += reward
            assert terminated.tolist() == [step == rows - 2] * columns
        assert total.tolist() == [1.0 if place == column else -1.0 for column in range(columns)]
        best = np.maximum(best, total)
    assert (best == 1).all()


def test_values_by_backward_induction_over_all_states_are_one_where_the_ball_is_in_reach() -> None:
    catch = Catch(rows=5, columns=5)
    ball, paddle = (axis.ravel() for axis in np.meshgrid(np.arange(5), np.arange(5), indexing="ij"))
    value = np.zeros((5, 5))  # of the row below the one at hand; nothing follows the last one
    for row in reversed(range(4)):
        options = []
        for action in range(3):
            state = CatchState(np.full(25, row), ball, paddle)
            after, _, reward, over = catch.step(state, np.full(25, action), RNG)
            options.append(reward + np.where(over, 0, value[after.ball_column, after.paddle]))
        value = np.max(options, axis=0).reshape(5, 5)
        reach = np.abs(ball - paddle) <= 4 - row
        assert value.ravel().tolist() == np.where(reach, 1.0, -1.0).tolist()


@pytest.mark.parametrize("scale", [1, 3])
def test_colours_and_scale(scale: int) -> None:
    state = CatchState(np.array([1, 2]), np.array([0, 4]), np.array([3, 4]))
    colour = Catch(rows=3, scale=scale, channels=3).observe(state)
    cells = np.zeros((2, 3, 5, 3), dtype=np.uint8)
    cells[0, 1, 0], cells[0, 2, 3], cells[1, 2, 4] = BALL, PADDLE, PADDLE
    assert colour.dtype == np.uint8
    assert np.array_equal(colour, np.kron(cells, np.ones((1, scale, scale, 1), dtype=np.uint8)))
    white = Catch(rows=3, scale=scale).observe(state)
    assert white.shape == (2, *Catch(rows=3, scale=scale).observation_shape) == (2, 3 * scale, 5 * scale, 1)
    assert np.array_equal(white[..., 0], np.where(colour.any(-1), 255, 0))
    assert Catch(rows=3).picture(state).shape == (2, 48, 80, 3)


def test_balls_begin_everywhere_equally_often_and_a_generator_to_each_draws_for_itself() -> None:
    state, observation = Catch().reset(np.random.default_rng(0), 5000)
    assert np.abs(np.bincount(state.ball_column) / 5000 - 0.2).max() < 0.025
    assert np.array_equal(observation, Catch().observe(state))
    some = [np.random.default_rng(i) for i in range(3)]
    apart, _ = Catch().reset(some, 3)
    assert apart.ball_column.tolist() == [np.random.default_rng(i).integers(5) for i in range(3)]
    with pytest.raises(ValueError, match="4 environments need one generator for all or one to each, got 3"):
        draw(some, 5, 4)


def test_nothing_is_changed_in_place() -> None:
    state = begin(0, 1)
    kept = [array.copy() for array in vars(state).values()]
    Catch().step(state, np.array([LEFT, RIGHT]), RNG)
    assert all(np.array_equal(a, b) for a, b in zip(kept, vars(state).values(), strict=True))


@pytest.mark.parametrize("options", [{"rows": 2}, {"columns": 0}, {"rows": 1, "columns": 1}])
def test_a_board_on_which_balls_cannot_be_caught_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"Catch needs a column and at least \d+ rows"):
        Catch(**options)


def test_a_scale_of_zero_and_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="got scale 0, channels 2"):
        Catch(scale=0, channels=2)
