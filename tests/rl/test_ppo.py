"""PPO against formulas written as loops, in every autoreset mode."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from tests.rl.counting import MODES, counting

from sightline.rl.advantages import normalised_everywhere
from sightline.rl.learner import Experience, Learner
from sightline.rl.minibatches import Order
from sightline.rl.policies import Flat, Policy, PolicySettings, make_policy
from sightline.rl.policies.memory import Past
from sightline.rl.ppo import PPO, loss, train

SEED, ROLLOUT = 5, 12
SMALL = PPO(rollout=ROLLOUT, batch=16, epochs=3, learning_rate=1e-2, gamma=0.9, entropy_factor=0.01)


def unsettled(policy: Policy) -> Policy:
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return policy


def learner_for(envs: VectorEnv[Any, Any, Any], ppo: PPO = SMALL, first: int = 0, **settings: Any) -> Learner:
    normalise = settings.pop("normalise", False)
    torch.manual_seed(1)
    options = PolicySettings(hidden=(8, 6), **settings)
    policy = unsettled(make_policy(envs.single_observation_space, envs.single_action_space, options))
    return Learner(
        policy, envs, rollout=ppo.rollout, gamma=ppo.gamma, learning_rate=ppo.learning_rate, seed=SEED, first=first,
        normalise_observations=normalise, normalise_rewards=normalise,
    )  # fmt: skip


def weights(learner: Learner) -> torch.Tensor:
    return learner.flat.parameter.detach().clone()


def rowwise(policy: Policy, observation: torch.Tensor, action: torch.Tensor) -> list[tuple[Any, Any, Any]]:
    """Log-probability, entropy and value of every row, from the network's own outputs; differentiable."""
    body = policy.critic_body or policy.actor_body
    out = []
    for x, a in zip(observation, action, strict=True):
        outputs, value = policy.actor(policy.actor_body(x[None]))[0], policy.critic(body(x[None]))[0, 0]
        if policy.log_scale is None:
            p = outputs.exp() / outputs.exp().sum()
            log_p, entropy = p[a].log(), -(p * p.log()).sum()
        else:
            scale = policy.log_scale.exp()
            log_p = sum(-0.5 * ((a - outputs) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi))
            entropy = sum(0.5 * torch.log(2 * math.pi * math.e * scale**2))
        out.append((log_p, entropy, value))
    return out


def rowwise_with_a_memory(policy: Policy, seen: Experience, b: int) -> list[tuple[Any, Any, Any]]:
    """The same for one environment's rollout, from what was remembered when it began."""
    assert seen.past is not None
    out, state = [], seen.past.state[b : b + 1]
    for t in range(len(seen.reward)):
        x, action = seen.observation[t, b][None], seen.action[t, b][None]
        if seen.past.begins[t, b]:
            state = torch.zeros_like(state)
        features = policy.features(x, Past(state, torch.zeros(1, 1, dtype=torch.bool)))
        distribution, value = policy.heads(features, x)
        state = policy.states(features)
        out.append((policy.log_prob(distribution, action)[0], distribution.entropy()[0], value[0]))
    return out


def looped_loss(
    policy: Policy, rows: dict[str, Any], ppo: PPO, clip: float, said: list[tuple[Any, Any, Any]] | None = None
) -> tuple[Any, list[float]]:
    """The loss of some rows, one after the other, and its statistics."""
    terms: list[list[Any]] = []
    for i, (log_p, entropy, value) in enumerate(said or rowwise(policy, rows["observation"], rows["action"])):
        if "valid" in rows and not rows["valid"][i]:
            continue
        advantage, target = float(rows["advantage"][i]), float(rows["target"][i])
        ratio = (log_p - float(rows["log_probability"][i])).exp()
        if advantage >= 0:
            gain = ratio * advantage if ratio < 1 + clip else torch.tensor((1 + clip) * advantage)
        else:
            gain = ratio * advantage if ratio > 1 - clip else torch.tensor((1 - clip) * advantage)
        error = (value - target) ** 2
        if ppo.value_clip is not None:
            old = float(rows["values"][i])
            moved = min(max(float(value.detach()), old - ppo.value_clip), old + ppo.value_clip)
            if (moved - target) ** 2 > float(error.detach()):
                stopped = moved != float(value.detach())
                error = torch.tensor((moved - target) ** 2) if stopped else (value - target) ** 2
        apart = float(ratio.detach())
        outside = float(apart > 1 + clip or apart < 1 - clip)
        terms.append([-gain, 0.5 * error, entropy, apart - 1 - math.log(apart), outside])
    means = [sum(column) / len(terms) for column in zip(*terms, strict=True)]
    total = means[0] + ppo.value_factor * means[1] - ppo.entropy_factor * means[2]
    return total, [float(torch.as_tensor(mean).detach()) for mean in means]


@pytest.mark.parametrize("action", [spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)], ids=["choice", "numbers"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("value_clip", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_a_loops(action: spaces.Space[Any], shared: bool, value_clip: float | None, masked: bool) -> None:
    seen = spaces.Box(-1, 1, (3,), np.float32)
    policy = unsettled(make_policy(seen, action, PolicySettings(hidden=(5,), shared=shared)))
    n = 40
    observation = torch.randn(n, 3)
    with torch.no_grad():
        distribution, value = policy(observation)
        actions = policy.draw(distribution, torch.from_numpy(policy.fit.draw(np.random.default_rng(0), n)))
        rows = {
            "observation": observation,
            "action": actions,
            "log_probability": policy.log_prob(distribution, actions) + 0.4 * torch.randn(n),
            "values": value + 0.5 * torch.randn(n),
            "advantage": torch.randn(n),
            "target": value + torch.randn(n),
        }
    if masked:
        rows["valid"] = torch.rand(n) < 0.6
        for name in ("log_probability", "values", "advantage", "target"):
            rows[name][~rows["valid"]] = torch.nan
    ppo = PPO(value_clip=value_clip, value_factor=0.6, entropy_factor=0.05)
    flat = Flat(policy)
    total, statistics = loss(policy, rows, ppo, 0.25)
    total.backward()
    gradient = flat.gradient.clone()
    flat.clear()
    expected, means = looped_loss(policy, rows, ppo, 0.25)
    expected.backward()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics, means, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient, flat.gradient, rtol=1e-4, atol=1e-5)
    assert 0.2 < means[4] < 0.8


def looped_advantages(seen: Experience, ppo: PPO) -> torch.Tensor:
    """Generalised advantages of every environment's own rows, from the last to the first."""
    out = torch.zeros_like(seen.reward)
    valid = torch.ones_like(seen.terminated) if seen.valid is None else seen.valid
    for b in range(seen.reward.shape[1]):
        later = 0.0
        for t in reversed(range(len(seen.reward))):
            if not valid[t, b]:
                later = 0.0
                continue
            if seen.terminated[t, b] or seen.truncated[t, b]:
                later = 0.0
            onward = 0.0 if seen.terminated[t, b] else ppo.gamma * float(seen.next_values[t, b])
            later = float(seen.reward[t, b]) + onward - float(seen.values[t, b]) + ppo.gamma * ppo.gae_lambda * later
            out[t, b] = later
    return out


def slow_train(learner: Learner, ppo: PPO, updates: int, total: int) -> None:
    """The same with loops and PyTorch's own optimiser, over what the learner collects."""
    policy, count = learner.policy, learner.envs.num_envs
    oracle = torch.optim.Adam(policy.parameters(), lr=1.0, eps=1e-5)
    order = Order(count, seed=SEED)
    for _ in range(updates):
        left = 1 - learner.steps / total
        oracle.param_groups[0]["lr"] = ppo.learning_rate * left
        seen = learner.collect()
        valid = torch.ones_like(seen.terminated) if seen.valid is None else seen.valid
        advantages = looped_advantages(seen, ppo)
        targets = advantages + seen.values
        kept = advantages[valid].double()
        advantages = torch.where(valid, ((advantages - kept.mean()) / kept.std(unbiased=False)).float(), 0.0)
        for _ in range(ppo.epochs):
            shuffled = order.epoch_of_environments if policy.remembers else order.epoch
            for index in shuffled(ppo.rollout, ppo.rollout * count // ppo.batch):
                t, b = index // count, index % count
                said = None
                if policy.remembers:
                    each = [rowwise_with_a_memory(policy, seen, one) for one in b[: ppo.batch // ppo.rollout].tolist()]
                    said = [row for time in zip(*each, strict=True) for row in time]
                rows = {
                    "observation": seen.observation[t, b],
                    "action": seen.action[t, b],
                    "log_probability": seen.log_probability[t, b],
                    "values": seen.values[t, b],
                    "advantage": advantages[t, b],
                    "target": targets[t, b],
                    "valid": valid[t, b],
                }
                looped_loss(policy, rows, ppo, ppo.clip, said)[0].backward()
                torch.nn.utils.clip_grad_norm_(policy.parameters(), ppo.gradient_clip)
                oracle.step()
                learner.flat.clear()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"shared": True}, {"memory": 4}, {"memory": 4, "shared": True}],
    ids=["by hand", "autograd", "memories", "a memory"],
)
def test_training_is_a_slow_loops(mode: str, settings: dict[str, Any]) -> None:
    total = 10 * ROLLOUT * 4
    ppo = replace(SMALL, epochs=2, batch=2 * ROLLOUT if "memory" in settings else SMALL.batch)
    fast, slow = (learner_for(counting(mode, 4), ppo, normalise=True, **settings) for _ in range(2))
    rows = train(fast, ppo, total)
    for _ in range(2):
        next(rows)
    before = weights(slow)
    slow_train(slow, ppo, 2, total)
    assert fast.steps == slow.steps
    torch.testing.assert_close(weights(fast), weights(slow), rtol=1e-3, atol=1e-4)
    assert (weights(slow) - before).abs().max() > 0.02


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"shared": True}, {"squash": True}, {"memory": 4}],
    ids=["by hand", "shared", "squashed", "a memory"],
)
def test_who_resets_makes_no_difference(settings: dict[str, Any], normalise: bool) -> None:
    found = []
    ppo = replace(SMALL, batch=2 * ROLLOUT)
    for mode in ("SameStep", "Disabled"):
        learner = learner_for(counting(mode, 4), normalise=normalise, **settings)
        rows = list(train(learner, ppo, 5 * 4 * ROLLOUT))
        assert len(rows) == 5
        found.append((weights(learner), [{k: v for k, v in r.items() if k != "steps_per_second"} for r in rows]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def transitions(mode: str, settings: dict[str, Any], rollouts: int) -> list[list[tuple[Any, ...]]]:
    """What each environment goes through while training with a rate of 0, so that the policy stays as it is."""
    ppo = replace(SMALL, learning_rate=0.0, batch=2 * ROLLOUT)
    learner = learner_for(counting(mode, 4), ppo, **settings)
    out: list[list[tuple[Any, ...]]] = [[] for _ in range(4)]
    collect = learner.collect

    def recorded() -> Experience:
        seen = collect()
        for t, b in np.ndindex(*seen.reward.shape):
            if seen.valid is None or seen.valid[t, b]:
                columns = (seen.observation, seen.action, seen.reward, seen.terminated, seen.truncated)
                out[b].append(tuple(column[t, b].tolist() for column in columns))
        return seen

    learner.collect = recorded  # type: ignore[method-assign]
    rows = train(learner, ppo, 10**9)
    for _ in range(rollouts):
        next(rows)
    return out


@pytest.mark.parametrize("settings", [{}, {"shared": True}, {"memory": 4}], ids=["by hand", "shared", "a memory"])
def test_rows_that_only_reset_are_no_transitions(settings: dict[str, Any]) -> None:
    every, fewer = (transitions(mode, settings, 4) for mode in ("SameStep", "NextStep"))
    for whole, part in zip(every, fewer, strict=True):
        assert 4 * ROLLOUT == len(whole) > len(part) > 2 * ROLLOUT
        for one, other in zip(whole, part, strict=False):
            np.testing.assert_allclose(np.hstack(one), np.hstack(other), rtol=1e-5)
            assert one[3:] == other[3:]


def test_an_epoch_that_moves_too_far_is_the_last() -> None:
    envs = [counting("SameStep", 4) for _ in range(5)]
    whole = replace(SMALL, batch=4 * ROLLOUT, epochs=6)
    for env, target, epochs in [(envs[0], None, 6), (envs[1], 1e9, 6), (envs[2], 1e-9, 2)]:
        row = next(train(learner_for(env, whole), replace(whole, target_kl=target), 10**6))
        assert row["epochs"] == epochs, "in one batch the first epoch has not moved yet, the second has"
    kl: list[float] = []
    slower = replace(SMALL, learning_rate=1e-3, epochs=6)
    learner = learner_for(envs[3], slower)
    assert learner.by_hand is not None
    gradient = learner.by_hand.gradient

    def recorded(*args: Any, **named: Any) -> np.ndarray:
        out = gradient(*args, **named)
        kl.append(float(out[3]))
        return out

    learner.by_hand.gradient = recorded  # type: ignore[method-assign]
    next(train(learner, slower, 10**6))
    means = np.array(kl).reshape(6, 3).mean(1)  # three minibatches each
    assert (np.diff(means) > 0).all()
    between = float(means[3] + means[4]) / 2
    assert means[:4].sum() > between, "it is an epoch's own and not the sum"
    row = next(train(learner_for(envs[4], slower), replace(slower, target_kl=between), 10**6))
    assert row["epochs"] == 5
    np.testing.assert_allclose(row["kl"], means[:5].mean(), rtol=1e-5)


def test_rates_and_clips_fall_linearly() -> None:
    total = 8 * 4 * ROLLOUT
    ppo = replace(SMALL, learning_rate_end=0.25, clip=0.4, clip_end=0.5, epochs=1)
    learner = learner_for(counting("SameStep", 4), ppo)
    assert learner.by_hand is not None
    clips: list[float] = []
    gradient = learner.by_hand.gradient

    def recorded(*args: Any, **named: Any) -> np.ndarray:
        clips.append(named["clip"])
        return gradient(*args, **named)

    learner.by_hand.gradient = recorded  # type: ignore[method-assign]
    rows = list(train(learner, ppo, total))
    assert [row["steps"] for row in rows] == [48 * (i + 1) for i in range(8)]
    assert [row["updates"] for row in rows] == list(range(1, 9))
    np.testing.assert_allclose([r["learning_rate"] for r in rows], [1e-2 * (1 - 0.75 * i / 8) for i in range(8)])
    np.testing.assert_allclose(clips[::3], [0.4 * (1 - 0.5 * i / 8) for i in range(8)])
    constant = replace(SMALL, learning_rate_end=1.0)
    rows = list(train(learner_for(counting("SameStep", 4), constant), constant, 96))
    assert [row["learning_rate"] for row in rows] == [1e-2, 1e-2]
    assert list(train(learner, ppo, total)) == [], "all steps were taken"


def test_an_update_that_was_saved_between_goes_on_alike() -> None:
    """The schedules know the steps and not who took them."""
    total = 6 * 4 * ROLLOUT
    learner = learner_for(counting("SameStep", 4))
    rows = train(learner, SMALL, total)
    for _ in range(2):
        next(rows)
    state, kept = copy.deepcopy(learner.state_dict()), copy.deepcopy(learner.envs)
    saved, moments = copy.deepcopy(learner.policy.state_dict()), learner.optimizer.state_dict()
    expected = [row["learning_rate"] for row in rows]
    resumed = learner_for(kept)
    resumed.policy.load_state_dict(saved)
    resumed.optimizer.load_state_dict(moments)
    resumed.load_state_dict(state)
    assert [row["learning_rate"] for row in train(resumed, SMALL, total)] == expected
    assert torch.equal(weights(resumed), weights(learner))


@pytest.mark.parametrize("masked", [False, True])
def test_advantages_of_mean_0_and_deviation_1(masked: bool) -> None:
    advantages = torch.randn(7, 3) * 5 + 100
    valid = torch.rand(7, 3) < 0.6 if masked else None
    found = normalised_everywhere(advantages, valid).numpy()
    kept = advantages.numpy()[valid.numpy()] if valid is not None else advantages.numpy()
    expected = (advantages.numpy() - kept.mean()) / kept.std()
    np.testing.assert_allclose(found, expected if valid is None else np.where(valid, expected, 0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 17}, r"^a rollout of 12 steps in 4 environments has 48 rows, .* use --batch 16, or another --rollo"),
        ({"rollout": 6}, r"^the learner acts for 12 steps with gamma 0.9, PPO is to learn from 6 with gamma 0.9: give"),
        ({"gamma": 0.5}, r"^the learner acts for 12 steps with gamma 0.9, PPO is to learn from 12 with gamma 0.5"),
        ({"epochs": 0}, r"^PPO's epochs lies above 0, got 0: 4 is the default$"),
        ({"clip": 0.0}, r"^PPO's clip lies above 0, got 0.0: 0.2 is the default$"),
        ({"value_clip": -0.1}, r"^PPO's value_clip lies above 0, got -0.1: None is the default$"),
        ({"target_kl": 0.0}, r"^PPO's target_kl lies above 0, got 0.0"),
        ({"gae_lambda": 1.5}, r"^lambda lies in \[0, 1\], got 1.5"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        next(train(learner_for(counting("SameStep", 4)), replace(SMALL, **change), 100))
