"""Parameters in one piece: still the module's own, and stepped as PyTorch's optimiser steps them."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.rl.policies.flat import Adam, Flat


class Tied(nn.Module):
    """Convolutions whose channels come last in memory, a scalar, a frozen layer, and a weight with two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.first, self.second = nn.Linear(4, 5), nn.Linear(4, 5)
        self.second.weight = self.first.weight
        self.turned = nn.Parameter(torch.randn(5, 2).T)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean((2, 3))
        both = self.first(x).tanh() + self.second(x)
        return self.frozen(both @ self.turned.T) * self.scale


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(6, 3, 5, 5, dtype=dtype)


def test_parameters_and_gradients_are_views_that_a_module_does_not_notice() -> None:
    net = Tied()
    plain, x = copy.deepcopy(net), images()
    flat = Flat(net)
    assert len(flat.parameter) == sum(p.numel() for p in plain.parameters() if p.requires_grad)
    assert net.second.weight is net.first.weight
    for (name, p), (_, q) in zip(net.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.stride() == q.stride(), name
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
    for _ in range(2):  # gradients add up
        net(x).square().sum().backward()
        plain(x).square().sum().backward()
    place = 0
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        if not p.requires_grad:
            assert p.grad is None
            continue
        torch.testing.assert_close(p.grad, q.grad)
        assert p.data_ptr() == flat.parameter.data_ptr() + 4 * place
        assert p.grad is not None
        assert p.grad.data_ptr() == flat.gradient.data_ptr() + 4 * place
        place += p.numel()
    flat.check()
    flat.clear()
    assert not any(p.grad.any() for p in net.parameters() if p.grad is not None)
    with torch.no_grad():
        flat.parameter.fill_(0.5)
    assert all((p == 0.5).all() for p in net.parameters() if p.requires_grad)
    assert torch.equal(net.frozen.weight, plain.frozen.weight)


def test_weights_are_saved_and_loaded_as_before() -> None:
    net, other = Tied(), Tied()
    flat = Flat(net)
    saved = other.state_dict()
    net.load_state_dict(saved)
    flat.check()
    for name, value in net.state_dict().items():
        assert torch.equal(value, saved[name])
    plain = Tied()
    plain.load_state_dict(net.state_dict())
    x = images()
    assert torch.equal(plain(x), net(x))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_steps_are_those_of_pytorchs_adam(dtype: torch.dtype, tolerance: float) -> None:
    net = Tied().to(dtype)
    plain, x = copy.deepcopy(net), images(dtype)
    flat = Flat(net)
    adam = Adam(flat, 1e-2, epsilon=1e-4)
    oracle = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=1e-2, eps=1e-4)
    for step in range(50):
        adam.rate = oracle.param_groups[0]["lr"] = 1e-2 * (1 - step / 100)
        for one in (net, plain):
            (one(x) - 1).square().mean().backward()
        adam.step()
        oracle.step()
        flat.clear()
        oracle.zero_grad()
        for p, q in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
    assert (plain(x) - 1).square().mean() < 0.1


def test_epsilon_counts_where_gradients_are_small() -> None:
    net = nn.Linear(2, 2).double()
    plain = copy.deepcopy(net)
    flat = Flat(net)
    adam, oracle = Adam(flat, 0.1), torch.optim.Adam(plain.parameters(), lr=0.1, eps=1e-5)
    for size in (1e-5, 1e-6, 0.0, 1e-4):
        flat.gradient.fill_(size)
        for p in plain.parameters():
            p.grad = torch.full_like(p, size)
        adam.step()
        oracle.step()
        torch.testing.assert_close(net.weight, plain.weight, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("largest", [0.01, 0.5, 1e3])
def test_gradients_are_clipped_as_pytorch_clips_them(largest: float) -> None:
    net, x = Tied(), images()
    plain = copy.deepcopy(net)
    flat = Flat(net)
    for one in (net, plain):
        one(x).square().sum().backward()
    expected = nn.utils.clip_grad_norm_(plain.parameters(), largest)
    torch.testing.assert_close(flat.clip(largest), expected)
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_an_optimiser_goes_on_where_it_was() -> None:
    net = nn.Linear(3, 2)
    flat = Flat(net)
    adam = Adam(flat, 0.1)
    gradients = torch.randn(6, len(flat.gradient))
    for gradient in gradients[:3]:
        flat.gradient.copy_(gradient)
        adam.step()
    state, other = copy.deepcopy(adam.state_dict()), copy.deepcopy(net)
    resumed_flat = Flat(other)
    resumed = Adam(resumed_flat, 0.1)
    for gradient in gradients[3:]:
        flat.gradient.copy_(gradient)
        adam.step()
    resumed.load_state_dict(state)
    for gradient in gradients[3:]:
        resumed_flat.gradient.copy_(gradient)
        resumed.step()
    assert torch.equal(other.weight, net.weight)
    assert state["steps"] == 3, "what was saved is a copy"
    with pytest.raises(ValueError, match=r"^the saved optimiser has 8 numbers, here are 12$"):
        Adam(Flat(nn.Linear(3, 3)), 0.1).load_state_dict(state)


def test_what_was_moved_away_is_said() -> None:
    def moved(net: nn.Linear) -> None:
        net.double()

    def assigned(net: nn.Linear) -> None:
        net.load_state_dict({k: v.clone() for k, v in net.state_dict().items()}, assign=True)

    def forgotten(net: nn.Linear) -> None:
        net.zero_grad()

    def last_one(net: nn.Linear) -> None:
        net.bias.data = net.bias.data.clone()

    for change in (moved, assigned, forgotten, last_one):
        net = nn.Linear(3, 2)
        flat = Flat(net)
        flat.check()
        change(net)
        with pytest.raises(ValueError, match=r"^the policy's parameters or gradients are no longer where they were jo"):
            flat.check()


def test_what_cannot_be_joined() -> None:
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match=r"^a policy learns parameters of one type on one device, got \[.*float32.*64"):
        Flat(mixed)
    with pytest.raises(ValueError, match=r"of one type on one device, got \[\]"):
        Flat(nn.Linear(2, 2).requires_grad_(False))
