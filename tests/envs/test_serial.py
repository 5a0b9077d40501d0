"""The leaner loop over environments gives what Gymnasium's gives, to types and infos, in every autoreset mode."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tests.envs.through_a_file import identical, through_a_file

from sightline.envs.serial import Serial
from sightline.envs.states import restore_environments, save_environments

BOX = spaces.Box(-100, 100, (2,), np.float32)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": BOX,
    "number": spaces.Box(-100, 100, (), np.float32),
    "choice": spaces.Discrete(100),
    "tree": spaces.Dict({"a": BOX, "b": spaces.Tuple([spaces.Discrete(100), spaces.MultiBinary(3)])}),
    "text": spaces.Text(3, charset="0123456789"),
    "double": BOX,  # observed in float64
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Discrete(3),
    "number": spaces.Box(-1, 1, (2,), np.float32),
    "choice": spaces.MultiDiscrete([2, 3]),
    "tree": spaces.Dict({"left": spaces.Discrete(2), "right": spaces.Tuple([BOX, spaces.MultiBinary(2)])}),
    "text": spaces.Discrete(3, start=4),
    "double": spaces.Text(2),
}
each_kind = pytest.mark.parametrize("kind", OBSERVATIONS)
each_mode = pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)


class Short(gymnasium.Env[Any, Any]):
    """Short episodes with infos of every type; what is told now and then is told at the end and the beginning too."""

    def __init__(self, kind: str) -> None:
        self.kind, self.time, self.heard = kind, 0, ""
        self.observation_space, self.action_space = OBSERVATIONS[kind], ACTIONS[kind]

    def seen(self) -> Any:
        number = int(self.np_random.integers(100))
        pair = np.array([self.time, number], np.float64 if self.kind == "double" else np.float32)
        return {
            "number": np.float32(number),
            "choice": np.int64(number),
            "tree": {"a": pair, "b": (number, np.array([1, 0, number % 2], np.int8))},
            "text": str(number),
        }.get(self.kind, pair)

    def told(self) -> dict[str, Any]:
        told = {"time": self.time, "heard": self.heard, "deep": {"array": np.arange(2.0), "flag": self.time % 2 == 0}}
        return {name: value for name, value in told.items() if self.np_random.random() < 0.5}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.heard = 0, str(options)
        return self.seen(), self.told()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time, self.heard = self.time + 1, repr(action)
        over, cut = (self.np_random.random(2) < 0.2).tolist()
        return self.seen(), np.float32(self.np_random.random()), over, cut, self.told()


def masked(envs: SyncVectorEnv[Any, Any], ended: np.ndarray) -> tuple[Any, dict[str, Any]]:
    return envs.reset(options={"reset_mask": ended, "hello": 1})


@each_mode
@each_kind
def test_it_is_gymnasiums_own_vector_step_for_step(kind: str, mode: AutoresetMode) -> None:
    ours, theirs = (make([lambda: Short(kind)] * 3, autoreset_mode=mode) for make in (Serial, SyncVectorEnv))
    assert identical(ours.reset(seed=5), theirs.reset(seed=5))
    ours.action_space.seed(0)
    ends = kept = 0
    for step in range(80):
        action = ours.action_space.sample()
        one, other = ours.step(action), theirs.step(action)
        assert identical(one, other)
        ended = one[2] | one[3]
        ends += ended.sum()
        if mode is AutoresetMode.DISABLED and ended.any():
            assert identical(masked(ours, ended), masked(theirs, ended))
        if step == 40:
            assert identical(ours.reset(seed=9), theirs.reset(seed=9))
        if step == 60 and mode is not AutoresetMode.DISABLED:  # who is over is not reset twice
            ended = np.array([True, False, True])
            assert identical(masked(ours, ended), masked(theirs, ended))
        kept += "final_obs" in one[4]
    assert ends > 40
    assert (kept > 20) == (mode is AutoresetMode.SAME_STEP)


def test_what_was_handed_out_does_not_change() -> None:
    envs = Serial([lambda: Short("vector")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=0)
    first = envs.step(np.zeros(2, int))
    before = [np.copy(one) for one in first[:4]]
    for _ in range(20):
        later = envs.step(np.zeros(2, int))
        assert not any(np.shares_memory(a, b) for a, b in zip(first[:4], later[:4], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first[:4], before, strict=True))


@each_mode
def test_it_is_saved_and_goes_on_exactly(mode: AutoresetMode) -> None:
    def make() -> Serial:
        return Serial([lambda: gymnasium.make("CartPole-v1", max_episode_steps=9)] * 3, autoreset_mode=mode)

    def play(envs: Serial, rows: np.ndarray) -> list[Any]:
        out: list[Any] = []
        for row in rows:
            out.append(envs.step(row))
            ended = out[-1][2] | out[-1][3]
            if mode is AutoresetMode.DISABLED and ended.any():
                out.append(envs.reset(options={"reset_mask": ended}))
        return out

    actions = np.random.default_rng(0).integers(2, size=(60, 3))
    for cut in (27, 28, 29):  # before, at and after the end of episodes
        envs, fresh = make(), make()
        envs.reset(seed=1)
        play(envs, actions[:cut])
        state = through_a_file(save_environments(envs))
        expected = play(envs, actions[cut:])
        restore_environments(fresh, state)
        assert identical(play(fresh, actions[cut:]), expected)


def test_what_gymnasium_refuses_is_refused() -> None:
    envs = Serial([lambda: Short("vector")] * 2, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="zip"):
        envs.step(np.zeros(3, int))
    while not any(np.concatenate(envs.step(np.zeros(2, int))[2:4])):
        pass
    with pytest.raises(RuntimeError, match=r"environment [01] is over: call reset\(options={'reset_mask': ...}\)"):
        envs.step(np.zeros(2, int))
    envs = Serial([lambda: Short("vector")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)
    for wrong in (np.zeros(3, np.float32), np.zeros(2, complex)):  # another length, a type that holds more
        envs.envs[1].seen = lambda wrong=wrong: wrong  # type: ignore[attr-defined]
        with pytest.raises((ValueError, TypeError)):
            envs.step(np.zeros(2, int))
    for one in envs.envs:
        one.seen = lambda: np.zeros(1, np.float32)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="shape"):
        envs.step(np.zeros(2, int))
