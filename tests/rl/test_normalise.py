"""Normalised numbers are what NumPy makes of all that was seen; rewards what a loop per environment makes of them."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from tests.rl.counting import MODES, act, counting, leaves, oracle

from sightline.rl.noise import gaussian
from sightline.rl.normalise import ObservationNormaliser, RewardScaler
from sightline.rl.rollout import Collector
from sightline.run.states import decode, encode

SPACE = spaces.Dict(
    far=spaces.Box(-np.inf, np.inf, (3,), np.float32),
    image=spaces.Box(0, 255, (2, 2), np.uint8),
    deep=spaces.Tuple([spaces.Discrete(4), spaces.Box(-1, 1, (), np.float64)]),
)


def observed(seed: int, *leading: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "far": (1e3 + rng.standard_normal((*leading, 3)) * [1, 10, 0.1]).astype(np.float32),
        "image": rng.integers(0, 256, (*leading, 2, 2)).astype(np.uint8),
        "deep": (rng.integers(0, 4, leading), rng.random(leading)),
    }


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    text = json.dumps(encode(state, table, "state"))
    out: dict[str, Any] = decode(json.loads(text), table)
    return out


def test_every_number_by_all_that_was_seen() -> None:
    normaliser = ObservationNormaliser(SPACE)
    rng = np.random.default_rng(0)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for seed, leading in enumerate([(7, 3), (1, 1), (20, 2), (1, 3)]):
        observation, valid = observed(seed, *leading), rng.random(leading) < 0.8
        normaliser.add(observation, valid)
        seen.append((observation["far"][valid].astype(np.float64), observation["deep"][1][valid]))
    far, deep = (np.concatenate(one) for one in zip(*seen, strict=True))
    new = observed(99, 5)
    out = normaliser(new)
    expected = (new["far"].astype(np.float64) - far.mean(0)) / np.sqrt(far.var(0) + 1e-8)
    np.testing.assert_allclose(out["far"], expected.clip(-10, 10), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out["deep"][1], (new["deep"][1] - deep.mean()) / np.sqrt(deep.var() + 1e-8), rtol=1e-5)
    assert out["far"].dtype == out["deep"][1].dtype == np.float32
    assert out["image"] is new["image"], "bytes and indices pass as they are"
    assert out["deep"][0] is new["deep"][0]


def test_before_anything_is_seen_and_after_one() -> None:
    normaliser = ObservationNormaliser(spaces.Box(-np.inf, np.inf, (2,), np.float32), clip=5.0)
    new = np.array([[1.5, -2.5], [100.0, -100.0]], np.float32)
    np.testing.assert_array_equal(normaliser(new), [[1.5, -2.5], [5.0, -5.0]])
    normaliser.add(new[:1], np.array([True]))
    np.testing.assert_array_equal(normaliser(new[:1]), [[0.0, 0.0]])
    np.testing.assert_array_equal(normaliser(new[:1] + 1), [[1.0, 1.0]])  # one alone tells nothing of the spread
    normaliser.add(new, np.array([False, False]))
    np.testing.assert_array_equal(normaliser.mean, new[0])


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_changes_nothing_and_a_copy_stands_still(mode: str) -> None:
    normaliser = ObservationNormaliser(spaces.Box(-np.inf, np.inf, (3,), np.float32))
    collector = Collector(counting(mode, 3), 20, gaussian(2), seed=5)
    rollout = collector.collect(lambda observation, noise: act(normaliser(observation), noise))
    normaliser.add(rollout.observation, rollout.valid)
    before = copy.deepcopy(normaliser.state_dict())
    separate = Collector(counting(mode, 2), 20, gaussian(2), seed=6)
    separate.collect(lambda observation, noise: act(normaliser(observation), noise))
    assert str(normaliser.state_dict()) == str(before)


@pytest.mark.parametrize("mode", MODES)
def test_observations_count_once_in_every_mode(mode: str) -> None:
    """The row that only resets shows the last observation, which nobody acted upon."""
    normaliser = ObservationNormaliser(spaces.Box(-np.inf, np.inf, (3,), np.float32))
    collector, transitions = Collector(counting(mode, 3), 8, gaussian(2), seed=5), np.zeros(3, int)
    for _ in range(5):
        rollout = collector.collect(act)
        normaliser.add(rollout.observation, rollout.valid)
        transitions += rollout.valid.sum(0)
    acted_upon = np.array([t[0] for b in range(3) for t in oracle(5, b, int(transitions[b]))], np.float64)
    np.testing.assert_allclose(normaliser.mean, acted_upon.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normaliser.scale, 1 / np.sqrt(acted_upon.var(0) + 1e-8), rtol=1e-9)


def test_observations_are_saved_and_restored_exactly() -> None:
    normaliser, other = ObservationNormaliser(SPACE), ObservationNormaliser(SPACE)
    for seed in range(3):
        normaliser.add(observed(seed, 4, 2), np.ones((4, 2), bool))
    other.load_state_dict(through_json(normaliser.state_dict()))
    for seed in range(3, 5):
        for one in (normaliser, other):
            one.add(observed(seed, 4, 2), np.ones((4, 2), bool))
        for x, y in zip(leaves(normaliser(observed(9, 3))), leaves(other(observed(9, 3))), strict=True):
            np.testing.assert_array_equal(x, y)
    assert sorted(normaliser.state_dict()) == ["observation['deep'][1]", "observation['far']"]
    with pytest.raises(ValueError, match=r"is of other observations: it has .*these have {'observation': \[2\]}"):
        ObservationNormaliser(spaces.Box(-1, 1, (2,), np.float32)).load_state_dict(normaliser.state_dict())


def looped_returns(index: int, transitions: int, gamma: float) -> list[float]:
    """R = gamma R + r from every episode's beginning, of one environment."""
    out, total = [], 0.0
    for _, _, reward, terminated, truncated, _ in oracle(5, index, transitions):
        total = gamma * total + reward
        out.append(total)
        if terminated or truncated:
            total = 0.0
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_rewards_by_the_returns_of_a_loop_per_environment(mode: str, steps: int, gamma: float) -> None:
    collector, scaler = Collector(counting(mode, 3), steps, gaussian(2), seed=5), RewardScaler(3, gamma)
    transitions = np.zeros(3, int)
    for _ in range(80 // steps):
        rollout = collector.collect(act)
        scaler.add(rollout.reward, rollout.terminated, rollout.truncated, rollout.valid)
        transitions += rollout.valid.sum(0)
    returns = np.concatenate([looped_returns(b, int(transitions[b]), gamma) for b in range(3)])
    assert scaler.state_dict()["moments"]["count"] == len(returns)
    np.testing.assert_allclose(scaler.scale, 1 / np.sqrt(returns.var() + 1e-8), rtol=1e-9)
    expected = (rollout.reward / np.sqrt(returns.var() + 1e-8)).clip(-10, 10)
    np.testing.assert_allclose(scaler(rollout.reward), expected, rtol=1e-6)
    assert scaler(rollout.reward).dtype == np.float32


def some_rewards(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((6, 2)) * 100, rng.random((6, 2)) < 0.2, rng.random((6, 2)) < 0.2, np.ones((6, 2), bool)


def test_reward_scales_are_saved_and_restored_exactly() -> None:
    scaler, other = RewardScaler(2, 0.99, clip=1.0), RewardScaler(2, 0.99, clip=1.0)
    assert scaler.scale == 1.0
    for seed in range(3):
        scaler.add(*some_rewards(seed))
    other.load_state_dict(through_json(scaler.state_dict()))
    for seed in range(3, 6):
        scaler.add(*some_rewards(seed))
        other.add(*some_rewards(seed))
        assert scaler.scale == other.scale
    assert np.abs(scaler(np.array([1e9, -1e9]))).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"the saved reward scale is of 2 environments, here are 3"):
        RewardScaler(3, 0.99).load_state_dict(scaler.state_dict())


def test_rows_that_are_not_valid_count_for_nothing() -> None:
    reward, terminated, truncated, _ = some_rewards(0)
    ends = terminated | truncated
    valid = np.concatenate([np.ones((1, 2), bool), ~ends[:-1]])
    plain, poisoned = RewardScaler(2, 0.9), RewardScaler(2, 0.9)
    plain.add(reward, terminated & valid, truncated & valid, valid)
    poisoned.add(np.where(valid, reward, np.nan), terminated & valid, truncated & valid, valid)
    assert plain.scale == poisoned.scale


def test_environments_that_begin_anew() -> None:
    no, yes = np.zeros((1, 1), bool), np.ones((1, 1), bool)
    scaler = RewardScaler(1, 1.0)
    scaler.add(np.full((1, 1), 5.0), no, no, yes)
    scaler.restart()
    scaler.add(np.full((1, 1), 7.0), no, no, yes)
    np.testing.assert_allclose(scaler.scale, 1.0, rtol=1e-7)  # of 5 and 7, not of 5 and 12


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"a discount lies in \[0, 1\], got gamma=1.5: 0.99 is usual"):
        RewardScaler(2, 1.5)
    with pytest.raises(ValueError, match=r"clipped to a positive size, got clip=0"):
        RewardScaler(2, 0.9, clip=0.0)
    with pytest.raises(ValueError, match=r"clipped to a positive size, got clip=-1"):
        ObservationNormaliser(SPACE, clip=-1.0)
    with pytest.raises(ValueError, match=r"follows 3 environments, the rewards are of \[6, 2\]"):
        RewardScaler(3, 0.9).add(*some_rewards(0))
