"""The custom operators of criss-cross attention keep PyTorch's contracts: schema, fake tensors, tracing, compiling."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from sightline.ops.criss_cross import criss_cross_attention

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def inputs(
    h: int,
    w: int,
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
    b: int = 2,
) -> list[Tensor]:
    return [torch.randn(b, n, h, w, dtype=dtype).contiguous(memory_format=layout) for n in (3, 3, 4)]


def a_mask(h: int, w: int, b: int = 2) -> Tensor:
    mask = torch.rand(b, h, w) > 0.3
    mask[0] = False
    return mask


@pytest.mark.compile
@pytest.mark.parametrize(
    ("layout", "masked", "dtype"),
    [(torch.contiguous_format, True, torch.float64), (torch.channels_last, False, torch.bfloat16)],
    ids=["float64 masked", "bfloat16 channels_last"],
)
def test_both_operators_pass_opcheck(layout: torch.memory_format, masked: bool, dtype: torch.dtype) -> None:
    leaves = [t.requires_grad_() for t in inputs(5, 7, dtype, layout)]
    mask = a_mask(5, 7) if masked else None
    operator = torch.ops.sightline.criss_cross_attention.default
    rounding = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    torch.library.opcheck(operator, (*leaves, mask, 0.7), **rounding)
    out, lse = operator(*leaves, mask, 0.7)
    gradient = torch.randn_like(out, requires_grad=True)
    backward = torch.ops.sightline.criss_cross_attention_backward.default
    torch.library.opcheck(backward, (gradient, *leaves, mask, out.detach(), lse, 0.7), **rounding)


def test_the_log_sum_exp_carries_no_gradient() -> None:
    leaves = [t.requires_grad_() for t in inputs(3, 4)]
    out, lse = torch.ops.sightline.criss_cross_attention(*leaves, None, 1.0)
    assert out.requires_grad
    assert not lse.requires_grad


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_meta_and_fake_tensors_know_shape_type_and_layout(layout: torch.memory_format) -> None:
    real = criss_cross_attention(*inputs(5, 7, torch.bfloat16, layout))
    on_meta = criss_cross_attention(*(t.to("meta") for t in inputs(5, 7, torch.bfloat16, layout)))
    with FakeTensorMode() as mode:
        fake = criss_cross_attention(*(mode.from_tensor(t) for t in inputs(5, 7, torch.bfloat16, layout)))
    for result in (on_meta, fake):
        assert (result.shape, result.dtype, result.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.compile
@pytest.mark.parametrize(("layout", "masked"), list(zip(LAYOUTS, (False, True), strict=True)), ids=str)
def test_it_compiles_once_for_all_sizes_with_backward(layout: torch.memory_format, masked: bool) -> None:
    torch._dynamo.reset()
    graphs: list[int] = []

    def count(*shape: int) -> None:
        h, w = shape
        leaves = [t.requires_grad_() for t in inputs(h, w, layout=layout)]
        mask = a_mask(h, w) if masked else None
        out, right = compiled(*leaves, mask), plain(*leaves, mask)
        torch.testing.assert_close(out, right, rtol=0, atol=0)
        assert out.stride() == right.stride()
        gradient = torch.randn_like(right)
        torch.testing.assert_close(
            torch.autograd.grad(out, leaves, gradient), torch.autograd.grad(right, leaves, gradient), rtol=0, atol=0
        )
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return criss_cross_attention(q, k, v, mask=mask, scale=0.7) * 2

    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(plain, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((5, 7), (9, 4), (6, 6), (12, 3)):
        count(*shape)
    assert graphs == [graphs[0]] * len(graphs)


@pytest.mark.compile
def test_it_compiles_under_autocast() -> None:
    torch._dynamo.reset()

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return criss_cross_attention(q, k, v)

    leaves = [t.requires_grad_() for t in inputs(5, 7)]
    out = torch.compile(plain, fullgraph=True, dynamic=True, backend="aot_eager")(*leaves)
    assert torch.equal(out, plain(*leaves))
    assert all(bool(g.any()) for g in torch.autograd.grad(out.sum(), leaves))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_cuda_device_gives_the_same(dtype: torch.dtype) -> None:
    here = [t.requires_grad_() for t in inputs(9, 13, dtype)]
    there = [t.detach().cuda().requires_grad_() for t in here]
    mask = a_mask(9, 13)
    out = criss_cross_attention(*here, mask=mask)
    moved = criss_cross_attention(*there, mask=mask.cuda())
    rounding = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(moved.cpu(), out, rtol=rounding, atol=rounding)
    gradient = torch.randn_like(out)
    for a, b in zip(
        torch.autograd.grad(moved, there, gradient.cuda()), torch.autograd.grad(out, here, gradient), strict=True
    ):
        torch.testing.assert_close(a.cpu(), b, rtol=rounding, atol=rounding)
