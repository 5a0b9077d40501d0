"""The operators behind non-local attention keep PyTorch's contracts: schema, fake tensors, tracing, compilation."""

import pytest
import torch
from torch import Tensor

from sightline.ops.concatenation import concatenation_backward_op, concatenation_op
from sightline.ops.dot_product import dot_product_backward_op, dot_product_op
from sightline.ops.fused import fused_backward, fused_backward_op, fused_forward, fused_op
from sightline.ops.non_local import non_local_attention
from sightline.ops.softmax import softmax_backward_op, softmax_op

LAYOUTS = [torch.contiguous_format, torch.channels_last]
FORMS = ["softmax", "fused", "dot_product", "concatenation"]


def options(form: str) -> dict[str, str]:
    return {"pairwise": "softmax", "backend": "fused"} if form == "fused" else {"pairwise": form, "backend": "auto"}


def maps(form: str, h: int, w: int, layout: torch.memory_format = torch.contiguous_format) -> list[Tensor]:
    d = {"concatenation": 1, "fused": 4}.get(form, 3)
    return [torch.randn(2, c, h, w).contiguous(memory_format=layout) for c in (d, d, 4)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("layout", "masked"), [(LAYOUTS[0], True), (LAYOUTS[1], False)], ids=str)
def test_both_operators_pass_opcheck(layout: torch.memory_format, masked: bool, form: str) -> None:
    query, key, value = (t.flatten(2).requires_grad_() for t in maps(form, 5, 3, layout))
    mask = torch.rand(2, 15) > 0.3 if masked else None
    last = layout is torch.channels_last
    grad = torch.randn(2, 4, 15, requires_grad=True)
    if form in ("softmax", "fused"):
        forward, backward = (softmax_op, softmax_backward_op) if form == "softmax" else (fused_op, fused_backward_op)
        torch.library.opcheck(forward, (query, key, value, mask, 0.7, last))
        out, lse = (t.detach() for t in forward(query, key, value, mask, 0.7, last))
        torch.library.opcheck(backward, (grad, query, key, value, mask, out, lse, 0.7))
    elif form == "dot_product":
        torch.library.opcheck(dot_product_op, (query, key, value, mask, 0.7, last))
        table = dot_product_op(query, key, value, mask, 0.7, last)[1].detach()
        torch.library.opcheck(dot_product_backward_op, (grad, query, key, value, mask, table, 0.7))
    else:
        a, b = (t[:, 0].detach().requires_grad_() for t in (query, key))
        torch.library.opcheck(concatenation_op, (a, b, value, mask, last))
        torch.library.opcheck(concatenation_backward_op, (grad, a, b, value, mask))


@pytest.mark.parametrize("form", [f for f in FORMS if f != "fused"])  # on a meta device fused does not serve
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_meta_tensors_know_shape_type_and_layout(layout: torch.memory_format, form: str) -> None:
    given = maps(form, 5, 3, layout)
    real = non_local_attention(*given, **options(form))
    meta = non_local_attention(*(t.to("meta") for t in given), **options(form))
    assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(("d", "c", "n", "m"), [(3, 5, 37, 21), (8, 8, 64, 64), (64, 256, 33, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_kernels_of_a_gpu_are_called_as_they_are_declared(
    dtype: torch.dtype, d: int, c: int, n: int, m: int, last: bool, masked: bool
) -> None:
    """Without a GPU: PyTorch's own account of those kernels, which knows arguments, shapes and types but no data."""

    def made(channels: int, positions: int) -> Tensor:
        size = (2, positions, channels) if last else (2, channels, positions)
        x = torch.empty(size, dtype=dtype, device="meta")
        return x.transpose(1, 2) if last else x

    query, key, value, grad = made(d, n), made(d, m), made(c, m), made(c, n)
    mask = torch.empty(2, m, dtype=torch.bool, device="meta") if masked else None
    out, lse = fused_forward.__wrapped__(query, key, value, mask, 0.7, last)  # autocast knows no meta device
    gradients = fused_backward.__wrapped__(grad, query, key, value, mask, out, lse, 0.7)
    assert (lse.shape, lse.dtype) == ((2, n), torch.float32)
    for got, like in zip((out, *gradients), (grad, query, key, value), strict=True):
        assert (got.shape, got.stride(), got.dtype) == (like.shape, like.stride(), like.dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_gpu_computes_the_same(dtype: torch.dtype, masked: bool) -> None:
    inputs = [torch.randn(3, channels, 7, 9).to(dtype) for channels in (5, 5, 12, 12)]
    mask = torch.rand(3, 7, 9) > 0.4
    mask[-1] = False
    results = []
    for backend, device, kind in (("reference", "cpu", torch.float64), ("fused", "cuda", dtype)):
        *leaves, grad = (t.to(device, kind) for t in inputs)
        leaves = [t.requires_grad_() for t in leaves]
        out = non_local_attention(*leaves, mask=mask.to(device) if masked else None, scale=0.7, backend=backend)
        results.append([t.cpu().double() for t in (out, *torch.autograd.grad(out, leaves, grad))])
    for got, want in zip(results[1], results[0], strict=True):
        allowed = (64 if dtype == torch.float32 else 4) * torch.finfo(dtype).eps
        assert (got - want).norm() <= allowed * want.norm()
        assert not masked or not got[-1].any()


@pytest.mark.compile
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_compiles_whole_for_any_size(masked: bool, form: str) -> None:
    torch._dynamo.reset()

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return non_local_attention(query, key, value, **options(form), mask=mask)

    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    for layout in LAYOUTS:
        for h, w in ((5, 4), (7, 3), (2, 9)):
            leaves = [t.requires_grad_() for t in maps(form, h, w, layout)]
            mask = torch.rand(2, h, w) > 0.3 if masked else None
            results = []
            for run in (attend, compiled):
                out = run(*leaves, mask)
                results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
            for want, got in zip(*results, strict=True):
                torch.testing.assert_close(got, want)
                assert got.stride() == want.stride()
