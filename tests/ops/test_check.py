"""`check_op` is silent on a right operator and names the defect of each operator that was broken on purpose."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sightline.ops.check import check_op

Operator = Callable[..., Tensor]


def right(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).tanh() * x


def inputs() -> list[Tensor]:
    return [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)]


def test_silent_on_a_right_operator() -> None:
    check_op(right, right, inputs(), names=["x", "y"], channels_last=True)


def test_leaves_the_random_state_alone() -> None:
    given = inputs()
    state = torch.random.get_rng_state()
    check_op(right, right, given, second_order=False, low_precision=())
    assert torch.equal(state, torch.random.get_rng_state())


class _Halved(torch.autograd.Function):
    """Right forward, wrong backward."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return g / 2


class _Once(torch.autograd.Function):
    """Right forward and backward, no second derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].exp()


def writes(x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        x.add_(1)
    return right(x - 1, y)


def rounds(x: Tensor, y: Tensor) -> Tensor:
    return right(x, y) if x.dtype == torch.float64 else right(x.round(), y)


def upcasts(x: Tensor, y: Tensor) -> Tensor:
    return right(x.float(), y.float()) if x.dtype == torch.bfloat16 else right(x, y)


def forgets(x: Tensor, y: Tensor) -> Tensor:
    return right(x.detach(), y)


def poisons(x: Tensor, y: Tensor) -> Tensor:
    out = right(x, y).clone()
    out[0, 0, 0, 0] = float("nan")
    return out


def wavers(x: Tensor, y: Tensor) -> Tensor:
    return right(x, y) * (1 + 1e-13 * torch.rand(()).to(x.dtype))


BROKEN: list[tuple[str, Operator, Operator, str]] = [
    ("value", lambda x, y: right(x, y) * 1.001, right, "the output differs from the reference by"),
    ("shape", lambda x, y: right(x, y)[:1], right, r"shape \(1, 3, 4, 5\), the reference has \(2, 3, 4, 5\)"),
    ("type", lambda x, y: right(x, y).float(), right, "float64 inputs give torch.float32"),
    ("gradient", lambda x, y: right(_Halved.apply(x), y), right, "the gradient of x differs from the reference"),
    ("cut", forgets, right, "the gradient of x is missing: the graph is cut"),
    ("writes", writes, right, "the operator writes to x"),
    ("nan", poisons, right, "the output has entries that are not finite"),
    ("wavers", wavers, right, "the output is not the same twice"),
    ("once", lambda x, y: _Once.apply(x) * y, lambda x, y: x.exp() * y, "the second derivative disagrees"),
    ("coarse", rounds, right, "in torch.float32 is off by"),
    ("upcast", upcasts, right, "keep the type of the inputs"),
    ("layout", lambda x, y: right(x, y).contiguous(), right, "the output is not channels_last"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "reference", "sentence"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_names_the_defect(operator: Operator, reference: Operator, sentence: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_op(operator, reference, inputs(), names=["x", "y"], channels_last=True)
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_first_derivative_is_found_even_where_the_reference_shares_it() -> None:
    def wrong(x: Tensor, y: Tensor) -> Tensor:
        return right(_Halved.apply(x), y)

    with pytest.raises(AssertionError, match="the first derivative disagrees with finite differences"):
        check_op(wrong, wrong, inputs())
