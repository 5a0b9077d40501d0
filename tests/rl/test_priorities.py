"""Priorities against exact shares."""

import numpy as np
import pytest

from sightline.rl.priorities import SMALL, Priorities, SumTree


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100])
def test_a_tree_finds_what_a_running_sum_finds(size: int) -> None:
    rng = np.random.default_rng(0)
    tree, numbers = SumTree(size), np.zeros(size)
    for _ in range(20):
        index = rng.integers(size, size=5)
        value = rng.integers(0, 5, size=5).astype(float)  # whole numbers: sums are exact
        tree.put(index, value)
        for i, v in zip(index, value, strict=True):
            numbers[i] = v
        assert tree.total == numbers.sum()
        np.testing.assert_array_equal(tree[np.arange(size)], numbers)
        if tree.total:
            where = np.arange(0, tree.total, 0.5)
            np.testing.assert_array_equal(tree.find(where), np.searchsorted(np.cumsum(numbers), where, "right"))


def test_rounding_never_finds_a_zero() -> None:
    tree = SumTree(10)
    tree.put(np.arange(7), np.array([0.1, 0.2, 0.3, 0.0, 0.1, 1e-9, 0.0]))
    assert tree.find(np.array([tree.total, np.nextafter(tree.total, 1), 2 * tree.total])).tolist() == [5, 5, 5]
    tree.put(np.array([5, 4]), 0.0)
    assert tree.find(np.array([tree.total])).tolist() == [2]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_each_is_drawn_as_its_share_says_and_weighs_so(alpha: float) -> None:
    errors = np.array([0.0, 0.5, -2.0, 4.0, 1.0])
    priorities = Priorities(8, alpha)
    priorities.add(np.arange(6))
    priorities.remove(np.array([5]))
    priorities.update(np.arange(5), errors)
    share = (np.abs(errors) + SMALL) ** alpha
    share /= share.sum()
    rng, draws, size = np.random.default_rng(0), np.zeros(8), 64
    for _ in range(500):
        index = priorities.sample(size, rng)
        counts = np.bincount(index, minlength=8)
        assert (
            np.abs(counts[:5] - size * share) < 2
        ).all()  # shares of a batch are strata: at most one off either side
        draws += counts
        weights = priorities.weights(index, 5, 0.7)
        wanted = (5 * share[index]) ** -0.7
        np.testing.assert_allclose(weights, wanted / wanted.max(), rtol=1e-5)
    assert draws[5:].sum() == 0
    np.testing.assert_allclose(draws[:5] / draws.sum(), share, atol=0.004)


def test_what_is_new_gets_the_largest_that_there_was() -> None:
    priorities = Priorities(8, 0.5)
    priorities.add(np.array([0]))
    assert priorities.tree[np.array([0])] == 1
    priorities.update(np.array([0]), np.array([9.0]))
    priorities.update(np.array([0]), np.array([0.25]))
    priorities.add(np.array([1]))
    np.testing.assert_allclose(priorities.tree[np.array([0, 1])], [0.5, 3], rtol=1e-5)
