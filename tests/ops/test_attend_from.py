"""Where one query looks equals its row of the whole table, and R composed passes equal the product of R tables."""

import inspect
from itertools import product

import pytest
import torch
from torch import Tensor

from sightline.ops.attend_from import (
    criss_cross_weights_from,
    non_local_weights_from,
    recurrent_criss_cross_weights_from,
)
from sightline.ops.patterns import criss_cross, field
from sightline.ops.reference import attention_table

MAPS = [(4, 6), (5, 3), (1, 4), (5, 1), (1, 1)]


def pair(size: tuple[int, ...], b: int = 2, d: int = 3) -> tuple[Tensor, Tensor]:
    query, key = torch.randn(2, b, d, *size, dtype=torch.float64)
    return query, key


def some_hidden(*shape: int) -> Tensor:
    mask = torch.rand(*shape) > 0.4
    mask[0] = False  # nothing to see in the whole first sample
    return mask


@pytest.mark.parametrize("pairwise", ["softmax", "dot_product", "concatenation"])
@pytest.mark.parametrize("size", [(7,), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_non_local_is_the_row_of_the_table(pairwise: str, size: tuple[int, ...], masked: bool) -> None:
    d = 1 if pairwise == "concatenation" else 3
    query, key = pair(size, d=d)
    mask, scale = some_hidden(2, *size) if masked else None, 1.0 if pairwise == "concatenation" else 0.7
    table = attention_table(query, key, pairwise=pairwise, mask=mask, scale=scale).unflatten(1, size)
    for position in product(*(range(s) for s in size)):
        weights = non_local_weights_from(query, key, position, pairwise=pairwise, mask=mask, scale=scale)
        torch.testing.assert_close(weights.flatten(1), table[(slice(None), *position)])


def test_non_local_keys_may_lie_on_another_grid() -> None:
    query, key = pair((4, 6))[0], pair((2, 3))[1]
    weights = non_local_weights_from(query, key, (3, 5))
    torch.testing.assert_close(weights.flatten(1), attention_table(query, key)[:, -1])


@pytest.mark.parametrize("size", MAPS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_criss_cross_is_the_row_of_the_table(size: tuple[int, int], masked: bool) -> None:
    query, key = pair(size)
    mask = some_hidden(2, *size) if masked else None
    table = attention_table(query, key, pattern=criss_cross, mask=mask, scale=0.7).unflatten(1, size)
    for y, x in product(range(size[0]), range(size[1])):
        weights = criss_cross_weights_from(query, key, (y, x), mask=mask, scale=0.7)
        torch.testing.assert_close(weights.flatten(1), table[:, y, x])
        assert not weights[:, ~criss_cross.visible((y, x), size)].any()


@pytest.mark.parametrize("passes", [1, 2, 3])
@pytest.mark.parametrize("size", MAPS, ids=str)
@pytest.mark.parametrize("residual", [None, 0.3, 0.0], ids=str)
def test_recurrent_is_the_product_of_tables(passes: int, size: tuple[int, int], residual: float | None) -> None:
    queries, keys = (list(t) for t in zip(*(pair(size) for _ in range(passes)), strict=True))
    mask = torch.rand(2, *size) > 0.3
    composed = torch.eye(size[0] * size[1], dtype=torch.float64).expand(2, -1, -1)
    for query, key in zip(queries, keys, strict=True):  # the first pass acts first: it stands rightmost
        table = attention_table(query, key, pattern=criss_cross, mask=mask, scale=0.7)
        if residual is not None:
            table = torch.eye(table.shape[-1], dtype=torch.float64) + residual * table
        composed = table @ composed
    for y, x in product(range(size[0]), range(size[1])):
        weights = recurrent_criss_cross_weights_from(queries, keys, (y, x), mask=mask, scale=0.7, residual=residual)
        torch.testing.assert_close(weights.flatten(1), composed.unflatten(1, size)[:, y, x])


def test_one_pass_is_criss_cross_and_two_see_everything() -> None:
    query, key = pair((4, 5))
    once = recurrent_criss_cross_weights_from([query], [key], (2, 1))
    torch.testing.assert_close(once, criss_cross_weights_from(query, key, (2, 1)))
    twice = recurrent_criss_cross_weights_from([query] * 2, [key] * 2, (2, 1))
    assert bool((twice > 0).all())
    assert torch.equal(twice[0] > 0, field([criss_cross] * 2, (2, 1), (4, 5)))
    torch.testing.assert_close(twice.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_a_learned_gamma_is_taken_as_a_number() -> None:
    query, key = pair((3, 4))
    gamma = torch.nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    weights = recurrent_criss_cross_weights_from([query], [key], (1, 1), residual=gamma)
    assert not weights.requires_grad
    torch.testing.assert_close(weights, recurrent_criss_cross_weights_from([query], [key], (1, 1), residual=0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_close_and_keeps_its_type(dtype: torch.dtype) -> None:
    query, key = (t.to(dtype) for t in pair((5, 6), d=32))
    for function in (
        lambda q, k: criss_cross_weights_from(q, k, (2, 3)),
        lambda q, k: non_local_weights_from(q, k, (2, 3)),
        lambda q, k: recurrent_criss_cross_weights_from([q, q], [k, k], (2, 3)),
    ):
        weights = function(query, key)
        assert weights.dtype == dtype
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(weights.double(), function(query.double(), key.double()), rtol=64 * eps, atol=eps)


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (criss_cross_weights_from, (*pair((3, 4)), (3, 0)), r"each inside \(3, 4\), got \(3, 0\)"),
        (criss_cross_weights_from, (*pair((3, 4)), (-1, 0)), r"each inside \(3, 4\), got \(-1, 0\)"),
        (non_local_weights_from, (*pair((3, 4)), (1,)), r"one index per axis, each inside \(3, 4\), got \(1,\)"),
        (recurrent_criss_cross_weights_from, ([], [], (0, 0)), "one tensor per pass each, got 0 and 0"),
        (recurrent_criss_cross_weights_from, ([pair((3, 4))[0]], [], (0, 0)), "one tensor per pass each, got 1 and 0"),
        (
            recurrent_criss_cross_weights_from,
            ([pair((3, 4))[0], pair((3, 5))[0]], [pair((3, 4))[0], pair((3, 5))[0]], (0, 0)),
            r"every pass needs \[b, d, h, w\] on one map",
        ),
        (
            recurrent_criss_cross_weights_from,
            ([pair((3, 4))[0]], [pair((3, 4), d=2)[0]], (0, 0)),
            "each pass needs a query and a key of one shape",
        ),
        (
            recurrent_criss_cross_weights_from,
            ([pair((3, 4))[0]], [pair((3, 4))[1]], (0, 4)),
            r"each inside \(3, 4\), got \(0, 4\)",
        ),
    ],
)
def test_bad_input_in_a_sentence(function, arguments, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        inspect.unwrap(function)(*arguments)


@pytest.mark.parametrize("mask", [torch.ones(2, 4, 3) > 0, torch.ones(1, 3, 4) > 0, torch.ones(2, 3, 4)], ids=str)
def test_a_mask_that_does_not_fit_is_refused_as_the_operators_do(mask: Tensor) -> None:
    query, key = pair((3, 4))
    for function, arguments in (
        (non_local_weights_from, (query, key)),
        (criss_cross_weights_from, (query, key)),
        (recurrent_criss_cross_weights_from, ([query], [key])),
    ):
        with pytest.raises(ValueError, match=r"a mask must be bool, batch and key positions, \(2, 3, 4\), got torch"):
            inspect.unwrap(function)(*arguments, (0, 0), mask=mask)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "sentence"),
    [
        (non_local_weights_from, (torch.zeros(2, 3), torch.zeros(2, 3), ()), {}, r"\[b, d, \*positions\] of one rank"),
        (non_local_weights_from, (pair((4,))[0], pair((4,), d=2)[0], (0,)), {}, r"got \(2, 3, 4\) and \(2, 2, 4\)"),
        (non_local_weights_from, (pair((4,))[0], pair((4,), b=1)[0], (0,)), {}, r"got \(2, 3, 4\) and \(1, 3, 4\)"),
        (
            non_local_weights_from,
            (*pair((4,)), (0,)),
            {"pairwise": "concatenation"},
            "one channel and no scale, got 3 ch",
        ),
        (
            non_local_weights_from,
            (*pair((4,), d=1), (0,)),
            {"pairwise": "concatenation", "scale": 2.0},
            "got 1 channels and scale 2.0",
        ),
        (criss_cross_weights_from, (torch.zeros(3, 3, 4), torch.zeros(3, 3, 4), (0, 0)), {}, r"must be \[b, d, h, w\]"),
        (criss_cross_weights_from, (pair((3, 4))[0], pair((3, 5))[0], (0, 0)), {}, r"of one shape, got \(2, 3, 3, 4\)"),
        (
            recurrent_criss_cross_weights_from,
            ([pair((3, 4))[0]] * 2, [pair((3, 4))[0]] * 2, (0, 0)),
            {"residual": torch.ones(3)},
            "one gamma, or one for each of 2 passes, got 3",
        ),
    ],
)
def test_more_bad_input_in_a_sentence(function, arguments, options, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        inspect.unwrap(function)(*arguments, **options)


def test_an_unknown_pairwise_function_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'dot_product'"):
        non_local_weights_from(*pair((3, 4)), (0, 0), pairwise="dotproduct")
