"""Gaussians against `torch.distributions`, numerical integration in float64, finite differences and sample moments."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor
from torch import distributions as oracle

from sightline.rl.distributions import Gaussian, SquashedGaussian

BATCHES = [(), (1,), (5,), (4, 3)]


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


LOW, HIGH = doubles(-2.0, 0.0, -0.1), doubles(2.0, 1.0, 300.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scales(kind: str, *batch: int, seed: int = 3) -> Tensor:
    return 0.5 * normal(*(batch if kind == "state" else ()), 3, seed=seed)


def torchs(gaussian: Gaussian) -> oracle.Independent:
    return oracle.Independent(oracle.Normal(gaussian.mean, gaussian.log_scale.exp()), 1)


def squashed(gaussian: Gaussian) -> oracle.TransformedDistribution:
    stretch = oracle.AffineTransform((LOW + HIGH) / 2, (HIGH - LOW) / 2, event_dim=1)
    return oracle.TransformedDistribution(torchs(gaussian), [oracle.TanhTransform(), stretch])


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", ["free", "state"])
def test_gaussian_equals_torchs(batch, kind):
    ours = Gaussian(normal(*batch, 3), scales(kind, *batch))
    other = Gaussian(normal(*batch, 3, seed=1), scales(kind, *batch, seed=4))
    action = normal(*batch, 3, seed=2)
    torch.testing.assert_close(ours.log_prob(action), torchs(ours).log_prob(action))
    torch.testing.assert_close(ours.entropy(), torchs(ours).entropy())
    torch.testing.assert_close(ours.kl(other), oracle.kl_divergence(torchs(ours), torchs(other)))
    torch.testing.assert_close(ours.mode(), ours.mean)
    noise = normal(*batch, 3, seed=5)
    torch.testing.assert_close(ours.sample(noise), ours.mean + ours.log_scale.exp() * noise)


def test_the_kl_of_almost_equal_policies_keeps_its_digits_in_float32():
    ours, other = (Gaussian(torch.zeros(1), torch.tensor([s])) for s in (0.0, 1e-3))
    assert ours.kl(other).item() == pytest.approx((math.exp(-2e-3) - 1) / 2 + 1e-3, rel=1e-3)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", ["free", "state"])
def test_squashed_equals_torchs_transform(batch, kind):
    ours = SquashedGaussian(Gaussian(normal(*batch, 3), scales(kind, *batch)), LOW, HIGH)
    noise = normal(*batch, 3, seed=2)
    action, u = ours.sample(noise), ours.inner.sample(noise)
    torch.testing.assert_close(action, squashed(ours.inner).transforms[1](u.tanh()))
    torch.testing.assert_close(ours.unsquash(action), u, rtol=1e-9, atol=1e-9)
    expected = squashed(ours.inner).log_prob(action)
    torch.testing.assert_close(ours.log_prob(action), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.log_prob_inner(u), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.mode(), ours.squash(ours.inner.mean))
    other = SquashedGaussian(Gaussian(normal(*batch, 3, seed=7), scales(kind, *batch, seed=8)), LOW, HIGH)
    torch.testing.assert_close(ours.kl(other), ours.inner.kl(other.inner))


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.7, 0.3), (-1.5, 2.0), (3.0, 0.5)])
def test_squashed_integrals_by_quadrature_over_the_actions(mean, scale):
    """Probability 1, the entropy -E[log p] and the KL, all from log_prob alone."""
    low, high = doubles(-1.0), doubles(3.0)

    def make(m: float, s: float) -> SquashedGaussian:
        return SquashedGaussian(Gaussian(doubles(m), doubles(s).log()), low, high)

    ours, other = make(mean, scale), make(0.2, 1.3)
    u = np.linspace(mean - 9 * scale, mean + 9 * scale, 40_001)
    u = torch.from_numpy(u[np.abs(u) < 17]).unsqueeze(-1)  # action space, on nodes that are dense at the borders
    action = ours.squash(u)
    log_p, log_q = ours.log_prob(action), other.log_prob(action)
    assert (action.diff(dim=0) >= 0).all()

    def integral(of: Tensor) -> float:
        # over actions: da = half (1 - tanh^2 u) du, with the Jacobian in its cosh form
        weight = 2 / u.squeeze(-1).cosh().square()
        return float(integrate.trapezoid((log_p.exp() * of * weight).numpy(), u.squeeze(-1).numpy()))

    assert integral(torch.ones_like(log_p)) == pytest.approx(1, abs=1e-9)
    assert ours.entropy().item() == pytest.approx(integral(-log_p), abs=1e-6)
    assert ours.kl(other).item() == pytest.approx(integral(log_p - log_q), rel=1e-6)


def entropy_by_integration(mean: float, scale: float) -> float:
    """H[u] + E[log(1 - tanh^2 u)] on [-1, 1], the expectation by adaptive quadrature around the kink and the bell."""

    def integrand(t: float) -> float:
        size = abs(mean + scale * t)
        return 2 * (math.log(2) - size - math.log1p(math.exp(-2 * size))) * math.exp(-t * t / 2)

    corners = [-12.0, *sorted(c for c in ((k - mean) / scale for k in (-9, -3, 0, 3, 9)) if -12 < c < 12), 12.0]
    parts = [
        integrate.quad(integrand, a, b, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
        for a, b in itertools.pairwise(corners)
    ]
    return math.fsum(parts) / math.sqrt(2 * math.pi) + math.log(scale) + 0.5 * math.log(2 * math.pi * math.e)


def test_the_squashed_entropy_is_within_a_millionth_for_every_mean_and_scale():
    means = [0.0, 0.3, -1.0, 2.5, 6.0, -7.9, 8.1, 30.0]
    widths = [1e-6, 1e-3, 0.1, 0.5, 1.0, 1.5, 2.0, 4.0, 10.0, 100.0]
    expected = torch.tensor([[entropy_by_integration(m, s) for s in widths] for m in means], dtype=torch.float64)
    mean = doubles(*means).reshape(-1, 1, 1).expand(-1, len(widths), -1)
    log_scale = doubles(*widths).log().reshape(1, -1, 1).expand(len(means), -1, -1)
    one = torch.ones(1, dtype=torch.float64)
    ours = SquashedGaussian(Gaussian(mean, log_scale), -one, one)
    torch.testing.assert_close(ours.entropy(), expected, rtol=0, atol=1e-6)
    wide = SquashedGaussian(Gaussian(mean, log_scale), -3 * one, 2 * one)
    torch.testing.assert_close(wide.entropy(), expected + math.log(2.5), rtol=0, atol=1e-6)
    single = SquashedGaussian(Gaussian(mean.float(), log_scale.float()), -one.float(), one.float())
    torch.testing.assert_close(single.entropy().double(), expected, rtol=2e-6, atol=2e-6)


def test_the_squashed_entropy_is_minus_the_mean_log_probability_of_its_samples():
    n = 100_000
    ours = SquashedGaussian(Gaussian(doubles(0.3, -1.0, 0.0), torch.tensor([0.2, -1.0, 0.7])), LOW, HIGH)
    u = ours.inner.sample(normal(n, 3))
    surprise = -ours.log_prob_inner(u)
    assert abs(surprise.mean() - ours.entropy()) <= 4 * surprise.std() / math.sqrt(n)


def test_samples_have_the_moments_they_should_and_lie_in_the_box():
    n = 100_000
    plain = Gaussian(doubles(1.0, -2.0, 0.0), doubles(0.1, -1.0, 0.7))
    sample, scale = plain.sample(normal(n, 3)), plain.log_scale.exp()
    assert ((sample.mean(0) - plain.mean).abs() <= 4 * scale / math.sqrt(n)).all()
    assert ((sample.std(0) / scale - 1).abs() <= 4 / math.sqrt(2 * n)).all()
    narrow = SquashedGaussian(plain, LOW, HIGH)
    action = narrow.sample(normal(n, 3))
    assert ((action >= LOW) & (action <= HIGH)).all()
    below = (action < narrow.mode()).double().mean(0)  # the mode is the median
    assert ((below - 0.5).abs() <= 4 * 0.5 / math.sqrt(n)).all()


@pytest.mark.parametrize("kind", ["free", "state"])
def test_gradients_equal_finite_differences(kind):
    mean, log_scale = normal(4, 3).requires_grad_(), scales(kind, 4).requires_grad_()
    other, noise = Gaussian(normal(4, 3, seed=5), scales(kind, 4, seed=6)), normal(4, 3, seed=7)
    action = SquashedGaussian(other, LOW, HIGH).sample(noise)
    check = torch.autograd.gradcheck
    leaves = (mean, log_scale)
    for method in (
        lambda d: d.log_prob(noise), lambda d: d.entropy(), lambda d: d.sample(noise), lambda d: d.kl(other),
        lambda d: other.kl(d),
    ):  # fmt: skip
        assert check(lambda m, s, method=method: method(Gaussian(m, s)), leaves)
    for method in (
        lambda d: d.log_prob(action), lambda d: d.log_prob_inner(d.inner.sample(noise)), lambda d: d.sample(noise),
        lambda d: d.entropy(),
    ):  # fmt: skip
        assert check(lambda m, s, method=method: method(SquashedGaussian(Gaussian(m, s), LOW, HIGH)), leaves)


def test_actions_near_a_border_are_read_back_as_precisely_as_their_digits_allow():
    one = torch.ones(1)
    ours = SquashedGaussian(Gaussian(torch.zeros(1), torch.zeros(1)), -one, one)
    for u in (0.0, 1e-3, 1.0, 4.0, 7.0, 8.5):
        action = ours.squash(torch.tensor([u]))
        exact = torch.atanh(action.double()).item() if u < 8.6 else None
        assert ours.unsquash(action).item() == pytest.approx(exact, rel=1e-6, abs=1e-7)
        assert ours.unsquash(-action).item() == pytest.approx(-exact, rel=1e-6, abs=1e-7)
    border = ours.unsquash(one)
    assert ours.squash(border) == 1
    assert ours.squash(border - 0.1) < 1
    assert border == -ours.unsquash(-one)
    # -log(1 - tanh^2 u) grows like 2u where 1 - tanh^2 u is 0 in float32.
    far = torch.tensor([20.0])
    wide = SquashedGaussian(Gaussian(torch.zeros(1), torch.tensor([3.0])), -one, one)
    expected = wide.inner.log_prob(far).item() + 2 * 20 - 2 * math.log(2)
    assert wide.log_prob_inner(far).item() == pytest.approx(expected, rel=1e-6)
    assert wide.log_prob_inner(-far).item() == pytest.approx(expected, rel=1e-6)
    assert wide.log_prob(one).isfinite()
    assert wide.log_prob(torch.tensor([[1.0], [1.01], [-1.01]])).tolist()[1:] == [-math.inf, -math.inf]


def test_no_rounding_leaves_the_box():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2000, generator=generator) - 0.7
    high = low + torch.rand(2000, generator=generator) + 1e-3
    ours = SquashedGaussian(Gaussian(torch.zeros(2000), torch.zeros(2000)), low, high)
    for u in (-50.0, -9.0, 9.0, 50.0):
        action = ours.squash(torch.full((2000,), u))
        assert ((action >= low) & (action <= high)).all()


def test_extremes_stay_finite_in_float32():
    mean = torch.tensor([0.0, 1e4, -1e4], requires_grad=True)
    low, high = LOW.float(), HIGH.float()
    for scale in (1e-6, 1.0, 1e4):
        log_scale = torch.full((3,), math.log(scale), requires_grad=True)
        plain = Gaussian(mean, log_scale)
        other = Gaussian(mean.detach() + 3, log_scale.detach() + 1)
        for noise in (torch.zeros(3), torch.full((3,), 5.0), torch.tensor([-5.0, 0.1, 3.0])):
            bounded = SquashedGaussian(plain, low, high)
            numbers = [
                plain.log_prob(plain.sample(noise).detach()), plain.entropy(), plain.kl(other),
                bounded.log_prob(bounded.sample(noise).detach()), bounded.entropy(), bounded.sample(noise).sum(),
                bounded.log_prob_inner(plain.sample(noise)), bounded.log_prob(low), bounded.log_prob(high),
            ]  # fmt: skip
            assert all(n.isfinite().all() for n in numbers)
            gradients = torch.autograd.grad(sum(n.sum() for n in numbers), (mean, log_scale))
            assert all(g.isfinite().all() for g in gradients)


def test_two_boxes_have_no_kl():
    inner = Gaussian(torch.zeros(1), torch.zeros(1))
    one = torch.ones(1)
    with pytest.raises(ValueError, match="one action space, got two boxes"):
        SquashedGaussian(inner, -one, one).kl(SquashedGaussian(inner, -one, 2 * one))
