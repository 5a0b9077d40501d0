"""A learner that was saved goes on bit for bit where it was."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv
from tests.rl.counting import MODES, counting

from sightline.envs.catch import Catch
from sightline.envs.gymnasium import Vector
from sightline.rl.learner import Learner, rows_of
from sightline.rl.policies import PolicySettings, make_policy
from sightline.run.states import decode, encode


def learner_for(envs: VectorEnv[Any, Any, Any], seed: int = 5, **settings: bool) -> Learner:
    torch.manual_seed(seed)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=(8,)))
    return Learner(policy, envs, rollout=9, gamma=0.9, learning_rate=1e-2, seed=seed, **settings)


def make_vector(kind: str, mode: str) -> VectorEnv[Any, Any, Any]:
    return Vector(Catch(), 4, autoreset_mode=mode) if kind == "catch" else counting(mode, 4, kind)


def fresh(kind: str, mode: str, seed: int) -> Learner:
    return learner_for(make_vector(kind, mode), seed, normalise_observations=True, normalise_rewards=True)


def an_update(learner: Learner) -> list[Any]:
    """A rollout learned from in some way, and all that was seen."""
    experience = learner.collect()
    out = [copy.deepcopy(vars(experience)), learner.row({})]
    for index in learner.minibatches(3):
        rows = rows_of(experience, index)
        distribution, value = learner.policy(rows["observation"])
        log_p = learner.policy.log_prob(distribution, rows["action"])
        (value.square().mean() - (log_p * (rows["values"] + 1)).mean()).backward()
        learner.step(0.5)
        out.append(index)
    out.append({k: v.clone() for k, v in learner.policy.state_dict().items()})
    return out


def assert_identical(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            if key != "steps_per_second":
                assert_identical(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_identical(a, b)
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    else:
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["catch", "vector", "dict"])
def test_a_saved_learner_goes_on_bit_for_bit(mode: str, kind: str) -> None:
    learner = fresh(kind, mode, 1)
    for _ in range(2):
        an_update(learner)
    state = {
        "agent": learner.state_dict(),
        "weights": learner.policy.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "envs": learner.envs.get_state() if isinstance(learner.envs, Vector) else None,
    }
    table: dict[str, torch.Tensor] = {}
    text = json.dumps(encode(state, table, "state"))
    kept = copy.deepcopy(learner.envs)
    expected = [an_update(learner) for _ in range(3)]

    saved = decode(json.loads(text), table)
    resumed = fresh(kind, mode, 99)
    resumed.policy.load_state_dict(saved["weights"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["agent"])
    if isinstance(resumed.envs, Vector):
        resumed.envs.set_state(saved["envs"])
    else:
        resumed.envs = resumed.collector.envs = kept
    for one in expected:
        assert_identical(an_update(resumed), one)
    assert (resumed.steps, resumed.updates) == (learner.steps, learner.updates) == (learner.steps, 5)


def test_the_first_rate_after_loading_counts_no_earlier_steps() -> None:
    learner = fresh("vector", "SameStep", 1)
    an_update(learner)
    resumed = fresh("vector", "SameStep", 1)
    resumed.load_state_dict(learner.state_dict())
    assert resumed.row({})["steps_per_second"] == 0


def test_states_that_do_not_fit() -> None:
    saved = fresh("vector", "SameStep", 1).state_dict()
    with pytest.raises(ValueError, match=r"^the saved agent keeps .*observations.*rewards, this one collector, episod"):
        learner_for(counting("SameStep", 4)).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"of other environments"):
        learner_for(counting("SameStep", 3), normalise_observations=True, normalise_rewards=True).load_state_dict(saved)


@pytest.mark.parametrize("mode", MODES)
def test_new_episodes_begin_where_environments_are_lost(mode: str) -> None:
    learner = learner_for(counting(mode, 3), normalise_rewards=True)
    learner.collect()
    seen = learner.episodes.count
    assert learner.scaler is not None
    learner.restart(40)
    assert not learner.scaler.state_dict()["carried"].any(), "no discounted return goes over the cut either"
    experience = learner.collect()
    np.testing.assert_array_equal(experience.observation[0, :, 0].numpy(), [40, 41, 42])
    assert experience.valid is None or experience.valid[0].all()
    assert learner.episodes.count > seen
    assert max(length for _, length in learner.episodes.latest) <= 6, "no episode goes over the cut"
