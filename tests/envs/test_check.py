"""The checker of environments finds every fault that it promises to find, and says which it was."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import sightline.envs  # noqa: F401  registers
from sightline.envs.catch import Catch
from sightline.envs.check import check_env
from sightline.envs.check_values import wrong_space, wrong_value
from sightline.envs.gymnasium import Vector


class Good(gymnasium.Env[Any, Any]):
    """Noise is seen, and an episode takes six steps."""

    action_space = spaces.Discrete(2)
    observation_space: Any = spaces.Box(0, 1, (3,), np.float32)

    def __init__(self, fault: str = "") -> None:
        self.fault, self.count = fault, 0
        self.buffer = np.zeros(3, dtype=np.float32)
        if fault == "no space":
            self.observation_space = None
        if fault == "list as a space":
            self.observation_space = [0, 1]

    def noise(self) -> Any:
        rng = np.random if self.fault == "global noise" else self.np_random
        return rng.random(3).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.fault == "own seed":
            self.np_random = np.random.default_rng(1)
        elif self.fault != "no seed":
            super().reset(seed=seed)
        self.count = self.count if self.fault == "left behind" else 0
        if self.fault == "reset without info":
            return self.noise()
        return self.noise(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, over = self.noise(), self.count % 6 == 0
        reward: Any = 1.0
        late = self.count == 4
        if self.fault == "left behind":
            reward, over = float(self.count), False
        if self.fault == "step noise" and late:
            reward = float(np.random.default_rng().random())
        if self.fault == "buffer":
            self.buffer[:] = observation
            observation = self.buffer
        faults: dict[str, Any] = {
            "four": (observation, reward, over, {}),
            "info": (observation, reward, over, False, None),
            "float64": (observation.astype(np.float64), reward, over, False, {}),
            "shape": (observation[None], reward, over, False, {}),
            "list": (observation.tolist(), reward, over, False, {}),
            "outside": (observation + np.float32(2 * late), reward, over, False, {}),
            "nan seen": (observation * np.float32(np.nan if late else 1), reward, over, False, {}),
            "nan paid": (observation, float("nan") if late else 1.0, over, False, {}),
            "text paid": (observation, "1", over, False, {}),
            "array paid": (observation, np.ones(1), over, False, {}),
            "bool paid": (observation, True, over, False, {}),
            "number over": (observation, reward, int(over), False, {}),
            "none truncated": (observation, reward, over, None, {}),
        }
        return faults.get(self.fault, (observation, reward, over, False, {}))


SAYS = {
    "no space": "observation_space is a gymnasium.Space, this one is missing",
    "list as a space": "observation_space is a gymnasium.Space, this one is a list",
    "reset without info": r"reset returns \(observation, info\) with a dictionary as info, got a ndarray",
    "global noise": r"reset\(seed=0\) began differently when called twice: draw all that is random from self.np_random",
    "no seed": r"reset\(seed=0\) began differently",
    "own seed": "reset ignores its seed: seeds 0 and 1 gave the same episodes",
    "left behind": "the same seed and the same actions came out differently at step 1",
    "step noise": "the same seed and the same actions came out differently at step 4",
    "buffer": "at step 2 an observation returned before was written to: return a new array every time",
    "four": r"terminated and truncated apart, got \(ndarray, float, bool, dict\)",
    "info": r"got \(ndarray, float, bool, bool, NoneType\)",
    "float64": "at step 1 the observation is float32 in its space, got float64: convert it, or change the space",
    "shape": r"the observation has the shape \(3,\) in its space, got \(1, 3\)",
    "list": "the observation is a NumPy array, got a list",
    "outside": r"at step 4 the observation lies outside \[0.0, 1.0\], the bounds of its space: 2.* at \(0,\)",
    "nan seen": r"at step 4 the observation is not finite: nan at \(0,\)",
    "nan paid": "at step 4 the reward is nan, not a finite number",
    "text paid": r"the reward is a number, got '1' \(str\)",
    "array paid": r"the reward is a number, got an array of shape \(1,\) \(ndarray\)",
    "bool paid": r"the reward is a number, got True \(bool\)",
    "number over": r"at step 1 terminated is True or False, got 0 \(int\)",
    "none truncated": r"at step 1 truncated is True or False, got None \(NoneType\)",
}


@pytest.mark.parametrize("fault", SAYS)
def test_every_fault_of_one_environment_is_named(fault: str) -> None:
    with pytest.raises(ValueError, match=SAYS[fault]):
        check_env(Good(fault))


def test_a_reset_without_a_seed_or_options_is_named() -> None:
    class NoSeed(Good):
        def reset(self, options: Any = None) -> Any:  # type: ignore[override]
            return super().reset()

    class NoOptions(Good):
        def reset(self, seed: Any = None) -> Any:  # type: ignore[override]
            return super().reset(seed=seed)

    with pytest.raises(ValueError, match="reset takes seed as a keyword, this one takes options"):
        check_env(NoSeed())
    with pytest.raises(ValueError, match="reset takes options as a keyword, this one takes seed"):
        check_env(NoOptions())


@pytest.mark.parametrize(
    "name", ["sightline/Catch-v0", "sightline/Corridor-v0", "sightline/BoxWorldSmall-v0", "CartPole-v1"]
)
def test_good_ones_pass_alone_and_as_vectors_in_every_mode(name: str) -> None:
    check_env(Good())
    check_env(gymnasium.make(name), steps=30)
    for mode in AutoresetMode:
        check_env(gymnasium.make_vec(name, 3, "sync", {"autoreset_mode": mode}), steps=30)
        if name.startswith("sightline"):
            check_env(gymnasium.make_vec(name, 3, autoreset_mode=mode), steps=30)


def test_what_is_no_environment_is_a_type_error(as_users_run_it: None) -> None:
    with pytest.raises(TypeError, match=r"a gymnasium.Env or a gymnasium.vector.VectorEnv, got a Catch: pure .*Single"):
        check_env(Catch())  # type: ignore[arg-type]


class Changed(gymnasium.vector.VectorWrapper):
    """A vector of Catch with one fault."""

    def __init__(self, fault: str, mode: AutoresetMode) -> None:
        super().__init__(Vector(Catch(rows=3), 3, autoreset_mode=mode))
        self.fault, self.over = fault, np.zeros(3, dtype=bool)
        if fault == "metadata":
            self.metadata = {}
        if fault == "mode as text":
            self.metadata = {"autoreset_mode": "NextStep"}
        if fault == "space":
            self.observation_space = self.env.single_observation_space

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(actions)
        reset_row, self.over = self.over.any(), terminated | truncated
        if self.fault == "rewards as a list":
            return observation, reward.tolist(), terminated, truncated, info
        if self.fault == "nan of one":
            reward[2] = np.nan
        if self.fault == "flags as numbers":
            terminated = terminated.astype(np.int64)
        if self.fault == "one flag":
            truncated = False
        if self.fault == "a reset is paid" and reset_row:
            reward[1] = 1
        if self.fault == "old ends":
            info = {}
        if self.fault == "small ends" and info:
            info["final_obs"] = [np.zeros(2)] * 3
        return observation, reward, terminated, truncated, info


VECTOR_SAYS = {
    "metadata": (AutoresetMode.NEXT_STEP, r"metadata\['autoreset_mode'\] .* got None"),
    "mode as text": (AutoresetMode.NEXT_STEP, "gymnasium.vector.AutoresetMode, got 'NextStep'"),
    "space": (AutoresetMode.NEXT_STEP, "observation_space is single_observation_space batched 3 times"),
    "rewards as a list": (AutoresetMode.NEXT_STEP, "at step 1 rewards are an array of 3 numbers, got a list"),
    "nan of one": (AutoresetMode.SAME_STEP, "at step 1 the reward of environment 2 is nan"),
    "flags as numbers": (AutoresetMode.DISABLED, r"terminated is a boolean array of shape \(3,\), got int64 of shape"),
    "one flag": (AutoresetMode.DISABLED, r"truncated is a boolean array of shape \(3,\), got a bool"),
    "a reset is paid": (AutoresetMode.NEXT_STEP, r"at step 3 environment 1 was reset \(autoreset mode NEXT_STEP\)"),
    "old ends": (AutoresetMode.SAME_STEP, "at step 2 an episode was over .* info lacks its last observation"),
    "small ends": (AutoresetMode.SAME_STEP, r"final_obs of environment 0 has the shape \(3, 5, 1\) in its space"),
}


@pytest.mark.parametrize("fault", VECTOR_SAYS)
def test_every_fault_of_a_vector_is_named(fault: str) -> None:
    mode, message = VECTOR_SAYS[fault]
    with pytest.raises(ValueError, match=message):
        check_env(Changed(fault, mode))


def test_gymnasiums_vector_of_a_faulty_environment_is_found_out() -> None:
    vector = SyncVectorEnv([Good, Good, lambda: Good("nan paid")])
    with pytest.raises(ValueError, match="at step 4 the reward of environment 2 is nan"):
        check_env(vector)


def test_parts_of_composed_observations_are_named() -> None:
    box = spaces.Box(0, 1, (2,), np.float32)
    space = spaces.Dict({"eye": box, "both": spaces.Tuple((box, spaces.Discrete(3)))})
    good = {"eye": np.zeros(2, np.float32), "both": (np.zeros(2, np.float32), 2)}
    assert wrong_space(space, "observation_space") is None
    assert wrong_value(good, space, "it") is None
    for change, message in (
        ({"eye": np.zeros(3, np.float32)}, "it['eye'] has the shape (2,) in its space, got (3,)"),
        ({"both": (np.zeros(2, np.float32), 3)}, "it['both'][1] lies outside its space Discrete(3), got 3"),
        ({"both": good["both"][:1]}, "it['both'] is a tuple of 2 parts, got a tuple of 1"),
        ({"ear": 0}, "it is a dictionary with the keys ['both', 'eye'], got the keys ['both', 'ear', 'eye']"),
    ):
        assert wrong_value({**good, **change}, space, "it") == message
    box.high = np.array([1, np.nan], dtype=np.float32)
    assert wrong_space(space, "it") == "it['both'][0] has a bound that is NaN: say -inf or inf where there is no bound"
    box.high = np.array([1, -1], dtype=np.float32)
    assert wrong_space(box, "it") == "it allows nothing at (1,): its low 0.0 is above its high -1.0"
