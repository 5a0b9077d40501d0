"""Every way to name an environment makes it, the stack is the last observations, and what cannot be made says why."""

import importlib.util
import multiprocessing
import signal
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from sightline.envs.gymnasium import Vector
from sightline.envs.making import make_environment, make_environments
from sightline.envs.serial import Serial

each_mode = pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def one_of_mine(*, length: float = 0.5) -> gymnasium.Env[Any, Any]:
    """An environment that is registered nowhere."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=4)
    env.unwrapped.length = length  # type: ignore[attr-defined]
    return env


@pytest.mark.parametrize(
    ("name", "package", "shape", "kind"),
    [
        ("sightline/Catch-v0", "gymnasium", (3, 10, 5, 1), Vector),
        ("sightline.envs:sightline/Corridor-v0", "gymnasium", (3, 1), Vector),
        ("CartPole-v1", "gymnasium", (3, 4), Serial),
        ("gymnasium.envs.classic_control:CartPoleEnv", "gymnasium", (3, 4), Serial),
        (f"{__name__}:one_of_mine", "gymnasium", (3, 4), Serial),
        ("MiniGrid-DoorKey-5x5-v0", "minigrid", (3, 7, 7, 3), Serial),
        ("minigrid:BabyAI-GoToRedBallGrey-v0", "minigrid", (3, 7, 7, 3), Serial),
        ("HalfCheetah-v5", "mujoco", (3, 17), Serial),
        ("LunarLander-v3", "Box2D", (3, 8), Serial),
        ("ALE/Pong-v5", "ale_py", (3, 210, 160, 3), Serial),
    ],
)
def test_a_name_becomes_environments(name: str, package: str, shape: tuple[int, ...], kind: type) -> None:
    needs(package)
    envs = make_environments(name, 3)
    assert isinstance(envs, kind)
    assert envs.num_envs == 3
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observation, _ = envs.reset(seed=0)
    assert observation.shape == shape
    assert observation in envs.observation_space
    envs.step(envs.action_space.sample())


def test_a_fresh_process_needs_no_import_and_box2d_no_patience() -> None:
    """Box2D's import warns, and crashes the process where warnings are errors."""
    names = ["sightline/Catch-v0"]
    names += ["MiniGrid-Empty-5x5-v0"] if importlib.util.find_spec("minigrid") else []
    names += ["LunarLander-v3"] if importlib.util.find_spec("Box2D") else []
    script = (
        "import warnings; warnings.simplefilter('error')\n"
        "from sightline.envs.making import make_environments\n"
        f"print([make_environments(name, 2).num_envs for name in {names}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == (f"{[2] * len(names)}\n", 0), done.stderr


@each_mode
def test_a_stack_is_the_last_observations_and_begins_anew_with_every_episode(mode: AutoresetMode) -> None:
    options: dict[str, Any] = {"arguments": {"rows": 6}, "autoreset": mode}
    plain, stacked = (make_environments("sightline/Catch-v0", 3, stack=k, **options) for k in (1, 3))
    assert isinstance(plain, Vector)
    assert isinstance(stacked, Serial)
    first = plain.reset(seed=5)[0]
    expected = np.stack([first] * 3, axis=1)
    assert np.array_equal(stacked.reset(seed=5)[0], expected)
    rng, pending, ends = np.random.default_rng(0), np.zeros(3, dtype=bool), 0
    for _ in range(30):
        action = rng.integers(3, size=3)
        one, many = plain.step(action), stacked.step(action)
        over = one[2] | one[3]
        rolled = np.concatenate([expected[:, 1:], one[0][:, None]], axis=1)
        begun = over if mode is AutoresetMode.SAME_STEP else pending
        if mode is AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(over):
                last = np.concatenate([expected[i, 1:], one[4]["final_obs"][i][None]])
                assert np.array_equal(many[4]["final_obs"][i], last)
        expected = np.where(begun[:, None, None, None, None], one[0][:, None], rolled)
        assert np.array_equal(many[0], expected)
        assert all(np.array_equal(a, b) for a, b in zip(one[1:4], many[1:4], strict=True))
        pending, ends = (over if mode is AutoresetMode.NEXT_STEP else pending), ends + over.sum()
        if mode is AutoresetMode.DISABLED and over.any():
            one_reset = plain.reset(options={"reset_mask": over})[0]
            expected = np.where(over[:, None, None, None, None], one_reset[:, None], expected)
            assert np.array_equal(stacked.reset(options={"reset_mask": over})[0], expected)
    assert ends > 6


def test_processes_live_as_one_process_does() -> None:
    arguments = {"max_episode_steps": 6}
    here, apart = (make_environments("CartPole-v1", 2, arguments=arguments, workers=w) for w in ("sync", "async"))
    try:
        assert isinstance(apart, AsyncVectorEnv)
        assert np.array_equal(here.reset(seed=3)[0], apart.reset(seed=3)[0])
        for i in range(14):
            action = np.array([i % 2, 1])
            for one, other in zip(here.step(action)[:4], apart.step(action)[:4], strict=True):
                assert np.array_equal(one, other)
    finally:
        apart.close()


def test_time_limits_stay_and_may_be_chosen() -> None:
    for name, arguments, limit in (
        ("CartPole-v1", None, 500),
        ("CartPole-v1", {"max_episode_steps": 7}, 7),
        ("Pendulum-v1", {"g": 9.0}, 200),
    ):
        envs = make_environments(name, 1, arguments=arguments)
        assert envs.envs[0].get_wrapper_attr("_max_episode_steps") == limit  # type: ignore[attr-defined]
    ours = make_environments("sightline/Corridor-v0", 2, arguments={"max_episode_steps": 9})
    assert isinstance(ours, Vector)
    assert ours.max_episode_steps == 9
    assert make_environments("sightline/Corridor-v0", 2).max_episode_steps == 1000  # type: ignore[attr-defined]


def test_arguments_reach_the_environment_and_pictures_are_drawn() -> None:
    name = f"{one_of_mine.__module__}:one_of_mine"
    assert make_environment(name, {"length": 0.25}).unwrapped.length == 0.25  # type: ignore[attr-defined]
    envs = make_environments("sightline/Catch-v0", 2, arguments={"rows": 7}, render_mode="rgb_array")
    assert envs.reset(seed=0)[0].shape == (2, 7, 5, 1)
    pictures = envs.render()
    assert pictures is not None
    assert pictures[0].shape[-1] == 3
    needs("pygame")
    carts = make_environments("CartPole-v1", 1, render_mode="rgb_array")
    carts.reset(seed=0)
    assert carts.render()[0].shape == (400, 600, 3)  # type: ignore[index]


def test_a_batched_version_is_taken_where_it_is_asked_for() -> None:
    envs = make_environments("CartPole-v1", 2, workers="batched", autoreset="NextStep")
    assert type(envs).__name__ == "CartPoleVectorEnv"
    with pytest.raises(ValueError, match="of CartPole-v1 knows only autoreset 'NextStep', asked for 'SameStep': use"):
        make_environments("CartPole-v1", 2, workers="batched")
    with pytest.raises(ValueError, match="Pendulum-v1 has no batched version of its own: use workers='sync'"):
        make_environments("Pendulum-v1", 2, workers="batched")
    with pytest.raises(ValueError, match="for stack=2 use workers='sync'"):
        make_environments("sightline/Catch-v0", 2, workers="batched", stack=2)
    with pytest.raises(ValueError, match=r"sightline/Catch-v0 takes no argument 'colour', got {'colour': 1}"):
        make_environments("sightline/Catch-v0", 2, arguments={"colour": 1})


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("CartPol-v1", {}, "unknown environment 'CartPol-v1': did you mean 'CartPole-v1'"),
        ("LunarLander-v2", {}, "unknown environment 'LunarLander-v2': did you mean 'LunarLander-v3'"),
        ("sightline/Katch-v0", {}, "unknown environment 'sightline/Katch-v0': did you mean 'sightline/Catch-v0'"),
        ("", {}, "unknown environment ''"),
        ("nowhere.at_all:thing", {}, "'nowhere.at_all:thing' cannot be found: No module named 'nowhere'"),
        ("json:thing", {}, "there is no 'json:thing'"),
        ("string:digits", {}, "'string:digits' is nothing that makes an environment when it is called"),
        ("builtins:dict", {}, "'builtins:dict' makes one gymnasium.Env, got a dict"),
        ("json:dumps", {}, "json:dumps cannot be made with the arguments {}: dumps.. missing"),
        ("CartPole-v1", {"count": 0}, "count is at least 1 environment, got 0"),
        ("CartPole-v1", {"stack": 0}, "stack is at least 1 observation, got 0"),
        ("FrozenLake-v1", {"stack": 2}, "only observations in a Box can be stacked, those of FrozenLake-v1 are"),
        ("CartPole-v1", {"workers": "asinc"}, "unknown workers 'asinc': did you mean 'async'"),
        ("CartPole-v1", {"autoreset": "Same"}, "unknown autoreset mode 'Same': did you mean 'SameStep'"),
        ("CartPole-v1", {"render_mode": "rgb"}, "unknown render_mode of CartPole-v1 'rgb': did you mean 'rgb_array'"),
        ("CartPole-v1", {"arguments": {"lenght": 1}}, "CartPole-v1 takes no argument 'lenght', got {'lenght': 1}"),
        ("sightline/Catch-v0", {"arguments": {"rows": -1}}, "the paddle cannot reach every ball in -1 rows"),
    ],
)
def test_what_cannot_be_made_says_why(name: str, options: dict[str, Any], said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=said):
            make_environments(name, **({"count": 2} | options))


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    script = (
        "import sys, importlib.util as util\n"
        "absent, find = ['minigrid', 'ale_py', 'Box2D', 'mujoco', 'pygame'], util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name in absent else find(name, package)\n"
        "for name in absent: sys.modules[name] = None\n"
        "from sightline.envs.making import make_environments\n"
        "for name in ('MiniGrid-Empty-5x5-v0', 'ALE/Pong-v5', 'LunarLander-v3', 'HalfCheetah-v5', 'CartPole-v1'):\n"
        "    try:\n"
        "        make_environments(name, 1, render_mode='rgb_array' if name == 'CartPole-v1' else None)\n"
        "    except ValueError as error:\n"
        "        print(error)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "MiniGrid-Empty-5x5-v0 needs minigrid, which is not installed: pip install 'sightline[minigrid]'",
        "ALE/Pong-v5 needs ale_py, which is not installed: pip install ale-py (which is licensed under the GPL)",
        "LunarLander-v3 needs more than is installed: pip install 'sightline[box2d]'",
        "HalfCheetah-v5 needs more than is installed: pip install 'sightline[mujoco]'",
        "pictures of CartPole-v1 need pygame, which is not installed: pip install 'sightline[play]'",
    ], done.stderr


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1"])
def test_a_process_that_has_drawn_still_ends_when_it_is_told_to(name: str) -> None:
    needs("pygame")
    script = (
        "import os, signal\n"
        "from sightline.envs.making import make_environments\n"
        f"envs = make_environments('{name}', 1, render_mode='rgb_array')\n"
        "envs.reset(seed=0)\n"
        "assert envs.render()[0].any()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, ""), done.stderr


def only_here() -> gymnasium.Env[Any, Any]:
    if multiprocessing.parent_process() is not None:
        raise OSError("no room")
    return gymnasium.make("CartPole-v1")


def test_a_process_that_cannot_start_is_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    name = f"{only_here.__module__}:only_here"
    with pytest.raises(ValueError, match=r"a process of its own cannot run .*:only_here .*: use workers='sync'"):
        make_environments(name, 2, workers="async")
    assert "no room" in capfd.readouterr().err  # the process said why
