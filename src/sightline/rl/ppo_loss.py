"""PPO's loss in one piece: of every row its value and, in closed form, its slope in the two numbers it depends on.

    L = mean(-min(r A, clip(r) A)) + c mean(1/2 (v - G)^2),   r = exp(log p - log p_old)

    dL/dlog p = -r A / n where the minimum is r A, else 0
    dL/dv     = c (v - G) / n

The functions of `losses.py` say the same one by one and are this file's oracle in tests; differentiating them takes
autograd as long as a small network's own backward pass does.

Left out: the entropy, whose slope is the distribution's own matter, and rows that do not count.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

Rows = Float[Tensor, " n"]
Scalar = Float[Tensor, ""]


def surrogate_and_value_loss(
    log_probability: Rows,
    values: Rows,
    old_log_probability: Rows,
    advantages: Rows,
    targets: Rows,
    *,
    clip: float,
    value_factor: float,
    old_values: Rows | None = None,
    value_clip: float | None = None,
) -> tuple[Scalar, Scalar, Scalar, Scalar, Scalar]:
    """Clipped surrogate loss plus `value_factor` times the value's loss; gradients flow into the first two alone.

    Args:
        log_probability: Of the actions taken, under the policy that learns.
        values: Of the network that learns.
        old_log_probability: Of the same actions, under the policy that took them.
        advantages: How much better than expected they were.
        targets: Returns.
        clip: How far the ratio may move before its gradient stops.
        value_factor: Of the value's loss.
        old_values: Of the network that acted, where values are clipped.
        value_clip: How far a value may move; None: as far as it likes.

    Returns:
        The loss; and without gradient the surrogate loss, the value's loss, `approximate_kl` and `clip_fraction`.
    """
    with torch.no_grad():
        log_ratio = log_probability - old_log_probability
        moved = log_ratio.expm1()
        ratio = moved + 1
        plain = ratio * advantages
        near = ratio.clamp(1 - clip, 1 + clip) * advantages
        slope = plain.masked_fill(plain > near, 0.0)
        error = values - targets
        squares, value_slope = error.square(), error
        if old_values is not None and value_clip is not None:
            apart = values - old_values
            stopped = old_values + apart.clamp(-value_clip, value_clip) - targets
            farther = stopped.square() > squares
            squares = torch.where(farther, stopped.square(), squares)
            value_slope = torch.where(farther, stopped * (apart.abs() <= value_clip), error)
        gain, square, kl, outside = (
            torch.stack([torch.minimum(plain, near), squares, moved - log_ratio, (moved.abs() > clip).to(moved.dtype)])
            .mean(1)
            .unbind()
        )
        surrogate, value = -gain, 0.5 * square
        slopes = (slope.mul_(-1 / len(values)), value_slope * (value_factor / len(values)))
    total = _WithSlopes.apply(log_probability, values, surrogate + value_factor * value, *slopes)
    return total, surrogate, value, kl, outside


class _WithSlopes(torch.autograd.Function):
    """A number whose derivatives by two rows of numbers are known."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor, value: Tensor, slope: Tensor, other_slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope, other_slope)
        return value.clone()  # autograd takes an input that comes out for itself

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        slope, other_slope = ctx.saved_tensors
        return gradient * slope, gradient * other_slope, None, None, None
