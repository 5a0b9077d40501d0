"""Concatenation attention by sorting: ties, offsets and cancellation, where a sorted sum could go wrong."""

import pytest
import torch
from torch import Tensor

from sightline.ops import concatenation
from sightline.ops.non_local import non_local_attention
from sightline.ops.reference import attention


def both(a: Tensor, b: Tensor, v: Tensor, mask: Tensor | None = None) -> list[list[Tensor]]:
    """Output and all gradients, by sorting and by the table in float64, for `[b,n], [b,m], [b,c,m]`."""
    results = []
    for form, dtype in ((non_local_attention, a.dtype), (attention, torch.float64)):
        leaves = [t.detach().to(dtype).requires_grad_() for t in (a[:, None], b[:, None], v)]
        out = form(*leaves, pairwise="concatenation", mask=mask)
        generator = torch.Generator().manual_seed(1)
        cotangent = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(dtype)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, cotangent)])
    return results


def relative_error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_ties_have_the_gradient_of_relu_at_zero(masked: bool) -> None:
    """Small integers: a + b is exactly zero for many pairs, and neither side of a tie takes a share."""
    a = torch.randint(-3, 4, (2, 11)).double()
    b = torch.randint(-3, 4, (2, 13)).double()
    assert ((a[:, :, None] + b[:, None]) == 0).any()
    mask = torch.rand(2, 13) > 0.4 if masked else None
    for got, want in zip(*both(a, b, torch.randn(2, 3, 13).double(), mask), strict=True):
        torch.testing.assert_close(got, want)


def test_ties_survive_the_centring() -> None:
    """In float32 x + (-x) is zero, but the two moved by a mean need not be: places come from the numbers as given."""
    b = torch.randn(1, 501)
    results = both(-b, b, torch.randn(1, 2, 501))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_is_precise_wherever_the_scores_lie(offset: float) -> None:
    """a and b far from zero on opposite sides: without the centring their sums cancel."""
    a, b = torch.randn(1, 3001) + offset, torch.randn(1, 3001) - offset
    for got, want in zip(*both(a, b, torch.randn(1, 4, 3001)), strict=True):
        assert relative_error(got, want) < 3e-6


def test_a_query_with_few_keys_is_as_precise_as_one_with_many() -> None:
    """Sums from the large end: a total minus a prefix would leave the rounding of the total on the smallest sums."""
    b = torch.cat([torch.rand(4000), torch.tensor([10.0, 11.0, 12.0])])[None]
    a = torch.tensor([[-9.5, -10.5, -11.5]])  # these queries use the last three, two and one of thousands
    (got, *_), (want, *_) = both(a, b, torch.rand(1, 2, 4003) + 1)
    assert (want > 0).all()
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0)


def test_hidden_keys_leave_no_trace() -> None:
    """Large values behind the mask must change no bit of what is seen."""
    a, b, v = torch.randn(2, 1, 9), torch.randn(2, 1, 9), torch.randn(2, 3, 9)
    mask = torch.rand(2, 9) > 0.4
    out = non_local_attention(a, b, v, pairwise="concatenation", mask=mask)
    loud = v.masked_fill(~mask[:, None], 1e30)
    wild = b.masked_fill(~mask[:, None], 1e3)
    assert torch.equal(out, non_local_attention(a, wild, loud, pairwise="concatenation", mask=mask))


def test_order_of_the_keys_does_not_matter() -> None:
    a, b, v = torch.randn(2, 1, 9).double(), torch.randn(2, 1, 12).double(), torch.randn(2, 3, 12).double()
    turn = torch.randperm(12)
    one = non_local_attention(a, b, v, pairwise="concatenation")
    torch.testing.assert_close(non_local_attention(a, b[:, :, turn], v[:, :, turn], pairwise="concatenation"), one)


def test_tables_are_built_for_a_few_channels_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = concatenation._suffix_sums

    def spy(at: concatenation.Lookup, values: Tensor, weighted: bool) -> Tensor:
        seen.append(values.shape[1])
        return original(at, values, weighted)

    monkeypatch.setattr(concatenation, "_suffix_sums", spy)
    monkeypatch.setattr(concatenation, "CHUNK", 40)
    non_local_attention(torch.randn(1, 1, 10), torch.randn(1, 1, 10), torch.randn(1, 9, 10), pairwise="concatenation")
    assert max(seen) == 4
