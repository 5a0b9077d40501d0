"""What a learner hands out is what a slow loop over single environments finds."""

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv
from tests.rl.counting import KINDS, MODES, Counting, counting, tuple_batch

from sightline.envs.catch import Catch
from sightline.envs.gymnasium import Vector
from sightline.rl.learner import CHUNK, Experience, Learner, rows_of
from sightline.rl.policies import Policy, PolicySettings, make_policy
from sightline.rl.trees import map_arrays

STEPS, ENVIRONMENTS, SEED = 9, 3, 5


def policy_for(envs: Any, **settings: Any) -> Policy:
    torch.manual_seed(0)
    seen, does = (getattr(envs, f"single_{kind}_space") for kind in ("observation", "action"))
    policy = make_policy(seen, does, PolicySettings(hidden=(8,), **settings))
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return policy


def learner_for(envs: VectorEnv[Any, Any, Any], policy: Policy | None = None, **settings: Any) -> Learner:
    options: dict[str, Any] = {"rollout": STEPS, "gamma": 0.9, "learning_rate": 1e-2, "seed": SEED}
    return Learner(policy or policy_for(envs), envs, **{**options, **settings})


def rows_per_environment(experience: Experience, b: int) -> list[dict[str, Any]]:
    """The rows of one environment that count, as dictionaries of numbers."""
    valid = experience.valid
    names = ("action", "reward", "terminated", "truncated", "values", "next_values", "log_probability")
    return [
        {
            "observation": map_arrays(lambda x, t=t: x[t, b].numpy().copy(), experience.observation),
            **{name: getattr(experience, name)[t, b].numpy().copy() for name in names},
        }
        for t in range(len(experience.reward))
        if valid is None or valid[t, b]
    ]


def slow_loop(policy: Policy, environment: gymnasium.Env[Any, Any], index: int, transitions: int) -> list[Any]:
    """One environment stepped by hand, its policy asked one row at a time."""
    generator = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(index,)))
    observation, _ = environment.reset(seed=SEED + index)
    rows: list[Any] = []
    past = policy.start(1)
    with torch.no_grad():
        while len(rows) < transitions:
            row = map_arrays(torch.from_numpy, tuple_batch(observation))
            features = policy.features(row, past)
            distribution, value = policy.heads(features, row)
            past = policy.after(features)
            raw = policy.draw(distribution, torch.from_numpy(policy.fit.draw(generator, 1)))
            step = environment.step(policy.to_space(raw.numpy())[0])
            following, reward, terminated, truncated, _ = step
            rows.append(
                {
                    "observation": observation,
                    "action": raw[0].numpy(),
                    "reward": reward,
                    "terminated": terminated,
                    "truncated": truncated,
                    "values": value[0].numpy(),
                    "next_values": policy.value(map_arrays(torch.from_numpy, tuple_batch(following)), past)[0].numpy(),
                    "log_probability": policy.log_prob(distribution, raw)[0].numpy(),
                }
            )
            observation = following
            if terminated or truncated:
                observation, past = environment.reset()[0], policy.start(1)
    return rows


def assert_rows(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one["terminated"], one["truncated"]) == (other["terminated"], other["truncated"])
        for name in other:
            if name == "next_values" and other["terminated"]:
                continue  # nobody reads it
            map_arrays(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one[name], other[name])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"shared": True, "squash": True}, {"memory": 5}, {"memory": 5, "shared": True, "scale": "state"}],
    ids=["separate", "shared, squashed", "separate memories", "a shared memory"],
)
def test_experience_is_that_of_a_slow_loop(mode: str, kind: str, settings: dict[str, Any]) -> None:
    envs = counting(mode, ENVIRONMENTS, kind)
    policy = policy_for(envs, **settings)
    learner = learner_for(envs, policy)
    assert (learner.by_hand is not None) == (kind == "vector" and not settings)
    found: list[list[Any]] = [[] for _ in range(ENVIRONMENTS)]
    cut_off = 0
    for _ in range(3):
        experience = learner.collect()
        for b, rows in enumerate(found):
            rows += rows_per_environment(experience, b)
    for b, rows in enumerate(found):
        assert_rows(rows, slow_loop(policy, Counting(kind), b, len(rows)))
        cut_off += sum(bool(r["truncated"] and not r["terminated"]) for r in rows)
    assert cut_off > 3
    assert learner.steps == sum(map(len, found))
    assert (learner.steps < 3 * STEPS * ENVIRONMENTS) == (mode == "NextStep")


@pytest.mark.parametrize("memory", [0, 5])
def test_many_rows_are_valued_in_parts(memory: int) -> None:
    envs = counting("SameStep", 40)
    policy = policy_for(envs, memory=memory)
    experience = learner_for(envs, policy, rollout=2 * CHUNK // 40 + 3).collect()
    assert experience.reward.numel() > 2 * CHUNK
    with torch.no_grad():
        distribution, values = policy(experience.observation.flatten(0, 1), experience.past)
        log_p = policy.log_prob(distribution, experience.action.flatten(0, 1))
    torch.testing.assert_close(experience.values.flatten(), values)
    torch.testing.assert_close(experience.log_probability.flatten(), log_p)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shared", [False, True])
def test_acting_and_learning_see_the_same_normalised_numbers(mode: str, shared: bool) -> None:
    """Every action is what the policy draws from the observation that is learned from, with the noise of its row."""
    envs = counting(mode, ENVIRONMENTS)
    policy = policy_for(envs, shared=shared)
    learner = learner_for(envs, policy, normalise_observations=True, normalise_rewards=True)
    generators = [np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(b,))) for b in range(ENVIRONMENTS)]
    seen: list[np.ndarray] = []
    plain = Counting()
    for round_ in range(4):
        mean, scale = copy.deepcopy((learner.normaliser.mean, learner.normaliser.scale))  # type: ignore[union-attr]
        experience = learner.collect()
        for b, generator in enumerate(generators):
            for row in rows_per_environment(experience, b):
                with torch.no_grad():
                    distribution = policy.distribution(torch.from_numpy(row["observation"])[None])
                    noise = torch.from_numpy(policy.fit.draw(generator, 1))
                    expected = policy.draw(distribution, noise)[0]
                np.testing.assert_allclose(row["action"], expected.numpy(), rtol=1e-4, atol=1e-5)
        if round_:
            assert np.abs(experience.observation.numpy()).max() <= 10
            assert (mean != 0).all()
        raw = learner.collector._observation[:-1]
        np.testing.assert_allclose(
            experience.observation.numpy(), ((raw - mean) * scale).clip(-10, 10), rtol=1e-5, atol=1e-6
        )
        counts = np.ones(raw.shape[:2], bool) if experience.valid is None else experience.valid.numpy()
        seen.append(raw[counts].astype(np.float64))
        assert learner.normaliser is not None
        np.testing.assert_allclose(learner.normaliser.mean, np.concatenate(seen).mean(0), rtol=1e-9)
        assert learner.scaler is not None
        scaled = (learner.collector._reward * learner.scaler.scale).clip(-10, 10)
        np.testing.assert_allclose(experience.reward.numpy(), scaled, rtol=1e-5)
    assert plain.observation_space.shape == (3,)


def test_episodes_count_rewards_as_they_were() -> None:
    envs = counting("SameStep", 1)
    policy = policy_for(envs)
    learner = learner_for(envs, policy, normalise_rewards=True, rollout=30)
    learner.collect()
    row = learner.row({"policy_loss": 1.5})
    rewards, totals, lengths = 0.0, [], []
    length = 0
    for one in slow_loop(policy, Counting(), 0, 30):
        rewards, length = rewards + one["reward"], length + 1
        if one["terminated"] or one["truncated"]:
            totals.append(rewards)
            lengths.append(length)
            rewards, length = 0.0, 0
    np.testing.assert_allclose(row["return_mean"], np.mean(totals), rtol=1e-6)
    np.testing.assert_allclose(row["length_mean"], np.mean(lengths))
    assert (row["steps"], row["updates"], row["policy_loss"], row["learning_rate"]) == (30, 1, 1.5, 1e-2)
    assert row["steps_per_second"] > 0
    assert learner.row({})["steps_per_second"] == 0, "nothing was done since"


def test_without_an_episode_there_is_no_mean() -> None:
    learner = learner_for(counting("SameStep", 2), rollout=1)
    assert np.isnan(learner.row({})["return_mean"])


class Choosing(gymnasium.Env[Any, Any]):
    """Says which actions are legal, and insists on it."""

    observation_space = spaces.Dict(x=spaces.Box(-1, 1, (2,), np.float64), action_mask=spaces.MultiBinary(4))
    action_space = spaces.Discrete(4, start=10)

    def observe(self) -> dict[str, Any]:
        self.legal = self.np_random.random(4) < 0.4
        if self.time < 5:
            self.legal[self.np_random.integers(4)] = True
        else:
            self.legal[:] = False  # nothing is legal at the end
        return {"x": self.np_random.uniform(-1, 1, 2), "action_mask": self.legal.astype(np.int8)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.legal[action - 10], "an illegal action"
        self.time += 1
        return self.observe(), 1.0, False, self.time == 5, {}


@pytest.mark.parametrize("mode", MODES)
def test_illegal_actions_are_never_taken_nor_masks_normalised(mode: str) -> None:
    envs = SyncVectorEnv([Choosing] * 3, autoreset_mode=mode)
    learner = learner_for(envs, rollout=60, normalise_observations=True)
    for _ in range(2):
        experience = learner.collect()
        assert experience.log_probability.isfinite().all()
        assert set(experience.observation["action_mask"].unique().tolist()) == {0, 1}


def test_steps_are_adams_on_the_clipped_gradient() -> None:
    learner = learner_for(counting("SameStep", 2))
    plain = copy.deepcopy(learner.policy)
    oracle = torch.optim.Adam(plain.parameters(), lr=3e-2, eps=1e-5)
    learner.set_rate(3e-2)
    for largest in (0.1, None, 0.1):
        for policy in (learner.policy, plain):
            (policy.value(torch.ones(4, 3)) - 50).square().mean().backward()
        if largest is not None:
            torch.nn.utils.clip_grad_norm_(plain.parameters(), largest)
        for p in plain.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        oracle.step()
        oracle.zero_grad()
        learner.step(largest)
        assert not learner.flat.gradient.any()
        for p, q in zip(learner.policy.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q)


def test_rows_are_picked_everywhere_alike() -> None:
    experience = learner_for(counting("NextStep", 3, "dict")).collect()
    assert experience.valid is not None
    index = torch.tensor([4, 0, 26])
    advantage = torch.arange(27.0).view(9, 3)
    rows = rows_of(experience, index, advantage=advantage)
    assert rows["advantage"].tolist() == [4.0, 0.0, 26.0]
    for place, (t, b) in enumerate([(1, 1), (0, 0), (8, 2)]):
        assert rows["log_probability"][place] == experience.log_probability[t, b]
        assert torch.equal(rows["action"][place], experience.action[t, b])
        assert torch.equal(rows["observation"]["image"][place], experience.observation["image"][t, b])
        assert rows["valid"][place] == experience.valid[t, b]
        assert rows["values"][place] == experience.values[t, b]
    assert "valid" not in rows_of(learner_for(counting("SameStep", 3)).collect(), index)


@pytest.mark.parametrize("mode", MODES)
def test_a_reward_that_is_none_is_named(mode: str) -> None:
    def fault(env: Counting) -> Any:
        return (env.observe(), float("nan"), False, False, {}) if env.taken == 13 and env.number == SEED + 1 else None

    envs = SyncVectorEnv([lambda: Counting("vector", fault)] * 3, autoreset_mode=mode)
    learner = learner_for(envs, normalise_rewards=True)
    weights = learner.flat.parameter.detach().clone()
    says = r"^the reward of environment 1 at step \d+ is nan: correct the environment; training goes on from the last"
    learner.collect()
    with pytest.raises(ValueError, match=says):
        learner.collect()
    assert torch.equal(learner.flat.parameter, weights)


@pytest.mark.parametrize("shared", [False, True])
def test_a_policy_that_has_diverged_is_named(shared: bool) -> None:
    envs = Vector(Catch(), 2)  # its actions are numbers even so
    torch.manual_seed(0)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, PolicySettings(shared=shared))
    learner = learner_for(envs, policy)
    learner.collect()
    with torch.no_grad():
        learner.policy.actor.bias[0] = torch.nan
    with pytest.raises(
        ValueError, match=r"after \d+ steps are not all finite numbers: the network has diverged; go on"
    ):
        learner.collect()


def test_a_policy_that_was_moved_is_named() -> None:
    learner = learner_for(counting("SameStep", 2))
    learner.policy.double()
    with pytest.raises(ValueError, match=r"^the policy's parameters or gradients are no longer where they were joined"):
        learner.collect()


@pytest.mark.parametrize("name", ["convolution", "non-local", "criss-cross", "vit"])
def test_every_encoder_acts_and_then_learns(name: str) -> None:
    """Acting runs without autograd; nothing that it leaves behind may be in the way of a gradient."""
    envs = Vector(Catch(), 2, autoreset_mode="SameStep")
    policy = make_policy(
        envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=(8,), encoder=name)
    )
    learner = learner_for(envs, policy, rollout=4)
    rows = rows_of(learner.collect(), torch.arange(8))
    before = learner.flat.parameter.detach().clone()
    distribution, value = policy(rows["observation"])
    (policy.log_prob(distribution, rows["action"]).sum() + value.sum()).backward()
    learner.step(0.5)
    learner.collect()
    assert (learner.flat.parameter != before).float().mean() > 0.2
