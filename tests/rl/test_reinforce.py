"""REINFORCE against a plain loop over single environments, and against itself when stopped or divided."""

import itertools
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from gymnasium.vector import SyncVectorEnv
from tests.rl.counting import MODES, Counting, counting
from tests.rl.resuming import assert_goes_on

from sightline.envs.environment import Randomness, draw
from sightline.envs.gymnasium import Vector
from sightline.rl import a2c
from sightline.rl.a2c import A2C
from sightline.rl.learner import Experience, Learner
from sightline.rl.policies import Policy, PolicySettings, make_policy
from sightline.rl.reinforce import (
    BASELINES,
    Reinforce,
    advantages_of,
    collect_episodes,
    steps_into_episode,
    train,
)
from sightline.rl.returns import finished
from sightline.run.processes import open_processes


def small_policy(envs: Any, memory: int = 0) -> Policy:
    torch.manual_seed(4)
    settings = PolicySettings(hidden=(8,), memory=memory)
    return make_policy(envs.single_observation_space, envs.single_action_space, settings)


def learner_of(envs: Any, settings: Reinforce | A2C, seed: int = 7, first: int = 0, **options: Any) -> Learner:
    return Learner(
        options.pop("policy", None) or small_policy(envs),
        envs,
        rollout=settings.rollout,
        gamma=settings.gamma,
        learning_rate=settings.learning_rate,
        seed=seed,
        first=first,
        **options,
    )


def gradients_of(learner: Learner) -> list[torch.Tensor]:
    """What every step of the optimiser is made with, from now on."""
    taken: list[torch.Tensor] = []
    step = learner.optimizer.step

    def watched() -> None:
        taken.append(learner.flat.gradient.clone())
        step()

    learner.optimizer.step = watched  # type: ignore[method-assign]
    return taken


def by_a_plain_loop(
    policy: Policy, settings: Reinforce, environments: int, seed: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """The first update's gradient and means over its rows, from single environments, one step after the other."""
    rows = []  # (observation, action, return, power of gamma, episode)
    for index in range(environments):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        environment = Counting()
        for episode in range(settings.episodes):
            observation, _ = environment.reset(seed=seed + index) if episode == 0 else environment.reset()
            steps, over, past = [], False, policy.start(1)
            while not over:
                x = torch.from_numpy(observation)[None]
                with torch.no_grad():
                    features = policy.features(x, past)
                    noise = torch.from_numpy(policy.fit.draw(generator, 1))
                    raw, past = policy.draw(policy.heads(features, x)[0], noise), policy.after(features)
                observation, reward, terminated, truncated, _ = environment.step(raw[0].numpy().clip(-1, 1))
                steps.append((x, raw, reward))
                over = terminated or truncated
            with torch.no_grad():
                beyond = policy.value(torch.from_numpy(observation)[None], past)[0].item()
            total = beyond if settings.baseline == "value" and not terminated else 0.0
            for power, (x, raw, reward) in reversed(list(enumerate(steps))):
                total = reward + settings.gamma * total
                rows.append((x, raw, total, power, (index, episode)))
    policy.zero_grad()
    loss = torch.zeros(())
    sums = {"policy_loss": 0.0, "value_loss": 0.0, "entropy": 0.0}
    for x, raw, total, power, episode in sorted(rows, key=lambda one: (one[4], one[3])):  # in the order of time
        features = policy.features(x, past if power else policy.start(1))
        (distribution, value), past = policy.heads(features, x), policy.after(features)
        baseline = {
            "none": 0.0,
            "value": float(value.detach()),
            "constant": float(np.mean([one[2] for one in rows if one[4] != episode])),
        }[settings.baseline]
        factor = settings.gamma**power if settings.discount_state else 1.0
        gain = factor * (total - baseline) * policy.log_prob(distribution, raw).sum()
        loss = loss - gain
        sums["policy_loss"] -= gain.item()
        sums["value_loss"] += 0.5 * (value.item() - total) ** 2
        sums["entropy"] += distribution.entropy().item()
        loss = loss - settings.entropy_factor * distribution.entropy().sum()
        if settings.baseline == "value":
            loss = loss + settings.value_factor * 0.5 * (value - total).square().sum()
    (loss / (environments * settings.episodes)).backward()
    gradients = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in policy.parameters()]
    return torch.cat(gradients), {name: one / len(rows) for name, one in sums.items()}


@pytest.mark.parametrize("memory", [0, 4])
@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("mode", MODES)
def test_an_update_is_what_a_plain_loop_over_single_environments_makes(mode: str, baseline: str, memory: int) -> None:
    settings = Reinforce(
        rollout=4, episodes=3, baseline=baseline, gamma=0.9, discount_state=True, entropy_factor=0.3, value_factor=0.7
    )
    envs = counting(mode, 3)
    expected, means = by_a_plain_loop(small_policy(envs, memory), settings, 3, seed=7)
    learner = learner_of(envs, settings, policy=small_policy(envs, memory))
    taken = gradients_of(learner)
    row = next(train(learner, settings, 10**6))
    assert row["episodes"] == 9
    assert learner.collector.done >= 2 * settings.rollout  # more than one rollout was joined
    torch.testing.assert_close(taken[0], expected, rtol=2e-4, atol=2e-4)
    assert {name: row[name] for name in means} == pytest.approx(means, rel=1e-4)
    envs.close()


def test_both_ways_of_resetting_at_once_make_the_same_updates_bit_for_bit() -> None:
    found = []
    for mode in ("SameStep", "Disabled"):
        envs = counting(mode, 3)
        learner = learner_of(envs, Reinforce(rollout=4))
        rows = list(itertools.islice(train(learner, Reinforce(rollout=4), 10**6), 4))
        found.append((learner.flat.parameter.detach().clone(), [row["policy_loss"] for row in rows]))
        envs.close()
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("mode", MODES)
def test_every_update_begins_anew_and_uses_whole_episodes_from_the_first_on(mode: str) -> None:
    settings = Reinforce(rollout=4, episodes=2)
    envs = counting(mode, 3)
    learner = learner_of(envs, settings)
    for _ in range(4):
        seen, used = collect_episodes(learner, settings)
        assert (seen.observation[0, :, 2] == 0).all()  # the step within the episode
        ended = (seen.terminated | seen.truncated) & used
        assert (ended.sum(0) == settings.episodes).all()
        for i in range(3):
            counts = seen.observation[:, i, 2][used[:, i]].tolist()
            ends = ended[:, i][used[:, i]].tolist()
            after = [0.0, *(0.0 if over else count + 1 for count, over in zip(counts, ends, strict=True))]
            assert counts == after[:-1]
            assert ends[-1]
            assert steps_into_episode(seen)[:, i][used[:, i]].tolist() == counts
        distribution = learner.policy.distribution(seen.observation.flatten(0, 1))
        again = learner.policy.log_prob(distribution, seen.action.flatten(0, 1)).view_as(used)
        torch.testing.assert_close(again[used], seen.log_probability[used], rtol=1e-4, atol=1e-4)
    envs.close()


@dataclass(frozen=True)
class Left:
    """Steps until the end."""

    left: np.ndarray


@dataclass(frozen=True)
class ShortOrLong:
    """Episodes of 1 or 20 steps, equally often; each step gives 1."""

    num_actions: int = 2
    observation_shape: tuple[int, ...] = (1,)
    observation_dtype: type[np.generic] = np.float32

    def reset(self, rng: Randomness, b: int) -> tuple[Left, np.ndarray]:
        state = Left(1 + 19 * draw(rng, 2, b))
        return state, self.observe(state)

    def step(self, state: Left, action: np.ndarray, rng: Randomness) -> tuple[Left, np.ndarray, np.ndarray, np.ndarray]:
        after = Left(state.left - 1)
        return after, self.observe(after), np.ones(len(action)), after.left == 0

    def observe(self, state: Left) -> np.ndarray:
        return np.ones((len(state.left), 1), np.float32)

    def picture(self, state: Left) -> np.ndarray:
        return np.zeros((len(state.left), 1, 1, 3), np.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_short_episodes_are_not_favoured(mode: str) -> None:
    settings = Reinforce(rollout=25, episodes=1)
    learner = learner_of(Vector(ShortOrLong(), 64, autoreset_mode=mode), settings)
    lengths, all_lengths = [], []
    for _ in range(20):
        seen, used = collect_episodes(learner, settings)
        lengths.append(used.sum().item() / 64)
        whole = finished(seen.terminated, seen.truncated, seen.valid)
        all_lengths.append(whole.sum().item() / seen.terminated.sum().item())
    assert np.mean(lengths) == pytest.approx(10.5, abs=4 * 9.5 / np.sqrt(20 * 64))
    assert {length for _, length in learner.episodes.latest} == {1, 20}  # those that were cut off are forgotten
    assert np.mean(all_lengths) < 9  # what taking all episodes that end would make of it


def test_a_truncated_episode_goes_on_in_the_value_and_is_cut_without_one() -> None:
    no = torch.zeros(4, 1, dtype=torch.bool)
    seen = Experience(
        observation=torch.zeros(4, 1, 1),
        action=torch.zeros(4, 1, dtype=torch.long),
        reward=torch.tensor([[1.0], [2.0], [4.0], [8.0]]),
        terminated=no.index_fill(0, torch.tensor([3]), True),
        truncated=no.index_fill(0, torch.tensor([1]), True),
        valid=None,
        values=torch.zeros(4, 1),
        next_values=torch.full((4, 1), 100.0),
        log_probability=torch.zeros(4, 1),
    )
    for baseline, returns in (("value", [27.0, 52.0, 8.0, 8.0]), ("none", [2.0, 2.0, 8.0, 8.0])):
        found = advantages_of(seen, ~no, Reinforce(baseline=baseline, gamma=0.5, episodes=2))
        assert [one.flatten().tolist() for one in found] == [returns, returns]
    # The mean of the other episode: (8 + 8) / 2, and (2 + 2) / 2.
    found = advantages_of(seen, ~no, Reinforce(baseline="constant", gamma=0.5, episodes=2))
    assert found[0].flatten().tolist() == [-6.0, -6.0, 6.0, 6.0]
    brought = advantages_of(seen, ~no, Reinforce(baseline="constant", gamma=0.5, episodes=2, normalise=True))[0]
    assert brought.flatten().tolist() == pytest.approx([-1.0, -1.0, 1.0, 1.0])
    discounted = advantages_of(seen, ~no, Reinforce(baseline="none", gamma=0.5, episodes=2, discount_state=True))
    assert discounted[0].flatten().tolist() == [2.0, 1.0, 8.0, 4.0]


def test_a_row_that_only_resets_is_no_step_of_an_episode() -> None:
    flags = torch.tensor([[0, 1], [1, 0], [0, 0], [0, 1], [0, 0]], dtype=torch.bool)
    valid = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [1, 0]], dtype=torch.bool)
    none = torch.zeros(5, 2)
    seen = Experience(none, none, none, flags, torch.zeros_like(flags), valid, none, none, none)
    found = steps_into_episode(seen)
    assert found[:, 0][valid[:, 0]].tolist() == [0, 1, 0, 1]
    assert found[:, 1][valid[:, 1]].tolist() == [0, 0, 1]


def updated(learner: Learner, settings: Reinforce | A2C, updates: int) -> list[dict[str, Any]]:
    """Rows without the clock."""
    all_rows = a2c.train(learner, settings, 4000) if isinstance(settings, A2C) else train(learner, settings, 4000)
    rows = itertools.islice(all_rows, updates)
    return [{name: value for name, value in row.items() if name != "steps_per_second"} for row in rows]


def test_a_run_that_was_stopped_goes_on_bit_for_bit() -> None:
    settings = Reinforce(rollout=8, learning_rate_end=0.0)

    def fresh() -> Learner:
        envs = Vector(ShortOrLong(), 3, autoreset_mode="SameStep")
        return learner_of(envs, settings, normalise_observations=True, normalise_rewards=True)

    assert_goes_on(fresh, lambda learner: updated(learner, settings, 3))


def test_the_rate_falls_linearly_and_long_gradients_are_cut() -> None:
    settings = Reinforce(rollout=8, learning_rate=0.1, learning_rate_end=0.2, gradient_clip=0.01)
    learner = learner_of(Vector(ShortOrLong(), 2, autoreset_mode="SameStep"), settings)
    taken = gradients_of(learner)
    rows = list(train(learner, settings, 300))
    before = [0, *(row["steps"] for row in rows[:-1])]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.02 + 0.08 * (1 - one / 300) for one in before])
    assert all(one.norm() < 0.01001 for one in taken)
    assert rows[-1]["steps"] >= 300 > before[-1]


TOGETHER = {
    "value": Reinforce(rollout=8, entropy_factor=0.01, gradient_clip=0.5),
    "constant, normalised": Reinforce(rollout=8, episodes=1, baseline="constant", normalise=True),
    "a2c": A2C(rollout=3, entropy_factor=0.01),  # short enough for a process where nothing counts
    "a2c, normalised": A2C(rollout=8, gae_lambda=0.9, normalise_advantages=True),
    "a memory": Reinforce(rollout=8, entropy_factor=0.01),
    "a2c with a memory": A2C(rollout=3, entropy_factor=0.01),
}


def learned_together(name: str, environments: int, first: int) -> dict[str, Any]:
    envs, settings = Vector(ShortOrLong(), environments, autoreset_mode="NextStep"), TOGETHER[name]
    learner = learner_of(envs, settings, first=first, policy=small_policy(envs, 4 * ("memory" in name)))
    rows = updated(learner, settings, 3)
    return {"rows": rows, "weights": learner.flat.parameter.detach().clone()}


def in_two_processes(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with open_processes():
        out = {name: learned_together(name, 2, 2 * rank) for name in TOGETHER}
    torch.save(out, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def processes_apart(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(in_two_processes, (str(folder), port), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_with_half_the_environments_are_one_with_all(
    name: str, processes_apart: list[dict[str, Any]]
) -> None:
    whole = learned_together(name, 4, 0)
    first, second = (part[name] for part in processes_apart)
    assert torch.equal(first["weights"], second["weights"])
    torch.testing.assert_close(first["weights"], whole["weights"], rtol=1e-4, atol=1e-5)
    for one, other in zip(first["rows"], whole["rows"], strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": "mean"}, "unknown baseline 'mean'"),
        ({"episodes": 0}, "an update takes 1 episode of every environment or more, got episodes 0"),
        (
            {"baseline": "constant", "episodes": 1},
            "raise --episodes, take more environments, or use another --baseline",
        ),
        ({"patience": 8}, "after 8 steps an environment has not finished 2: limit them"),
    ],
)
def test_what_cannot_be_is_said(change: dict[str, Any], said: str) -> None:
    settings = replace(Reinforce(rollout=4), **change)
    learner = learner_of(Vector(ShortOrLong(), 1), settings, seed=3)
    with pytest.raises(ValueError, match=said):
        list(itertools.islice(train(learner, settings, 10**6), 3))


def test_it_learns_to_balance_a_pole() -> None:
    settings = Reinforce(rollout=16, episodes=1, learning_rate=1e-2)
    envs = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 8, autoreset_mode="SameStep")
    learner = learner_of(envs, settings, policy=make_policy(envs.single_observation_space, envs.single_action_space))
    returns = [row["return_used"] for row in train(learner, settings, 15_000)]
    envs.close()
    assert np.mean(returns[:5]) < 40
    assert np.mean(returns[-5:]) > 80
