"""What goes wrong is said in one sentence, with the step and the environment."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from tests.rl.counting import MODES, Counting, act

from sightline.rl.noise import gaussian
from sightline.rl.rollout import Collector

AT = 6  # the first step, counted from 0, that goes wrong


def collector(mode: str, fault: Callable[[Counting], Any], workers: bool = False, kind: str = "vector") -> Collector:
    """Three environments that never end by themselves; the second one's fault comes after some steps."""

    class Long(Counting):
        def reset(self, **options: Any) -> Any:
            out = super().reset(**options)
            self.length = 1000
            return out

    make = [lambda: Long(kind), lambda: Long(kind, fault), lambda: Long(kind)]
    envs: Any = AsyncVectorEnv(make, autoreset_mode=mode) if workers else SyncVectorEnv(make, autoreset_mode=mode)
    return Collector(envs, 4, gaussian(2), seed=0)


def until_wrong(collecting: Collector, policy: Any = act) -> None:
    for _ in range(3):
        collecting.collect(policy)


def late(what: Callable[[Counting], Any]) -> Callable[[Counting], Any]:
    return lambda environment: what(environment) if environment.taken == AT + 1 else None


def with_reward(value: float) -> Callable[[Counting], Any]:
    return late(lambda environment: (environment.observe(), value, False, False, {}))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reward_that_is_no_number(mode: str, value: float) -> None:
    collecting = collector(mode, with_reward(value))
    with pytest.raises(ValueError, match=rf"^the reward of environment 1 at step 6 is {value}: correct the env"):
        until_wrong(collecting)
    with pytest.raises(RuntimeError, match=r"^the last rollout was cut off by an error: make a new Collector"):
        collecting.collect(act)
    with pytest.raises(RuntimeError, match=r"^the last rollout was cut off"):
        collecting.state_dict()


def nan_vector(environment: Counting) -> Any:
    return np.array([np.nan, 0, 0], np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_an_observation_that_is_no_number(mode: str) -> None:
    """It is named by the step that would act upon it."""
    fault = late(lambda environment: (nan_vector(environment), 0.0, False, False, {}))
    with pytest.raises(ValueError, match=r"^the observation of environment 1 at step 7 is nan: correct the env"):
        until_wrong(collector(mode, fault), lambda observation, noise: np.zeros((3, 2), np.float32))


def test_a_part_of_an_observation_is_named() -> None:
    def broken(environment: Counting) -> Any:
        return {**environment.observe(), "vector": nan_vector(environment)}, 0.0, False, False, {}

    with pytest.raises(ValueError, match=r"^the observation\['vector'\] of environment 1 at step 7 is nan"):
        until_wrong(
            collector("SameStep", late(broken), kind="dict"), lambda observation, noise: np.zeros((3, 2), np.float32)
        )


@pytest.mark.parametrize("mode", MODES)
def test_a_last_observation_that_is_no_number(mode: str) -> None:
    fault = late(lambda environment: (nan_vector(environment), 0.0, True, False, {}))
    says = r"^the last observation of environment 1's episode that ended at step 6 is nan"
    with pytest.raises(ValueError, match=says):
        until_wrong(collector(mode, fault))


def test_the_cause_is_named_and_not_what_followed() -> None:
    """A policy that chokes on the observation does not hide it."""

    def policy(observation: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if not np.isfinite(observation).all():
            raise ZeroDivisionError
        return np.zeros((3, 2), np.float32)

    fault = late(lambda environment: (nan_vector(environment), 0.0, False, False, {}))
    with pytest.raises(ValueError, match=r"^the observation of environment 1 at step 7 is nan"):
        until_wrong(collector("SameStep", fault), policy)


def test_an_action_that_is_no_number() -> None:
    def policy(observation: np.ndarray, noise: np.ndarray) -> torch.Tensor:
        out = torch.zeros(3, 2)
        out[2, 1] = float("nan") if observation[0, 2] == AT else 0.0
        return out

    with pytest.raises(ValueError, match=r"^the action of environment 2 at step 6 is nan: the network has diverged"):
        until_wrong(collector("SameStep", lambda environment: None), policy)


def test_a_policys_own_error_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        collector("SameStep", lambda environment: None).collect(lambda observation, noise: 1 // 0)


def stumble(environment: Counting) -> Any:
    raise KeyError("no such key")


def die(environment: Counting) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:.*Received the following error from Worker:UserWarning")
@pytest.mark.filterwarnings("ignore:.*Traceback:UserWarning")
@pytest.mark.filterwarnings("ignore:.*Raising the last exception:UserWarning")
@pytest.mark.parametrize("workers", [False, True], ids=["serial", "workers"])
def test_an_environment_that_raises(mode: str, workers: bool) -> None:
    collecting = collector(mode, late(stumble), workers)
    says = r"^environment 1 failed at step 6 \(KeyError: .*no such key.*\): correct the cause, then go on from the last"
    with pytest.raises(RuntimeError, match=says):
        until_wrong(collecting)
    collecting.envs.close(**({"terminate": True} if workers else {}))


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_that_is_killed(mode: str) -> None:
    collecting = collector(mode, late(die), workers=True)
    says = r"^environment 1 failed at step 6 \((EOFError|ConnectionResetError|BrokenPipeError): "
    with pytest.raises(RuntimeError, match=says):
        until_wrong(collecting)
    envs: Any = collecting.envs
    for process in envs.processes:
        process.kill()  # a test before this one may have drawn with SDL, which swallows SIGTERM
        process.join()
    envs.closed = True


@pytest.mark.filterwarnings("ignore:.*Received the following error from Worker:UserWarning")
@pytest.mark.filterwarnings("ignore:.*Traceback:UserWarning")
@pytest.mark.filterwarnings("ignore:.*Raising the last exception:UserWarning")
def test_a_worker_that_raised_and_is_slow_to_go() -> None:
    def linger(environment: Counting) -> Any:
        environment.close = lambda: time.sleep(20)  # type: ignore[method-assign]
        raise KeyError

    collecting = collector("SameStep", late(linger), workers=True)
    with pytest.raises(RuntimeError, match=r"^environment 1 failed at step 6 \(KeyError: "):
        until_wrong(collecting)
    collecting.envs.close(terminate=True)


def test_a_failing_reset_is_named_too() -> None:
    class Unable(Counting):
        def reset(self, **options: Any) -> Any:
            if self.number == 1:
                raise OSError("no display")
            return super().reset(**options)

    envs = SyncVectorEnv([Unable] * 3, autoreset_mode="Disabled")
    with pytest.raises(RuntimeError, match=r"^environment 1 failed at step \d+ \(OSError: no display\)"):
        until_wrong(Collector(envs, 4, gaussian(2), seed=0))
