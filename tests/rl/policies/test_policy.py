"""Policies over every kind of action: gradients, masks, log-probabilities, and what reaches the environment."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, distributions, nn

from sightline.rl.distributions import SquashedGaussian
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings

SEEN = spaces.Box(-1, 1, (3,), np.float32)
LOW, HIGH = np.array([-1.0, 2.0], np.float32), np.array([3.0, 2.5], np.float32)
ACTIONS: dict[str, tuple[spaces.Space[Any], dict[str, Any], bool]] = {  # a space, settings, whether the policy is plain
    "discrete": (spaces.Discrete(4), {}, True),
    "discrete from -2": (spaces.Discrete(4, start=-2), {}, False),
    "discrete of int32": (spaces.Discrete(4, dtype=np.int32), {}, False),
    "multi-discrete": (spaces.MultiDiscrete([3, 2]), {}, False),
    "multi-discrete of int32": (spaces.MultiDiscrete([3, 2], dtype=np.int32), {}, False),
    "table of choices": (spaces.MultiDiscrete([[3, 2], [1, 4]], start=[[5, -1], [0, 2]]), {}, False),
    "bits": (spaces.MultiBinary(3), {}, False),
    "table of bits": (spaces.MultiBinary([2, 2]), {}, False),
    "gaussian": (spaces.Box(LOW, HIGH), {}, True),
    "unbounded": (spaces.Box(-np.inf, np.inf, (2,), np.float32), {}, True),
    "state": (spaces.Box(LOW, HIGH), {"scale": "state"}, True),
    "squashed": (spaces.Box(LOW, HIGH), {"squash": True}, False),
    "squashed state": (spaces.Box(LOW, HIGH), {"squash": True, "scale": "state"}, False),
    "float64": (spaces.Box(-0.1, 0.7, (2,), np.float64), {}, False),
    "squashed float64": (spaces.Box(-0.1, 0.7, (2,), np.float64), {"squash": True}, False),
    "half": (spaces.Box(-0.1, 0.7, (2,), np.float16), {}, False),
    "no axes": (spaces.Box(-1, 1, (), np.float32), {}, False),
    "two axes": (spaces.Box(-1, 1, (2, 3), np.float32), {}, False),
    "squashed two axes": (spaces.Box(-1, 1, (2, 3), np.float32), {"squash": True}, False),
}
each_action = pytest.mark.parametrize(("space", "settings", "plain"), ACTIONS.values(), ids=ACTIONS.keys())


def unsettled(policy: Policy) -> Policy:
    """Weights with which a policy prefers something."""
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return policy


def observed(n: int) -> Tensor:
    return torch.rand(n, 3) * 2 - 1


def noise_of(policy: Policy, n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(policy.fit.draw(np.random.default_rng(seed), n))


def outputs_of(policy: Policy, observation: Tensor) -> Tensor:
    return policy.actor(policy.actor_body(observation))


@each_action
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_reach_every_parameter(
    space: spaces.Space[Any], settings: dict[str, Any], plain: bool, shared: bool
) -> None:
    policy = unsettled(make_policy(SEEN, space, PolicySettings(hidden=(8, 6), shared=shared, **settings)))
    assert policy.shared == shared
    distribution, value = policy(observed(20))
    raw = policy.draw(distribution, noise_of(policy, 20)).detach()
    loss = policy.log_prob(distribution, raw).square().mean() + value.square().mean() + distribution.entropy().mean()
    loss.backward()
    for name, p in policy.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name
    names = {name.split(".")[0] for name, _ in policy.named_parameters()}
    free = isinstance(space, spaces.Box) and settings.get("scale") != "state"
    assert ("log_scale" in names) == free
    assert ("critic_body" in names) == (not shared)


def test_the_critic_of_its_own_changes_no_action() -> None:
    policy = make_policy(SEEN, spaces.Discrete(3))
    policy.value(observed(5)).sum().backward()
    for name, p in policy.named_parameters():
        assert (p.grad is None) == name.startswith("actor"), name


@each_action
def test_one_pass_gives_what_two_give(space: spaces.Space[Any], settings: dict[str, Any], plain: bool) -> None:
    for shared in (False, True):
        policy = unsettled(make_policy(SEEN, space, PolicySettings(shared=shared, **settings)))
        observation, noise = observed(6), noise_of(policy, 6)
        distribution, value = policy(observation)
        assert torch.equal(value, policy.value(observation))
        assert value.shape == (6,)
        raw = policy.draw(distribution, noise)
        assert torch.equal(raw, policy.draw(policy.distribution(observation), noise))
        assert torch.equal(raw, policy.act(policy.actor_body(observation), observation, noise))
        assert raw.dtype in (torch.int64, torch.float32)


@each_action
def test_log_probabilities_are_pytorchs(space: spaces.Space[Any], settings: dict[str, Any], plain: bool) -> None:
    policy = unsettled(make_policy(SEEN, space, PolicySettings(**settings)))
    observation = observed(50)
    distribution = policy.distribution(observation)
    raw = policy.draw(distribution, noise_of(policy, 50))
    outputs = outputs_of(policy, observation).double()
    if isinstance(space, spaces.Discrete):
        expected = distributions.Categorical(logits=outputs).log_prob(raw)
    elif isinstance(space, spaces.MultiDiscrete):
        parts = outputs.split(space.nvec.flatten().tolist(), 1)
        expected = torch.zeros(50).double()
        for part, one in zip(parts, raw.T, strict=True):
            expected += distributions.Categorical(logits=part).log_prob(one)
    elif isinstance(space, spaces.MultiBinary):
        expected = distributions.Bernoulli(logits=outputs).log_prob(raw.double()).sum(1)
    else:
        assert isinstance(space, spaces.Box)
        mean, log_scale = (outputs, policy.log_scale) if policy.log_scale is not None else outputs.chunk(2, 1)
        inner = distributions.Normal(mean, log_scale.double().exp())
        expected = inner.log_prob(raw.double()).sum(1)
        if settings.get("squash"):
            half = torch.from_numpy(np.float64(space.high - space.low) / 2).flatten()
            expected -= (half.log() + (1 - raw.double().tanh().square()).log()).sum(1)
    found = policy.log_prob(distribution, raw)
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=2e-5)
    if settings.get("squash"):  # the action says the same where it has not rounded to the border
        assert isinstance(distribution, SquashedGaussian)
        near = raw.abs().amax(1) < 2
        by_action = distribution.log_prob(distribution.squash(raw))[near]
        torch.testing.assert_close(by_action, found[near], rtol=1e-3, atol=1e-3)


@each_action
def test_actions_lie_in_the_space(space: spaces.Space[Any], settings: dict[str, Any], plain: bool) -> None:
    policy = unsettled(make_policy(SEEN, space, PolicySettings(**settings)))
    distribution = policy.distribution(observed(200))
    raws = [
        policy.draw(distribution, noise_of(policy, 200)).detach().numpy(),
        policy.mode(distribution).detach().numpy(),
    ]
    if isinstance(space, spaces.Box):
        raws += [raws[0] * 1e3, np.full_like(raws[0], 20.0), np.full_like(raws[0], -20.0)]
    for raw in raws:
        actions = policy.to_space(raw)
        assert actions.shape == (200, *(space.shape or ()))
        assert actions.dtype == space.dtype
        assert all(space.contains(np.asarray(action, actions.dtype)) for action in actions)
    if not isinstance(space, spaces.Box):  # and all that it holds can come
        count = {spaces.Discrete: lambda: space.n, spaces.MultiDiscrete: lambda: space.nvec.prod()}.get(
            type(space), lambda: 2 ** int(np.prod(space.shape))
        )()
        even = make_policy(SEEN, space)
        found = even.to_space(even.draw(even.distribution(observed(2000)), noise_of(even, 2000)).numpy())
        assert len(np.unique(found.reshape(2000, -1), axis=0)) == count


@each_action
def test_plain_is_where_only_clipping_lies_between(
    space: spaces.Space[Any], settings: dict[str, Any], plain: bool
) -> None:
    policy = unsettled(make_policy(SEEN, space, PolicySettings(**settings)))
    assert policy.plain == plain
    if plain:
        raw = policy.draw(policy.distribution(observed(50)), noise_of(policy, 50)).detach().numpy()
        actions = policy.to_space(raw)
        assert actions.dtype == raw.dtype
        bounded = isinstance(space, spaces.Box)
        np.testing.assert_array_equal(actions, raw.clip(space.low, space.high) if bounded else raw)  # type: ignore[attr-defined]


def test_what_is_squashed_is_kept_as_it_was_before() -> None:
    policy = unsettled(make_policy(SEEN, spaces.Box(LOW, HIGH), PolicySettings(squash=True)))
    distribution = policy.distribution(observed(50))
    raw = policy.draw(distribution, noise_of(policy, 50)).detach()
    half = (HIGH - LOW) / 2
    np.testing.assert_allclose(policy.to_space(raw.numpy()), LOW + half + half * np.tanh(raw.numpy()), rtol=1e-5)
    far = torch.full((50, 2), 30.0)
    assert policy.log_prob(distribution, far).isfinite().all(), "where the action itself rounds to the border"
    mean = outputs_of(policy, torch.zeros(1, 3))
    torch.testing.assert_close(policy.mode(policy.distribution(torch.zeros(1, 3))), mean)


def masked(space: spaces.Space[Any], count: int, dtype: Any = np.int8) -> tuple[Policy, spaces.Dict]:
    seen = spaces.Dict(x=SEEN, action_mask=spaces.Box(0, 1, (count,), dtype))
    return unsettled(make_policy(seen, space)), seen


@pytest.mark.parametrize(
    ("space", "sizes"), [(spaces.Discrete(5, start=3), [5]), (spaces.MultiDiscrete([3, 1, 2]), [3, 1, 2])]
)
def test_masked_actions_are_never_taken(space: spaces.Space[Any], sizes: list[int]) -> None:
    policy, _ = masked(space, sum(sizes))
    n = 400
    parts = []
    for size in sizes:
        part = torch.rand(n, size) < 0.4
        part[torch.arange(n), torch.randint(size, (n,))] = True
        parts.append(part)
    observation = {"x": observed(n), "action_mask": torch.cat(parts, 1).to(torch.int8)}
    distribution = policy.distribution(observation)
    noise = noise_of(policy, n)
    assert torch.equal(policy.act(policy.actor_body(observation), observation, noise), policy.draw(distribution, noise))
    for raw in (policy.draw(distribution, noise), policy.mode(distribution)):
        for part, choice in zip(parts, raw.reshape(n, -1).T, strict=True):
            assert part[torch.arange(n), choice].all()
        assert policy.log_prob(distribution, raw).isfinite().all()
    forbidden = torch.stack([(~part).float().argmax(1) for part in parts], 1)
    some = torch.stack([~part.all(1) for part in parts], 1).any(1)
    gone = policy.log_prob(distribution, forbidden.squeeze(1) if len(sizes) == 1 else forbidden)
    assert gone[some].isneginf().all()
    assert some.any()


def test_a_last_observation_may_forbid_everything() -> None:
    policy, _ = masked(spaces.Discrete(4), 4)
    observation = {"x": observed(3), "action_mask": torch.zeros(3, 4, dtype=torch.int8)}
    free = {"x": observation["x"], "action_mask": torch.ones(3, 4, dtype=torch.int8)}
    for one, other in zip(policy(observation), policy(free), strict=True):
        assert torch.equal(getattr(one, "log_probabilities", one), getattr(other, "log_probabilities", other))


@pytest.mark.parametrize(
    ("space", "mask", "says"),
    [
        (spaces.Discrete(4), spaces.MultiBinary(3), r"^the observation's 'action_mask' has 3 entries and .* takes 4: "),
        (spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2), r"has 2 entries and a policy on MultiDiscrete takes 5"),
        (spaces.Box(LOW, HIGH), spaces.MultiBinary(2), r"has 2 entries and a policy on Box takes 0"),
        (
            spaces.Discrete(3),
            spaces.Box(0, 1, (3,), np.float32),
            r"^the observation's 'action_mask' is Box\(.*\): give whole numbers, MultiBinary\(3\) say$",
        ),
    ],
)
def test_masks_that_do_not_fit(space: spaces.Space[Any], mask: spaces.Space[Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_policy(spaces.Dict(x=SEEN, action_mask=mask), space)


def test_a_mask_of_one_action() -> None:
    policy, _ = masked(spaces.Discrete(1), 1)
    assert policy.distribution({"x": observed(2), "action_mask": torch.ones(2, 1)}).mode().tolist() == [0, 0]


@pytest.mark.parametrize("seen", [SEEN, spaces.Box(0, 255, (9, 9, 3), np.uint8)], ids=["numbers", "image"])
def test_a_seed_gives_the_same_weights(seen: spaces.Space[Any]) -> None:
    def weights(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        policy = make_policy(seen, spaces.Discrete(3), PolicySettings(shared=False))
        return [p.detach() for p in policy.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True) if a.any())


def test_what_is_left_open_depends_on_what_is_seen() -> None:
    numbers = make_policy(SEEN, spaces.Discrete(3))
    image = make_policy(spaces.Box(0, 255, (9, 9, 3), np.uint8), spaces.Discrete(3))
    assert not numbers.shared
    assert image.shared
    assert [type(m).__name__ for m in numbers.actor_body.mlp] == ["Linear", "Tanh", "Linear", "Tanh"]
    assert [m.out_features for m in numbers.actor_body.mlp[::2]] == [64, 64]  # type: ignore[union-attr]
    assert [type(m).__name__ for m in image.actor_body.mlp] == ["Linear", "ReLU"]
    assert image.actor_body.width == 128
    asked = make_policy(SEEN, spaces.Discrete(3), PolicySettings(hidden=(5,), activation="gelu", shared=True))
    assert asked.shared
    assert [type(m).__name__ for m in asked.actor_body.mlp] == ["Linear", "GELU"]
    assert asked.actor_body.width == 5


def test_a_new_policy_prefers_nothing() -> None:
    policy = make_policy(SEEN, spaces.Discrete(4))
    spread = policy.distribution(observed(50)).log_probabilities  # type: ignore[attr-defined]
    assert (spread + math.log(4)).abs().max() < 0.05
    gaussian = make_policy(SEEN, spaces.Box(LOW, HIGH))
    assert gaussian.log_scale is not None
    assert not gaussian.log_scale.any()
    torch.testing.assert_close(policy.critic.weight @ policy.critic.weight.T, torch.eye(1))
    torch.testing.assert_close(policy.actor.weight @ policy.actor.weight.T, 1e-4 * torch.eye(4))


def test_an_encoder_of_ones_own() -> None:
    class Mine(nn.Module):
        channels, stride = 2, 1

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.layer(image)

    mine = Mine()
    seen = spaces.Dict(image=spaces.Box(0, 255, (5, 4, 3), np.uint8), x=SEEN)
    policy = make_policy(seen, spaces.Discrete(3), PolicySettings(shared=False), encoder=mine)
    assert policy.actor_body.encoders[0] is mine
    assert policy.critic_body is not None
    assert policy.critic_body.encoders[0] is not mine
    observation = {"image": torch.zeros(2, 5, 4, 3, dtype=torch.uint8), "x": observed(2)}
    distribution, value = policy(observation)
    (distribution.entropy().sum() + value.sum()).backward()
    assert mine.layer.weight.grad is not None
    with pytest.raises(ValueError, match=r"^an encoder reads images and the observation space Box.* has none"):
        make_policy(SEEN, spaces.Discrete(3), encoder=mine)


@pytest.mark.parametrize(
    ("space", "settings", "says"),
    [
        (spaces.Text(3), {}, r"^no policy fits the action space Text"),
        (spaces.Discrete(3), {"encoder": "nature"}, r"^the encoder nature reads images and Box.* has none: leave"),
        (spaces.Discrete(3), {"pool": "maximum"}, r"^unknown pool 'maximum'"),
        (spaces.Box(LOW, HIGH), {"scale": "none"}, r"^unknown scale 'none'"),
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), {"squash": True}, r"^a squashed Gaussian needs a finite box"),
    ],
)
def test_settings_that_do_not_fit(space: spaces.Space[Any], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_policy(SEEN, space, PolicySettings(**settings))


def test_images_of_different_kinds_are_said() -> None:
    seen = spaces.Dict(a=spaces.Box(0, 255, (5, 4, 3), np.uint8), b=spaces.Box(0, 255, (5, 4, 1), np.uint8))
    with pytest.raises(ValueError, match=r"channels"):
        make_policy(seen, spaces.Discrete(3))


def test_centring_asks_for_bytes() -> None:
    with pytest.raises(ValueError, match=r"the bytes of images are centred and .* has none: leave --centred out"):
        make_policy(SEEN, spaces.Discrete(2), PolicySettings(centred=True))
