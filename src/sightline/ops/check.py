"""`check_op`: is a fast operator the function it claims to be? It says in one sentence what is wrong.

Anyone who writes an operator can run it: forward and every gradient against a slow reference in float64, first and
second derivatives against finite differences, inputs left alone, the same bits twice, low precision close to float64,
and, where asked, the memory layout kept.

Left out: compilation and fake tensors, for which `torch.library.opcheck` stands.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operator = Callable[..., Tensor]
LOW = (torch.float32, torch.bfloat16, torch.float16)
FLOAT64_ERROR = 1e-10  # relative to the largest entry
ROUNDINGS = {torch.float32: 64.0, torch.bfloat16: 2.0, torch.float16: 2.0}  # relative L2 error, in units of eps
SMALL = 100  # entries of all inputs together up to which every single one is perturbed by gradcheck


def check_op(
    operator: Operator,
    reference: Operator,
    inputs: Sequence[Tensor],
    *,
    names: Sequence[str] | None = None,
    second_order: bool = True,
    low_precision: Sequence[torch.dtype] = LOW,
    channels_last: bool = False,
) -> None:
    """Compare an operator with a slow, obviously right one on the same inputs; silent when all is well.

    Args:
        operator: takes the inputs in order and returns one tensor; bind masks and options beforehand, by a lambda.
        reference: the same function, slowly.
        inputs: floating-point tensors of any type; the checks convert them. Odd sizes and a batch above one find most.
        names: what to call the inputs in a complaint.
        second_order: also check the gradient of the gradient.
        low_precision: types in which the operator must come close to the reference in float64.
        channels_last: inputs of four axes in channels_last must give such an output and such gradients.

    Raises:
        AssertionError: one sentence that says what is wrong.
    """
    names = names or [f"input {i}" for i in range(len(inputs))]
    exact = [t.detach().double().clone() for t in inputs]
    torch_state = torch.random.get_rng_state()
    try:
        cotangent = torch.randn_like(reference(*exact))
    finally:
        torch.random.set_rng_state(torch_state)
    wanted = _run(reference, exact, cotangent)
    _check_exact(operator, exact, cotangent, wanted, names)
    _check_derivatives(operator, exact, second_order)
    for dtype in low_precision:
        _check_low(operator, reference, [t.to(dtype) for t in exact], cotangent, names)
    if channels_last:
        _check_layout(operator, exact, cotangent, names)


def _run(operator: Operator, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor | None]:
    """The output, then the gradient of every input (None where the graph does not reach it)."""
    leaves = [t.detach().requires_grad_() for t in inputs]  # shares memory: a write to an input is seen
    out = operator(*leaves)
    if not out.requires_grad:
        return [out, *[None] * len(leaves)]
    return [out.detach(), *torch.autograd.grad(out, leaves, cotangent.to(out.dtype), allow_unused=True)]


def _check_exact(
    operator: Operator, exact: list[Tensor], cotangent: Tensor, wanted: list[Tensor | None], names: Sequence[str]
) -> None:
    before = [t.clone() for t in exact]
    out = operator(*exact)
    _say(out.dtype == torch.float64, f"float64 inputs give {out.dtype}: keep the type of the inputs")
    same_shape = out.shape == cotangent.shape
    _say(same_shape, f"the output has shape {tuple(out.shape)}, the reference has {tuple(cotangent.shape)}")
    first, second = _run(operator, exact, cotangent), _run(operator, exact, cotangent)
    for name, was, now in zip(names, before, exact, strict=True):
        _say(torch.equal(was, now), f"the operator writes to {name}: it must leave its inputs alone")
    for what, got, again, right in zip(_whats(names), first, second, wanted, strict=True):
        if right is None and got is None:
            continue
        _say(got is not None and again is not None, f"{what} is missing: the graph is cut")
        if got is None or again is None:
            continue
        right = torch.zeros_like(got) if right is None else right
        _say(bool(got.isfinite().all()) or not bool(right.isfinite().all()), f"{what} has entries that are not finite")
        error = float((got - right).abs().max()) if got.numel() else 0.0
        largest = float(right.abs().max()) if right.numel() else 0.0
        _say(
            error <= FLOAT64_ERROR * max(largest, 1e-3),
            f"{what} differs from the reference by {error:.2g} in float64, where its largest entry is {largest:.2g}",
        )
        _say(torch.equal(got, again), f"{what} is not the same twice: the operator is not deterministic")


def _check_derivatives(operator: Operator, exact: list[Tensor], second_order: bool) -> None:
    leaves = [t.detach().clone().requires_grad_() for t in exact]
    fast = sum(t.numel() for t in leaves) > SMALL
    orders: list[tuple[str, Callable[..., bool]]] = [("first", torch.autograd.gradcheck)]
    if second_order:
        orders.append(("second", torch.autograd.gradgradcheck))
    for order, check in orders:
        try:
            right, reason = check(operator, leaves, fast_mode=fast, atol=1e-5, rtol=1e-3), ""
        except RuntimeError as error:  # gradcheck's own complaint, or an operator without such a derivative
            right, reason = False, " ".join(str(error).split())[:300]
        _say(right, f"the {order} derivative disagrees with finite differences or does not exist: {reason}")


def _check_low(
    operator: Operator, reference: Operator, inputs: list[Tensor], cotangent: Tensor, names: Sequence[str]
) -> None:
    dtype = inputs[0].dtype
    cotangent = cotangent.to(dtype)
    wanted = _run(reference, [t.double() for t in inputs], cotangent.double())
    results = _run(operator, inputs, cotangent)
    for what, got, right in zip(_whats(names), results, wanted, strict=True):
        if got is None or right is None:
            continue
        _say(got.dtype == dtype, f"{what} is {got.dtype} where the inputs are {dtype}: keep the type of the inputs")
        error = float((got.double() - right).norm() / right.norm().clamp_min(1e-6))
        allowed = ROUNDINGS.get(dtype, 2.0) * torch.finfo(dtype).eps * (1.0 if what == "the output" else 2.0)
        _say(
            error <= allowed,
            f"{what} in {dtype} is off by {error:.2g} relative to float64, more than the {allowed:.2g} allowed: "
            "compute scores and sums in float32",
        )


def _check_layout(operator: Operator, exact: list[Tensor], cotangent: Tensor, names: Sequence[str]) -> None:
    *inputs, cotangent = (
        t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in (*exact, cotangent)
    )
    for what, got in zip(_whats(names), _run(operator, inputs, cotangent), strict=True):
        if got is not None and got.dim() == 4:
            kept = got.is_contiguous(memory_format=torch.channels_last)
            _say(kept, f"{what} is not channels_last where the inputs are: keep the memory layout")


def _whats(names: Sequence[str]) -> list[str]:
    return ["the output", *(f"the gradient of {name}" for name in names)]


def _say(right: bool, sentence: str) -> None:
    if not right:
        raise AssertionError(sentence)
