"""The batched environment lives step for step as Gymnasium's own vector of single ones, in every autoreset mode."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import sightline.envs  # noqa: F401  registers
from sightline.envs.box_world import BoxWorld
from sightline.envs.catch import Catch
from sightline.envs.corridor import Corridor
from sightline.envs.environment import Environment
from sightline.envs.gymnasium import Single, Vector

IDS = [f"sightline/{name}-v0" for name in ("Catch", "Corridor", "Recall", "BoxWorld", "BoxWorldSmall")]
KINDS: dict[str, tuple[Environment[Any], int | None]] = {
    "catch": (Catch(rows=5), None),
    "catch cut short": (Catch(rows=5), 3),
    "catch cut as it ends": (Catch(rows=5), 4),  # terminated and truncated at once
    "corridor": (Corridor(), 6),
    "box world": (BoxWorld(size=6, goal_length=(1, 2), distractors=(0, 1)), 15),
    "one step": (Catch(rows=2, columns=3), None),  # every row is a last one
}
MODES = list(AutoresetMode)
pytestmark = pytest.mark.parametrize("kind", KINDS)
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)


def vector(kind: str, b: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Vector:
    environment, limit = KINDS[kind]
    return Vector(environment, b, max_episode_steps=limit, autoreset_mode=mode)


def limited(kind: str) -> gymnasium.Env[Any, Any]:
    """As `gymnasium.make` wraps it: Gymnasium counts the steps."""
    environment, limit = KINDS[kind]
    return Single(environment) if limit is None else gymnasium.wrappers.TimeLimit(Single(environment), limit)


def assert_same(one: Any, other: Any) -> None:
    """Everything equal, to types of arrays and keys of infos."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, tuple | list) or (isinstance(one, np.ndarray) and one.dtype == object):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    else:
        assert one == other


@each_mode
def test_a_batch_is_gymnasiums_vector_of_single_environments(kind: str, mode: AutoresetMode) -> None:
    ours, theirs = vector(kind, 5, mode), SyncVectorEnv([lambda: limited(kind)] * 5, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is mode
    assert_same(ours.reset(seed=7), theirs.reset(seed=7))
    assert ours.np_random_seed == theirs.np_random_seed == (7, 8, 9, 10, 11)
    rng, ended = np.random.default_rng(0), 0
    for step in range(60):
        action = rng.integers(ours.environment.num_actions, size=5)
        one, other = ours.step(action), theirs.step(action)
        assert_same(one, other)
        done = one[2] | one[3]
        ended += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            # SyncVectorEnv takes the mask out of the options, ours leaves them alone.
            options = {"reset_mask": done}
            assert_same(ours.reset(options=options), theirs.reset(options=dict(options)))
            assert options.keys() == {"reset_mask"}
        if step == 30:
            assert_same(ours.reset(seed=[3, None, 5, None, 1]), theirs.reset(seed=[3, None, 5, None, 1]))
        if step == 40:
            mask = np.array([True, False, True, False, False])
            assert_same(
                ours.reset(seed=9, options={"reset_mask": mask}), theirs.reset(seed=9, options={"reset_mask": mask})
            )
    assert ended > 10
    assert [g.bit_generator.state for g in ours.np_random] == [g.bit_generator.state for g in theirs.np_random]


@each_mode
def test_an_environment_of_a_batch_is_the_same_whatever_the_size_of_the_batch(kind: str, mode: AutoresetMode) -> None:
    large, small = vector(kind, 6, mode), vector(kind, 2, mode)
    assert_same(large.reset(seed=0)[0][:2], small.reset(seed=0)[0])
    rng = np.random.default_rng(1)
    for _ in range(40):
        action = rng.integers(2, size=6)
        one, other = large.step(action), small.step(action[:2])
        for a, b in zip(one[:4], other[:4], strict=True):
            assert_same(a[:2], b)
        if mode is AutoresetMode.DISABLED and (one[2] | one[3]).any():
            for env, done in ((large, one[2] | one[3]), (small, other[2] | other[3])):
                if done.any():
                    env.reset(options={"reset_mask": done})


@each_mode
def test_a_saved_state_goes_on_exactly_here_and_in_another_environment(kind: str, mode: AutoresetMode) -> None:
    env = vector(kind, 4, mode)
    env.reset(seed=2)
    rng = np.random.default_rng(4)
    actions = rng.integers(2, size=(50, 4))

    def play(which: Vector, rows: np.ndarray) -> list[Any]:
        out = []
        for action in rows:
            out.append(which.step(action))
            done = out[-1][2] | out[-1][3]
            if mode is AutoresetMode.DISABLED and done.any():
                out.append(which.reset(options={"reset_mask": done}))
        return out

    play(env, actions[:17])
    saved = env.get_state()
    expected = play(env, actions[17:])
    fresh = vector(kind, 4, mode)
    for other in (env, fresh):
        other.set_state(saved)
        assert other.np_random_seed == (2, 3, 4, 5)
        assert_same(play(other, actions[17:]), expected)


def test_a_single_environment_saves_and_restores_too(kind: str) -> None:
    environment, limit = KINDS[kind]
    env, other = Single(environment, max_episode_steps=limit), Single(environment, max_episode_steps=limit)
    env.reset(seed=5)

    def play(which: Single, count: int, rng: np.random.Generator) -> list[Any]:
        out: list[Any] = []
        for _ in range(count):
            out.append(which.step(int(rng.integers(2))))
            if out[-1][2] or out[-1][3]:
                out.append(which.reset())
        return out

    play(env, 7, np.random.default_rng(0))
    saved = env.get_state()
    expected = play(env, 30, np.random.default_rng(1))
    other.set_state(saved)
    assert other.np_random_seed == 5
    assert_same(play(other, 30, np.random.default_rng(1)), expected)
    env.set_state(saved)
    assert_same(play(env, 30, np.random.default_rng(1)), expected)


def test_a_single_environment_counts_its_steps_as_gymnasiums_wrapper_does(kind: str) -> None:
    environment, limit = KINDS[kind]
    one, other = Single(environment, max_episode_steps=limit), limited(kind)
    assert_same(one.reset(seed=1), other.reset(seed=1))
    rng = np.random.default_rng(0)
    for _ in range(40):
        action = int(rng.integers(2))
        result = one.step(action)
        assert_same(result, other.step(action))
        if result[2] or result[3]:
            assert_same(one.reset(), other.reset())
