"""The ensemble against torch.distributions and loops; what it learns, against a world whose noise is known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal

from sightline.rl import ensemble as module
from sightline.rl.ensemble import BOUND_FACTOR, Ensemble, ensemble_loss, errors, learn

HOW: dict[str, Any] = {"learning_rate": 3e-3, "decay": 0.0, "batch": 64, "patience": 5, "most": 60}


def rows(members: int = 3, n: int = 7) -> tuple[Ensemble, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = Ensemble(members, 4, 2, (8, 6)).double()
    x, y = torch.randn(members, n, 4).double(), torch.randn(members, n, 2).double()
    return network, x, y, torch.randint(0, 2, (members, n)).double()


def test_the_loss_is_the_likelihood_of_every_member_alone() -> None:
    network, x, y, over = rows()
    expected = BOUND_FACTOR * float((network.highest - network.lowest).sum().detach())
    for m in range(3):
        mean, log_variance, ending = (one[0] for one in network(x[m : m + 1], torch.tensor([m])))
        density = Normal(mean, (0.5 * log_variance).exp()).log_prob(y[m]).sum(-1)
        likelihood = density + 0.5 * 2 * np.log(2 * np.pi)  # the constant is left out
        expected -= float((likelihood + Bernoulli(logits=ending).log_prob(over[m])).mean().detach())
    assert float(ensemble_loss(network, x, y, over).detach()) == pytest.approx(expected, rel=1e-12)


def test_members_are_networks_of_their_own() -> None:
    network, x, y, over = rows()
    ensemble_loss(network, x, y, over).backward()
    before = [weight.grad[1].clone() for weight in network.weights]
    network.zero_grad()
    x2, y2 = x.clone(), y.clone()
    x2[[0, 2]], y2[[0, 2]] = 3.0, -5.0
    ensemble_loss(network, x2, y2, over).backward()
    for old, weight in zip(before, network.weights, strict=True):
        torch.testing.assert_close(weight.grad[1], old)
        assert weight.grad[0].abs().sum() > 0
    hand = x[1]
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        hand = hand @ weight[1] + bias[1]
        hand = hand * torch.sigmoid(hand) if place < len(network.weights) - 1 else hand
    torch.testing.assert_close(network(x)[0][1], hand[:, :2])


def test_log_variances_stay_between_their_bounds() -> None:
    network, x, _, _ = rows()
    with torch.no_grad():
        network.biases[-1][:, :, 2:4] = 100.0
        high = network(x)[1]
        network.biases[-1][:, :, 2:4] = -100.0
        low = network(x)[1]
    torch.testing.assert_close(high, network.highest.expand_as(high), atol=1e-4, rtol=0)
    torch.testing.assert_close(low, network.lowest.expand_as(low), atol=1e-4, rtol=0)


def test_errors_are_those_of_a_loop() -> None:
    network, x, y, over = rows()
    found = errors(network, x[0], y[0], over[0])
    for m in range(3):
        mean, _, ending = (one[0] for one in network(x[:1], torch.tensor([m])))
        ends = -Bernoulli(logits=ending).log_prob(over[0]).mean()
        assert float(found[m]) == pytest.approx(float(((mean - y[0]).square().mean() + ends).detach()), rel=1e-12)


def world(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = 0.8 x_0 with noise of deviation 0.1 or, where x_1 > 0, 0.6; it ends where x_0 + x_1 > 1."""
    x = rng.standard_normal((n, 2)).astype(np.float32)
    deviation = np.where(x[:, 1] > 0, 0.6, 0.1)
    y = 0.8 * x[:, :1] + deviation[:, None] * rng.standard_normal((n, 1))
    return x, y.astype(np.float32), (x.sum(1) > 1).astype(np.float32)


def learned(seed: int = 0, **changes: Any) -> tuple[Ensemble, module.Learned, np.ndarray]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    x, y, over = world(1500, rng)
    network, held_out = Ensemble(4, 2, 1, (32, 32)), np.arange(0, 1500, 5)
    return network, learn(network, x, y, over, held_out, rng, **{**HOW, **changes}), held_out


def test_it_learns_means_the_noise_of_the_world_and_where_it_ends() -> None:
    network, found, _ = learned()
    x, _, over = (torch.from_numpy(one) for one in world(4000, np.random.default_rng(9)))
    with torch.no_grad():
        mean, log_variance, ending = network(x.expand(4, -1, -1))
    for m in range(4):
        assert float((mean[m, :, 0] - 0.8 * x[:, 0]).square().mean()) < 0.02
        deviation = (0.5 * log_variance[m, :, 0]).exp()
        assert float(deviation[x[:, 1] > 0.3].median()) == pytest.approx(0.6, rel=0.2)
        assert float(deviation[x[:, 1] < -0.3].median()) == pytest.approx(0.1, rel=0.4)
        assert float(((ending[m] > 0) == (over > 0)).float().mean()) > 0.95
    assert (found.error < 0.35).all()  # half of 0.36 + 0.01 is the world's own, and the endings come on top
    assert 0 < found.passes <= 60


def test_the_best_weights_on_what_was_held_out_are_kept() -> None:
    network, found, held_out = learned(learning_rate=0.03, batch=16)  # it jumps, so that the last is not the best
    x, y, over = (torch.from_numpy(one) for one in world(1500, np.random.default_rng(0)))
    now = errors(network, x[held_out], y[held_out], over[held_out])
    # the bounds of variances are shared and move on, but no mean and no ending depends on them
    np.testing.assert_allclose(now.numpy(), found.error, rtol=1e-4)


def test_it_stops_when_no_member_gets_better() -> None:
    _, found, _ = learned(patience=2, most=500)
    assert found.passes < 200
    rng = np.random.default_rng(3)
    network, _, held_out = learned()
    x, y, over = world(1500, np.random.default_rng(0))
    again = learn(network, x, y, over, held_out, rng, **{**HOW, "learning_rate": 0.0})
    assert again.passes == HOW["patience"]  # from the weights that it has, nothing was gained


def test_nothing_learns_from_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def noted(network: Ensemble, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach().numpy().copy())
        return ensemble_loss(network, x, *rest)

    monkeypatch.setattr(module, "ensemble_loss", noted)
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
