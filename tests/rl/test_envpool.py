"""envpool's vector environments, where it is installed: rows are what they say they are, and PPO learns from them."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from sightline.rl.learner import Learner
from sightline.rl.policies import make_policy
from sightline.rl.ppo import PPO, train
from sightline.rl.rollout import autoreset_mode

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    envpool = pytest.importorskip("envpool", reason="envpool is not installed")


@pytest.mark.filterwarnings("ignore")
def test_ppo_learns_in_envpools_cartpole() -> None:
    envs = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=8, seed=1)
    assert autoreset_mode(envs) == AutoresetMode.NEXT_STEP
    ppo = PPO(rollout=128, batch=256, epochs=10, learning_rate=1e-3, gamma=0.98, gae_lambda=0.9)
    torch.manual_seed(0)
    policy = make_policy(envs.single_observation_space, envs.single_action_space)
    learner = Learner(policy, envs, rollout=ppo.rollout, gamma=ppo.gamma, learning_rate=ppo.learning_rate, seed=0)
    seen = learner.collect()
    assert seen.valid is not None
    ended = (seen.terminated | seen.truncated)[:-1]
    assert torch.equal(~seen.valid[1:], ended), "the row after an end only resets"
    assert np.abs(seen.observation[1:][~seen.valid[1:]].numpy()).max() > 0.2, "and shows what the episode came to"
    first = seen.observation[1:][1:][~seen.valid[1:][:-1]]
    assert first.abs().max() <= 0.05, "an episode begins near the middle"
    rows = list(train(learner, ppo, 60_000))
    assert rows[-1]["return_mean"] > 200 > 50 > rows[0]["return_mean"]
