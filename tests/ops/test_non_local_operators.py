"""The operators behind non-local attention keep PyTorch's contracts: schema, fake tensors, tracing, compilation."""

import pytest
import torch
from torch import Tensor

from sightline.ops.concatenation import concatenation_backward_op, concatenation_op
from sightline.ops.dot_product import dot_product_backward_op, dot_product_op
from sightline.ops.non_local import PAIRWISE, non_local_attention
from sightline.ops.softmax import softmax_backward_op, softmax_op

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def maps(pairwise: str, h: int, w: int, layout: torch.memory_format = torch.contiguous_format) -> list[Tensor]:
    d = 1 if pairwise == "concatenation" else 3
    return [torch.randn(2, c, h, w).contiguous(memory_format=layout) for c in (d, d, 4)]


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_both_operators_pass_opcheck(layout: torch.memory_format, masked: bool, pairwise: str) -> None:
    query, key, value = (t.flatten(2).requires_grad_() for t in maps(pairwise, 5, 3, layout))
    mask = torch.rand(2, 15) > 0.3 if masked else None
    last = layout is torch.channels_last
    grad = torch.randn(2, 4, 15, requires_grad=True)
    if pairwise == "softmax":
        torch.library.opcheck(softmax_op, (query, key, value, mask, 0.7, last))
        out, lse = (t.detach() for t in softmax_op(query, key, value, mask, 0.7, last))
        torch.library.opcheck(softmax_backward_op, (grad, query, key, value, mask, out, lse, 0.7))
    elif pairwise == "dot_product":
        torch.library.opcheck(dot_product_op, (query, key, value, mask, 0.7, last))
        table = dot_product_op(query, key, value, mask, 0.7, last)[1].detach()
        torch.library.opcheck(dot_product_backward_op, (grad, query, key, value, mask, table, 0.7))
    else:
        a, b = (t[:, 0].detach().requires_grad_() for t in (query, key))
        torch.library.opcheck(concatenation_op, (a, b, value, mask, last))
        torch.library.opcheck(concatenation_backward_op, (grad, a, b, value, mask))


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_meta_tensors_know_shape_type_and_layout(layout: torch.memory_format, pairwise: str) -> None:
    given = maps(pairwise, 5, 3, layout)
    real = non_local_attention(*given, pairwise=pairwise)
    meta = non_local_attention(*(t.to("meta") for t in given), pairwise=pairwise)
    assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.compile
@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_compiles_whole_for_any_size(masked: bool, pairwise: str) -> None:
    torch._dynamo.reset()

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        return non_local_attention(query, key, value, pairwise=pairwise, mask=mask)

    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend="aot_eager")
    for layout in LAYOUTS:
        for h, w in ((5, 4), (7, 3), (2, 9)):
            leaves = [t.requires_grad_() for t in maps(pairwise, h, w, layout)]
            mask = torch.rand(2, h, w) > 0.3 if masked else None
            results = []
            for form in (attend, compiled):
                out = form(*leaves, mask)
                results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
            for want, got in zip(*results, strict=True):
                torch.testing.assert_close(got, want)
                assert got.stride() == want.stride()
