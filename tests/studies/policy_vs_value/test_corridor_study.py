"""The corridor's gradient against differences of the closed form, its noise against sums, agents against the exact."""

import math

import numpy as np
import pytest

from sightline.envs.corridor import BEST_RIGHT, corridor_value
from sightline.studies.policy_vs_value import corridor
from sightline.studies.policy_vs_value.corridor import Lesson


def value_of(theta: float) -> float:
    return corridor_value(1 / (1 + math.exp(-theta)))


@pytest.mark.parametrize("right", [0.05, 0.3, BEST_RIGHT, 0.9])
def test_the_slope_is_that_of_the_value(right: float) -> None:
    theta, small = math.log(right / (1 - right)), 1e-5
    measured = (value_of(theta + small) - value_of(theta - small)) / (2 * small)
    assert corridor.slope(right) == pytest.approx(measured, abs=1e-5)


def test_the_true_values_are_the_closed_form_at_the_start() -> None:
    assert corridor.true_values(0.3)[0] == pytest.approx(corridor_value(0.3))
    assert corridor.greedy_values(0.1) == (pytest.approx(-44.2, abs=0.05), pytest.approx(-82.1, abs=0.05))


def test_estimates_are_right_in_the_mean_and_their_noise_falls_with_the_root() -> None:
    found = corridor.noise(0.3, 2**14, (1, 4, 64, 256), 0)
    assert found["exact"] == corridor.slope(0.3)
    for name, errors in found["errors"].items():
        standard_error = found["exact"] * errors[1] / math.sqrt(2**14 / 4)
        assert abs(found["bias"][name]) < 4 * standard_error
        assert errors[1] / errors[3] == pytest.approx(8, rel=0.4)
    none, constant, seeing = (found["errors"][name] for name in corridor.BASELINES)
    assert constant[0] is None
    assert constant[2] < 0.8 * none[2]
    assert seeing[0] < 0.8 * none[0]


def test_noise_is_that_of_a_plain_loop() -> None:
    places, actions, alive = corridor.play(0.4, 50, np.random.default_rng(5))
    for episode in range(50):
        length = int(alive[:, episode].sum())
        assert alive[:length, episode].all()
        place = 0
        for step in range(length):
            assert places[step, episode] == place
            place += (1 if actions[step, episode] else -1) * (-1 if place == 1 else 1)
            place = max(place, 0)
        assert place == 3
    # one group of all episodes with a plain loop over them
    rng_again = corridor.noise(0.4, 50, (50,), 5)
    total = 0.0
    for episode in range(50):
        length = int(alive[:, episode].sum())
        total += sum(-(length - step) * (actions[step, episode] - 0.4) for step in range(length))
    assert rng_again["bias"]["none"] == pytest.approx(total / 50 - corridor.slope(0.4))


def test_sarsa_has_two_policies_and_reinforce_moves() -> None:
    seen = corridor.learn_by_value(0.1, 0, Lesson(steps=2000, looks=10))
    assert set(seen["right"][1:]) <= {0.05, 0.95}
    assert len(seen["steps"]) == 11
    learned = corridor.learn_by_policy("constant", 0, Lesson(steps=5000, looks=2))
    assert learned["right"][0] == pytest.approx(corridor.START, abs=1e-2)
    assert learned["value"][-1] > learned["value"][0]


def test_looks_show_the_latest_that_was_seen() -> None:
    found = corridor.looked_at([(0, 0.5), (30, 0.6), (70, 0.7), (104, 0.8)], Lesson(100, 4))
    assert found["steps"] == [0, 25, 50, 75, 100]
    assert found["right"] == [0.5, 0.5, 0.6, 0.7, 0.7]
