"""Non-local attention equals the table of all pairs, with all gradients, on every grid, mask, layout and dtype."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.ops import concatenation, softmax
from sightline.ops.check import check_op
from sightline.ops.concatenation import concatenation_backward, concatenation_forward
from sightline.ops.dot_product import dot_product_backward, dot_product_forward, plain_dot_product
from sightline.ops.fused import fused_backward, fused_forward
from sightline.ops.non_local import PAIRWISE, non_local_attention
from sightline.ops.reference import attention
from sightline.ops.second_order import second_order
from sightline.ops.softmax import softmax_backward, softmax_forward

# batch, inner width, value width, query grid, key grid: one to three axes, size 1, other grids, widths that differ
CASES = [
    (2, 3, 4, (7,), (7,)),
    (1, 4, 1, (1,), (1,)),
    (2, 2, 3, (4, 3), (4, 3)),
    (3, 5, 2, (1, 4), (1, 4)),
    (2, 1, 3, (4, 3), (2, 1)),
    (1, 2, 3, (2, 3, 2), (2, 3, 2)),
    (2, 3, 1, (3, 1, 2), (1, 5, 1)),
]
NAMES = ["query", "key", "value"]
SERVED = [("softmax", "torch"), ("softmax", "fused"), ("dot_product", "torch"), ("concatenation", "torch")]
served = pytest.mark.parametrize(("pairwise", "backend"), SERVED)


def maps(case: tuple, pairwise: str, backend: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    b, d, c, positions, keys = case
    d = 1 if pairwise == "concatenation" else c if backend == "fused" else d  # fused needs one width
    sizes = [(b, d, *positions), (b, d, *keys), (b, c, *keys)]
    return [torch.randn(size, dtype=dtype) for size in sizes]


def some_hidden(b: int, keys: tuple[int, ...]) -> Tensor:
    """A mask under which the last sample sees nothing at all."""
    mask = torch.rand(b, *keys) > 0.4
    mask[-1] = False
    return mask


def forms(pairwise: str, backend: str, mask: Tensor | None) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    scale = 1.0 if pairwise == "concatenation" else 0.7
    return (
        lambda q, k, v: non_local_attention(q, k, v, pairwise=pairwise, mask=mask, scale=scale, backend=backend),
        lambda q, k, v: attention(q, k, v, pairwise=pairwise, mask=mask, scale=scale),
    )


@served
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_table_of_all_pairs(case: tuple, masked: bool, pairwise: str, backend: str) -> None:
    mask = some_hidden(case[0], case[-1]) if masked else None
    inputs = maps(case, pairwise, backend)
    # finite differences of the second order are slow: they are taken where there is a mask as well
    check_op(*forms(pairwise, backend, mask), inputs, names=NAMES, low_precision=(), second_order=masked)


@served
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_low_precision_is_close_to_float64_and_layout_is_kept(masked: bool, pairwise: str, backend: str) -> None:
    case = (3, 6, 5, (7, 9), (7, 9))
    mask = some_hidden(3, (7, 9)) if masked else None
    check_op(
        *forms(pairwise, backend, mask),
        maps(case, pairwise, backend),
        names=NAMES,
        second_order=False,
        channels_last=True,
    )


@pytest.mark.parametrize("pairwise", ["softmax", "concatenation"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("block", [1, 60, 300])
def test_any_cut_into_blocks_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, block: int, masked: bool, pairwise: str
) -> None:
    monkeypatch.setattr(softmax, "BLOCK", block)
    monkeypatch.setattr(softmax, "FEWEST_ROWS", 2)
    monkeypatch.setattr(concatenation, "CHUNK", block)
    case = (5, 3, 7, (5, 2), (3, 3))
    mask = some_hidden(5, (3, 3)) if masked else None
    check_op(*forms(pairwise, "torch", mask), maps(case, pairwise, "torch"), second_order=False, channels_last=True)


@pytest.mark.parametrize("hidden", [0, 600])
@pytest.mark.parametrize("n", [31, 200, 800])
def test_more_keys_than_a_fused_kernel_takes_at_once(n: int, hidden: int) -> None:
    """Its blocks are of 512 keys and up to 256 queries; a whole block of keys may be hidden."""
    mask = torch.rand(2, 1100) > 0.4
    mask[0, :hidden] = False
    mask[1] = hidden == 0
    check_op(*forms("softmax", "fused", mask), maps((2, 3, 3, (n,), (1100,)), "softmax", "fused"), second_order=False)


@served
def test_expanded_transposed_and_sliced_inputs(pairwise: str, backend: str) -> None:
    d = 1 if pairwise == "concatenation" else 5 if backend == "fused" else 3
    query = torch.randn(1, d, 4, 5, dtype=torch.float64).expand(2, -1, -1, -1)
    key = torch.randn(2, d, 5, 4, dtype=torch.float64).transpose(2, 3)
    value = torch.randn(2, 7, 4, 10, dtype=torch.float64)[:, 1:6, :, ::2]
    leaves = [t.detach().requires_grad_() for t in (query, key, value)]
    results = []
    for form in forms(pairwise, backend, None):
        out = form(*leaves)
        results.append([out, *torch.autograd.grad(out.sum(), leaves)])  # the gradient of a sum is expanded as well
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("pairwise", "backend", "which"),
    [*((*form, "query") for form in SERVED[:3]), *((*form, "value") for form in SERVED)],
)
@pytest.mark.parametrize("grid", [(5,), (4, 3), (2, 3, 4)], ids=str)
def test_channels_last_in_channels_last_out(grid: tuple[int, ...], which: str, pairwise: str, backend: str) -> None:
    given = dict(zip(NAMES, maps((2, 3, 4, grid, grid), pairwise, backend), strict=True))
    given[which] = given[which].movedim(1, -1).contiguous().movedim(-1, 1)
    out = non_local_attention(**given, pairwise=pairwise, backend=backend)
    assert out.movedim(1, -1).is_contiguous()
    assert not out.is_contiguous()
    plain = non_local_attention(
        **{name: t.contiguous() for name, t in given.items()}, pairwise=pairwise, backend=backend
    )
    assert plain.is_contiguous()
    torch.testing.assert_close(out, plain)


@served
@pytest.mark.parametrize("empty", ["batch", "positions", "keys", "channels"])
def test_empty_maps(empty: str, pairwise: str, backend: str) -> None:
    full = {"batch": 2, "positions": 4, "keys": 5, "channels": 3}
    b, n, m, c = {**full, empty: 0}.values()
    d = 1 if pairwise == "concatenation" else c if backend == "fused" else 3
    leaves = [torch.randn(s, requires_grad=True) for s in ((b, d, n, 1), (b, d, m, 1), (b, c, m, 1))]
    out = non_local_attention(*leaves, pairwise=pairwise, backend=backend)
    assert out.shape == (b, c, n, 1)
    assert not out.any()
    for gradient in torch.autograd.grad(out.sum(), leaves):
        assert not gradient.any()


@served
def test_autocast_leaves_the_scores_in_float32(pairwise: str, backend: str) -> None:
    leaves = [t.requires_grad_() for t in maps((2, 6, 4, (5, 4), (5, 4)), pairwise, backend, torch.float32)]

    def run() -> list[Tensor]:
        out = non_local_attention(*leaves, pairwise=pairwise, backend=backend)
        first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
        return [out, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)]

    plain = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = run()
    for got, want in zip(cast, plain, strict=True):
        assert torch.equal(got, want)


@served
def test_a_gradient_penalty_whose_cotangent_depends_on_the_inputs(pairwise: str, backend: str) -> None:
    """Third order as well: the gradient of the penalty is differentiated once more."""
    leaves = [t.requires_grad_() for t in maps((2, 3, 4, (5,), (6,)), pairwise, backend)]
    results = []
    for form in forms(pairwise, backend, some_hidden(2, (6,))):
        orders = [form(*leaves).square().sum()]
        grads: list[Tensor] = []
        for _ in range(3):
            new = torch.autograd.grad(orders[-1], leaves, create_graph=True)
            orders.append(sum(g.square().sum() for g in new))
            grads += new
        results.append(grads)
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want)


def test_inputs_of_unlike_precision_meet_in_the_wider_one() -> None:
    query, key, value = maps((2, 3, 4, (5,), (5,)), "softmax", "torch", torch.float32)
    out = non_local_attention(query.bfloat16(), key, value)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, non_local_attention(query.bfloat16().float(), key, value))


@pytest.mark.parametrize("backend", ["torch", "fused"])
def test_large_scores_do_not_overflow(backend: str) -> None:
    leaves = [t.requires_grad_() for t in maps((2, 3, 4, (9,), (9,)), "softmax", backend, torch.float32)]
    out = non_local_attention(*leaves, scale=1e4, backend=backend)
    torch.testing.assert_close(out, attention(*leaves, scale=1e4))
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), leaves))


@served
def test_every_entry_is_written(pairwise: str, backend: str) -> None:
    """Uninitialised memory holds NaN here, and none of it comes out."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        leaves = [t.requires_grad_() for t in maps((2, 3, 4, (5, 3), (5, 3)), pairwise, backend, torch.float32)]
        out = non_local_attention(*leaves, pairwise=pairwise, backend=backend, mask=some_hidden(2, (5, 3)))
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), leaves))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("b", [1, 2])
def test_channels_last_reaches_the_fused_kernel_and_comes_back_without_a_copy(b: int) -> None:
    made: list[Tensor] = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func in (torch.ops.aten.copy_.default, torch.ops.aten.clone.default):
                made.append(out)
            return out

    made_so = torch.channels_last
    query, key, value, grad = (torch.randn(b, 3, 5, 6).contiguous(memory_format=made_so).flatten(2) for _ in range(4))
    with Copies():
        out, lse = fused_forward(query, key, value, None, 1.0, True)
        fused_backward(grad, query, key, value, None, out, lse, 1.0)
    assert not [t.shape for t in made if t.dim() > 2]


class Largest(TorchDispatchMode):
    """Watches every tensor that is made and remembers the size of the largest."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@pytest.mark.parametrize("pairwise", ["naive", "fused", *PAIRWISE])
def test_no_tensor_grows_with_the_square(pairwise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 500
    monkeypatch.setattr(softmax, "BLOCK", 8 * n)  # then a block is linear in the number of keys
    monkeypatch.setattr(softmax, "FEWEST_ROWS", 8)
    query, key, value = maps((1, 8, 8, (n,), (n,)), pairwise, "torch")
    grad, mask = torch.randn_like(value), torch.rand(1, n) > 0.5
    with Largest() as largest:
        if pairwise == "naive":
            attention(query, key, value, mask=mask)
        elif pairwise in ("softmax", "fused"):  # a fused kernel's buffers are its own: bounded, and not seen here
            forward, backward = {
                "softmax": (softmax_forward, softmax_backward),
                "fused": (fused_forward, fused_backward),
            }[pairwise]
            out, lse = forward(query, key, value, mask, 1.0, False)
            backward(grad, query, key, value, mask, out, lse, 1.0)
        elif pairwise == "dot_product":
            _, table = dot_product_forward(query, key, value, mask, 1.0, False)
            dot_product_backward(grad, query, key, value, mask, table, 1.0)
            second_order(
                lambda q, k, v: plain_dot_product(q, k, v, mask, 1.0), (grad, query, key, value), (query, key, value)
            )
        else:
            concatenation_forward(query[:, 0], key[:, 0], value, mask, False)
            concatenation_backward(grad, query[:, 0], key[:, 0], value, mask)
    assert largest.numel > 0
    assert (largest.numel >= n * n) == (pairwise == "naive"), f"a tensor of {largest.numel} entries at N = {n}"
    assert pairwise == "naive" or largest.numel <= 20 * n
