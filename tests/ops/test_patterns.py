"""Patterns: who may look at whom, counted by hand and by loops."""

from itertools import product

import pytest
import torch

from sightline.ops.patterns import criss_cross, everything, field, itself, same_column, same_row, window

SIZES = [(1, 1), (1, 5), (4, 1), (3, 4), (5, 5)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_criss_cross_is_row_and_column_with_the_centre_once(size: tuple[int, int]) -> None:
    h, w = size
    mask = criss_cross.mask(size).reshape(h, w, h, w)
    for y, x, i, j in product(range(h), range(w), range(h), range(w)):
        assert bool(mask[y, x, i, j]) == (y == i or x == j)
    assert bool((mask.sum((2, 3)) == h + w - 1).all())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_and_or_of_patterns(size: tuple[int, int]) -> None:
    row, column = same_row.mask(size), same_column.mask(size)
    assert torch.equal((same_row | same_column).mask(size), row | column)
    assert torch.equal((same_row & same_column).mask(size), row & column)
    assert torch.equal((same_row & same_column).mask(size), itself.mask(size))
    assert torch.equal(itself.mask(size), torch.eye(size[0] * size[1], dtype=torch.bool))
    assert bool(everything.mask(size).all())
    assert (same_row | same_column).name == "same row or same column"
    assert (same_row & same_column).name == "same row and same column"


@pytest.mark.parametrize("size", [(7,), (3, 4), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("pattern", [everything, itself, window(3), window(3, 2)], ids=lambda p: p.name)
def test_visible_is_the_row_of_the_mask_in_any_dimension(size: tuple[int, ...], pattern) -> None:
    mask = pattern.mask(size).unflatten(0, size).unflatten(-1, size)
    for position in product(*(range(s) for s in size)):
        assert torch.equal(pattern.visible(position, size), mask[position])


def test_a_window_is_the_taps_of_a_convolution() -> None:
    for kernel, dilation in ((1, 1), (3, 1), (5, 1), (3, 2)):
        weight = torch.ones(1, 1, kernel, kernel)
        seen = torch.zeros(1, 1, 9, 11)
        seen[0, 0, 4, 5] = 1
        spread = torch.nn.functional.conv2d(seen, weight, padding=kernel // 2 * dilation, dilation=dilation)[0, 0] > 0
        assert torch.equal(window(kernel, dilation).visible((4, 5), (9, 11)), spread)


@pytest.mark.parametrize("arguments", [(2,), (0,), (-1,), (3, 0)], ids=str)
def test_a_window_needs_a_centre(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"an odd kernel and a dilation of at least 1, got kernel {arguments[0]}"):
        window(*arguments)


@pytest.mark.parametrize("size", [(9, 9), (3, 7), (1, 4)], ids=str)
def test_one_criss_cross_sees_a_cross_and_two_see_everything(size: tuple[int, int]) -> None:
    corner = (0, size[1] - 1)
    assert int(field([criss_cross], corner, size).sum()) == size[0] + size[1] - 1
    assert bool(field([criss_cross] * 2, corner, size).all())


def test_a_field_is_the_product_of_masks_last_pattern_first() -> None:
    size, stack = (4, 5), [window(3), same_row, window(3, 2)]
    composed = torch.eye(20)
    for pattern in stack:
        composed = pattern.mask(size).float() @ composed
    for y, x in product(range(4), range(5)):
        assert torch.equal(field(stack, (y, x), size).flatten(), composed[y * 5 + x] > 0)
    assert not torch.equal(field([same_row, same_column & window(3)], (0, 0), size), field([same_row], (0, 0), size))


def test_spread_of_nothing_is_nothing_and_leaves_its_argument_alone() -> None:
    seen = torch.zeros(3, 4, dtype=torch.bool)
    assert not criss_cross.spread(seen).any()
    seen[1, 2] = True
    criss_cross.spread(seen)
    assert int(seen.sum()) == 1


@pytest.mark.parametrize("query", [(1,), (-1, 0), (0, 4), (0, 0, 0)], ids=str)
def test_a_query_off_the_map_is_refused_and_neither_wraps_nor_spreads(query: tuple[int, ...]) -> None:
    for ask in (lambda: field([criss_cross], query, (3, 4)), lambda: criss_cross.visible(query, (3, 4))):
        with pytest.raises(ValueError, match=r"does not lie on a map of size \(3, 4\)"):
            ask()
