"""The ensemble against torch.distributions and loops; what it learns, against a world whose noise is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal

from sightline.rl import ensemble as module
from sightline.rl.ensemble import (
    BOUND_FACTOR,
    Ensemble,
    Gaussians,
    Learned,
    chance_errors,
    chance_loss,
    learn,
    likelihood_loss,
    surprises,
)

HOW: dict[str, Any] = {"learning_rate": 3e-3, "decay": 0.0, "batch": 64, "patience": 5, "most": 60}


def rows(members: int = 3, n: int = 7) -> tuple[Gaussians, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = Gaussians(members, 4, 2, (8, 6)).double()
    return network, torch.randn(members, n, 4).double(), torch.randn(members, n, 2).double()


@torch.no_grad()
def test_the_loss_is_the_likelihood_of_every_member_alone() -> None:
    network, x, y = rows()
    expected = BOUND_FACTOR * float((network.highest - network.lowest).sum())
    for m in range(3):
        mean, log_variance = (one[0] for one in network(x[m : m + 1], torch.tensor([m])))
        density = Normal(mean, (0.5 * log_variance).exp()).log_prob(y[m]).sum(-1)
        expected -= float((density + 0.5 * 2 * np.log(2 * np.pi)).mean())  # the constant is left out
    assert float(likelihood_loss(network, x, y)) == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_chances_and_errors_are_those_of_a_loop() -> None:
    network, x, y = rows()
    torch.manual_seed(1)
    yes = Ensemble(3, 4, 1, (8,)).double()
    over = torch.randint(0, 2, (3, 7, 1)).double()
    found, ends = surprises(network, x, y), chance_errors(yes, x, over)
    for m in range(3):
        mean, log_variance = (one[0] for one in network(x[m : m + 1], torch.tensor([m])))
        density = Normal(mean, (0.5 * log_variance).exp()).log_prob(y[m]).sum(-1).mean() + np.log(2 * np.pi)
        assert float(found[m]) == pytest.approx(-float(density), rel=1e-12)
        logit = yes(x[m : m + 1], torch.tensor([m]))[0]
        assert float(ends[m]) == pytest.approx(-float(Bernoulli(logits=logit).log_prob(over[m]).mean()), rel=1e-12)
    assert float(chance_loss(yes, x, over)) == pytest.approx(float(ends.sum()), rel=1e-12)


def test_members_are_networks_of_their_own() -> None:
    network, x, y = rows()
    likelihood_loss(network, x, y).backward()
    weights = network.ensemble.weights
    before = [weight.grad[1].clone() for weight in weights]
    network.zero_grad()
    x2, y2 = x.clone(), y.clone()
    x2[[0, 2]], y2[[0, 2]] = 3.0, -5.0
    likelihood_loss(network, x2, y2).backward()
    for old, weight in zip(before, weights, strict=True):
        torch.testing.assert_close(weight.grad[1], old)
        assert weight.grad[0].abs().sum() > 0
    hand = x[1]
    for place, (weight, bias) in enumerate(zip(weights, network.ensemble.biases, strict=True)):
        hand = hand @ weight[1] + bias[1]
        hand = hand * torch.sigmoid(hand) if place < len(weights) - 1 else hand
    torch.testing.assert_close(network(x)[0][1], hand[:, :2])


@torch.no_grad()
def test_log_variances_stay_between_their_bounds() -> None:
    network, x, _ = rows()
    network.ensemble.biases[-1][:, :, 2:4] = 100.0
    high = network(x)[1]
    network.ensemble.biases[-1][:, :, 2:4] = -100.0
    low = network(x)[1]
    torch.testing.assert_close(high, network.highest.expand_as(high), atol=1e-4, rtol=0)
    torch.testing.assert_close(low, network.lowest.expand_as(low), atol=1e-4, rtol=0)


def world(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = 0.8 x_0 with noise of deviation 0.1 or, where x_1 > 0, 0.6; it ends where x_0 + x_1 > 1."""
    x = rng.standard_normal((n, 2)).astype(np.float32)
    deviation = np.where(x[:, 1] > 0, 0.6, 0.1)
    y = 0.8 * x[:, :1] + deviation[:, None] * rng.standard_normal((n, 1))
    return x, y.astype(np.float32), (x.sum(1) > 1).astype(np.float32)


def learned(seed: int = 0, **changes: Any) -> tuple[Gaussians, Learned, np.ndarray]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    x, y, _ = world(1500, rng)
    network, held_out = Gaussians(4, 2, 1, (32, 32)), np.arange(0, 1500, 5)
    return network, learn(network, x, y, held_out, rng, **{**HOW, **changes}), held_out


def test_it_learns_means_and_the_noise_of_the_world() -> None:
    network, found, _ = learned()
    x = torch.from_numpy(world(4000, np.random.default_rng(9))[0])
    with torch.no_grad():
        mean, log_variance = network(x.expand(4, -1, -1))
    for m in range(4):
        assert float((mean[m, :, 0] - 0.8 * x[:, 0]).square().mean()) < 0.02
        deviation = (0.5 * log_variance[m, :, 0]).exp()
        assert float(deviation[x[:, 1] > 0.3].median()) == pytest.approx(0.6, rel=0.2)
        assert float(deviation[x[:, 1] < -0.3].median()) == pytest.approx(0.1, rel=0.4)
    own = 0.5 * (1 + (np.log(0.36) + np.log(0.01)) / 2)  # the world's surprise at itself
    assert (np.abs(found.error - own) < 0.15).all()
    assert 0 < found.passes <= 60


def test_it_learns_where_the_world_ends() -> None:
    torch.manual_seed(0)
    network, rng = Ensemble(4, 2, 1, (32,)), np.random.default_rng(0)
    x, _, over = world(1500, rng)
    found = learn(network, x, over[:, None], np.arange(0, 1500, 5), rng, **HOW)
    x, _, over = world(4000, rng)
    said = network(torch.from_numpy(x).expand(4, -1, -1)).detach()[..., 0] > 0
    assert (said.numpy() == (over > 0)).mean(1).min() > 0.97
    assert (found.error < 0.1).all()


def test_the_best_weights_on_what_was_held_out_are_kept() -> None:
    network, found, held_out = learned(learning_rate=0.03, batch=16)  # it jumps: the last is not the best
    x, y = (torch.from_numpy(one)[held_out].expand(4, -1, -1) for one in world(1500, np.random.default_rng(0))[:2])
    np.testing.assert_allclose(surprises(network, x, y).numpy(force=True), found.error, rtol=1e-4)


def test_it_stops_when_no_member_gets_better() -> None:
    network, found, held_out = learned(patience=2, most=500)
    assert found.passes < 200
    x, y, _ = world(1500, np.random.default_rng(0))
    again = learn(network, x, y, held_out, np.random.default_rng(3), **{**HOW, "learning_rate": 0.0})
    assert again.passes == HOW["patience"]  # from the weights that it has, nothing was gained


def test_nothing_learns_from_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def noted(network: Gaussians, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach().numpy().copy())
        return likelihood_loss(network, x, y)

    monkeypatch.setitem(module.LEARNS, Gaussians, (noted, surprises))
    _, _, held_out = learned(most=2)
    x, _, _ = world(1500, np.random.default_rng(0))
    taken = [{row.tobytes() for part in seen for row in part[m]} for m in range(4)]
    rest = {row.tobytes() for row in np.delete(x, held_out, 0)}
    for one in taken:
        assert one < rest, "a bootstrap leaves some rows out, and takes none of those held out"
        assert len(one) / len(rest) == pytest.approx(1 - np.exp(-1), abs=0.05)
    assert taken[0] != taken[1]


def test_a_model_that_diverges_says_so() -> None:
    with pytest.raises(
        ValueError, match=r"the model's error is (nan|inf) after 1 passes over 1200 steps: use a smaller"
    ):
        learned(learning_rate=1e30)
