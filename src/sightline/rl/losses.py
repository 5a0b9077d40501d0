"""Losses of policy gradients as pure functions of log-probabilities, values and advantages, over rows of any shape.

- `policy_gradient_loss`: REINFORCE, Williams (1992); with a baseline, Sutton & Barto (2018), sections 13.3 and 13.4
- `clipped_surrogate_loss`: PPO, Schulman et al. (2017), https://arxiv.org/abs/1707.06347, equation 7
- `value_loss`: half the squared error, clipped as OpenAI's and cleanrl's code do it, or not
- `entropy_bonus`: the mean entropy, which equation 9 adds to the objective
- `approximate_kl`, `clip_fraction`: how far the policy has moved; `normalised`: advantages of mean 0 and deviation 1

Every mean is over the rows marked `valid` alone; what the others hold (NaN, an infinite log-probability) reaches
neither the loss nor a gradient. All are to be minimised but `entropy_bonus`.

Left out: the adaptive KL penalty of equation 8, and weights of single rows.
"""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Rows: TypeAlias = Float[Tensor, "*n"]
Flags: TypeAlias = Bool[Tensor, "*n"]
Scalar: TypeAlias = Float[Tensor, ""]


def policy_gradient_loss(
    log_probability: Rows, returns: Rows, baseline: Rows | None = None, *, valid: Flags | None = None
) -> Scalar:
    """-mean(log pi(a|s) (G - b(s))): its gradient is minus an estimate of the expected return's.

    Args:
        log_probability: Of the actions taken, under the policy that took them.
        returns: What followed; an advantage with no baseline serves as well. No gradient flows into it.
        baseline: Any function of the state; it changes the variance and not the mean. No gradient flows into it.
        valid: Rows that count; None: all.
    """
    log_probability, returns, baseline = _kept(
        valid, log_probability, returns.detach(), torch.zeros_like(returns) if baseline is None else baseline.detach()
    )
    return -_mean(log_probability * (returns - baseline), valid)


def clipped_surrogate_loss(
    log_probability: Rows, old_log_probability: Rows, advantages: Rows, *, clip: float, valid: Flags | None = None
) -> Scalar:
    """-mean(min(r A, clip(r, 1 - clip, 1 + clip) A)) with r = pi(a|s) / pi_old(a|s).

    Args:
        log_probability: Of the actions taken, under the policy that learns.
        old_log_probability: Of the same actions, under the policy that took them. No gradient flows into it.
        advantages: How much better than expected they were. No gradient flows into it.
        clip: How far the ratio may move before its gradient stops; 0.2 is usual.
        valid: Rows that count; None: all.

    Raises:
        ValueError: clip is not above 0, or no row is valid.
    """
    _check_clip(clip)
    new, old, advantages = _kept(valid, log_probability, old_log_probability.detach(), advantages.detach())
    ratio = (new - old).exp()
    return -_mean(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages), valid)


def value_loss(
    values: Rows,
    targets: Rows,
    *,
    old_values: Rows | None = None,
    clip: float | None = None,
    valid: Flags | None = None,
) -> Scalar:
    """Half the mean squared error; clipped: 1/2 mean(max((v - G)^2, (v_old + clip(v - v_old, -clip, clip) - G)^2)).

    The max makes the clipped loss an upper bound: a value may always come back, and stops only on its way out.

    Args:
        values: Of the network that learns.
        targets: Returns. No gradient flows into them.
        old_values: Of the network that acted; needed, with `clip`, for the clipped loss. No gradient flows into them.
        clip: How far a value may move, in units of return.
        valid: Rows that count; None: all.

    Raises:
        ValueError: only one of `old_values` and `clip` is given, clip is not above 0, or no row is valid.
    """
    if old_values is None and clip is None:
        values, targets = _kept(valid, values, targets.detach())
        return 0.5 * _mean((values - targets).square(), valid)
    if old_values is None or clip is None:
        given, missing = ("clip", "old_values") if old_values is None else ("old_values", "clip")
        raise ValueError(f"value_loss got {given} without {missing}: give both for the clipped loss, or neither")
    _check_clip(clip)
    values, targets, old_values = _kept(valid, values, targets.detach(), old_values.detach())
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * _mean(torch.maximum((values - targets).square(), (near - targets).square()), valid)


def entropy_bonus(entropy: Rows, *, valid: Flags | None = None) -> Scalar:
    """Mean entropy: subtract a small multiple of it from the loss, and the policy stays curious."""
    (entropy,) = _kept(valid, entropy)
    return _mean(entropy, valid)


def approximate_kl(log_probability: Rows, old_log_probability: Rows, *, valid: Flags | None = None) -> Scalar:
    """KL(pi_old, pi) from the actions taken: mean(r - 1 - log r), never below 0. A diagnostic, without gradient.

    It is the third estimator of http://joschu.net/blog/kl-approx.html: unbiased, and less noisy than mean(-log r).
    """
    log_ratio = _log_ratio(log_probability, old_log_probability, valid).detach()
    return _mean(log_ratio.expm1() - log_ratio, valid)


def clip_fraction(
    log_probability: Rows, old_log_probability: Rows, *, clip: float, valid: Flags | None = None
) -> Scalar:
    """The share of rows whose ratio lies outside [1 - clip, 1 + clip]. A diagnostic, without gradient."""
    _check_clip(clip)
    log_ratio = _log_ratio(log_probability, old_log_probability, valid).detach()
    return _mean((log_ratio.expm1().abs() > clip).to(log_ratio.dtype), valid)


def normalised(advantages: Rows, *, valid: Flags | None = None, epsilon: float = 1e-8) -> Rows:
    """(A - mean) / (deviation + epsilon) over the valid rows, which divide by their number; 0 in the others."""
    (advantages,) = _kept(valid, advantages)
    (centred,) = _kept(valid, advantages - _mean(advantages, valid))
    return centred / (_mean(centred.square(), valid).sqrt() + epsilon)


def _log_ratio(log_probability: Rows, old_log_probability: Rows, valid: Flags | None) -> Rows:
    new, old = _kept(valid, log_probability, old_log_probability.detach())
    return new - old


def _kept(valid: Flags | None, *rows: Tensor) -> tuple[Tensor, ...]:
    """The rows with 0 where they do not count, before any formula sees them: 0 x NaN would be NaN, forth and back."""
    shapes = [list(r.shape) for r in rows] + ([] if valid is None else [list(valid.shape)])
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"a loss needs arrays of one shape, one number a row, got shapes {shapes}: make them equal")
    return rows if valid is None else tuple(r.masked_fill(~valid, 0.0) for r in rows)


def _mean(rows: Tensor, valid: Flags | None) -> Scalar:
    """Mean over the valid rows of what is 0 elsewhere."""
    count = rows.numel() if valid is None else int(valid.sum())
    if count == 0:
        raise ValueError(f"none of the {rows.numel()} rows counts, so there is no mean: leave such a batch out")
    return rows.sum() / count


def _check_clip(clip: float) -> None:
    if not clip > 0:
        raise ValueError(f"clip is how far a ratio or value may move, above 0, got {clip}: 0.2 is usual")
