"""SAC against torch.distributions, autograd and loops; the same in NumPy."""

import copy
import math
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tests.rl.resuming import assert_goes_on
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from sightline.envs.making import make_environments
from sightline.rl import sac as module
from sightline.rl.off_policy import OffPolicy
from sightline.rl.policies import PolicySettings
from sightline.rl.policies.flat import Flat
from sightline.rl.policies.sac_by_hand import SACByHand
from sightline.rl.policies.soft_actor_critic import SoftActorCritic, make_soft_actor_critic
from sightline.rl.sac import (
    SAC,
    actor_loss,
    critic_loss,
    make_learner,
    targets,
    temperature_loss,
    train,
    uniform_action,
)

SMALL = SAC(rollout=4, updates=2, batch=16, capacity=200, starts=20, learning_rate=1e-2, gamma=0.9, row_every=40)
SEEN, BOX = spaces.Box(-1, 1, (3,), np.float32), spaces.Box(np.float32([-2, 0]), np.float32([2, 5]))
N, TEMPERATURE = 60, 0.3


def networks(spread: float = 0.5, **settings: Any) -> tuple[SoftActorCritic, torch.nn.Module]:
    torch.manual_seed(0)
    network = make_soft_actor_critic(SEEN, BOX, PolicySettings(**{"hidden": (8, 6), **settings}))
    others = copy.deepcopy(network.critics)
    with torch.no_grad():
        for p in (*network.parameters(), *others.parameters()):
            p.add_(spread * torch.randn_like(p))
        network.actor.head.bias[3] = 3.0  # a scale that is clamped
    return network, others


def rows() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    return {
        "observation": torch.randn(N, 3, generator=generator),
        "action": torch.randn(N, 2, generator=generator),
        "reward": torch.randn(N, generator=generator),
        "discount": torch.randint(0, 2, (N,), generator=generator) * 0.9,
        "next_observation": torch.randn(N, 3, generator=generator),
    }


def drawn(network: SoftActorCritic, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An action in [-1, 1] and its log-probability, by torch.distributions."""
    mean, log_scale = network.actor(x).chunk(2, -1)
    scale = log_scale.clamp(-20, 2).exp()
    u = mean + scale * noise
    distribution = TransformedDistribution(Normal(mean, scale), [TanhTransform(cache_size=1)])
    u_kept = distribution.transforms[0](u)
    return u_kept, distribution.log_prob(u_kept).sum(-1)


def test_targets_and_losses_are_the_papers() -> None:
    network, others = networks()
    batch, noise = rows(), torch.randn(2, N, 2)
    with torch.no_grad():
        action, log_p = drawn(network, batch["next_observation"], noise[0])
        smaller = [
            min(float(critic(batch["next_observation"][i : i + 1], action[i : i + 1])) for critic in others.children())
            for i in range(N)
        ]
    wanted = [
        float(batch["reward"][i]) + float(batch["discount"][i]) * (smaller[i] - TEMPERATURE * float(log_p[i]))
        for i in range(N)
    ]
    target = targets(network, others, batch, noise[0], TEMPERATURE)
    torch.testing.assert_close(target, torch.tensor(wanted), rtol=1e-4, atol=1e-4)

    loss: Any = 0
    for critic in network.critics:
        for i in range(N):
            error = critic(batch["observation"][i : i + 1], batch["action"][i : i + 1].tanh())[0] - target[i]
            loss = loss + error**2 / 2 / N
    torch.testing.assert_close(critic_loss(network, batch, target), loss)

    action, log_p = drawn(network, batch["observation"], noise[1])
    values = torch.stack([critic(batch["observation"], action) for critic in network.critics]).amin(0)
    expected = (TEMPERATURE * log_p - values).mean()
    gradients = torch.autograd.grad(expected, list(network.actor.parameters()))
    found, mean = actor_loss(network, batch, noise[1], TEMPERATURE)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(mean, log_p.mean())
    for one, other in zip(torch.autograd.grad(found, list(network.actor.parameters())), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_temperature_rises_where_entropy_is_wanting() -> None:
    log = torch.tensor([0.3], requires_grad=True)
    for log_p, wanted in ((1.5, -2.0), (2.5, -2.0), (-1.0, -1.0)):
        (slope,) = torch.autograd.grad(temperature_loss(log, log_p, wanted), log)
        torch.testing.assert_close(slope, torch.tensor([-(log_p + wanted)]))  # entropy below wanted: down it goes


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_by_hand_is_autograd(activation: str) -> None:
    network, others = networks(activation=activation)
    assert SACByHand.of(network, others) is None  # not joined
    parts = [Flat(one) for one in (network.actor, network.critics, network.temperature)]
    Flat(others)
    hands = SACByHand.of(network, others)
    assert hands is not None
    batch, noise = rows(), torch.randn(2, N, 2)
    arrays = {name: one.numpy() for name, one in batch.items()}
    with torch.no_grad():
        raw = network.act(network.features(batch["observation"])[0], batch["observation"], noise[0])
    torch.testing.assert_close(torch.from_numpy(hands.act(arrays["observation"], noise[0].numpy())), raw)
    target = targets(network, others, batch, noise[0], TEMPERATURE)
    found = hands.targets(
        arrays["next_observation"], arrays["reward"], arrays["discount"], noise[0].numpy(), TEMPERATURE
    )
    torch.testing.assert_close(torch.from_numpy(found), target, rtol=1e-4, atol=1e-5)
    loss = critic_loss(network, batch, target)
    loss.backward()
    expected = parts[1].gradient.clone()
    parts[1].gradient.fill_(torch.nan)
    assert hands.critics(arrays["observation"], arrays["action"], target.numpy()) == pytest.approx(float(loss.detach()))
    torch.testing.assert_close(parts[1].gradient, expected, rtol=1e-4, atol=1e-5)
    parts[0].clear()
    loss, log_p = actor_loss(network, batch, noise[1], TEMPERATURE)
    loss.backward()
    expected = parts[0].gradient.clone()
    parts[0].gradient.fill_(torch.nan)
    hand_loss, hand_log_p = hands.actor(arrays["observation"], noise[1].numpy(), TEMPERATURE)
    assert hand_loss == pytest.approx(float(loss.detach()), rel=1e-4)
    assert hand_log_p == pytest.approx(float(log_p.detach()), rel=1e-4)
    torch.testing.assert_close(parts[0].gradient, expected, rtol=1e-4, atol=1e-5)
    assert (expected != 0).float().mean() > 0.7


def learner_for(sac: SAC = SMALL, envs: int = 2, **settings: Any) -> OffPolicy:
    torch.manual_seed(1)
    normalise = settings.pop("normalise", False)
    made = make_environments("Pendulum-v1", envs)
    options = PolicySettings(**{"hidden": (8, 6), **settings})
    network = make_soft_actor_critic(
        made.single_observation_space, made.single_action_space, options, temperature=sac.temperature
    )
    return make_learner(network, made, sac, seed=5, normalise_observations=normalise)


def test_by_hand_and_by_autograd_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sac = replace(SMALL, learning_rate=1e-3)
    hand = learner_for(sac)
    first = list(train(hand, sac, 120))
    monkeypatch.setattr(module, "_hands", lambda network, critics: None)
    auto = learner_for(sac)
    auto.acting.by_hand = None
    second = list(train(auto, sac, 120))
    for p, o in zip(hand.policy.parameters(), auto.policy.parameters(), strict=True):
        torch.testing.assert_close(p, o, atol=5e-4, rtol=1e-2)
    for name in ("critic_loss", "actor_loss", "entropy", "temperature"):
        assert first[-1][name] == pytest.approx(second[-1][name], rel=1e-2)


def test_an_update_is_these_three_steps_and_a_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One update redone with PyTorch's own Adam: critics, then the actor on the new critics, then the temperature."""
    sac = replace(SMALL, updates=1, starts=8, rollout=4, temperature=0.4)
    learner = learner_for(sac)
    network = learner.policy
    assert isinstance(network, SoftActorCritic)
    seen: list[Any] = []
    sample = learner.sample

    def watched(*args: Any, **options: Any) -> Any:
        seen.append((sample(*args, **options), copy.deepcopy(learner.generator), copy.deepcopy(network)))
        return seen[-1][0]

    monkeypatch.setattr(learner, "sample", watched)
    list(train(learner, sac, 8))
    ((batch, generator, before),) = seen
    others = copy.deepcopy(before.critics)
    noise = torch.from_numpy(generator.standard_normal((2, 16, 1), np.float32))
    data = {name: torch.from_numpy(one) for name, one in vars(batch).items() if one is not None}
    adam = [torch.optim.Adam(one.parameters(), 1e-2) for one in (before.critics, before.actor, before.temperature)]
    for optimizer in adam:
        optimizer.zero_grad(set_to_none=True)
    critic_loss(before, data, targets(before, others, data, noise[0], 0.4)).backward()
    adam[0].step()
    before.actor.zero_grad()
    loss, log_p = actor_loss(before, data, noise[1], 0.4)
    loss.backward()
    adam[1].step()
    before.temperature.zero_grad()
    (-(before.temperature.log * (log_p.detach() - 1)).mean()).backward()
    adam[2].step()
    for p, o in zip(before.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(o, p, atol=1e-4, rtol=1e-3)
    there = learner.states["critics"].target
    for p, o, t in zip(before.critics.parameters(), others.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(t, 0.995 * o + 0.005 * p, atol=1e-5, rtol=1e-4)


def test_first_actions_are_uniform() -> None:
    u = uniform_action(None, np.random.default_rng(0).standard_normal((50_000, 1), np.float32))
    share = np.histogram(np.tanh(u), 10, (-1, 1))[0] / len(u)
    np.testing.assert_allclose(share, 0.1, atol=0.006)
    assert np.isfinite(uniform_action(None, np.float32([[9.0], [-9.0]]))).all()
    learner = learner_for(replace(SMALL, starts=1000))
    list(train(learner, replace(SMALL, starts=1000), 40))
    assert learner.updates == 0


def test_a_fixed_temperature_stays() -> None:
    sac = replace(SMALL, learn_temperature=False, temperature=0.2)
    rows_ = list(train(learner_for(sac), sac, 80))
    assert rows_[-1]["temperature"] == pytest.approx(0.2)


@pytest.mark.parametrize("normalise", [False, True])
def test_a_saved_learner_goes_on_exactly(normalise: bool) -> None:
    def update(learner: OffPolicy) -> Any:
        rows = list(train(learner, SMALL, learner.steps + 80))
        told = repr([{k: v for k, v in row.items() if k != "steps_per_second"} for row in rows])  # a NaN equals a NaN
        return told, [p.tolist() for p in learner.states["critics"].target.parameters()]

    assert_goes_on(lambda: learner_for(normalise=normalise), update)


class Image(gymnasium.Env[np.ndarray, np.ndarray]):
    """A bright column, and how far to the right it stands is the action that is asked for."""

    observation_space = spaces.Box(0, 255, (1, 8, 8), np.uint8)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(8))
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        out = np.zeros((1, 8, 8), np.uint8)
        out[:, :, self.place] = 255
        return out

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.seen(), -abs(float(action[0]) - (self.place - 3.5) / 3.5), True, False, {}


def test_images_go_through_encoders_and_stay_bytes() -> None:
    torch.manual_seed(0)
    envs = gymnasium.vector.SyncVectorEnv([Image] * 4)
    network = make_soft_actor_critic(
        envs.single_observation_space, envs.single_action_space, PolicySettings(encoder="convolution", hidden=(16,))
    )
    learner = make_learner(network, envs, SMALL, seed=0)
    assert learner.acting.by_hand is None
    rows_ = list(train(learner, SMALL, 120))
    assert learner.replay.sample(3, gamma=1.0).observation.dtype == np.uint8
    assert math.isfinite(rows_[-1]["critic_loss"])


@pytest.mark.parametrize(
    ("action", "settings", "says"),
    [
        (spaces.Discrete(2), {}, r"SAC gives real numbers and the action space is Discrete\(2\): use dqn or ppo"),
        (spaces.Box(0, 5, (2,), np.int64), {}, r"SAC gives real numbers and the action space is Box"),
        (spaces.Box(-np.inf, 1, (2,), np.float32), {}, r"SAC squashes actions into a finite box .*: bound it, or use"),
        (BOX, {"memory": 3}, r"--memory is for reinforce, a2c and ppo, and SAC has no such choice: leave it out"),
        (BOX, {"scale": "state"}, r"--scale state is for reinforce, a2c and ppo"),
    ],
)
def test_what_does_not_fit(action: spaces.Space[Any], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_soft_actor_critic(SEEN, action, PolicySettings(**settings))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"updates": 0}, r"SAC's updates is 1 or more, got 0: 1 is the default"),
        ({"target_share": 2.0}, r"SAC's target_share lies in \[0, 1\], got 2.0"),
        ({"temperature": 0.0}, r"its temperature above 0, got 0.01 and 0.0: 0.0003 and 1.0 are the defaults"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(train(learner_for(), replace(SMALL, **changes), 10))
