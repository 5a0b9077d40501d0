"""Biases by offset against loops over pairs, exact integer arithmetic, and shift-invariance."""

import math

import pytest
import torch

from sightline.ops.relative import (
    alibi_bias,
    alibi_slopes,
    bias_with_prefix,
    relative_bias,
    relative_index,
    resize_relative_table,
    t5_bias,
    t5_buckets,
)

EXACT = {"atol": 1e-12, "rtol": 0}


@pytest.mark.parametrize(
    ("size", "table_size"), [((3, 4), (3, 4)), ((1, 1), (1, 1)), ((2, 3), (4, 3)), ((1, 5), (2, 6))]
)
def test_two_axes_index_in_swins_order(size: tuple[int, int], table_size: tuple[int, int]) -> None:
    table = torch.randn((2 * table_size[0] - 1) * (2 * table_size[1] - 1), 3, dtype=torch.float64)
    bias = relative_bias(table, size, table_size)
    h, w = size
    assert bias.shape == (3, h * w, h * w)
    for query in range(h * w):
        for key in range(h * w):
            down, right = query // w - key // w, query % w - key % w
            row = (down + table_size[0] - 1) * (2 * table_size[1] - 1) + right + table_size[1] - 1
            assert torch.equal(bias[:, query, key], table[row])


@pytest.mark.parametrize(("length", "longest"), [(1, 1), (4, 4), (3, 7)])
def test_one_axis_indexes_query_minus_key(length: int, longest: int) -> None:
    table = torch.randn(2 * longest - 1, 2, dtype=torch.float64)
    bias = relative_bias(table, (length,), (longest,))
    for query in range(length):
        for key in range(length):
            assert torch.equal(bias[:, query, key], table[query - key + longest - 1])


def test_every_row_of_the_table_is_used_and_shifts_change_nothing() -> None:
    index = relative_index((3, 4), (3, 4))
    assert index.unique().tolist() == list(range(5 * 7))
    square = index.reshape(3, 4, 3, 4)
    assert torch.equal(square[1:, :, 1:, :], square[:-1, :, :-1, :])
    assert torch.equal(square[:, 1:, :, 1:], square[:, :-1, :, :-1])


def test_a_smaller_map_sees_the_corner_of_the_larger_ones_bias() -> None:
    table = torch.randn(7 * 9, 2)
    large = relative_bias(table, (4, 5), (4, 5)).reshape(2, 4, 5, 4, 5)
    small = relative_bias(table, (2, 3), (4, 5)).reshape(2, 2, 3, 2, 3)
    assert torch.equal(large[:, :2, :3, :2, :3], small)


def test_the_tables_gradient_counts_pairs_and_comes_twice() -> None:
    table = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    relative_bias(table, (2, 2), (2, 2)).sum().backward()
    pairs = torch.tensor([1, 2, 1, 2, 4, 2, 1, 2, 1], dtype=torch.float64)  # offsets in two rows, two columns
    torch.testing.assert_close(table.grad, pairs[:, None].expand(9, 2))
    assert torch.autograd.gradcheck(lambda t: relative_bias(t, (2, 2), (2, 2)), table)
    assert torch.autograd.gradgradcheck(lambda t: relative_bias(t, (2, 2), (2, 2)).square(), table)


@pytest.mark.parametrize("antialias", [False, True])
def test_relative_tables_resize_as_images_of_offsets(antialias: bool) -> None:
    table = torch.randn(5 * 7, 2, dtype=torch.float64)
    image = table.t().reshape(1, 2, 5, 7)
    want = torch.nn.functional.interpolate(image, size=(9, 3), mode="bicubic", antialias=antialias)
    resized = resize_relative_table(table, (3, 4), (5, 2), antialias=antialias)
    torch.testing.assert_close(resized, want.reshape(2, 27).t(), **EXACT)
    assert resize_relative_table(table, (3, 4), (3, 4)) is table


def bucket_by_integers(distance: int, side: int) -> int:
    """exact + floor((side - exact) log(n / exact) / log(128 / exact)); for 16 a side 8 + floor(2 log2(n / 8))."""
    assert side == 16
    if distance < 8:
        return distance
    k = 0
    while distance * distance >= 64 * 2 ** (k + 1):
        k += 1
    return min(8 + k, 15)


def test_t5_buckets_are_the_definition_in_integers() -> None:
    offsets = torch.arange(-200, 201)
    want = [bucket_by_integers(abs(o), 16) + (16 if o > 0 else 0) for o in offsets.tolist()]
    assert t5_buckets(offsets).tolist() == want
    causal = [bucket_by_integers(max(-o, 0), 16) for o in offsets.tolist()]
    assert t5_buckets(offsets, buckets=16, bidirectional=False).tolist() == causal
    assert [t5_buckets(torch.tensor(-n)).item() for n in (0, 7, 8, 11, 12, 16, 23, 32, 46, 64, 91, 9999)] == [
        0, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 15,
    ]  # fmt: skip


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("length", [1, 40])
def test_t5_bias_looks_up_key_minus_query(length: int, bidirectional: bool) -> None:
    table = torch.randn(12, 3, dtype=torch.float64)
    bias = t5_bias(table, length, furthest=30, bidirectional=bidirectional)
    side = 6 if bidirectional else 12
    for query in range(length):
        for key in range(length):
            distance = abs(key - query) if bidirectional else max(query - key, 0)
            if distance >= side // 2:
                raw = math.log(distance / (side // 2)) / math.log(30 / (side // 2)) * (side - side // 2)
                bucket = min(side // 2 + math.floor(raw + 1e-9), side - 1)
            else:
                bucket = distance
            bucket += side if bidirectional and key > query else 0
            assert torch.equal(bias[:, query, key], table[bucket])


def slopes_by_recursion(heads: int) -> list[float]:
    """The rule of ALiBi's released code, in its own recursive form."""
    if math.log2(heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
        return [start ** (i + 1) for i in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes_by_recursion(below) + slopes_by_recursion(2 * below)[0::2][: heads - below]


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 6, 7, 8, 12, 16, 31])
def test_alibi_slopes(heads: int) -> None:
    want = torch.tensor(slopes_by_recursion(heads), dtype=torch.float64)
    torch.testing.assert_close(alibi_slopes(heads, dtype=torch.float64), want)


def test_alibi_slopes_of_eight_heads_are_the_papers() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]


def test_alibi_on_a_sequence_is_the_papers_below_the_diagonal_and_symmetric() -> None:
    bias = alibi_bias(alibi_slopes(2), (5,))
    for query in range(5):
        for key in range(query + 1):
            torch.testing.assert_close(bias[:, query, key], -alibi_slopes(2) * (query - key))
    assert torch.equal(bias, bias.transpose(1, 2))
    torch.testing.assert_close(bias, alibi_bias(alibi_slopes(2), (5,), distance="manhattan"))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 1)])
def test_alibi_on_a_map_is_minus_slope_times_distance(size: tuple[int, int]) -> None:
    slopes = torch.randn(3, dtype=torch.float64)
    h, w = size
    straight, blocks = (alibi_bias(slopes, size, distance=d) for d in ("euclidean", "manhattan"))
    for query in range(h * w):
        for key in range(h * w):
            down, right = query // w - key // w, query % w - key % w
            torch.testing.assert_close(straight[:, query, key], -slopes * math.hypot(down, right), **EXACT)
            torch.testing.assert_close(blocks[:, query, key], -slopes * (abs(down) + abs(right)), **EXACT)


def test_prefix_tokens_get_zeros() -> None:
    bias = torch.randn(2, 3, 3)
    padded = bias_with_prefix(bias, 2)
    assert padded.shape == (2, 5, 5)
    assert torch.equal(padded[:, 2:, 2:], bias)
    assert padded[:, :2].abs().sum() + padded[:, :, :2].abs().sum() == 0
    assert torch.equal(bias_with_prefix(bias, 0), bias)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: relative_bias(torch.zeros(25, 1), (3, 4), (3, 3)),
            r"made for size \(3, 3\) cannot serve size \(3, 4\)",
        ),
        (lambda: relative_bias(torch.zeros(25, 1), (9,), (3, 3)), r"cannot serve size \(9,\)"),
        (lambda: relative_bias(torch.zeros(24, 1), (3, 3), (3, 3)), "has 25 rows, got 24"),
        (lambda: resize_relative_table(torch.zeros(24, 1), (3, 3), (4, 4)), "has 25 rows, got 24"),
        (lambda: resize_relative_table(torch.zeros(5, 1), (3,), (4,)), r"between maps \(h, w\)"),
        (lambda: t5_buckets(torch.zeros(1, dtype=torch.long), buckets=3), "even number of at least 4 buckets"),
        (lambda: t5_buckets(torch.zeros(1, dtype=torch.long), furthest=8), "furthest 8"),
        (lambda: alibi_slopes(0), "at least one head, got 0"),
        (lambda: alibi_bias(torch.ones(1), (2, 2), distance="euclid"), "did you mean 'euclidean'"),
        (lambda: bias_with_prefix(torch.zeros(1, 2, 2), -1), "cannot be negative, got -1"),
    ],
)
def test_bad_input_is_said_in_a_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
