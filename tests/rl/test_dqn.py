"""DQN against loops over single transitions, and against value iteration."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv
from tests.rl.resuming import assert_goes_on
from tests.rl.test_q_network import network

from sightline.envs.making import make_environments
from sightline.rl import dqn as module
from sightline.rl import off_policy
from sightline.rl.acting import to_tensors
from sightline.rl.dqn import DQN, epsilon, loss, make_learner, targets, train
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies import PolicySettings
from sightline.rl.policies.q_network import QNetwork, make_q_network
from sightline.rl.replay import Batch

SMALL = DQN(
    rollout=4, updates=2, batch=16, capacity=200, starts=20, learning_rate=1e-2, target_every=3, target_share=0.5,
    gamma=0.9, row_every=40,
)  # fmt: skip
BOTH = [{}, {"double": False, "duelling": True}, {"prioritised": True, "n_step": 3, "duelling": True}]


def learner_for(dqn: DQN = SMALL, env: str = "CartPole-v1", envs: int = 2, **settings: Any) -> OffPolicy:
    torch.manual_seed(1)
    normalise = settings.pop("normalise", False)
    made = make_environments(env, envs)
    options = PolicySettings(**{"hidden": (8, 6), **settings})
    q = make_q_network(made.single_observation_space, made.single_action_space, options, duelling=dqn.duelling)
    return make_learner(q, made, dqn, seed=5, normalise_observations=normalise)


def random_batch(n: int, weighted: bool) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        observation=rng.standard_normal((n, 3), np.float32),
        action=rng.integers(4, size=n),
        reward=3 * rng.standard_normal(n, np.float32),
        discount=rng.choice(np.float32([0, 0.9, 0.81]), n),
        next_observation=rng.standard_normal((n, 3), np.float32),
        index=np.arange(n),
        weight=rng.random(n, np.float32) if weighted else None,
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("duelling", [False, True])
def test_the_loss_is_a_loops(duelling: bool, double: bool, weighted: bool) -> None:
    q, other, batch = network(duelling), network(duelling), random_batch(40, weighted)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(torch.randn_like(p))
    total: Any = 0
    wanted, errors = [], []
    for i in range(40):
        after = torch.from_numpy(batch.next_observation[i])[None]
        there = other.values(after)[0].tolist()
        chosen = q.values(after)[0].tolist() if double else there
        y = float(batch.reward[i]) + float(batch.discount[i]) * there[chosen.index(max(chosen))]
        value = q.values(torch.from_numpy(batch.observation[i])[None])[0, batch.action[i]]
        apart = abs(value - y)
        huber = apart**2 / 2 if apart < 1 else apart - 0.5
        total = total + huber * (1 if batch.weight is None else float(batch.weight[i])) / 40
        wanted.append(y)
        errors.append(float(value.detach()) - y)
    assert 3 < sum(abs(e) < 1 for e in errors) < 35
    total.backward()
    expected = [p.grad.clone() for p in q.parameters() if p.grad is not None]
    rows = {name: None if one is None else to_tensors(one, "cpu") for name, one in vars(batch).items()}
    y_found = targets(q, other, rows, double=double)
    torch.testing.assert_close(y_found, torch.tensor(wanted))
    q.zero_grad()
    found, error, _ = loss(q, rows, y_found)
    found.backward()
    torch.testing.assert_close(found, total)
    torch.testing.assert_close(error, torch.tensor(errors), atol=1e-5, rtol=1e-5)
    for p, gradient in zip(q.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)
    part = off_policy.Part(q, 0.1, followed=True)  # the same by hand
    part.target.load_state_dict(other.state_dict())
    hands = module._hands(part)
    assert hands is not None
    part.flat.gradient.fill_(torch.nan)
    by_hand, apart, _ = module._gradient(SimpleNamespace(), hands, batch, double=double)
    assert by_hand == pytest.approx(float(found.detach()), rel=1e-5)
    np.testing.assert_allclose(apart, errors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(part.flat.gradient, torch.cat([one.flatten() for one in expected]))


@pytest.mark.parametrize("changes", BOTH)
def test_by_hand_and_by_autograd_learn_the_same(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    dqn = replace(SMALL, **changes, learning_rate=1e-3)
    hand = learner_for(dqn)
    rows = list(train(hand, dqn, 200))
    assert hand.acting.by_hand is not None
    monkeypatch.setattr(module, "_hands", lambda part: None)
    auto = learner_for(dqn)
    auto.acting.by_hand = None
    other = list(train(auto, dqn, 200))
    for p, o in zip(hand.policy.parameters(), auto.policy.parameters(), strict=True):
        torch.testing.assert_close(p, o, atol=2e-5, rtol=1e-4)
    for p, o in zip(*(one.states["network"].target.parameters() for one in (hand, auto)), strict=True):
        torch.testing.assert_close(p, o, atol=2e-5, rtol=1e-4)
    assert [row["steps"] for row in rows] == [row["steps"] for row in other] == [40, 80, 120, 160, 200]
    assert rows[-1]["value_loss"] == pytest.approx(other[-1]["value_loss"], rel=1e-3)


def test_when_it_updates_and_how_the_target_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_for()
    part = learner.states["network"]
    seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    step = part.step

    def watched(largest: float | None = None) -> None:
        seen.append((learner.steps, part.flat.parameter.detach().clone(), part._target.parameter.detach().clone()))
        step(largest)

    monkeypatch.setattr(part, "step", watched)
    list(train(learner, SMALL, 64))
    assert [steps for steps, _, _ in seen] == [s for s in range(24, 65, 8) for _ in range(2)]  # from 20 steps on
    for i in range(1, len(seen)):
        before, now = seen[i - 1][2], seen[i][2]
        if i % 3:
            assert torch.equal(now, before)
        else:
            torch.testing.assert_close(now, before + 0.5 * (seen[i][1] - before))
            assert not torch.equal(now, before)


def test_epsilon_falls_and_stays() -> None:
    dqn = DQN(epsilon=0.9, epsilon_end=0.1, explores=0.5)
    assert [epsilon(dqn, gone) for gone in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0.9, 0.5, 0.1, 0.1, 0.1])
    assert epsilon(replace(dqn, explores=0.0), 0) == 0.1
    learner = learner_for()
    assert [row["epsilon"] for row in train(learner, SMALL, 40)] == pytest.approx([0.05])


def test_priorities_are_the_errors_of_what_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    dqn = replace(SMALL, prioritised=True, updates=1)
    learner = learner_for(dqn)
    assert learner.replay.priorities is not None
    seen, betas = [], []
    sample = learner.replay.sample

    def watched(*args: Any, **options: Any) -> Batch:
        seen.append((sample(*args, **options), copy.deepcopy(learner.states["network"])))
        betas.append(options["beta"])
        return seen[-1][0]

    monkeypatch.setattr(learner.replay, "sample", watched)
    list(train(learner, dqn, 80))
    batch, part = seen[-1]
    rows = {name: to_tensors(one, "cpu") for name, one in vars(batch).items()}
    _, error, _ = loss(part.module, rows, targets(part.module, part.target, rows, double=True))
    np.testing.assert_allclose(
        learner.replay.priorities.tree[batch.index], (error.abs().numpy() + 1e-6) ** 0.6, rtol=2e-3, atol=1e-4
    )
    assert betas == pytest.approx([0.4 + 0.6 * steps / 80 for steps in range(16, 80, 8)])


class Chain(gymnasium.Env[np.ndarray, int]):
    """Five places in a row, seen as indicators: left, right or stay; a small prize on the left, a large one right."""

    observation_space = spaces.Box(0, 1, (5,), np.float32)
    action_space = spaces.Discrete(3)
    PRIZES: ClassVar[dict[int, float]] = {0: 0.4, 4: 1.0}

    @staticmethod
    def after(place: int, action: int) -> tuple[int, float, bool]:
        place += (-1, 1, 0)[action]
        return place, Chain.PRIZES.get(place, -0.05), place in Chain.PRIZES

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.taken = int(self.np_random.integers(1, 4)), 0
        return np.eye(5, dtype=np.float32)[self.place], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place, reward, over = self.after(self.place, int(action))
        self.taken += 1
        return np.eye(5, dtype=np.float32)[self.place], reward, over, self.taken == 4, {}


def chain(mode: str) -> VectorEnv[Any, Any, Any]:
    return SyncVectorEnv([Chain] * 2, autoreset_mode=mode)


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("NextStep", {}),
        ("SameStep", {"double": False}),
        ("Disabled", {"duelling": True}),
        ("SameStep", {"prioritised": True}),
    ],
)
def test_it_finds_what_value_iteration_finds(mode: str, changes: dict[str, Any]) -> None:
    exact = np.zeros((5, 3))
    for _ in range(100):
        for place in (1, 2, 3):
            for action in range(3):
                after, reward, over = Chain.after(place, action)
                exact[place, action] = reward + (0 if over else 0.9 * exact[after].max())
    assert exact[1].argmax() == 1  # the small prize is near, the large one worth the way
    dqn = DQN(
        rollout=4, updates=2, batch=32, capacity=4000, starts=200, learning_rate=3e-3, gamma=0.9, target_every=20,
        epsilon_end=1.0, **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    q = make_q_network(Chain.observation_space, Chain.action_space, PolicySettings(hidden=(32,)), duelling=dqn.duelling)
    learner = make_learner(q, chain(mode), dqn, seed=0)
    rows = list(train(learner, dqn, 6000))
    learner.states["network"].optimizer.rate = 3e-4
    rows += list(train(learner, dqn, 9000))
    found = q.values(torch.eye(5)).detach().numpy()
    np.testing.assert_allclose(found[1:4], exact[1:4], atol=1e-2)
    assert rows[-1]["epsilon"] == 1


@pytest.mark.parametrize("changes", BOTH)
@pytest.mark.parametrize(
    ("env", "settings"), [("CartPole-v1", {"normalise": True}), ("sightline/Catch-v0", {"encoder": "convolution"})]
)
def test_a_saved_learner_goes_on_exactly(env: str, settings: dict[str, Any], changes: dict[str, Any]) -> None:
    dqn = replace(SMALL, **changes)

    def update(learner: OffPolicy) -> Any:
        end = learner.steps + 160
        rows = [{k: v for k, v in row.items() if k != "steps_per_second"} for row in train(learner, dqn, end)]
        parts = [one.parameter.detach().tolist() for one in (learner.states["network"]._target,)]
        return rows, parts, str(learner.replay.sample(9, gamma=0.5))

    assert_goes_on(lambda: learner_for(dqn, env, **settings), update)


def test_images_are_kept_as_bytes() -> None:
    learner = learner_for(SMALL, "sightline/Catch-v0", encoder="convolution")
    list(train(learner, SMALL, 80))
    assert learner.replay.sample(5, gamma=1.0).observation.dtype == np.uint8
    assert learner.acting.by_hand is None


def test_a_diverging_network_is_named() -> None:
    learner = learner_for(replace(SMALL, learning_rate=1e30, gradient_clip=0.0))
    assert isinstance(learner.policy, QNetwork)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"value_loss is (nan|inf) after \d+ steps: the network has diverged; go on fr"),
    ):
        list(train(learner, replace(SMALL, learning_rate=1e30, gradient_clip=0.0), 200))
    assert not learner.finite()


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_policy, "processes", lambda: SimpleNamespace(count=2))
    with pytest.raises(ValueError, match=r"learns in one process and here are 2: start it without torchrun"):
        learner_for()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 0}, r"DQN's batch is 1 or more, got 0: 32 is the default"),
        ({"gamma": 1.1}, r"DQN's gamma lies in \[0, 1\], got 1.1: 0.99 is the default"),
        ({"epsilon_end": math.nan}, r"DQN's epsilon_end lies in \[0, 1\], got nan"),
        ({"learning_rate": -1.0}, r"DQN's learning_rate is 0 or more, got -1.0"),
        ({"n_step": 0}, r"DQN's n_step is 1 or more, got 0"),
        ({"capacity": 5}, r"got a capacity of 5 for 2 environments: use --capacity 6 or more"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner_for(replace(SMALL, **changes))
