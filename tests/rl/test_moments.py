"""Moments of parts, merged, are NumPy's of the whole; also where the parts were seen by several processes."""

import json
import os
import socket
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.rl.moments import Moments, load_moments, merge, merge_processes, moments, no_moments
from sightline.run.processes import open_processes
from sightline.run.states import decode, encode


def assert_moments(found: Moments, whole: np.ndarray) -> None:
    assert found.count == len(whole)
    assert found.mean.dtype == found.squares.dtype == np.float64
    whole = whole.astype(np.float64)
    spread = np.abs(whole).max() + 1e-300
    np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-12, atol=1e-14 * spread)
    np.testing.assert_allclose(found.variance, whole.var(0), rtol=1e-9, atol=1e-13 * spread * spread)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e6]),
    shape=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_parts_of_any_size_give_the_whole(sizes: list[int], offset: float, shape: tuple[int, ...], dtype: type) -> None:
    sizes = [*sizes, 1]
    whole = (np.random.default_rng(sum(sizes)).standard_normal((sum(sizes), *shape)) + offset).astype(dtype)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    assert_moments(reduce(merge, map(moments, parts), no_moments(shape)), whole)
    assert_moments(reduce(merge, map(moments, reversed(parts))), whole)


def test_a_large_mean_does_not_swallow_the_spread() -> None:
    """The difference of sums of squares, the tempting formula, is wrong by more than the variance here."""
    whole = np.random.default_rng(0).standard_normal(1000) + 1e9
    found = reduce(merge, map(moments, np.split(whole, 10)))
    np.testing.assert_allclose(found.variance, (whole - 1e9).var(), rtol=1e-6)
    assert abs(float((whole**2).mean() - whole.mean() ** 2) - 1) > 1


def test_a_hand_worked_merge() -> None:
    found = merge(moments(np.array([1.0, 3.0])), moments(np.array([8.0])))
    assert (found.count, found.mean, found.squares) == (3, 4.0, 26.0)
    assert no_moments((2,)).variance.tolist() == [0.0, 0.0]


def test_saved_exactly() -> None:
    found = moments(np.random.default_rng(0).standard_normal((7, 3)) * 1e-7)
    back = load_moments(decode(json.loads(json.dumps(encode(found.state_dict(), {}, "m"))), {}))
    assert back.count == found.count
    np.testing.assert_array_equal(back.mean, found.mean)
    np.testing.assert_array_equal(back.squares, found.squares)


def part(rank: int) -> np.ndarray:
    return np.random.default_rng(rank).standard_normal((5 * rank, 2, 3)) + 1e4  # the first one saw nothing


def seen_by(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with open_processes():
        both = merge_processes(moments(part(rank)))
        more = merge_processes(moments(part(rank + 1)))
    np.savez(Path(folder) / f"{rank}.npz", count=both.count, mean=both.mean, squares=both.squares, more=more.variance)


def test_processes_merge_what_they_saw(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(seen_by, (port, str(tmp_path)), nprocs=2, start_method="fork")
    first, second = (dict(np.load(tmp_path / f"{rank}.npz")) for rank in (0, 1))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])  # the same bits everywhere
    assert_moments(Moments(int(first["count"]), first["mean"], first["squares"]), part(1))
    np.testing.assert_allclose(first["more"], np.concatenate([part(1), part(2)]).var(0))


def test_alone_nothing_is_merged() -> None:
    found = moments(part(1))
    assert merge_processes(found) is found


@pytest.mark.parametrize("value", [0.1, -3e5])
def test_what_does_not_vary_has_no_variance(value: float) -> None:
    found = reduce(merge, [moments(np.full(n, value)) for n in (1, 7, 1000)])
    assert 0 <= found.variance < 1e-20 * value * value
