"""The cost of stops by integration, least squares by NumPy's, the environment by Gymnasium's rules."""

import numpy as np
import pytest
import torch

from sightline.studies.policy_vs_value import regulator
from sightline.studies.policy_vs_value.regulator import Dials, Regulator


@pytest.mark.parametrize(("stops", "dimensions"), [(1, 1), (3, 1), (7, 2), (4, 3)])
def test_stops_cost_what_the_closed_form_says(stops: int, dimensions: int) -> None:
    actions = regulator.stops(stops, dimensions)
    assert actions.shape == (stops**dimensions, dimensions)
    assert len(np.unique(actions, axis=0)) == len(actions)
    states = np.random.default_rng(0).uniform(-1, 1, (40_000, dimensions))
    nearest = np.square(states[:, None] + actions[None]).sum(-1).min(1)
    assert nearest.mean() == pytest.approx(regulator.cost_of_stops(stops, dimensions), rel=0.02)


def test_a_step_is_an_episode() -> None:
    envs = Regulator(5, 2)
    first, _ = envs.reset(seed=3)
    action = np.full((5, 2), 0.25, np.float32)
    following, reward, terminated, truncated, infos = envs.step(action)
    np.testing.assert_allclose(infos["final_obs"], first + action)
    np.testing.assert_allclose(reward, -np.square(first + action).sum(1), rtol=1e-6)
    assert terminated.all()
    assert not truncated.any()
    assert not np.array_equal(following, first)
    np.testing.assert_array_equal(envs.reset(seed=3)[0], first)
    assert envs.single_observation_space.contains(following[0])


def test_the_features_hold_every_actions_value_exactly() -> None:
    states = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    action = np.array([0.3, -0.7])
    rows = regulator.features(states)
    assert rows.shape == (50, regulator.unknowns(2)) == (50, 6)
    value = -np.square(states + action).sum(1)
    weights, residual, *_ = np.linalg.lstsq(rows, value, rcond=None)
    np.testing.assert_allclose(rows @ weights, value, atol=1e-12)
    assert residual < 1e-20


def test_values_come_to_what_their_stops_allow_and_no_further() -> None:
    found = regulator.learn_by_value(Dials(1, 2000), 3, seed=0)
    assert found["costs"][-1] == pytest.approx(regulator.cost_of_stops(3, 1), rel=1e-3)
    assert found["costs"][0] > 10 * found["costs"][-1]
    assert found["actions"] == 3


def test_equals_are_told_apart_by_chance() -> None:
    values = np.array([[0.0, 1.0, 1.0, 0.0]] * 200)
    chosen = regulator.best(values, np.random.default_rng(0))
    assert set(chosen.tolist()) == {1, 2}
    assert regulator.best(np.array([[3.0, 1.0], [1.0, 3.0]]), np.random.default_rng(0)).tolist() == [0, 1]


def test_a_gaussian_learns_and_its_cost_is_that_of_its_mean() -> None:
    torch.set_num_threads(1)
    found = regulator.learn_by_policy(Dials(1, 8000), seed=0)
    assert found["costs"][-1] < 0.1 * found["costs"][0]
    assert found["scale"] < 1
    assert found["steps"][-1] >= 8000 - 512


def test_the_test_states_fill_the_box_evenly() -> None:
    states = regulator.test_states(3)
    assert np.square(states).sum(1).mean() == pytest.approx(1.0, abs=1e-4)
    assert abs(states.mean()) < 1e-6
