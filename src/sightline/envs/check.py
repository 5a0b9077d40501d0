"""Can an agent learn in this environment? `check_env` says in one sentence what stands in the way.

It plays random actions in a `gymnasium.Env` or a `gymnasium.vector.VectorEnv` and looks at all that comes back. Where
Gymnasium's own `gymnasium.utils.env_checker.check_env` warns and goes on, this one stops; and it looks for what makes
learning go wrong in silence: NaN, rewards that are arrays, a seed that is ignored, returned arrays that are written to
again, and rows that an autoreset mode does not allow.

Left out: rendering, and whether anything can be learnt.
"""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from sightline.envs.check_values import digest, wrong_flag, wrong_reward, wrong_space, wrong_value

EITHER = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]


def check_env(env: EITHER, steps: int = 200) -> None:
    """Play `steps` random steps three times: twice under one seed, once under another.

    The environment is left in the midst of an episode: reset it before use.

    Args:
        env: one environment or a vector of them, wrapped or not.
        steps: a longer play finds rarer faults.

    Raises:
        TypeError: it is no Gymnasium environment.
        ValueError: something is wrong; one sentence says what, and when it came.
    """
    if not isinstance(env, gymnasium.Env | VectorEnv):
        raise TypeError(
            f"check_env takes a gymnasium.Env or a gymnasium.vector.VectorEnv, got a {type(env).__name__}: pure "
            "functions become one by sightline.envs.gymnasium.Single or Vector"
        )
    _check_spaces(env)
    _check_reset_takes_a_seed(env)
    first, again = list(_play(env, 0, steps)), list(_play(env, 0, steps))
    if first[0] != again[0]:
        raise ValueError(
            "reset(seed=0) began differently when called twice: draw all that is random from self.np_random, and call "
            "super().reset(seed=seed) before"
        )
    for step, (one, other) in enumerate(zip(first, again, strict=True)):
        if one != other:
            raise ValueError(
                f"the same seed and the same actions came out differently at step {step}: something random is not "
                "drawn from self.np_random, or reset leaves something of the last episode behind"
            )
    if not isinstance(env, VectorEnv):
        seeded = _random_state(env)
        if first == list(_play(env, 1, steps)) and seeded == _random_state(env):
            raise ValueError(
                "reset ignores its seed: seeds 0 and 1 gave the same episodes and left self.np_random alone; call "
                "super().reset(seed=seed) in reset and draw from self.np_random"
            )


def _check_spaces(env: EITHER) -> None:
    single = ("single_observation_space", "single_action_space") if isinstance(env, VectorEnv) else ()
    for name in ("observation_space", "action_space", *single):
        _raise(wrong_space(getattr(env, name, None), name))
    if isinstance(env, VectorEnv):
        for name in ("observation_space", "action_space"):
            expected = batch_space(getattr(env, f"single_{name}"), env.num_envs)
            if getattr(env, name) != expected:
                raise ValueError(
                    f"{name} is single_{name} batched {env.num_envs} times, {expected}, got {getattr(env, name)}"
                )
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                "metadata['autoreset_mode'] of a vector environment is a gymnasium.vector.AutoresetMode, got "
                f"{mode!r}: without it nobody knows which rows are resets"
            )


def _check_reset_takes_a_seed(env: EITHER) -> None:
    parameters = inspect.signature(env.reset).parameters
    for name in ("seed", "options"):
        if name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise ValueError(f"reset takes {name} as a keyword, this one takes {', '.join(parameters) or 'nothing'}")


def _random_state(env: gymnasium.Env[Any, Any]) -> Any:
    """What a seed changes even in an environment where nothing is random; None where none was ever given on."""
    generator = getattr(env.unwrapped, "_np_random", None)
    return None if generator is None else generator.bit_generator.state


def _play(env: EITHER, seed: int, steps: int) -> Iterator[bytes]:
    """Check all that comes back; yields a digest of the beginning and one of every step."""
    b = env.num_envs if isinstance(env, VectorEnv) else None
    actions = copy.deepcopy(env.action_space)
    actions.seed(0)
    result: Any = env.reset(seed=seed)
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        raise ValueError(f"reset returns (observation, info) with a dictionary as info, got {_form(result)}")
    observation = result[0]
    _raise(wrong_value(observation, env.observation_space, "the observation of reset"))
    yield digest(observation)
    over: Any = False if b is None else np.zeros(b, dtype=bool)
    for step in range(1, steps + 1):
        before, kept, when = observation, copy.deepcopy(observation), f"at step {step} "
        result = env.step(actions.sample())
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            raise ValueError(
                f"step returns (observation, reward, terminated, truncated, info), terminated and truncated apart, got "
                f"{_form(result)}"
            )
        observation, reward, terminated, truncated, _ = result
        _raise(wrong_value(observation, env.observation_space, f"{when}the observation"))
        _raise(wrong_reward(reward, b), when)
        _raise(wrong_flag(terminated, "terminated", b), when)
        _raise(wrong_flag(truncated, "truncated", b), when)
        if digest(before) != digest(kept):
            raise ValueError(f"{when}an observation returned before was written to: return a new array every time")
        yield digest(observation, reward, terminated, truncated)
        if isinstance(env, VectorEnv):
            over = _check_autoreset(env, over, result, when)
        elif terminated or truncated:
            observation, _ = env.reset()
            _raise(wrong_value(observation, env.observation_space, "the observation of reset"))


def _check_autoreset(env: VectorEnv[Any, Any, Any], over: np.ndarray, result: tuple[Any, ...], when: str) -> np.ndarray:
    """Which environments are over now; the mode's promises are checked."""
    _, reward, terminated, truncated, info = result
    mode, done = env.metadata["autoreset_mode"], terminated | truncated
    if mode is AutoresetMode.NEXT_STEP:
        wrong = over & (done | (reward != 0))
        if wrong.any():
            raise ValueError(
                f"{when}environment {int(wrong.argmax())} was reset (autoreset mode NEXT_STEP), where the reward is 0 "
                "and nothing is over, but its row says otherwise"
            )
    elif mode is AutoresetMode.SAME_STEP and done.any():
        final = info.get("final_obs")
        mask = info.get("_final_obs", np.zeros(env.num_envs, dtype=bool))
        if final is None or not np.array_equal(mask, done):
            raise ValueError(
                f"{when}an episode was over (autoreset mode SAME_STEP), and info lacks its last observation: put it "
                "into info['final_obs'], with a True in info['_final_obs'] where there is one"
            )
        for i in np.flatnonzero(done):
            last = final[i] if isinstance(final, np.ndarray | list | tuple) else {k: v[i] for k, v in final.items()}
            _raise(wrong_value(last, env.single_observation_space, f"{when}final_obs of environment {i}"))
    elif mode is AutoresetMode.DISABLED and done.any():
        observation, _ = env.reset(options={"reset_mask": done.copy()})
        _raise(wrong_value(observation, env.observation_space, "the observation of reset with a reset_mask"))
    return np.asarray(done)


def _form(result: Any) -> str:
    if not isinstance(result, tuple):
        return f"a {type(result).__name__}"
    return f"({', '.join(type(part).__name__ for part in result)})"


def _raise(wrong: str | None, when: str = "") -> None:
    if wrong is not None:
        raise ValueError(f"{when}{wrong}")
