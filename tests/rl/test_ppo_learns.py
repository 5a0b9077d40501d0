"""PPO learns one-step tasks, whoever resets and whatever an action is."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from tests.rl.test_ppo import learner_for

from sightline.rl.ppo import PPO, train


class Signs(gymnasium.Env[Any, Any]):
    """One step: say whether the number is above 0, or give its sign."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.x, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        up = bool(self.x > 0)
        if isinstance(self.action_space, spaces.Discrete):
            reward = float(action - self.action_space.start == up)
        else:
            reward = 1 - float(np.abs(action - (1 if up else -1)).max()) / 2
        return self.x, reward, True, False, {}


@pytest.mark.parametrize(
    ("mode", "action", "settings"),
    [
        ("SameStep", spaces.Discrete(2, start=3), {}),
        ("NextStep", spaces.Discrete(2), {"shared": True}),
        ("NextStep", spaces.Box(-1, 1, (1,), np.float32), {}),
        ("Disabled", spaces.Box(-1, 1, (1,), np.float32), {"scale": "state"}),
    ],
    ids=["choice", "choice, shared", "number", "number, scale of its own"],
)
def test_it_learns(mode: str, action: spaces.Space[Any], settings: dict[str, Any]) -> None:
    ppo = PPO(rollout=32, batch=128, epochs=4, learning_rate=2e-2)
    envs = SyncVectorEnv([lambda: Signs(action)] * 8, autoreset_mode=mode)
    rows = list(train(learner_for(envs, ppo, **settings), ppo, 5120))
    assert rows[0]["return_mean"] < 0.7
    assert rows[-1]["return_mean"] > 0.9
