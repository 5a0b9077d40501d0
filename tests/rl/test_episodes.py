"""Every episode is counted once: a plain loop over each environment's transitions says the same, to the last bit."""

import json
import math

import numpy as np
import pytest
from tests.rl.counting import MODES, act, counting, oracle

from sightline.rl.episodes import EpisodeCounter
from sightline.rl.noise import gaussian
from sightline.rl.rollout import Collector
from sightline.run.states import decode, encode

Found = list[tuple[float, int, bool]]


def looped(index: int, transitions: int) -> Found:
    """Return, length and whether it terminated, of one environment's episodes within so many transitions."""
    out: Found = []
    total, length = 0.0, 0
    for _, _, reward, terminated, truncated, _ in oracle(5, index, transitions):
        total, length = total + reward, length + 1
        if terminated or truncated:
            out.append((total, length, terminated))
            total, length = 0.0, 0
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [1, 7, 60])
def test_every_episode_once_in_every_mode(mode: str, steps: int) -> None:
    collector, counter = Collector(counting(mode, 4), steps, gaussian(2), seed=5), EpisodeCounter(4)
    found: list[Found] = [[] for _ in range(4)]
    transitions = np.zeros(4, int)
    for _ in range(120 // steps):
        rollout = collector.collect(act)
        episodes = counter.add(rollout.reward, rollout.terminated, rollout.truncated, rollout.valid)
        transitions += rollout.valid.sum(0)
        order = list(zip(episodes.step, episodes.environment, strict=True))
        assert order == sorted(order)
        for total, length, environment, step, terminated in zip(*vars(episodes).values(), strict=True):
            found[environment].append((float(total), int(length), bool(terminated)))
            assert rollout.terminated[step, environment] == terminated
            assert rollout.terminated[step, environment] or rollout.truncated[step, environment]
    for index in range(4):
        assert found[index] == looped(index, int(transitions[index]))
        assert len(found[index]) > 10
    assert counter.count == sum(map(len, found))


def batch(seed: int, t: int = 9, b: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ends = rng.random((t, b)) < 0.3
    return rng.standard_normal((t, b)), ends & (rng.random((t, b)) < 0.5), ends, rng.random((t, b)) < 0.9


def test_rows_that_are_not_valid_count_for_nothing() -> None:
    reward, terminated, truncated, valid = batch(0)
    plain = EpisodeCounter(3).add(reward, terminated, truncated, valid)
    poisoned = EpisodeCounter(3).add(np.where(valid, reward, np.nan), terminated, truncated, valid)
    np.testing.assert_array_equal(plain.total, poisoned.total)
    assert plain.length.sum() <= valid.sum()
    assert len(plain.total) == ((terminated | truncated) & valid).sum()


def test_the_latest_episodes_mean() -> None:
    counter = EpisodeCounter(1, window=2)
    assert all(math.isnan(x) for x in counter.mean())
    no, yes = np.zeros((1, 1), bool), np.ones((1, 1), bool)
    for reward in (1.0, 2.0, 6.0):
        counter.add(np.full((1, 1), reward), no, no, yes)
        counter.add(np.full((1, 1), reward), yes, no, yes)
        counter.add(np.full((1, 1), reward), no, yes, yes)
    assert counter.mean() == ((12.0 + 6.0) / 2, (2 + 1) / 2)
    assert counter.count == 6


def test_saved_and_restored_exactly() -> None:
    counter = EpisodeCounter(3, window=4)
    for seed in range(5):
        counter.add(*batch(seed))
    saved = json.loads(json.dumps(encode(counter.state_dict(), {}, "episodes")))
    other = EpisodeCounter(3, window=4)
    other.load_state_dict(decode(saved, {}))
    for seed in range(5, 9):
        one, two = counter.add(*batch(seed)), other.add(*batch(seed))
        np.testing.assert_array_equal(one.total, two.total)
        np.testing.assert_array_equal(one.length, two.length)
        assert counter.mean() == other.mean()
    assert counter.state_dict() == other.state_dict()


def test_environments_that_begin_anew() -> None:
    counter = EpisodeCounter(1)
    no, yes = np.zeros((1, 1), bool), np.ones((1, 1), bool)
    counter.add(np.ones((1, 1)), no, no, yes)
    counter.restart()
    assert counter.add(np.ones((1, 1)), yes, no, yes).total.tolist() == [1.0]


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"follows 2 environments, the rewards are of \[9, 3\]"):
        EpisodeCounter(2).add(*batch(0))
    with pytest.raises(ValueError, match=r"the saved episodes are of 3 environments, here are 2"):
        EpisodeCounter(2).load_state_dict(EpisodeCounter(3).state_dict())
    with pytest.raises(ValueError, match=r"episodes need an environment and a window, got 0 and 100: give 1 or more"):
        EpisodeCounter(0)
