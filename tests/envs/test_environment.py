"""Parts of batches are taken and put back without touching what they came from."""

import numpy as np
import pytest

from sightline.envs.box_world import BoxWorld
from sightline.envs.catch import Catch, CatchState
from sightline.envs.corridor import Corridor
from sightline.envs.environment import Environment, draw, enlarge, own, put, take


def test_take_and_put_by_hand() -> None:
    state = CatchState(np.array([0, 1, 2]), np.array([3, 4, 5]), np.array([6, 7, 8]))
    some = take(state, np.array([2, 0]))
    assert (some.ball_row.tolist(), some.ball_column.tolist(), some.paddle.tolist()) == ([2, 0], [5, 3], [8, 6])
    whole = put(state, np.array([1, 2]), some)
    assert (whole.ball_row.tolist(), whole.paddle.tolist()) == ([0, 2, 0], [6, 8, 6])
    assert (state.ball_row.tolist(), state.paddle.tolist()) == ([0, 1, 2], [6, 7, 8])


def test_one_generator_serves_a_batch_or_each_its_own() -> None:
    one, some = np.random.default_rng(0), [np.random.default_rng(i) for i in range(2)]
    assert own(one, 1) is one
    assert own(some, 1) is some[1]
    assert draw(one, 9, 4).tolist() == np.random.default_rng(0).integers(9, size=4).tolist()
    assert draw(some, 9, 2).tolist() == [np.random.default_rng(i).integers(9) for i in range(2)]


def test_enlarge_is_the_kronecker_product() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 3, 2)
    assert np.array_equal(enlarge(pixels, 3), np.kron(pixels, np.ones((1, 3, 3, 1), dtype=np.uint8)))
    assert enlarge(pixels, 1) is pixels


@pytest.mark.parametrize("environment", [Catch(), Corridor(), BoxWorld()], ids=lambda e: type(e).__name__)
def test_the_protocol_is_kept_and_reset_and_observe_agree(environment: Environment[object]) -> None:
    assert isinstance(environment, Environment)
    state, observation = environment.reset(np.random.default_rng(0), 3)
    assert observation.shape == (3, *environment.observation_shape)
    assert observation.dtype == environment.observation_dtype
    assert np.array_equal(observation, environment.observe(state))
