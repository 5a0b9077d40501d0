"""The slow reference, itself checked by loops over positions that share no code with it."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from sightline.ops.patterns import Pattern, criss_cross, everything, window
from sightline.ops.reference import attention, attention_table


def by_loops(
    query: Tensor, key: Tensor, value: Tensor, pairwise: str, pattern: Pattern, mask: Tensor | None, scale: float
) -> Tensor:
    """One pair of positions at a time, in Python's own numbers."""
    size, grid = query.shape[2:], key.shape[2:]
    out = torch.zeros(query.shape[0], value.shape[1], *size, dtype=torch.float64)
    for b, here in product(range(len(query)), product(*(range(s) for s in size))):
        seen = pattern.visible(here, size) if size == grid else torch.ones(grid, dtype=torch.bool)
        weights: dict[tuple[int, ...], float] = {}
        for there in product(*(range(s) for s in grid)):
            if not seen[there] or (mask is not None and not mask[(b, *there)]):
                continue
            q, k = query[(b, slice(None), *here)].tolist(), key[(b, slice(None), *there)].tolist()
            score = scale * sum(x * y for x, y in zip(q, k, strict=True))
            weights[there] = {"softmax": math.exp(score), "dot_product": score}.get(pairwise, max(q[0] + k[0], 0.0))
        total = sum(weights.values()) if pairwise == "softmax" else len(weights)
        for there, weight in weights.items():
            out[(b, slice(None), *here)] += weight / total * value[(b, slice(None), *there)]
    return out


@pytest.mark.parametrize("pairwise", ["softmax", "dot_product", "concatenation"])
@pytest.mark.parametrize("pattern", [everything, criss_cross, window(3)], ids=lambda p: p.name)
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_sum_over_visible_keys(pairwise: str, pattern: Pattern, masked: bool) -> None:
    d = 1 if pairwise == "concatenation" else 3
    query, key = torch.randn(2, 2, d, 3, 4, dtype=torch.float64)
    value = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    mask = torch.rand(2, 3, 4) > 0.4 if masked else None
    if mask is not None:
        mask[0] = False
    scale = 1.0 if pairwise == "concatenation" else 0.7
    out = attention(query, key, value, pairwise=pairwise, pattern=pattern, mask=mask, scale=scale)
    torch.testing.assert_close(out, by_loops(query, key, value, pairwise, pattern, mask, scale))


@pytest.mark.parametrize("positions", [((7,), (3,)), ((2, 3), (4,)), ((2, 3, 2), (1, 2, 2))], ids=str)
def test_keys_on_another_grid(positions: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    size, grid = positions
    query = torch.randn(2, 3, *size, dtype=torch.float64)
    key, value = torch.randn(2, 3, *grid, dtype=torch.float64), torch.randn(2, 4, *grid, dtype=torch.float64)
    out = attention(query, key, value)
    assert out.shape == (2, 4, *size)
    torch.testing.assert_close(out, by_loops(query, key, value, "softmax", everything, None, 1.0))


def test_softmax_is_the_field_s_own() -> None:
    query, key = torch.randn(2, 2, 3, 5, dtype=torch.float64)
    value = torch.randn(2, 4, 5, dtype=torch.float64)
    right = torch.nn.functional.scaled_dot_product_attention(query.mT, key.mT, value.mT).mT
    torch.testing.assert_close(attention(query, key, value, scale=3**-0.5), right)


def test_a_query_that_sees_nothing_gives_zeros_and_zero_gradients() -> None:
    query, key, value = (torch.randn(1, n, 2, 3, dtype=torch.float64, requires_grad=True) for n in (2, 2, 3))
    mask = torch.zeros(1, 2, 3, dtype=torch.bool)
    for pairwise in ("softmax", "dot_product"):
        out = attention(query, key, value, pairwise=pairwise, mask=mask)
        assert not out.any()
        assert all(not g.any() for g in torch.autograd.grad(out.sum(), (query, key, value)))


def test_rows_of_the_softmax_table_sum_to_one() -> None:
    query, key = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    sums = attention_table(query, key, pattern=criss_cross).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_an_unknown_pairwise_function_is_not_taken_for_another() -> None:
    with pytest.raises(ValueError, match="unknown pairwise function 'gaussian'"):
        attention_table(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), pairwise="gaussian")
