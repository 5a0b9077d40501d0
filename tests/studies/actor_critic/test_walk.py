"""The walk's gradient against differences of its value, exact biases against sampled means, critics against truth."""

import numpy as np
import pytest

from sightline.studies.actor_critic import walk
from sightline.studies.actor_critic.walk import PLACES, START, Walk, random_walk


def start_value(preference: np.ndarray) -> float:
    return float(Walk(1 / (1 + np.exp(-preference))).values()[START])


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_gradient_is_that_of_the_value(seed: int) -> None:
    here = random_walk(seed)
    preference = np.log(here.right / (1 - here.right))
    small = 1e-5 * np.eye(PLACES)
    measured = [(start_value(preference + one) - start_value(preference - one)) / 2e-5 for one in small]
    np.testing.assert_allclose(here.exact(), measured, rtol=1e-5)


def test_every_transition_is_a_chance_and_episodes_are_as_long_as_the_value_says() -> None:
    here = random_walk(0)
    np.testing.assert_allclose(here.transitions.sum(-1), 1)
    assert (here.transitions >= 0).all()
    played = walk.play(here, 4000, np.random.default_rng(0))
    lengths = played.alive.sum(0)
    assert abs(lengths.mean() + here.values()[START]) < 4 * lengths.std() / 4000**0.5
    assert here.visits().sum() == pytest.approx(-here.values()[START])


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_estimates_have_the_exact_mean_whatever_the_critic(lambda_: float) -> None:
    here, rng = random_walk(1), np.random.default_rng(2)
    critic = here.values() + 3 * rng.standard_normal(PLACES)
    played = walk.play(here, 20_000, rng)
    each = walk.estimates(here, played, walk.weighed(played, critic, lambda_))
    expected = here.gradient(here.advantages(critic, lambda_))
    errors = (each.mean(0) - expected) / (each.std(0) / len(each) ** 0.5)
    assert np.abs(errors).max() < 4
    apart = np.linalg.norm(expected - here.exact()) / np.linalg.norm(here.exact())
    assert apart < 1e-9 if lambda_ == 1 else apart > 0.1


def test_a_constant_of_the_others_changes_no_mean_and_is_theirs() -> None:
    here = random_walk(0)
    played = walk.play(here, 8000, np.random.default_rng(1))
    returns = walk.weighed(played, np.zeros(PLACES), 1.0)
    constant = walk.constant(played, returns, 4)
    rows = [returns[played.alive[:, one], one] for one in range(4)]
    assert constant[0, 0] == pytest.approx(np.concatenate(rows[1:]).mean())
    each = walk.estimates(here, played, returns - constant)
    assert np.abs((each.mean(0) - here.exact()) / (each.std(0) / 8000**0.5)).max() < 4


def test_returns_count_down_to_the_end() -> None:
    played = walk.play(random_walk(0), 20, np.random.default_rng(0))
    returns = walk.weighed(played, np.zeros(PLACES), 1.0)
    for episode in range(20):
        length = int(played.alive[:, episode].sum())
        assert returns[:length, episode].tolist() == [-float(length - step) for step in range(length)]


def test_a_critic_comes_near_the_values() -> None:
    here = random_walk(0)
    off = [np.abs(walk.td_critic(here, count, 0.1, 0) - here.values()).max() for count in (0, 30, 300)]
    assert off[0] == pytest.approx(-here.values().min())
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.25 * off[0]
