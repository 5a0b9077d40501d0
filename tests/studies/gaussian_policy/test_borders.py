"""The gradient of a clipped and of a squashed policy is that of its value, and the value that of drawn actions."""

import math

import numpy as np
import pytest

from sightline.studies.gaussian_policy import borders


@pytest.mark.parametrize("way", borders.WAYS)
@pytest.mark.parametrize(("mean", "scale", "best"), [(0.3, 0.4, 0.0), (1.4, 0.3, 0.0), (-0.7, 1.2, 1.0)])
def test_values_and_gradients(way: str, mean: float, scale: float, best: float) -> None:
    value = borders.value(way, mean, scale, best)
    number = mean + scale * np.random.default_rng(0).standard_normal(400_000)
    action = np.clip(number, -1, 1) if way == "clipped" else np.tanh(number)
    assert float(value) == pytest.approx(-float(((action - best) ** 2).mean()), rel=0.01)
    step = 1e-4
    slope = (borders.value(way, mean + step, scale, best) - borders.value(way, mean - step, scale, best)) / (2 * step)
    assert float(borders.gradient(way, mean, scale, best)) == pytest.approx(float(slope), rel=1e-4)
    if way == "clipped":
        assert float(borders.outside(mean, scale)) == pytest.approx(float((np.abs(number) > 1).mean()), abs=0.003)


def test_beyond_the_border_the_clipped_gradient_dies_first() -> None:
    clipped, squashed = (np.abs(borders.gradient(way, np.array([0.5, 2.5]), 0.3, 0.0)) for way in borders.WAYS)
    assert clipped[0] > squashed[0]
    assert clipped[1] < 1e-5 * squashed[1]
    seen, error = borders.estimate("squashed", 1.5, 0.3, 0.0, 100_000, 0)
    assert abs(seen - float(borders.gradient("squashed", 1.5, 0.3, 0.0))) < 4 * error


def test_learning_to_the_border_and_back() -> None:
    edge = {way: borders.learn(way, "to the border", 16, 300) for way in borders.WAYS}
    assert edge["clipped"]["drawn"][-1] > edge["squashed"]["drawn"][-1]
    assert edge["clipped"]["border"][-1] > 0.8
    back = {way: borders.learn(way, "back from outside", 16, 300) for way in borders.WAYS}
    assert back["squashed"]["learned"] > back["clipped"]["learned"]
    assert back["clipped"]["border"][0] == 1.0
    assert math.isclose(back["clipped"]["drawn"][0], -1.0, abs_tol=0.01)
