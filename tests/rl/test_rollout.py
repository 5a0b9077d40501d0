"""A rollout holds the transitions that a plain loop over single environments makes, however they are reset."""

import copy
import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from tests.rl.counting import KINDS, MODES, Counting, Transition, act, counting, leaves, oracle

from sightline.rl.noise import gaussian, gumbel, silent
from sightline.rl.returns import next_values
from sightline.rl.rollout import Collector, autoreset_mode
from sightline.rl.transitions import Rollout, bootstrap_observation, split_bootstrap
from sightline.rl.trees import map_arrays
from sightline.run.states import decode, encode


class Transitions:
    """What each environment went through, put together from rollouts."""

    def __init__(self, environments: int) -> None:
        self.of: list[list[Transition]] = [[] for _ in range(environments)]

    def add(self, rollout: Rollout) -> None:
        rollout = copy.deepcopy(rollout)
        steps, environments = rollout.reward.shape
        last = {
            (t, b): map_arrays(lambda rows, n=n: rows[n], rollout.final_observation)
            for n, (t, b) in enumerate(zip(rollout.final_step, rollout.final_environment, strict=True))
        }
        ends = rollout.terminated | rollout.truncated
        assert set(last) == set(zip(*ends.nonzero(), strict=True)), "every end has its last observation, nothing else"
        for t in range(steps):
            for b in range(environments):
                if not rollout.valid[t, b]:
                    assert not ends[t, b]
                    assert rollout.reward[t, b] == 0
                    continue
                following = map_arrays(
                    lambda rows, after, t=t, b=b: rows[t + 1, b] if t + 1 < steps else after[b],
                    rollout.observation,
                    rollout.next_observation,
                )
                self.of[b].append(
                    (
                        map_arrays(lambda rows, t=t, b=b: rows[t, b], rollout.observation),
                        rollout.action[t, b],
                        float(rollout.reward[t, b]),
                        bool(rollout.terminated[t, b]),
                        bool(rollout.truncated[t, b]),
                        last.get((t, b), following),
                    )
                )


def collected(envs: VectorEnv[Any, Any, Any], rollouts: int = 6, steps: int = 7, **options: Any) -> Transitions:
    collector = Collector(envs, steps, gaussian(2), seed=options.pop("seed", 5), **options)
    out = Transitions(envs.num_envs)
    for _ in range(rollouts):
        out.add(collector.collect(act))
    envs.close()
    return out


def assert_same(found: list[Transition], expected: list[Transition]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            for x, y in zip(leaves(a), leaves(b), strict=True):
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [False, True], ids=["serial", "workers"])
def test_every_mode_gives_the_plain_loops_transitions(mode: str, kind: str, workers: bool) -> None:
    found = collected(counting(mode, 3, kind, workers))
    for b, one in enumerate(found.of):
        expected = oracle(5, b, len(one), kind)
        assert_same(one, expected)
        assert any(t[3] for t in one)
        assert any(t[4] and not t[3] for t in one)
        if mode == "NextStep":  # every end takes a row, save one in the very last row
            ends = sum(t[3] or t[4] for t in one)
            assert len(one) + ends in (42, 43 if one[-1][3] or one[-1][4] else 42)
            assert ends > 5
        else:
            assert len(one) == 42


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [1, 2, 42])
def test_where_rollouts_are_cut_changes_nothing(mode: str, steps: int) -> None:
    for b, one in enumerate(collected(counting(mode, 2), rollouts=42 // steps, steps=steps).of):
        assert_same(one, oracle(5, b, len(one)))


@pytest.mark.parametrize("mode", MODES)
def test_an_environment_acts_alike_in_any_company(mode: str) -> None:
    whole = collected(counting(mode, 5)).of
    parts = collected(counting(mode, 2)).of + collected(counting(mode, 3), first=2).of
    for one, other in zip(whole, parts, strict=True):
        assert_same(one, other)
    other_seed = collected(counting(mode, 1), seed=6).of[0]
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(whole[0], other_seed, strict=False))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(whole[0], whole[1], strict=False))


class Dense(VectorWrapper[Any, Any, Any, Any, Any]):
    """Last observations as ALE's vector environment gives them: one array for all, without a mask."""

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            final = observation.copy()
            for i in np.flatnonzero(infos["_final_obs"]):
                final[i] = infos["final_obs"][i]
            infos = {"final_obs": final}
        return observation, reward, terminated, truncated, infos


class Untidy(VectorWrapper[Any, Any, Any, Any, Any]):
    """Rows that only reset hold nonsense, as nobody should read them."""

    over: Any = None

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, infos = self.env.step(actions)
        over, resets = terminated | truncated, self.over if self.over is not None else np.zeros(len(reward), bool)
        self.over = over
        return observation, np.where(resets, np.nan, reward), terminated | resets, truncated | resets, infos


class Forgetful(VectorWrapper[Any, Any, Any, Any, Any]):
    def step(self, actions: Any) -> Any:
        return *self.env.step(actions)[:4], {}


def test_nothing_of_a_row_that_only_resets_is_read() -> None:
    for steps in (1, 7):
        for b, one in enumerate(collected(Untidy(counting("NextStep", 3)), 42 // steps, steps).of):
            assert_same(one, oracle(5, b, len(one)))
    collector = Collector(Untidy(counting("NextStep", 3)), 1, gaussian(2), seed=5)
    while not (rollout := collector.collect(act)).terminated.any():
        pass
    resumed = Collector(collector.envs, 1, gaussian(2), seed=5)
    resumed.load_state_dict(collector.state_dict())
    ended = rollout.terminated | rollout.truncated
    rollout = resumed.collect(act)
    np.testing.assert_array_equal(rollout.valid, ~ended)
    assert (rollout.reward[~rollout.valid] == 0).all()


def test_last_observations_in_one_array_are_read_too() -> None:
    for b, one in enumerate(collected(Dense(counting("SameStep", 3))).of):
        assert_same(one, oracle(5, b, len(one)))


def test_buffers_of_the_environments_may_be_reused() -> None:
    make = [Counting] * 3
    for mode in MODES:
        found = collected(SyncVectorEnv(make, copy=False, autoreset_mode=mode)).of
        for b, one in enumerate(found):
            assert_same(one, oracle(5, b, len(one)))


def test_a_vector_entry_point_steps_as_the_single_environment_does() -> None:
    """Each valid row, redone by Gymnasium's single CartPole; each row after an end is a reset."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=6, vectorization_mode="vector_entry_point")
    collector = Collector(envs, 120, gumbel(2), seed=0)
    single: Any = gymnasium.make("CartPole-v1").unwrapped
    invalid = 0
    for _ in range(2):
        rollout = collector.collect(lambda observation, noise: noise.argmax(-1))
        ends = rollout.terminated | rollout.truncated
        np.testing.assert_array_equal(rollout.valid[1:], ~ends[:-1])
        after = np.concatenate([rollout.observation[1:], rollout.next_observation[None]])
        for t, b in np.argwhere(rollout.valid):
            single.reset()
            single.state = rollout.observation[t, b].astype(np.float64)
            following, reward, terminated, _, _ = single.step(rollout.action[t, b])
            np.testing.assert_allclose(after[t, b], following, atol=1e-5)
            assert terminated == rollout.terminated[t, b]
            assert reward == rollout.reward[t, b]
        for t, b in np.argwhere(~rollout.valid):
            assert np.abs(after[t, b]).max() <= 0.05
            invalid += 1
    assert invalid > 20


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["vector", "dict"])
def test_one_batch_values_what_every_step_led_to(mode: str, kind: str) -> None:
    def value(observation: Any) -> torch.Tensor:
        vector = observation if kind == "vector" else observation["vector"]
        return torch.as_tensor(vector @ np.array([100.0, 10.0, 1.0], np.float32))

    collector = Collector(counting(mode, 4, kind), 9, gaussian(2), seed=2)
    truncations = 0
    for _ in range(4):
        rollout = collector.collect(act)
        beyond = bootstrap_observation(rollout)
        batch = value(beyond)
        onward = next_values(value(rollout.observation), *split_bootstrap(rollout, batch))
        cut = torch.from_numpy(rollout.truncated & ~rollout.terminated)
        assert torch.equal(split_bootstrap(rollout, batch)[1], cut)
        found = Transitions(4)
        found.add(rollout)
        for b in range(4):
            rows = np.flatnonzero(rollout.valid[:, b])
            for t, one in zip(rows, found.of[b], strict=True):
                if not one[3]:
                    truncations += one[4]
                    assert onward[t, b] == value(one[5])
    assert truncations > 5
    with pytest.raises(ValueError, match=r"4 environments need as many values together, got 3: value bootstrap_obs"):
        split_bootstrap(rollout, batch[:3])


def test_an_infinite_value_of_a_terminated_end_is_not_asked_for() -> None:
    rollout = Collector(counting("SameStep", 4), 40, gaussian(2), seed=2).collect(act)
    truncated = (rollout.truncated & ~rollout.terminated).sum()
    assert len(bootstrap_observation(rollout)) == truncated + 4
    assert rollout.terminated.sum() > 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_goes_on_exactly(mode: str, kind: str) -> None:
    envs = counting(mode, 3, kind)
    collector = Collector(envs, 5, gaussian(2), seed=3)
    for _ in range(3):
        collector.collect(act)
    table: dict[str, torch.Tensor] = {}
    saved = json.loads(json.dumps(encode(collector.state_dict(), table, "rollout")))
    copied = copy.deepcopy(envs)
    uninterrupted = [copy.deepcopy(collector.collect(act)) for _ in range(4)]

    resumed = Collector(copied, 5, gaussian(2), seed=99)
    resumed.load_state_dict(decode(saved, table))
    for expected in uninterrupted:
        found = resumed.collect(act)
        for name, value in vars(expected).items():
            for x, y in zip(leaves(value), leaves(getattr(found, name)), strict=True):
                np.testing.assert_array_equal(x, y)
    assert resumed.done == collector.done == 35


def test_a_state_of_other_environments_is_refused() -> None:
    saved = Collector(counting("NextStep", 3), 5, gaussian(2), seed=3).state_dict()
    with pytest.raises(ValueError, match=r"is of other environments: it has .*float32', 3, 3.*these have .*2, 3"):
        Collector(counting("NextStep", 2), 5, gaussian(2), seed=3).load_state_dict(saved)


@pytest.mark.parametrize("mode", MODES)
def test_new_episodes_can_begin_everywhere(mode: str) -> None:
    collector = Collector(counting(mode, 3), 5, gaussian(2), seed=3)
    collector.collect(act)
    collector.reset(seed=40)
    rollout = collector.collect(act)
    np.testing.assert_array_equal(rollout.observation[0, :, 0], [40, 41, 42])
    np.testing.assert_array_equal(rollout.observation[0, :, 2], 0)
    assert rollout.valid[0].all()


def test_images_stay_bytes_and_actions_the_policys_own() -> None:
    rollout = Collector(counting("NextStep", 3, "dict"), 50, gaussian(2), seed=3).collect(act)
    assert rollout.observation["image"].dtype == np.uint8
    assert rollout.final_observation["image"].dtype == np.uint8
    assert rollout.action.dtype == np.float32
    assert np.abs(rollout.action).max() > 1  # the environments saw it clipped: their rewards match the oracle's


def test_a_policys_own_form_of_action_is_kept() -> None:
    """Whole numbers of hundredths, made into a Box's numbers only on their way."""
    collector = Collector(
        counting("SameStep", 3), 4, gaussian(2), seed=5, to_space=lambda action: (action / 100).clip(-1, 1)
    )
    rollout = collector.collect(lambda observation, noise: (100 * act(observation, noise)).astype(np.int64))
    assert rollout.action.dtype == np.int64
    assert rollout.action.shape == (4, 3, 2)
    wanted = [int(100 * x) for x in oracle(5, 0, 1)[0][1]]
    assert rollout.action[0, 0].tolist() == wanted


def test_policies_without_noise() -> None:
    rollout = Collector(counting("SameStep", 3), 4, silent, seed=5).collect(
        lambda observation, noise: torch.full((3, 2), float(noise.shape[1]))
    )
    assert (rollout.action == 0).all()


def test_the_autoreset_mode_is_read_or_asked_for() -> None:
    envs = counting("SameStep", 2)
    assert autoreset_mode(envs) == AutoresetMode.SAME_STEP
    envs.metadata = {"autoreset_mode": "Disabled"}
    assert autoreset_mode(envs) == AutoresetMode.DISABLED
    envs.metadata = {}
    with pytest.raises(ValueError, match=r"metadata\['autoreset_mode'\] is None, .*: set it to gymnasium"):
        Collector(envs, 4, gaussian(2), seed=0)


class Odd(VectorEnv[Any, Any, Any]):
    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.num_envs, self.metadata = 2, {"autoreset_mode": "NextStep"}
        self.single_observation_space, self.single_action_space = observation, action


@pytest.mark.parametrize(
    ("observation", "action", "says"),
    [
        (spaces.Text(3), spaces.Discrete(2), r"the observation space is a Text, whose elements are no arrays"),
        (
            spaces.Dict(a=spaces.Dict(b=spaces.Text(3))),
            spaces.Discrete(2),
            r"the observation space\['a'\]\['b'\] is a Text",
        ),
        (spaces.Discrete(2), spaces.Text(3), r"the action space is a Text"),
        (spaces.Discrete(2), spaces.Tuple([spaces.Discrete(2)]), r"no policy fits an action space of type Tuple"),
    ],
)
def test_spaces_that_do_not_fit(observation: spaces.Space[Any], action: spaces.Space[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Collector(Odd(observation, action), 4, silent, seed=0)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (np.zeros((3, 1), np.float32), r"actions here are \[3, 2\] of float32, the policy gave \[3, 1\] of float32"),
        (np.zeros(2, np.float32), r"the policy gave \[2\]"),
        (np.zeros((3, 2), complex), r"the policy gave \[3, 2\] of complex128: give one action per environment"),
    ],
)
def test_actions_that_do_not_fit(action: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Collector(counting("NextStep", 3), 4, silent, seed=0).collect(lambda observation, noise: action)
    with pytest.raises(ValueError, match=r"a rollout has one step or more, got steps=0"):
        Collector(counting("NextStep", 3), 0, silent, seed=0)


def test_same_step_environments_must_give_the_last_observation() -> None:
    with pytest.raises(ValueError, match=r"infos lack 'final_obs', without which a truncation cannot be valued"):
        collected(Forgetful(counting("SameStep", 3)))
