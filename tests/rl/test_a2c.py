"""A2C against a plain loop over the transitions of single environments; two processes are in test_reinforce.py."""

import copy
import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from tests.rl.counting import MODES, Counting, counting
from tests.rl.resuming import assert_goes_on

from sightline.envs.corridor import Corridor
from sightline.envs.gymnasium import Vector
from sightline.rl.a2c import A2C, train
from sightline.rl.learner import Learner
from sightline.rl.policies import Policy, PolicySettings, make_policy


def learner_of(
    envs: Any, settings: A2C, seed: int = 7, hidden: tuple[int, ...] = (8,), memory: int = 0, **options: Any
) -> Learner:
    torch.manual_seed(4)
    built = PolicySettings(hidden=hidden, memory=memory)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, built)
    return Learner(
        policy,
        envs,
        rollout=settings.rollout,
        gamma=settings.gamma,
        learning_rate=settings.learning_rate,
        seed=seed,
        **options,
    )


def by_a_plain_loop(
    policy: Policy, settings: A2C, environments: int, seed: int, mode: str
) -> tuple[torch.Tensor, dict[str, float]]:
    """The first update's gradient and means: each environment by itself, advantages as sums of differences."""
    weight = settings.gamma * settings.gae_lambda
    rows = []  # (observation, action, advantage, target)
    for index in range(environments):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        environment = Counting()
        observation, _ = environment.reset(seed=seed + index)
        parts: list[list[tuple[Any, ...]]] = [[]]
        step, past = 0, policy.start(1)
        while step < settings.rollout:
            x = torch.from_numpy(observation)[None]
            with torch.no_grad():
                features = policy.features(x, past)
                distribution, value = policy.heads(features, x)
                value, past = value.item(), policy.after(features)
                raw = policy.draw(distribution, torch.from_numpy(policy.fit.draw(generator, 1)))
                observation, reward, terminated, truncated, _ = environment.step(raw[0].numpy().clip(-1, 1))
                after = 0.0 if terminated else policy.value(torch.from_numpy(observation)[None], past).item()
            parts[-1].append((x, raw, reward + settings.gamma * after - value, value))
            step += 1
            if terminated or truncated:
                (observation, _), past = environment.reset(), policy.start(1)
                parts.append([])
                step += mode == "NextStep"  # a row that only resets
        for part in parts:
            for t, (x, raw, _, value) in enumerate(part):
                advantage = sum(weight**k * one[2] for k, one in enumerate(part[t:]))
                rows.append((x, raw, advantage, advantage + value, t))
    spread = np.array([one[2] for one in rows])
    policy.zero_grad()
    loss = torch.zeros(())
    sums = {"policy_loss": 0.0, "value_loss": 0.0, "entropy": 0.0}
    for x, raw, advantage, target, t in rows:
        if settings.normalise_advantages:
            advantage = (advantage - spread.mean()) / spread.std()
        features = policy.features(x, past if t else policy.start(1))
        (distribution, value), past = policy.heads(features, x), policy.after(features)
        gain, error = advantage * policy.log_prob(distribution, raw).sum(), (value - target).square().sum()
        loss = loss - gain + settings.value_factor * 0.5 * error
        loss = loss - settings.entropy_factor * distribution.entropy().sum()
        sums["policy_loss"] -= gain.item()
        sums["value_loss"] += 0.5 * error.item()
        sums["entropy"] += distribution.entropy().item()
    (loss / len(rows)).backward()
    gradients = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
    return torch.cat(gradients), {name: one / len(rows) for name, one in sums.items()}


@pytest.mark.parametrize(
    "settings",
    [
        A2C(rollout=9, gamma=0.9, value_factor=0.7, entropy_factor=0.3),
        A2C(rollout=9, gamma=0.9, gae_lambda=0.6, normalise_advantages=True),
        A2C(rollout=1, gamma=0.9),
    ],
    ids=["to the end", "lambda, normalised", "one step"],
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("memory", [0, 4])
def test_an_update_is_what_a_plain_loop_over_single_environments_makes(mode: str, settings: A2C, memory: int) -> None:
    envs = counting(mode, 3)
    learner = learner_of(envs, settings, memory=memory)
    expected, means = by_a_plain_loop(copy.deepcopy(learner.policy), settings, 3, 7, mode)
    taken: list[tuple[torch.Tensor, float | None]] = []
    learner.step = lambda largest: taken.append((learner.flat.gradient.clone(), largest))  # type: ignore[method-assign]
    row = next(train(learner, settings, 10**6))
    torch.testing.assert_close(taken[0][0], expected, rtol=2e-4, atol=2e-4)
    assert taken[0][1] == settings.gradient_clip
    assert {name: row[name] for name in means} == pytest.approx(means, rel=1e-4, abs=1e-5)
    envs.close()


def updated(learner: Learner, settings: A2C, updates: int) -> list[dict[str, Any]]:
    """Rows without the clock; a mean of nothing is None."""
    rows = itertools.islice(train(learner, settings, 4000), updates)
    names = ("steps_per_second",)
    return [
        {name: None if value != value else value for name, value in row.items() if name not in names} for row in rows
    ]


def test_both_ways_of_resetting_at_once_make_the_same_updates_bit_for_bit() -> None:
    found = []
    for mode in ("SameStep", "Disabled"):
        envs = counting(mode, 3)
        learner = learner_of(envs, A2C())
        found.append((updated(learner, A2C(), 5), learner.flat.parameter.detach().clone()))
        envs.close()
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_a_rollout_in_which_everything_is_only_reset_is_passed_over() -> None:
    envs = Vector(Corridor(), 2, max_episode_steps=1)  # every second row resets both
    learner = learner_of(envs, A2C(rollout=1))
    rows = updated(learner, A2C(rollout=1), 3)
    assert [row["steps"] for row in rows] == [2, 4, 6]
    assert learner.collector.done == 5


def test_the_rate_falls_linearly() -> None:
    settings = A2C(rollout=5, learning_rate=0.1, learning_rate_end=0.2)
    learner = learner_of(Vector(Corridor(), 2, autoreset_mode="SameStep"), settings)
    rates = [row["learning_rate"] for row in train(learner, settings, 40)]
    assert rates == pytest.approx([0.1, 0.08, 0.06, 0.04])


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(mode: str) -> None:
    settings = A2C(rollout=5)

    def fresh() -> Learner:
        envs = Vector(Corridor(show_state=True), 3, max_episode_steps=12, autoreset_mode=mode)
        return learner_of(envs, settings, normalise_observations=True, normalise_rewards=True)

    assert_goes_on(fresh, lambda learner: updated(learner, settings, 4))


def test_it_learns_to_balance_a_pole() -> None:
    settings = A2C(learning_rate=2e-3)
    envs = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 8, autoreset_mode="SameStep")
    learner = learner_of(envs, settings, hidden=(64, 64))
    returns = [row["return_mean"] for row in train(learner, settings, 12_000)]
    envs.close()
    assert returns[30] < 40
    assert returns[-1] > 60
