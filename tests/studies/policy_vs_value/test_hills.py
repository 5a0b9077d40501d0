"""The landscape against integration, the bonus' threshold against a search, and starts that stay or leave."""

import numpy as np
import pytest
import torch

from sightline.studies.policy_vs_value import hills, landscape
from sightline.studies.policy_vs_value.hills import CONFIDENT, HIGH, LOW, OPEN, STARTS, Climb


@pytest.mark.parametrize(("mean", "scale"), [(-2.0, 0.3), (0.4, 1.0), (3.0, 2.5)])
def test_the_expected_reward_is_an_integral(mean: float, scale: float) -> None:
    action = np.linspace(-30, 30, 200_001)
    density = np.exp(-0.5 * ((action - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    reward = hills.reward(torch.from_numpy(action)).numpy()
    exact = float((density * reward).sum() * (action[1] - action[0]))
    assert hills.expected(np.array([mean]), scale)[0] == pytest.approx(exact, rel=1e-6)


def test_a_narrow_policy_sees_two_hills_and_a_wide_one_sees_one() -> None:
    means = np.linspace(-5, 5, 401)

    def tops(scale: float) -> int:
        values = hills.expected(means, scale)
        return int(((values[1:-1] > values[:-2]) & (values[1:-1] > values[2:])).sum())

    assert (tops(CONFIDENT), tops(OPEN)) == (2, 1)


def test_beyond_the_threshold_a_bonus_widens_at_every_scale() -> None:
    log_scales = np.linspace(-4, 2, 20_001)
    height, _, width = LOW
    values = height * width / np.sqrt(width**2 + np.exp(2 * log_scales))
    steepest = -np.gradient(values, log_scales).min()
    assert hills.enough_bonus() == pytest.approx(steepest, rel=1e-4)
    assert hills.BONUSES[1] < hills.enough_bonus() < hills.BONUSES[2]


def test_confident_starts_stay_and_a_bonus_frees_them() -> None:
    torch.set_num_threads(1)
    task = Climb(updates=250, learning_rate=0.1, looks=5)
    stay, free = (hills.climb(CONFIDENT, bonus, 0, task) for bonus in (0.0, hills.BONUSES[-1]))
    assert stay["higher"] + stay["lower"] == STARTS
    assert 6 <= stay["lower"] <= 12
    assert free["higher"] == STARTS
    assert free["value"] > 0.9 * HIGH[0] > stay["value"]
    assert len(stay["paths"]) == 6
    assert len(hills.climb(CONFIDENT, 0.0, 1, Climb(updates=4, looks=2))["paths"]) == 1


def test_the_picture_has_a_way_for_every_start_and_is_brightest_on_the_higher_hill() -> None:
    paths = hills.climb(CONFIDENT, 0.0, 0, Climb(updates=8, looks=4))["paths"]
    assert str(landscape.draw(paths, "ways")).count("<circle") == 2 * STARTS
    picture = landscape.paint().astype(int).sum(-1)
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert row > picture.shape[0] // 2
    assert np.linspace(*landscape.MEANS, picture.shape[1])[column] == pytest.approx(HIGH[1], abs=0.1)
