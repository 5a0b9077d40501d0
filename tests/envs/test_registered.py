"""What anybody gets who asks Gymnasium for our environments, and what is said to who asks for the impossible."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from torch import nn

import sightline.envs  # noqa: F401  registers
from sightline.envs.catch import Catch
from sightline.envs.corridor import Corridor
from sightline.envs.environment import Environment, draw
from sightline.envs.gymnasium import Single, Vector
from sightline.envs.registered import register
from sightline.run import load_checkpoint, save_checkpoint

IDS = [f"sightline/{name}-v0" for name in ("Catch", "Corridor", "Recall", "BoxWorld", "BoxWorldSmall")]
each_id = pytest.mark.parametrize("name", IDS)


@each_id
def test_gymnasiums_own_checker_is_content_and_warns_of_nothing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(gymnasium.make(name).unwrapped)


@each_id
def test_one_and_many_are_made_by_name_with_options(name: str) -> None:
    env = gymnasium.make(name, render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert info == {}
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert (picture.dtype, picture.ndim, picture.shape[-1]) == (np.uint8, 3, 3)
    many = gymnasium.make_vec(
        name, 3, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP, render_mode="rgb_array"
    )
    assert isinstance(many.unwrapped, Vector)
    assert many.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert np.array_equal(many.reset(seed=0)[0][0], observation)
    pictures = many.render()
    assert pictures is not None
    assert np.array_equal(pictures[0], picture)
    assert gymnasium.make_vec(name, 2).unwrapped.max_episode_steps == env.spec.max_episode_steps
    assert gymnasium.make_vec(name, 2, max_episode_steps=5).unwrapped.max_episode_steps == 5


def test_options_of_an_environment_are_keywords_and_a_wrong_one_is_an_error() -> None:
    env = gymnasium.make("sightline/Catch-v0", scale=4, channels=3)
    assert env.observation_space.shape == (40, 20, 3)
    many = gymnasium.make_vec("sightline/BoxWorldSmall-v0", 2, size=7, autoreset_mode="Disabled")
    assert many.observation_space.shape == (2, 9, 9, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        gymnasium.make("sightline/Catch-v0", colour=True)


def test_a_fresh_process_finds_them_through_the_module_and_registering_twice_is_quiet() -> None:
    script = (
        "import warnings; warnings.simplefilter('error')\n"
        "import gymnasium\n"
        "env = gymnasium.make('sightline.envs:sightline/Catch-v0')\n"
        "many = gymnasium.make_vec('sightline.envs:sightline/Catch-v0', 2, vectorization_mode='vector_entry_point')\n"
        "print(env.spec.id, many.spec.id, len(env.spec.to_json()) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.stdout) == ("", "sightline/Catch-v0 sightline/Catch-v0 True\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()


def test_gymnasiums_processes_can_run_them_too() -> None:
    many = gymnasium.make_vec("sightline.envs:sightline/Catch-v0", 2, "async")
    ours = gymnasium.make_vec("sightline/Catch-v0", 2)
    try:
        assert isinstance(many, AsyncVectorEnv)
        assert np.array_equal(many.reset(seed=4)[0], ours.reset(seed=4)[0])
        action = np.array([0, 2])
        for one, other in zip(many.step(action)[:4], ours.step(action)[:4], strict=True):
            assert np.array_equal(one, other)
    finally:
        many.close()


def test_returned_observations_stay_as_they_were() -> None:
    for mode in AutoresetMode:
        env = Vector(Catch(rows=3), 2, autoreset_mode=mode)
        seen = [env.reset(seed=0)[0]]
        kept = [seen[0].copy()]
        for _ in range(2):
            seen.append(env.step(np.array([0, 2]))[0])
            kept.append(seen[-1].copy())
        seen.append(env.reset(options={"reset_mask": np.array([True, False])})[0])
        assert all(np.array_equal(a, b) for a, b in zip(seen, kept, strict=False))
        assert not any(np.shares_memory(a, b) for i, a in enumerate(seen) for b in seen[:i])


class Dice:
    """An environment that draws at every step and ends when it draws high, so that episodes end apart."""

    num_actions, observation_shape, observation_dtype = 1, (1,), np.float32

    def reset(self, rng: Any, b: int) -> tuple[Any, np.ndarray]:
        state = Corridor().reset(rng, b)[0]
        return state, self.observe(state)

    def step(self, state: Any, action: np.ndarray, rng: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        roll = draw(rng, 1000, len(action))
        after = type(state)(state.place + 1)
        return after, self.observe(after), roll.astype(np.float64), roll > 600

    def observe(self, state: Any) -> np.ndarray:
        return (state.place[:, None] / 4).astype(np.float32)

    def picture(self, state: Any) -> np.ndarray:
        return np.zeros((len(state.place), 1, 1, 3), dtype=np.uint8)


def test_noise_is_the_same_in_every_mode_because_rows_of_resets_draw_none() -> None:
    rewards: dict[AutoresetMode, list[float]] = {}
    dice: Environment[Any] = Dice()
    for mode in AutoresetMode:
        env = Vector(dice, 3, autoreset_mode=mode, max_episode_steps=4)
        env.reset(seed=0)
        rows, resetting = [], np.zeros(3, dtype=bool)
        for _ in range(40):
            _, reward, terminated, truncated, _ = env.step(np.zeros(3, dtype=np.int64))
            rows += [reward[2]] if not resetting[2] else []
            done = terminated | truncated
            resetting = done & (mode is AutoresetMode.NEXT_STEP)
            if mode is AutoresetMode.DISABLED and done.any():
                env.reset(options={"reset_mask": done})
        rewards[mode] = rows
    alone = np.random.default_rng(2)  # nobody else draws from the third environment's generator
    assert rewards[AutoresetMode.SAME_STEP] == [alone.integers(1000) for _ in range(40)]
    assert rewards[AutoresetMode.SAME_STEP] == rewards[AutoresetMode.DISABLED]
    count = len(rewards[AutoresetMode.NEXT_STEP])
    assert 20 < count < 32, "some of the forty rows are resets"
    assert rewards[AutoresetMode.NEXT_STEP] == rewards[AutoresetMode.SAME_STEP][:count]


def test_a_checkpoint_holds_the_state_of_environments(tmp_path: Path) -> None:
    env = gymnasium.make_vec("sightline/BoxWorldSmall-v0", 3).unwrapped
    assert isinstance(env, Vector)
    env.reset(seed=1)
    for _ in range(5):
        env.step(np.array([0, 1, 2]))
    network = nn.Linear(1, 1)
    save_checkpoint(tmp_path, network, step=5, extra={"environment": env.get_state()})
    expected = [env.step(np.array([3, 1, 2]))[0] for _ in range(70)]
    other = gymnasium.make_vec("sightline/BoxWorldSmall-v0", 3).unwrapped
    assert isinstance(other, Vector)
    other.set_state(load_checkpoint(tmp_path, network).extra["environment"])
    assert all(np.array_equal(other.step(np.array([3, 1, 2]))[0], one) for one in expected)


def test_a_saved_state_and_the_environment_do_not_share_memory() -> None:
    env, twin = begun(3), begun(3)
    for one in (env, twin):
        one.step(np.array([0, 1, 2]))
    saved = env.get_state()
    env.reset(options={"reset_mask": np.ones(3, dtype=bool)})
    twin.set_state(saved)
    assert saved["over"].all()
    assert saved["state"]["ball_row"].tolist() == [1, 1, 1]
    paddle, ball = (twin.get_state()["state"][name].tolist() for name in ("paddle", "ball_column"))
    saved["state"]["paddle"][:] = 7
    saved["over"][:] = False
    after = twin.get_state()
    after["state"]["ball_column"][:] = 7
    assert twin.get_state()["state"]["paddle"].tolist() == paddle
    assert twin.get_state()["state"]["ball_column"].tolist() == ball
    assert twin.get_state()["over"].all()


def begun(b: int = 2, mode: AutoresetMode | str = "Disabled") -> Vector:
    env = Vector(Catch(rows=2, columns=3), b, autoreset_mode=mode)
    env.reset(seed=0)
    return env


def test_a_step_that_cannot_be_taken_says_why() -> None:
    with pytest.raises(ValueError, match="step was called before reset: call reset first"):
        Vector(Catch(), 2).step(np.array([0, 0]))
    with pytest.raises(ValueError, match="no episode is going on: call reset first"):
        Single(Catch()).step(0)
    env = begun()
    with pytest.raises(ValueError, match="whole numbers from 0 to 2, environment 1 got 3"):
        env.step(np.array([0, 3]))
    with pytest.raises(ValueError, match=r"actions are 2 whole numbers below 3, got int64 of shape \(3,\)"):
        env.step(np.array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"got float64 of shape \(2,\)"):
        env.step(np.array([0.0, 1.0]))
    env.step(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"environments \[0, 1\] are over and autoreset is disabled: reset them first"):
        env.step(np.array([0, 1]))
    single = Single(Catch(rows=2, columns=3))
    single.reset()
    single.step(np.int64(1))
    with pytest.raises(ValueError, match="call reset first"):
        single.step(1)


def test_a_reset_that_makes_no_sense_says_why() -> None:
    env = begun(3)
    for mask, message in (
        ([True, False, True], "got a list"),
        (np.array([1, 0, 1]), r"got int64 of shape \(3,\)"),
        (np.array([True]), r"got bool of shape \(1,\)"),
        (np.zeros(3, dtype=bool), "nowhere True"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="were never reset: reset all of them first"):
        Vector(Catch(), 2).reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="3 environments need as many seeds, got 2"):
        env.reset(seed=[1, 2])


def test_a_state_that_does_not_fit_says_why() -> None:
    saved = begun().get_state()
    with pytest.raises(ValueError, match="before the first reset: call reset first"):
        Vector(Catch(), 2).get_state()
    with pytest.raises(ValueError, match="Corridor saves place, got ball_row, ball_column, paddle"):
        Vector(Corridor(), 2).set_state(saved)
    with pytest.raises(ValueError, match=r"ball_row of 3 environments is int64 of shape \(3,\), the saved one is"):
        begun(3).set_state(saved)
    with pytest.raises(ValueError, match="a saved environment holds state, random, seeds, steps, over, got nothing"):
        begun().set_state({})


def test_other_impossible_wishes() -> None:
    with pytest.raises(ValueError, match="at least one environment, got num_envs 0"):
        Vector(Catch(), 0)
    with pytest.raises(ValueError, match="render_mode 'rgb_array' or not at all, got 'ansi'"):
        Single(Catch(), render_mode="ansi")
    with pytest.raises(ValueError, match="max_episode_steps is at least 1, or None for no limit, got 0"):
        Vector(Catch(), 2, max_episode_steps=0)
