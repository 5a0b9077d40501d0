"""The gradient of a gradient, for operators whose backward pass is an operator itself: through the plain form.

An operator's first backward pass saves memory; differentiating it again is rare (gradient penalties, Hessian
products), so autograd does it through the plain formula, and whatever that formula stores is stored.

Left out: leanness. With an N x N formula the second order stores N x N.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sightline.ops.layouts import accumulation_type


def second_order(
    plain: Callable[[Tensor, Tensor, Tensor], Tensor], saved: Sequence[Tensor], grads: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Differentiate the three first-order gradients of `plain(query, key, value)`.

    Args:
        plain: the operator as a differentiable formula.
        saved: what the backward pass was given: the output's gradient, query, key, value.
        grads: one cotangent for each of the gradients of query, key and value.

    Returns:
        The gradients of the four saved tensors.
    """
    again = torch.is_grad_enabled()  # a third order is asked for
    dtype = accumulation_type(saved[0].dtype)
    with torch.enable_grad(), torch.autocast(saved[0].device.type, enabled=False):
        # as views: the output's gradient may itself depend on the query, and that path is the caller's, not ours
        inputs = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in saved]
        grad, *wide = (t.to(dtype) for t in inputs)
        first = torch.autograd.grad(plain(*wide), wide, grad, create_graph=True)
        cotangents = [g.to(dtype) for g in grads]
        return torch.autograd.grad(first, inputs, cotangents, create_graph=again, allow_unused=True)
