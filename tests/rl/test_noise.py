"""Streams of noise: each environment's own, the same however it is cut, and what they say they are."""

import numpy as np
import pytest

from sightline.rl.noise import Draw, NoiseStreams, gaussian, gumbel, silent, uniform

DRAWS = {"gaussian": gaussian(3), "gumbel": gumbel(2, 2), "uniform": uniform(1), "silent": silent}


def generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_many_rows_at_once_are_as_many_rows_one_by_one(draw: Draw) -> None:
    one, many = generator(0, 0), generator(0, 0)
    np.testing.assert_array_equal(np.concatenate([draw(one, 1) for _ in range(50)]), draw(many, 50))
    assert draw(one, 1).dtype == np.float32


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_what_is_put_back_comes_again(draw: Draw) -> None:
    rng = np.random.default_rng(1)
    streams = NoiseStreams(draw, 3, seed=7, first=2)
    got: list[list[np.ndarray]] = [[], [], []]
    for _ in range(5):
        rows = streams.ahead(6)
        used = rng.integers(0, 7, 3)
        for i in range(3):
            got[i].extend(rows[: used[i], i].copy())
        streams.put_back(6, used)
    for i in range(3):
        own = generator(7, 2 + i)
        for row in got[i]:
            np.testing.assert_array_equal(row, draw(own, 1)[0])


def test_a_stream_saved_goes_on_exactly() -> None:
    streams = NoiseStreams(gaussian(3), 2, seed=0)  # an odd number of float32s: half a draw is kept in the generator
    streams.put_back(5, np.array([5, 2]) if streams.ahead(5).size else np.zeros(2, int))
    saved = streams.state_dict()
    expected = streams.ahead(4).copy()
    other = NoiseStreams(gaussian(3), 2, seed=1)
    other.load_state_dict(saved)
    np.testing.assert_array_equal(other.ahead(4), expected)


def test_streams_differ_between_environments_and_seeds() -> None:
    first = np.concatenate([NoiseStreams(gaussian(1), 4, seed=seed).ahead(3) for seed in (0, 1, 2**32, 2**32 + 1)], 1)
    assert len(np.unique(first)) == first.size
    # Environment 1 of seed 0 is not environment 0 of some other seed, as adding the two up would make it.
    assert not np.array_equal(first[:, 1], first[:, 4])


def test_they_are_distributed_as_they_say() -> None:
    """Means and variances within five standard errors; for a normal and a Gumbel also their third moments."""
    n, euler = 200_000, 0.5772156649
    for draw, mean, variance in (
        (gaussian(), 0.0, 1.0),
        (uniform(), 0.5, 1 / 12),
        (gumbel(), euler, np.pi**2 / 6),
    ):
        rows = draw(generator(3, 0), n).astype(np.float64)
        assert abs(rows.mean() - mean) < 5 * (variance / n) ** 0.5
        assert abs(rows.var() - variance) < 5 * variance * (6 / n) ** 0.5
    skewness = ((draw(generator(4, 0), n).astype(np.float64) - euler) ** 3).mean() / (np.pi**2 / 6) ** 1.5
    assert abs(skewness - 1.1395) < 0.1
    assert np.isfinite(draw(generator(5, 0), n)).all()


def test_a_gumbels_largest_sum_draws_from_the_softmax() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    counts = np.bincount((logits + gumbel(3)(generator(0, 0), 100_000)).argmax(1), minlength=3) / 100_000
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.7], atol=0.007)
