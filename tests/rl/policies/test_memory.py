"""A memory is a loop over rows that forgets where an episode begins; a policy has it under every kind of action."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tests.rl.policies.test_policy import LOW, SEEN, each_action, noise_of, observed, unsettled
from torch import Tensor

from sightline.rl.policies.memory import Memory, Past
from sightline.rl.policies.policy import make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.trees import map_arrays


def slow(memory: Memory, features: Tensor, state: Tensor, begins: Tensor) -> Tensor:
    """The equations at the head of the file, row after row, environment after environment."""
    w, u, a, c = memory.unit.all_weights[0]
    units = memory.unit.hidden_size
    time, count = begins.shape
    rows: list[Tensor] = []
    now = list(state)
    for t in range(time):
        for b in range(count):
            x, h = features[t * count + b], torch.zeros(units).to(state) if begins[t, b] else now[b]
            given, kept = w @ x + a, u @ h + c
            r = torch.sigmoid(given[:units] + kept[:units])
            z = torch.sigmoid(given[units : 2 * units] + kept[units : 2 * units])
            n = torch.tanh(given[2 * units :] + r * kept[2 * units :])
            now[b] = (1 - z) * n + z * h
            rows.append(now[b])
    return torch.stack(rows)


def unsettled_memory(inputs: int, units: int) -> Memory:
    memory = Memory(inputs, units)
    with torch.no_grad():
        for p in memory.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return memory


def beginnings(time: int, count: int, share: float) -> Tensor:
    return torch.rand(time, count) < share


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("time", "count"), [(1, 1), (1, 4), (7, 1), (5, 3), (13, 6)])
def test_it_is_a_loop_that_forgets(time: int, count: int, share: float) -> None:
    memory = unsettled_memory(3, 5).double()
    features = torch.randn(time * count, 3, dtype=torch.float64, requires_grad=True)
    state = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    begins = beginnings(time, count, share)
    out, expected = memory(features, state, begins), slow(memory, features, state, begins)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    inputs = [features, state, *memory.parameters()]
    gradients = [
        torch.autograd.grad((one * weight).sum(), inputs, allow_unused=True, materialize_grads=True)
        for one in (out, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_gradcheck() -> None:
    memory = Memory(2, 3).double()
    features = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    begins = torch.tensor([[False, True], [False, False], [True, False], [False, False]])
    assert torch.autograd.gradcheck(lambda x, h: memory(x, h, begins), (features, state))


def test_nothing_crosses_into_another_episode_or_environment() -> None:
    memory, begins = unsettled_memory(3, 4), torch.zeros(6, 2, dtype=torch.bool)
    begins[3, 0] = True
    features = torch.randn(12, 3, requires_grad=True)
    state = torch.randn(2, 4, requires_grad=True)
    out = memory(features, state, begins).unflatten(0, (6, 2))
    into, past = torch.autograd.grad(out[4, 0].sum(), [features, state])
    reached = into.unflatten(0, (6, 2)).abs().sum(2) > 0
    assert reached.tolist() == [[False, False]] * 3 + [[True, False]] * 2 + [[False, False]]
    assert not past.any()
    past = torch.autograd.grad(out_of(memory, features, state, begins)[4, 1].sum(), state)[0]
    assert past[1].any()
    assert not past[0].any()


def out_of(memory: Memory, features: Tensor, state: Tensor, begins: Tensor) -> Tensor:
    return memory(features, state, begins).unflatten(0, begins.shape)


@each_action
@pytest.mark.parametrize("shared", [False, True])
def test_all_rows_at_once_are_a_row_at_a_time(
    space: spaces.Space[Any], settings: dict[str, Any], plain: bool, shared: bool
) -> None:
    policy = unsettled(make_policy(SEEN, space, PolicySettings(hidden=(8,), memory=5, shared=shared, **settings)))
    assert policy.remembers
    assert policy.plain == plain
    time, count = 6, 3
    seen, begins = observed(time * count), beginnings(time, count, 0.3)
    begins[0] = torch.tensor([True, False, True])
    start = torch.randn(count, 1 if shared else 2, 5)
    features = policy.features(seen, Past(start, begins))
    distribution, value = policy.heads(features, seen)
    noise = noise_of(policy, time * count)
    raw = policy.draw(distribution, noise).detach()
    log_p = policy.log_prob(distribution, raw)
    now: Past | None = Past(start, begins[:1])
    for t in range(time):
        some = slice(t * count, (t + 1) * count)
        assert now is not None
        now = Past(now.state, begins[t : t + 1])
        here = policy.features(seen[some], now)
        one, v = policy.heads(here, seen[some])
        torch.testing.assert_close(v, value[some])
        torch.testing.assert_close(v, policy.value(seen[some], now))
        torch.testing.assert_close(policy.log_prob(one, raw[some]), log_p[some])
        torch.testing.assert_close(
            policy.log_prob(policy.distribution(seen[some], now), raw[some]), policy.log_prob(one, raw[some])
        )
        acted = policy.act(here[0], seen[some], noise[some])
        torch.testing.assert_close(acted, raw[some])
        now = policy.after(here)
    assert now is not None
    torch.testing.assert_close(now.state, policy.states(features)[-count:])
    (log_p.square().mean() + value.square().mean() + distribution.entropy().mean()).backward()
    for name, p in policy.named_parameters():
        assert p.grad is not None, name
        assert p.grad.any(), name


@pytest.mark.parametrize(
    "space", [spaces.Discrete(4), spaces.MultiDiscrete([3, 1, 2]), spaces.MultiDiscrete([[2, 2], [2, 3]])]
)
def test_masks_hold_with_a_memory(space: spaces.Space[Any]) -> None:
    sizes = [4] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()  # type: ignore[attr-defined]
    time, count = 5, 40
    n = time * count
    parts = []
    for size in sizes:
        part = torch.rand(n, size) < 0.4
        part[torch.arange(n), torch.randint(size, (n,))] = True
        parts.append(part)
    mask = torch.cat(parts, 1).to(torch.int8)
    seen = spaces.Dict(x=SEEN, action_mask=spaces.MultiBinary(mask.shape[1]))
    policy = unsettled(make_policy(seen, space, PolicySettings(hidden=(8,), memory=4)))
    observation = {"x": observed(n), "action_mask": mask}
    distribution, _ = policy(observation, Past(torch.randn(count, 2, 4), beginnings(time, count, 0.2)))
    for raw in (policy.draw(distribution, noise_of(policy, n)), policy.mode(distribution)):
        for part, choice in zip(parts, raw.reshape(n, -1).T, strict=True):
            assert part[torch.arange(n), choice].all()
        assert policy.log_prob(distribution, raw).isfinite().all()


def test_images_and_parts_are_remembered_too() -> None:
    seen = spaces.Dict(image=spaces.Box(0, 255, (5, 4, 3), np.uint8), x=SEEN)
    policy = unsettled(make_policy(seen, spaces.Box(LOW, LOW + 1), PolicySettings(memory=6)))
    rows = {"image": torch.randint(256, (8, 5, 4, 3), dtype=torch.uint8), "x": observed(8)}
    start = policy.start(2)
    assert start is not None
    _, value = policy(rows, Past(start.state, torch.zeros(4, 2, dtype=torch.bool)))
    other = {**rows, "image": rows["image"].clone()}
    other["image"][0] = 255 - other["image"][0]  # the first row of the first environment
    _, changed = policy(other, Past(start.state, torch.zeros(4, 2, dtype=torch.bool)))
    assert ((value - changed).abs() > 0).unflatten(0, (4, 2)).tolist() == [[True, False]] * 4
    assert map_arrays(len, rows) == {"image": 8, "x": 8}


def test_a_policy_says_what_it_needs() -> None:
    policy = make_policy(SEEN, spaces.Discrete(2), PolicySettings(memory=3))
    with pytest.raises(ValueError, match="the policy has a memory and was not told what came before: give past"):
        policy(observed(2))
    with pytest.raises(ValueError, match="a memory has 1 unit or more, 0 means none, got --memory -1"):
        make_policy(SEEN, spaces.Discrete(2), PolicySettings(memory=-1))
    with pytest.raises(ValueError, match="a memory has 1 unit or more, got 0"):
        Memory(3, 0)
    without = make_policy(SEEN, spaces.Discrete(2))
    features = without.features(observed(2))
    assert without.start(2) is without.after(features) is None
