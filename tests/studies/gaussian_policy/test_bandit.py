"""The closed forms of the bandit are those of integrals; learning follows them."""

import math

import numpy as np
import pytest

from sightline.studies.gaussian_policy import bandit

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize(("distance", "scale", "noise"), [(1.0, 0.3, 0.5), (-0.4, 1.7, 0.0), (0.0, 0.1, 2.0)])
def test_closed_forms_are_the_integrals(distance: float, scale: float, noise: float, baseline: bool) -> None:
    """Gauss-Hermite sums are exact for polynomials; the reward's noise is a second, independent number."""
    found = bandit.exact(distance, scale, noise, baseline=baseline)
    z, e = NODES[:, None], NODES[None]
    weight = WEIGHTS[:, None] * WEIGHTS[None]
    reward = -((distance + scale * z) ** 2) + noise * e
    value = float((weight * reward).sum())
    assert found.value == pytest.approx(value)
    used = reward - (value if baseline else 0.0)
    for score, mean, variance in (
        (z / scale, found.mean_gradient, found.mean_variance),
        (z**2 - 1, found.scale_gradient, found.scale_variance),
    ):
        each = used * score
        first = float((weight * each).sum())
        assert mean == pytest.approx(first, abs=1e-9)
        assert variance == pytest.approx(float((weight * each**2).sum()) - first**2)


def test_estimates_meet_the_closed_forms() -> None:
    truth, seen = (one(0.7, 0.5, 0.4) for one in (bandit.exact, lambda *a: bandit.estimate(*a, 200_000, 0)))
    assert seen.value == pytest.approx(truth.value, rel=0.01)
    for name in ("mean_gradient", "scale_gradient", "mean_variance", "scale_variance"):
        assert getattr(seen, name) == pytest.approx(getattr(truth, name), rel=0.05)


def test_the_surest_scale_is_the_minimum() -> None:
    best = bandit.surest_scale(0.7)
    here = bandit.exact(1.0, best, 0.7).mean_variance
    assert all(bandit.exact(1.0, best * factor, 0.7).mean_variance > here for factor in (0.9, 1.1))


def test_learning_follows_the_gradients() -> None:
    """A learned scale falls by d log s / dt = -2 k s^2, in each state by itself or by the sum of both."""
    found = {kind.name: bandit.learn(kind, 64, 200) for kind in bandit.KINDS}
    for name in ("fixed 0.3", "fixed 1"):
        kind = next(one for one in bandit.KINDS if one.name == name)
        assert set(found[name]["scales"][-1]) == {kind.start}
        floor = -((bandit.STEEP + bandit.FLAT) / 2) * kind.start**2
        assert found[name]["drawn"][-1] == pytest.approx(floor, rel=0.4)
        assert found[name]["drawn"][-1] < found[name]["mean_alone"][-1]
    steep, flat = found["by state"]["scales"][-1]
    assert flat == pytest.approx(1 / math.sqrt(1 + 4 * bandit.FLAT * bandit.RATE * 200), rel=0.05)
    assert steep < 0.5 * flat
    assert len(set(found["learned"]["scales"][-1])) == 1
