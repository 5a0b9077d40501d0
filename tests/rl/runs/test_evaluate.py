"""An evaluation plays as many episodes in every environment, and sees what the policy saw."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from sightline.rl.acting import Acting
from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies import make_policy
from sightline.rl.runs import evaluate as module
from sightline.rl.runs.evaluate import Evaluation, evaluate


class Long(gymnasium.Env[np.ndarray, int]):
    """Episode k of environment i lasts 1 + (i + k) % 5 steps, each worth what was done."""

    observation_space = gymnasium.spaces.Box(-1e3, 1e3, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, index: int, endless: bool = False) -> None:
        self.index, self.episode, self.endless = index, -1, endless

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return np.array([100.0, self.steps], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = not self.endless and self.steps == 1 + (self.index + self.episode) % 5
        return np.array([100.0, self.steps], np.float32), 1.0 + action, over, False, {}


def many(count: int, endless: bool = False) -> SyncVectorEnv:
    return SyncVectorEnv([lambda i=i: Long(i, endless) for i in range(count)], autoreset_mode="SameStep")


def acting(**options: Any) -> Acting:
    policy = make_policy(Long.observation_space, Long.action_space)
    with torch.no_grad():
        policy.actor.bias[1] = 1.0
    return Acting(policy, **options)


def test_every_environment_plays_as_many_episodes() -> None:
    found = evaluate(acting(greedy=True), many(3), 7, seed=0)
    expected = [1 + (i + k) % 5 for i in range(3) for k in range(3)]
    assert list(found.lengths) == expected
    assert list(found.returns) == [2.0 * length for length in expected]
    assert found.mean == pytest.approx(np.mean(found.returns))
    assert found.spread == pytest.approx(np.std(found.returns))
    assert found.summary()["episodes"] == 9
    assert (found.summary()["least"], found.summary()["most"]) == (2.0, 10.0)


def test_drawn_actions_depend_on_the_seed_alone() -> None:
    one, same, other = (evaluate(acting(), many(2), 4, seed=seed).returns for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert any(r < 2 * n for r, n in zip(one, evaluate(acting(), many(2), 4, seed=0).lengths, strict=True))


def test_the_normalisation_is_used_and_not_changed() -> None:
    normaliser = ObservationNormaliser(Long.observation_space)
    normaliser.add(np.array([[[100.0, 1.0]], [[102.0, 3.0]]], np.float32), np.ones((2, 1), bool))
    before = normaliser.state_dict()
    policy, seen = make_policy(Long.observation_space, Long.action_space), []
    policy.actor_body.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    evaluate(Acting(policy, normaliser, greedy=True), many(2), 2, seed=0)
    assert all(one[:, 0].abs().max() <= 1.1 for one in seen)
    assert str(normaliser.state_dict()) == str(before)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="plays 1 episode or more, got 0"):
        evaluate(acting(), many(1), 0, seed=0)
    monkeypatch.setattr(module, "PATIENCE", 100)
    with pytest.raises(ValueError, match=r"has not ended after 128 steps: give the environment a time limit"):
        evaluate(acting(), many(2, endless=True), 2, seed=0)
    assert Evaluation((1.0, 3.0), (1, 3)).mean == 2.0
