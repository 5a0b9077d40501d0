"""The gradient written out is autograd's, through `ppo.loss`; and the numbers acted upon are the policy's."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from sightline.rl.policies.body import Body
from sightline.rl.policies.by_hand import STATISTICS, ByHand, not_by_hand
from sightline.rl.policies.flat import Flat
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.ppo import PPO, loss

ROWS = 300
SEEN = spaces.Box(-1, 1, (5,), np.float32)
BOX = spaces.Box(-1, 1, (2,), np.float32)
ACTIONS = {
    "categorical": spaces.Discrete(4, start=1),
    "gaussian": BOX,
    "gaussian of two axes": spaces.Box(-1, 1, (2, 3), np.float32),
}
each_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())


def made(action: spaces.Space[Any], activation: str = "tanh") -> tuple[Policy, Flat]:
    policy = make_policy(SEEN, action, PolicySettings(hidden=(16, 12), activation=activation))
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return policy, Flat(policy)


def drawn(policy: Policy, n: int) -> torch.Tensor:
    return torch.from_numpy(policy.fit.draw(np.random.default_rng(1), n))


@torch.no_grad()
def some_rows(policy: Policy, *, masked: bool = False, extreme: bool = False) -> dict[str, Any]:
    """Rows of another policy, near this one or far away on both sides."""
    observation = torch.randn(ROWS, 5)
    distribution, value = policy(observation)
    action = policy.draw(distribution, drawn(policy, ROWS))
    apart = torch.randn(ROWS) * (4 if extreme else 0.3)
    rows = {
        "observation": observation,
        "action": action,
        "log_probability": policy.log_prob(distribution, action) + apart,
        "values": value + torch.randn(ROWS),
        "advantage": torch.randn(ROWS),
        "target": value + 2 * torch.randn(ROWS),
    }
    rows["advantage"][:5] = 0.0
    if masked:
        rows["valid"] = torch.rand(ROWS) < 0.7
        rows["advantage"][~rows["valid"]] = 0.0  # as `gae` gives them
    return rows


def by_autograd(policy: Policy, flat: Flat, rows: dict[str, Any], ppo: PPO) -> tuple[np.ndarray, np.ndarray]:
    flat.clear()
    total, statistics = loss(policy, rows, ppo, ppo.clip)
    total.backward()
    out = flat.gradient.numpy().copy()
    flat.gradient.fill_(torch.nan)  # whatever is not written shows
    return out, statistics.numpy()


def by_hand(hand: ByHand, flat: Flat, rows: dict[str, Any], ppo: PPO, count: float) -> tuple[np.ndarray, np.ndarray]:
    sums = hand.gradient(
        rows, clip=ppo.clip, value_clip=ppo.value_clip, value=ppo.value_factor, entropy=ppo.entropy_factor, count=count
    )
    return flat.gradient.numpy().copy(), sums


def counted(rows: dict[str, Any]) -> float:
    return float(rows["valid"].sum()) if "valid" in rows else float(ROWS)


def assert_near(found: np.ndarray, expected: np.ndarray, tolerance: float = 5e-6) -> None:
    assert np.isfinite(found).all()
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@each_action
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("extreme", [False, True], ids=["near", "extreme"])
def test_gradients_and_statistics_are_autograds(action: spaces.Space[Any], activation: str, extreme: bool) -> None:
    policy, flat = made(action, activation)
    hand = ByHand.of(policy)
    assert hand is not None
    for value_clip, entropy, masked in itertools.product([None, 0.4], [0.0, 0.02], [False, True]):
        ppo = PPO(value_clip=value_clip, entropy_factor=entropy, value_factor=0.7)
        rows = some_rows(policy, masked=masked, extreme=extreme)
        expected, statistics = by_autograd(policy, flat, rows, ppo)
        found, sums = by_hand(hand, flat, rows, ppo, counted(rows))
        assert_near(found, expected)
        np.testing.assert_allclose(sums, statistics, rtol=2e-5, atol=2e-6)
        assert sums.shape == (len(STATISTICS),)
        assert 0.1 < sums[4] <= (1 if extreme else 0.9), "ratios on both sides of the clip"
        ratio_up = rows["log_probability"] < policy.log_prob(policy.distribution(rows["observation"]), rows["action"])
        assert (ratio_up & (rows["advantage"] > 0)).any()
        assert (~ratio_up & (rows["advantage"] < 0)).any()


@each_action
def test_each_part_of_the_loss_by_itself(action: spaces.Space[Any]) -> None:
    """A part that is small beside the others would hide behind them."""
    policy, flat = made(action)
    hand = ByHand.of(policy)
    assert hand is not None
    for advantage, value, entropy in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]:
        ppo = PPO(value_factor=value, entropy_factor=entropy, value_clip=0.5)
        rows = some_rows(policy, masked=True)
        rows["advantage"] *= advantage
        expected, _ = by_autograd(policy, flat, rows, ppo)
        found, _ = by_hand(hand, flat, rows, ppo, counted(rows))
        assert_near(found, expected)


@pytest.mark.parametrize("action", [ACTIONS["categorical"]])
def test_a_policy_that_is_sure(action: spaces.Space[Any]) -> None:
    policy, flat = made(action)
    with torch.no_grad():
        policy.actor.weight *= 500
    hand = ByHand.of(policy)
    assert hand is not None
    rows = some_rows(policy)
    logits = policy.actor(policy.actor_body(rows["observation"]))
    assert logits.abs().max() > 500
    rows["action"] = torch.randint(4, (ROWS,))
    with torch.no_grad():
        log_p = policy.log_prob(policy.distribution(rows["observation"]), rows["action"])
    rows["log_probability"] = log_p + 0.3 * torch.randn(ROWS)
    ppo = PPO(entropy_factor=0.1)
    expected, statistics = by_autograd(policy, flat, rows, ppo)
    found, sums = by_hand(hand, flat, rows, ppo, float(ROWS))
    assert_near(found, expected, 3e-4)  # log-ratios of numbers in the hundreds
    np.testing.assert_allclose(sums, statistics, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [-25.0, -20.0, 20.0, 25.0])
def test_scales_at_their_bounds(scale: float) -> None:
    policy, flat = made(BOX)
    assert policy.log_scale is not None
    with torch.no_grad():
        policy.log_scale[0] = scale
    hand = ByHand.of(policy)
    assert hand is not None
    noise = drawn(policy, 9)
    observation = torch.randn(9, 5)
    expected_action = policy.draw(policy.distribution(observation), noise).detach().numpy()
    np.testing.assert_allclose(hand.act(observation.numpy(), noise.numpy()), expected_action, rtol=1e-5)
    rows = some_rows(policy)
    if scale < 0:  # a mean's rounding is a hundred deviations here: what is taken is the mean itself
        rows["action"][:, 0] = policy.distribution(rows["observation"]).mode()[:, 0].detach()
    ppo = PPO(entropy_factor=0.1)
    with torch.no_grad():
        rows["log_probability"] = policy.log_prob(policy.distribution(rows["observation"]), rows["action"])
    expected, _ = by_autograd(policy, flat, rows, ppo)
    found, _ = by_hand(hand, flat, rows, ppo, float(ROWS))
    assert policy.log_scale.grad is not None
    if abs(scale) > 20:
        assert policy.log_scale.grad[0] == 0
        assert policy.log_scale.grad[1] != 0
    if scale > 0:
        assert_near(found, expected, 1e-5)
    else:
        np.testing.assert_array_equal(found == 0, expected == 0)


@each_action
def test_rows_that_do_not_count_hold_anything(action: spaces.Space[Any]) -> None:
    policy, flat = made(action)
    hand = ByHand.of(policy)
    assert hand is not None
    rows = some_rows(policy, masked=True)
    ppo = PPO(entropy_factor=0.1)
    before = by_hand(hand, flat, rows, ppo, counted(rows))
    rows["log_probability"][~rows["valid"]] = -500.0
    after = by_hand(hand, flat, rows, ppo, counted(rows))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    rows["valid"][:] = False
    gradient, sums = by_hand(hand, flat, rows, ppo, 100.0)
    assert not gradient.any()
    assert not sums.any()


@each_action
def test_parts_of_a_batch_add_up_to_it(action: spaces.Space[Any]) -> None:
    policy, flat = made(action)
    hand = ByHand.of(policy)
    assert hand is not None
    rows, ppo = some_rows(policy, masked=True), PPO(entropy_factor=0.1)
    whole = by_hand(hand, flat, rows, ppo, counted(rows))
    parts = [
        by_hand(hand, flat, {k: v[some] for k, v in rows.items()}, ppo, counted(rows))
        for some in (slice(0, 100), slice(100, None))
    ]
    for one, first, second in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(first + second, one, rtol=1e-4, atol=1e-6)


@each_action
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("n", [1, 3, 400])
def test_actions_are_the_policys(action: spaces.Space[Any], activation: str, n: int) -> None:
    policy, _ = made(action, activation)
    hand = ByHand.of(policy)
    assert hand is not None
    for dtype in (np.float32, np.float64):
        observation = np.random.default_rng(0).standard_normal((n, 5)).astype(dtype)
        noise = drawn(policy, n)
        with torch.no_grad():
            expected = policy.draw(policy.distribution(torch.from_numpy(observation)), noise).numpy()
        before = observation.copy()
        found = hand.act(observation, noise.numpy())
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
        np.testing.assert_array_equal(observation, before)
    assert not np.shares_memory(found, noise.numpy())


def test_weights_that_change_are_seen() -> None:
    policy, flat = made(BOX)
    hand = ByHand.of(policy)
    assert hand is not None
    noise = drawn(policy, 3)
    with torch.no_grad():
        flat.parameter.mul_(0.5)
        expected = policy.draw(policy.distribution(torch.ones(3, 5)), noise).numpy()
    np.testing.assert_allclose(hand.act(np.ones((3, 5), np.float32), noise.numpy()), expected, rtol=1e-5)


def test_other_shapes_of_observations() -> None:
    for seen in (
        spaces.Box(-1, 1, (2, 3), np.float64),
        spaces.Box(0, 255, (4,), np.uint8),
        spaces.Box(-1, 1, (), np.float32),
    ):
        policy = make_policy(seen, spaces.Discrete(3))
        flat = Flat(policy)
        hand = ByHand.of(policy)
        assert hand is not None
        seen.seed(0)
        observation = np.stack([seen.sample() for _ in range(6)])
        noise = drawn(policy, 6)
        with torch.no_grad():
            distribution, value = policy(torch.from_numpy(observation))
            action = policy.draw(distribution, noise)
        np.testing.assert_array_equal(hand.act(observation, noise.numpy()), action.numpy())
        rows = {
            "observation": torch.from_numpy(observation),
            "action": action,
            "log_probability": policy.log_prob(distribution, action).detach(),
            "values": value,
            "advantage": torch.randn(6),
            "target": value + torch.randn(6),
        }
        expected, _ = by_autograd(policy, flat, rows, PPO())
        found, _ = by_hand(hand, flat, rows, PPO(), 6.0)
        assert_near(found, expected)


def test_who_goes_through_autograd_and_why() -> None:
    image = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    masked = spaces.Dict(x=SEEN, action_mask=spaces.MultiBinary(3))
    cases: list[tuple[str, spaces.Space[Any], spaces.Space[Any], dict[str, Any]]] = [
        ("actor and critic share their features", SEEN, BOX, {"shared": True}),
        ("it reads more than one array of numbers", masked, spaces.Discrete(3), {}),
        ("it reads more than one array of numbers", spaces.Dict(x=SEEN), BOX, {}),
        ("it reads more than one array of numbers", spaces.Discrete(3), BOX, {}),
        ("it reads more than one array of numbers", image, BOX, {"shared": False}),
        ("its activation is neither tanh nor relu", SEEN, BOX, {"activation": "gelu"}),
        ("its actions are no plain choice", SEEN, spaces.MultiDiscrete([2, 3]), {}),
        ("its actions are no plain choice", SEEN, spaces.MultiBinary(2), {}),
        ("its Gaussian is squashed or has a scale from the network", SEEN, BOX, {"squash": True}),
        ("its Gaussian is squashed or has a scale from the network", SEEN, BOX, {"scale": "state"}),
    ]
    for reason, seen, action, settings in cases:
        policy = make_policy(seen, action, PolicySettings(**settings))
        Flat(policy)
        assert not_by_hand(policy) == reason
        assert ByHand.of(policy) is None
    policy = make_policy(SEEN, BOX)
    assert not_by_hand(policy) == "some of its parameters do not learn", "they are not joined yet"
    Flat(policy)
    assert not_by_hand(policy) is None
    double = make_policy(SEEN, BOX).double()
    Flat(double)
    assert not_by_hand(double) == "it does not compute in float32 on a CPU"
    frozen = make_policy(SEEN, BOX)
    frozen.actor.bias.requires_grad_(False)
    Flat(frozen)
    assert not_by_hand(frozen) == "some of its parameters do not learn"
    fit = copy.copy(policy.fit)
    flatly = Policy(Body(SEEN, hidden=()), fit, Body(SEEN, hidden=()))
    Flat(flatly)
    assert not_by_hand(flatly) == "it has no hidden layer"


def test_actor_and_critic_may_differ() -> None:
    fit = make_policy(SEEN, BOX).fit
    policy = Policy(Body(SEEN, hidden=(6,), activation="relu"), fit, Body(SEEN, hidden=(7, 5), activation="tanh"))
    assert isinstance(policy.actor, nn.Linear)
    flat = Flat(policy)
    hand = ByHand.of(policy)
    assert hand is not None
    rows = some_rows(policy)
    expected, _ = by_autograd(policy, flat, rows, PPO())
    found, _ = by_hand(hand, flat, rows, PPO(), float(ROWS))
    assert_near(found, expected)
