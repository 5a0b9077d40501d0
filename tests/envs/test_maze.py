"""The mazes: walls hold, the change comes at its very step, and what is told of the outcomes is what happens."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sightline.envs  # noqa: F401  registers
from sightline.envs.making import make_environments
from sightline.envs.maze import COLUMNS, DOWN, LEFT, PLANS, RIGHT, ROWS, UP, Maze, number
from sightline.envs.states import restore_environments, save_environments


@pytest.mark.parametrize("plan", PLANS)
def test_outcomes_are_what_happens(plan: str) -> None:
    env = Maze(plan)
    to, reward, over, start = env.outcomes()
    assert env.reset(seed=0)[0] == start == number(PLANS[plan].start)
    for cell, action in itertools.product(itertools.product(range(ROWS), range(COLUMNS)), range(4)):
        env.place, env.steps = cell, 0
        found = env.step(action)
        assert found[:4] == (to[number(cell), action], reward[number(cell), action], over[number(cell), action], False)
        assert env.place not in env.walls or env.place == cell
        rows, columns = (abs(a - b) for a, b in zip(env.place, cell, strict=True))
        assert rows + columns <= 1


def test_the_way_of_the_book_through_the_dyna_maze() -> None:
    env = Maze("dyna")
    env.reset()
    way = [DOWN, DOWN, RIGHT, RIGHT, RIGHT, RIGHT, UP, RIGHT, RIGHT, RIGHT, RIGHT, UP, UP, UP]
    rewards = [env.step(action)[1:3] for action in way]
    assert rewards == [(0.0, False)] * 13 + [(1.0, True)]
    env.reset()
    assert [env.step(action)[0] for action in (LEFT, RIGHT, RIGHT, UP)] == [18, 19, 19, 10], "walls and the border hold"


@pytest.mark.parametrize(("plan", "change"), [("blocking", 1000), ("shortcut", 3000), ("blocking", 5)])
def test_the_walls_move_at_the_very_step(plan: str, change: int) -> None:
    env = Maze(plan, change=change) if change == 5 else Maze(plan)
    env.reset(seed=0)
    open_before, open_after = ((3, 8), (3, 0)) if plan == "blocking" else ((3, 0), (3, 8))
    assert open_before not in env.walls
    assert open_after in env.walls
    for step in range(change):
        assert env.walls == PLANS[plan].walls, step
        if env.step(DOWN)[2]:
            env.reset()
        if step == change // 2:
            env.reset()  # steps are of the whole life
    assert env.walls == PLANS[plan].later
    env.place = open_after
    assert env.step(DOWN)[0] == number((4, open_after[1])), "who stands there walks out"


def test_by_name_with_options_pictures_and_exact_saving() -> None:
    for plan, name in (("dyna", "DynaMaze"), ("blocking", "BlockingMaze"), ("shortcut", "ShortcutMaze")):
        env = gymnasium.make(f"sightline/{name}-v0", render_mode="rgb_array")
        assert env.unwrapped.plan == PLANS[plan]  # type: ignore[attr-defined]
        env.reset()
        picture = env.render()
        assert isinstance(picture, np.ndarray)
        assert picture.shape == (192, 288, 3)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 4
        check_env(gymnasium.make(f"sightline/{name}-v0").unwrapped, skip_render_check=True)
    envs = make_environments("sightline/BlockingMaze-v0", 2, arguments={"change": 6})
    envs.reset(seed=0)
    for action in (UP, UP, RIGHT):
        envs.step(np.array([action, LEFT]))
    other = make_environments("sightline/BlockingMaze-v0", 2, arguments={"change": 6})
    restore_environments(other, save_environments(envs))
    for action in (DOWN, RIGHT, UP, UP, LEFT):
        np.testing.assert_array_equal(envs.step(np.array([action, UP]))[0], other.step(np.array([action, UP]))[0])


def test_mazes_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="unknown maze 'hedge': it is one of dyna, blocking, shortcut"):
        Maze("hedge")
    with pytest.raises(ValueError, match="the dyna maze changes never"):
        Maze("dyna", change=5)
    with pytest.raises(ValueError, match="the blocking maze changes after step 0 or later"):
        Maze("blocking", change=-1)
