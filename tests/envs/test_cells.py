"""MiniGrid's cells as numbers: its own picture divided by the largest numbers that its constants name."""

import numpy as np
import pytest

minigrid = pytest.importorskip("minigrid", reason="MiniGrid is not installed")

from sightline.envs.cells import LARGEST, Cells  # noqa: E402
from sightline.envs.making import make_environment  # noqa: E402


def test_the_largest_numbers_are_minigrids() -> None:
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    assert [max(table.values()) for table in (OBJECT_TO_IDX, COLOR_TO_IDX, STATE_TO_IDX)] == LARGEST.tolist()


def test_it_shows_the_picture_and_nothing_else() -> None:
    env = make_environment("MiniGrid-DoorKey-5x5-v0", {})
    assert isinstance(env, Cells)
    seen, _ = env.reset(seed=1)
    plain, _ = env.env.reset(seed=1)
    generator = np.random.default_rng(0)
    for _ in range(30):
        assert seen.dtype == np.float32
        assert env.observation_space.contains(seen)
        np.testing.assert_array_equal(np.round(seen * LARGEST), plain["image"])
        action = int(generator.integers(7))
        plain = env.env.step(action)[0]
        seen = env.observation(plain)
