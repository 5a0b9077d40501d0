"""Criss-cross attention equals the masked table of all pairs, forward and all gradients, at every shape and layout."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sightline.ops import criss_cross_lines, criss_cross_plain, reference
from sightline.ops.check import check_op
from sightline.ops.criss_cross import criss_cross_attention
from sightline.ops.patterns import criss_cross

# b, d, c, h, w: odd, unequal, lines of one, narrow and wide channels, and enough of each to fill several blocks
SHAPES = [
    (2, 3, 4, 5, 7),
    (1, 2, 3, 1, 4),
    (2, 2, 2, 5, 1),
    (3, 1, 1, 1, 1),
    (1, 17, 19, 3, 4),
    (5, 3, 18, 9, 6),
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def triple(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64, layout: torch.memory_format = torch.contiguous_format
) -> list[Tensor]:
    b, d, c, h, w = shape
    return [torch.randn(b, n, h, w, dtype=dtype).contiguous(memory_format=layout) for n in (d, d, c)]


def some_hidden(b: int, h: int, w: int) -> Tensor:
    """A mask with a sample that sees nothing, a hidden row and a hidden column, which make single blind queries."""
    mask = torch.rand(b, h, w) > 0.4
    mask[0] = False
    mask[-1, 0], mask[-1, :, 0] = False, False
    return mask


def slow(mask: Tensor | None, scale: float) -> Callable[..., Tensor]:
    return lambda q, k, v: reference.attention(q, k, v, pattern=criss_cross, mask=mask, scale=scale)


def fast(mask: Tensor | None, scale: float) -> Callable[..., Tensor]:
    return lambda q, k, v: criss_cross_attention(q, k, v, mask=mask, scale=scale, backend="torch")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_it_is_the_masked_table(shape: tuple[int, ...], masked: bool) -> None:
    mask = some_hidden(shape[0], *shape[3:]) if masked else None
    check_op(fast(mask, 0.7), slow(mask, 0.7), triple(shape), names=["query", "key", "value"])


@pytest.mark.parametrize("block", [1, 60, 200, 1000], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("shape", [(5, 3, 4, 5, 7), (2, 17, 18, 6, 5)], ids=str)
def test_any_block_size_gives_the_same(
    shape: tuple[int, ...], layout: torch.memory_format, masked: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criss_cross_lines, "BLOCK_ON_PROCESSOR", block)
    mask = some_hidden(shape[0], *shape[3:]) if masked else None
    inputs = [t.requires_grad_() for t in triple(shape, layout=layout)]
    out, right = fast(mask, 0.7)(*inputs), slow(mask, 0.7)(*inputs)
    gradient = torch.randn_like(right)
    torch.testing.assert_close(out, right)
    torch.testing.assert_close(torch.autograd.grad(out, inputs, gradient), torch.autograd.grad(right, inputs, gradient))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 512, 97 * 9), (3, 33, 65), (2, 1, 5), (2, 5, 1), (1, 1, 1), (2, 0, 3)], ids=str)
def test_a_map_is_turned_to_the_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrices = torch.randn(shape, dtype=dtype)
    matrices.flatten()[::7] = -0.0
    matrices.flatten()[::11] = torch.inf
    turned = criss_cross_lines._transposed(matrices)
    assert turned.is_contiguous()
    assert torch.equal(turned, matrices.mT)
    assert torch.equal(turned.signbit(), matrices.mT.signbit())


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_the_plain_form_is_the_masked_table(masked: bool) -> None:
    mask = some_hidden(2, 2, 3) if masked else None
    plain = lambda q, k, v: criss_cross_plain.attention(q, k, v, mask=mask, scale=0.7)  # noqa: E731
    check_op(plain, slow(mask, 0.7), triple((2, 2, 2, 2, 3)), low_precision=(torch.float32,))


def test_third_order_exists() -> None:
    inputs = [t.requires_grad_() for t in triple((1, 2, 2, 2, 3))]

    def gradients(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(fast(None, 0.7)(q, k, v).square().sum(), (q, k, v), create_graph=True)

    assert torch.autograd.gradgradcheck(gradients, inputs)


def test_a_query_with_nothing_to_see_gives_zeros() -> None:
    inputs = [t.requires_grad_() for t in triple((2, 3, 4, 5, 7))]
    mask = torch.ones(2, 5, 7, dtype=torch.bool)
    mask[0], mask[1, 2], mask[1, :, 3] = False, False, False
    out = criss_cross_attention(*inputs, mask=mask)
    assert not out[0].any()
    assert not out[1, :, 2, 3].any()
    assert bool(out[1, :, 2, 4].any())
    lse = torch.ops.sightline.criss_cross_attention(*inputs, mask, 1.0)[1]
    assert bool((lse[0] == torch.inf).all())  # 2 ** (score - inf) = 0: no later formula can revive such a query
    for gradient in torch.autograd.grad(out.square().sum(), inputs):
        assert not gradient[0].any()
        assert bool(gradient.isfinite().all())
        assert bool(gradient[1].any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sharp_scores_stay_float32(dtype: torch.dtype) -> None:
    """Scores of some hundred would be off by whole units in bfloat16: a wrong winner, not a rounding."""
    query, key, value = (t.to(dtype) for t in triple((1, 16, 8, 9, 11)))
    query = query * 16
    right = reference.attention(query.double(), key.double(), value.double(), pattern=criss_cross)
    out = criss_cross_attention(query, key, value)
    assert out.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), right, rtol=eps, atol=eps if dtype != torch.float32 else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [1e3, 1e6], ids=str)
def test_huge_scores_neither_overflow_nor_vanish(dtype: torch.dtype, size: float) -> None:
    inputs = [t.requires_grad_() for t in triple((1, 2, 3, 4, 5), dtype)]
    for scale in (size, -size):
        out = criss_cross_attention(*inputs, scale=scale)
        assert bool(out.isfinite().all())
        assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(out.sum(), inputs))
        best = criss_cross_attention(*inputs[:2], torch.ones_like(inputs[2]), scale=scale)
        torch.testing.assert_close(best, torch.ones_like(best))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layouts", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 1, 1)], ids=str)
def test_output_and_each_gradient_keep_their_layout(layouts: tuple[int, ...], dtype: torch.dtype) -> None:
    *inputs, gradient = (
        t.contiguous(memory_format=LAYOUTS[i]).requires_grad_()
        for t, i in zip([*triple((2, 3, 4, 5, 7), dtype), torch.randn(2, 4, 5, 7, dtype=dtype)], layouts, strict=True)
    )
    out = criss_cross_attention(*inputs)
    assert out.is_contiguous(memory_format=LAYOUTS[layouts[2]])
    for result, layout in zip(torch.autograd.grad(out, inputs, gradient), layouts, strict=False):
        assert result.is_contiguous(memory_format=LAYOUTS[layout])


def test_views_crops_and_expanded_inputs() -> None:
    wide = torch.randn(3, 9, 8, 10, dtype=torch.float64)
    lasting = torch.randn(2, 4, 6, 9, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    for query, key, value in (
        (wide[1:, 1:4, 2:7, 1:8], wide[1:, 4:7, 2:7, 1:8], wide[:2, ::2, 2:7, 1:8]),
        (wide[1:, :3, 2:7].transpose(2, 3), wide[1:, 3:6, 2:7].transpose(2, 3), wide[1:, 6:, 2:7].transpose(2, 3)),
        (
            wide[:1, :3].expand(2, -1, -1, -1),
            wide[:2, :3, :1].expand(-1, -1, 8, -1),
            wide[:2, :1].expand(-1, 3, -1, -1),
        ),
        (lasting[:, :, 1:, 2:], lasting[:, :, :-1, :-2], lasting[:, 1:, 1:, 1:-1]),
    ):
        check_op(fast(None, 1.0), slow(None, 1.0), [query, key, value], low_precision=())
        leaves = [t.detach().requires_grad_() for t in (query, key, value)]
        torch.testing.assert_close(
            torch.autograd.grad(fast(None, 1.0)(*leaves).square().sum(), leaves),
            torch.autograd.grad(slow(None, 1.0)(*leaves).square().sum(), leaves),
        )


def test_an_expanded_output_gradient() -> None:
    inputs = [t.requires_grad_() for t in triple((2, 3, 4, 5, 7))]  # .sum() sends one number to every position
    torch.testing.assert_close(
        torch.autograd.grad(fast(None, 1.0)(*inputs).sum(), inputs),
        torch.autograd.grad(slow(None, 1.0)(*inputs).sum(), inputs),
    )


@pytest.mark.parametrize("shape", [(0, 3, 4, 5, 7), (2, 3, 4, 0, 7), (2, 3, 4, 5, 0), (2, 3, 0, 5, 7)], ids=str)
def test_empty_axes(shape: tuple[int, ...]) -> None:
    inputs = [t.requires_grad_() for t in triple(shape)]
    out = criss_cross_attention(*inputs)
    assert out.shape == inputs[2].shape
    for gradient, leaf in zip(torch.autograd.grad(out.sum(), inputs), inputs, strict=True):
        torch.testing.assert_close(gradient, torch.zeros_like(leaf))


def test_no_channels_to_compare_gives_the_mean() -> None:
    query, key, value = triple((2, 0, 4, 3, 5))
    torch.testing.assert_close(criss_cross_attention(query, key, value), slow(None, 1.0)(query, key, value))


def test_only_inputs_output_and_one_number_per_position_are_kept() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    inputs = [t.requires_grad_() for t in triple((2, 3, 4, 5, 7))]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = criss_cross_attention(*inputs)
    known = {t.untyped_storage().data_ptr() for t in (*inputs, out)}
    others = [t for t in kept if t.untyped_storage().data_ptr() not in known]
    assert [t.shape for t in others] == [(2, 5, 7)]


def test_backends() -> None:
    inputs = triple((2, 3, 4, 5, 7))
    right = slow(None, 1.0)(*inputs)
    for backend in ("auto", "torch", "reference"):
        torch.testing.assert_close(criss_cross_attention(*inputs, backend=backend), right)


def test_autocast_leaves_precision_alone_and_unlike_precisions_meet_in_the_wider_one() -> None:
    inputs = [t.requires_grad_() for t in triple((2, 3, 4, 5, 7), torch.float32)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = criss_cross_attention(*inputs)
        mixed = criss_cross_attention(inputs[0].bfloat16(), *inputs[1:])
        half = criss_cross_attention(*(t.bfloat16() for t in inputs))
        gradients = torch.autograd.grad(out.square().sum(), inputs)
    assert (out.dtype, mixed.dtype, half.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    assert torch.equal(out, criss_cross_attention(*inputs))
    assert torch.equal(mixed, criss_cross_attention(inputs[0].bfloat16().float(), *inputs[1:]))
    assert all(map(torch.equal, gradients, torch.autograd.grad(criss_cross_attention(*inputs).square().sum(), inputs)))


def bad(**changes: object) -> dict[str, object]:
    query, key, value = triple((2, 3, 4, 5, 7), torch.float32)
    return {"query": query, "key": key, "value": value} | changes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (bad(query=torch.zeros(3, 5, 7)), r"query must be \[b, channels, h, w\], got 3 axes, \(3, 5, 7\)"),
        (bad(value=torch.zeros(4)), r"value must be \[b, channels, h, w\], got 1 axes"),
        (bad(key=torch.zeros(2, 2, 5, 7)), r"one shape, got \(2, 3, 5, 7\) and \(2, 2, 5, 7\)"),
        (bad(value=torch.zeros(2, 4, 7, 5)), r"the batch and map of query, got \(2, 4, 7, 5\)"),
        (bad(value=torch.zeros(1, 4, 5, 7)), r"the batch and map of query, got \(1, 4, 5, 7\)"),
        (bad(mask=torch.ones(5, 7, dtype=torch.bool)), r"mask must be \[b, h, w\] = \(2, 5, 7\), got \(5, 7\)"),
        (bad(mask=torch.ones(2, 5, 7)), "mask must be bool, True where a key may be looked at, got torch.float32"),
        (bad(value=torch.zeros(2, 4, 5, 7, device="meta")), "value lies on meta, query on cpu"),
        (bad(mask=torch.ones(2, 5, 7, dtype=torch.bool, device="meta")), "mask lies on meta, query on cpu"),
        (bad(backend="torhc"), "unknown backend 'torhc': did you mean 'torch'"),
        (
            {name: torch.zeros(1, 1, 2, 2, dtype=torch.int64) for name in ("query", "key", "value")},
            "backend 'auto' cannot serve criss_cross_attention: it computes in float16, .* got torch.int64",
        ),
        (
            {name: torch.zeros(1, 1, 2, 2, dtype=torch.complex64) for name in ("query", "key", "value")}
            | {"backend": "torch"},
            "backend 'torch' cannot serve criss_cross_attention: it computes in float16, .* got torch.complex64",
        ),
    ],
)
def test_bad_input_in_a_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        inspect.unwrap(criss_cross_attention)(**arguments)
