"""Saved, put through a file and restored into fresh environments, they live on bit for bit as if never interrupted."""

import importlib.util
import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tests.envs.through_a_file import identical, through_a_file

from sightline.envs.making import make_environment, make_environments
from sightline.envs.states import (
    cannot_save,
    restore_environment,
    restore_environments,
    save_environment,
    save_environments,
)

PLAIN = [
    "sightline/Catch-v0",
    "sightline/Corridor-v0",
    "sightline/Recall-v0",
    "sightline/BoxWorldSmall-v0",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "CliffWalking-v1",
    "Blackjack-v1",
]
EXTRA = {
    "MiniGrid-DoorKey-5x5-v0": "minigrid",
    "MiniGrid-KeyCorridorS3R1-v0": "minigrid",  # asks whether what is carried is the very object that it hid
    "HalfCheetah-v5": "mujoco",
    "Ant-v5": "mujoco",  # rewards the way since a place that the step before derived
}
LIMIT = 11  # steps: most episodes are cut, so that every save lies near an end too
SAVES = (0, 5, LIMIT)  # before the first step, within, and just after an end


def make(name: str, mode: AutoresetMode = AutoresetMode.SAME_STEP, stack: int = 1, limit: int = LIMIT) -> Any:
    return make_environments(name, 2, arguments={"max_episode_steps": limit}, stack=stack, autoreset=mode)


def play(envs: Any, actions: list[Any]) -> list[Any]:
    rows = []
    for action in actions:
        rows.append(envs.step(action))
        over = rows[-1][2] | rows[-1][3]
        if envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
            rows.append(envs.reset(options={"reset_mask": over}))
    return rows


def check(name: str, mode: AutoresetMode, stack: int = 1, saves: tuple[int, ...] = SAVES, more: int = 24) -> None:
    envs = make(name, mode, stack)
    assert cannot_save(envs) is None
    envs.reset(seed=11)
    envs.action_space.seed(12)
    actions = [envs.action_space.sample() for _ in range(saves[-1] + more)]
    done, states = 0, []
    for n in saves:
        play(envs, actions[done:n])
        states.append(save_environments(envs))
        done = n
    expected = play(envs, actions[done:])
    ended = sum((row[2] | row[3]).sum() for row in expected if len(row) == 5)
    assert ended >= 2
    for n, state in zip(saves, states, strict=True):
        written = through_a_file(state) if n == 5 else json.loads(json.dumps(state))
        assert written == state
        fresh = make(name, mode, stack)
        restore_environments(fresh, written)
        play(fresh, actions[n : saves[-1]])
        assert identical(play(fresh, actions[saves[-1] :]), expected)
        assert fresh.action_space.sample() is not None


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", PLAIN)
def test_an_interrupted_life_equals_an_uninterrupted_one(name: str, mode: AutoresetMode) -> None:
    check(name, mode, saves=SAVES if mode is AutoresetMode.NEXT_STEP else (LIMIT,))


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", ["sightline/Catch-v0", "CartPole-v1", "Pendulum-v1"])
def test_so_does_one_with_stacked_observations(name: str, mode: AutoresetMode) -> None:
    check(name, mode, stack=3, saves=SAVES if mode is AutoresetMode.SAME_STEP else (LIMIT,))


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("name", EXTRA)
def test_so_do_those_of_other_packages(name: str, mode: AutoresetMode) -> None:
    if importlib.util.find_spec(EXTRA[name]) is None:
        pytest.skip(f"{EXTRA[name]} is not installed")
    check(name, mode, saves=(5, LIMIT), more=15)


def test_the_time_of_a_simulation_comes_back() -> None:
    pytest.importorskip("mujoco")
    env, other = (make_environment("HalfCheetah-v5", {}) for _ in range(2))
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())
    restore_environment(other, through_a_file(save_environment(env)))
    assert 0 < env.unwrapped.data.time == other.unwrapped.data.time  # type: ignore[attr-defined]


def test_tables_of_moves_come_back_and_are_written_once_for_all() -> None:
    env, other = (make_environment("Taxi-v4", {}) for _ in range(2))
    env.reset(seed=0)
    restore_environment(other, json.loads(json.dumps(save_environment(env))))
    assert identical([other.step(i % 6) for i in range(30)], [env.step(i % 6) for i in range(30)])
    one, four = (len(json.dumps(save_environments(make_environments("FrozenLake-v1", count)))) for count in (1, 4))
    assert four < 2 * one


def test_every_moment_of_a_life_may_be_saved() -> None:
    """Poles fall when they fall, or the limit cuts them."""
    envs, fresh = (make("CartPole-v1", AutoresetMode.NEXT_STEP, limit=30) for _ in range(2))
    envs.reset(seed=0)
    rng, ends = np.random.default_rng(0), []
    for _ in range(40):
        restore_environments(fresh, save_environments(envs))
        action = rng.integers(2, size=2)
        row = envs.step(action)
        assert identical(fresh.step(action), row)
        ends.append(row[2].sum())
    assert sum(ends) >= 2


def test_random_generators_of_spaces_go_on_too() -> None:
    envs = make("CartPole-v1")
    envs.reset(seed=0)
    envs.action_space.seed(3)
    envs.envs[1].action_space.seed(4)
    state = through_a_file(save_environments(envs))
    fresh = make("CartPole-v1")
    restore_environments(fresh, state)
    for a, b in ((envs.action_space, fresh.action_space), (envs.envs[1].action_space, fresh.envs[1].action_space)):
        assert [a.sample().tolist() for _ in range(9)] == [b.sample().tolist() for _ in range(9)]


def test_wrappers_of_environments_and_of_vectors_are_part_of_it() -> None:
    space = Box(-1, 1, (4,), np.float32)

    def make_one() -> Any:
        return gymnasium.wrappers.TransformObservation(gymnasium.make("CartPole-v1"), np.tanh, space)

    def make_many() -> Any:
        envs = SyncVectorEnv([make_one] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
        averaged = gymnasium.wrappers.vector.NormalizeObservation(envs)
        return gymnasium.wrappers.vector.NormalizeReward(averaged)

    envs, actions = make_many(), [np.array([i % 2, i % 3 % 2]) for i in range(80)]
    envs.reset(seed=0)
    play(envs, actions[:40])
    state = through_a_file(save_environments(envs))
    space.sample()
    expected, fresh = play(envs, actions[40:]), make_many()
    restore_environments(fresh, state)
    assert identical(play(fresh, actions[40:]), expected)


def test_a_single_environment_goes_back_to_where_it_was_as_often_as_one_likes() -> None:
    env = make_environment("CartPole-v1", {"max_episode_steps": 12}, stack=2)
    env.reset(seed=1)
    env.step(0)
    state = save_environment(env)
    before = json.dumps(state)
    lives = []
    for _ in range(3):
        restore_environment(env, state)
        lives.append([env.step(i % 2) for i in range(11)])
        lives[-1].append(env.reset())
    assert identical(lives[0], lives[1])
    assert identical(lives[0], lives[2])
    assert lives[0][-2][3], "the time limit counts from where it was"
    assert json.dumps(state) == before
    env.unwrapped.state[:] = 7
    other = make_environment("CartPole-v1", {"max_episode_steps": 12}, stack=2)
    restore_environment(other, state)
    assert not np.shares_memory(other.unwrapped.state, env.unwrapped.state)
    assert abs(other.unwrapped.state).max() < 1


def test_processes_and_box2d_cannot_be_saved_and_say_so() -> None:
    envs = make_environments("CartPole-v1", 1, workers="async")
    try:
        assert str(cannot_save(envs)).endswith("make them in this process, with workers='sync'")
    finally:
        envs.close()
    if importlib.util.find_spec("Box2D") is None:
        pytest.skip("Box2D is not installed")
    said = cannot_save(make_environments("LunarLander-v3", 1))
    assert str(said).startswith("LunarLander cannot be saved: its attribute world is a Box2D.Box2D b2World, neither")


def test_the_state_of_other_environments_is_refused() -> None:
    envs = make("CartPole-v1")
    envs.reset(seed=0)
    state = save_environments(envs)
    for other, said in (
        (make("CartPole-v1", limit=9), "TimeLimit was saved with max_episode_steps 11, here it has 9"),
        (make("CartPole-v1", AutoresetMode.DISABLED), "saved with autoreset_mode 'SameStep', here it has 'Disabled'"),
        (make("Acrobot-v1"), "2 CartPoleEnv, these are .* 2 AcrobotEnv"),
        (make_environments("CartPole-v1", 3), "it was saved from 1 Serial, 2 TimeLimit, .* 3 CartPoleEnv"),
        (make("CartPole-v1", stack=2), "these are 1 Serial, 2 FrameStackObservation"),
        (
            make_environments("CartPole-v1", 2, arguments={"max_episode_steps": LIMIT, "sutton_barto_reward": True}),
            "CartPoleEnv was saved with sutton_barto_reward None, here it has True",
        ),
    ):
        before = save_environments(other)
        with pytest.raises(ValueError, match=f"the state is of other environments: .*{said}"):
            restore_environments(other, state)
        assert save_environments(other) == before
    with pytest.raises(ValueError, match="a saved environment holds layers, values, long, got nothing"):
        restore_environments(envs, {})
    ours = make_environments("sightline/BoxWorldSmall-v0", 2)
    ours.reset(seed=0)
    with pytest.raises(ValueError, match=r"saved with environment 'BoxWorld.*distractors=.0, 1.*, here it has"):
        restore_environments(
            make_environments("sightline/BoxWorldSmall-v0", 2, arguments={"distractors": (1, 1)}),
            save_environments(ours),
        )
