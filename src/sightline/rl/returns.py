"""Returns and advantages as pure functions on `[t, b]`: time first, then environments.

Row t holds what a transition gave: its reward, and whether the episode `terminated` (no future: nothing is added) or
was `truncated` (the future exists but was not seen: the value of the true last observation stands for it). Where both
are true, terminated wins. `next_values[t]` is the value of the observation that row t truly led to. The function of
that name builds it under every autoreset mode; nothing else depends on the mode.

`valid` marks the rows that count. NEXT_STEP autoreset yields one row after each end in which the action was ignored:
it is not valid, comes out as 0, and nothing of it (NaN neither) reaches the other rows. A row before an invalid one, or
at the end of the rollout, is bootstrapped like a truncated one.

- `discounted_returns`, `n_step_returns`: Sutton & Barto (2018), equations 3.8 and 7.1
- `lambda_returns`: equation 12.3, cut off at the end of the rollout as in 12.9
- `gae`: generalised advantages, Schulman et al. (2016), https://arxiv.org/abs/1506.02438, equation 16

Gradients flow through rewards and values; detach what is a target. Left out: importance weights (V-trace).
"""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Rows: TypeAlias = Float[Tensor, "t b"]
Flags: TypeAlias = Bool[Tensor, "t b"]


def next_values(
    values: Rows, last: Float[Tensor, "b"], truncated: Flags | None = None, final_values: Rows | None = None
) -> Rows:
    """The value of the observation that each transition led to.

    Under NEXT_STEP autoreset the row after an end holds the true last observation: give `values` and `last` alone.
    Under SAME_STEP, or when the caller resets, the next row already begins a new episode: give the other two as well.

    Args:
        values: Value of the observation in which each row's action was taken, invalid rows included.
        last: Value of the observation after the last row.
        truncated: Which rows were truncated.
        final_values: Value of the true last observation in truncated rows; the rest is not read.

    Raises:
        ValueError: only one of `truncated` and `final_values` is given.
    """
    shifted = torch.cat([values[1:], last.unsqueeze(0)])
    if truncated is None and final_values is None:
        return shifted
    if truncated is None or final_values is None:
        given, missing = ("final_values", "truncated") if truncated is None else ("truncated", "final_values")
        raise ValueError(f"next_values got {given} without {missing}: give both, or neither under NEXT_STEP autoreset")
    return torch.where(truncated, final_values, shifted)


def discounted_returns(
    rewards: Rows,
    terminated: Flags,
    truncated: Flags,
    next_values: Rows | None = None,
    *,
    gamma: float,
    valid: Flags | None = None,
) -> Rows:
    """G_t = r_t + gamma G_{t+1} to the end of the episode, plus the bootstrap where its end was not seen.

    Args:
        rewards: Reward of each transition.
        terminated: The transition ended the episode for good.
        truncated: The transition ended the episode by a limit from outside.
        next_values: Read only where the future is cut off. None counts such a future as 0; `finished` tells which rows
            do not depend on where the rollout was cut.
        gamma: Discount in [0, 1].
        valid: Rows that count; None: all.
    """
    bootstrap = torch.zeros_like(rewards) if next_values is None else next_values
    bootstrap = bootstrap.masked_fill(_continues(terminated, truncated, valid), 0.0)
    return lambda_returns(rewards, bootstrap, terminated, truncated, gamma=gamma, lambda_=1.0, valid=valid)


def n_step_returns(
    rewards: Rows,
    next_values: Rows,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float,
    steps: int,
    valid: Flags | None = None,
) -> Rows:
    """Sum of `steps` discounted rewards plus the discounted value of what follows; fewer where the episode ends before.

    Raises:
        ValueError: arrays that do not fit, gamma out of range, or fewer than one step.
    """
    _check(rewards, (next_values, terminated, truncated, valid), gamma=gamma)
    if steps < 1:
        raise ValueError(f"an n-step return looks at least 1 step ahead, got steps {steps}: 5 is usual")
    continues = _continues(terminated, truncated, valid)
    future = next_values.masked_fill(terminated, 0.0)
    returns = rewards + gamma * future
    for _ in range(min(steps, len(rewards)) - 1):
        following = torch.cat([returns[1:], future[-1:]])
        returns = rewards + gamma * torch.where(continues, following, future)
    return _only(returns, valid)


def lambda_returns(
    rewards: Rows,
    next_values: Rows,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float,
    lambda_: float,
    valid: Flags | None = None,
) -> Rows:
    """G_t = r_t + gamma ((1 - lambda) v(s_{t+1}) + lambda G_{t+1}): the mean of all n-step returns, lambda^(n-1) each.

    Raises:
        ValueError: arrays that do not fit, or gamma or lambda out of range.
    """
    _check(rewards, (next_values, terminated, truncated, valid), gamma=gamma, lambda_=lambda_)
    onward = lambda_ * _continues(terminated, truncated, valid).to(rewards.dtype)
    step = rewards + gamma * (1 - onward) * next_values.masked_fill(terminated, 0.0)
    return _backwards(_only(step, valid), gamma * onward)


def gae(
    rewards: Rows,
    values: Rows,
    next_values: Rows,
    terminated: Flags,
    truncated: Flags,
    *,
    gamma: float,
    lambda_: float,
    valid: Flags | None = None,
) -> Rows:
    """Generalised advantages: A_t = delta_t + gamma lambda A_{t+1}, delta_t = r_t + gamma v(s_{t+1}) - v(s_t).

    Plus `values`, they are the lambda-returns that the values should learn.

    Args:
        rewards: Reward of each transition.
        values: Value of the observation in which the action was taken.
        next_values: Value of the observation that the transition truly led to, from `next_values`.
        terminated: The transition ended the episode for good; its next value is not read.
        truncated: The transition ended the episode by a limit from outside; its next value counts.
        gamma: Discount in [0, 1].
        lambda_: 0 trusts the values after one step, 1 trusts the rewards alone; 0.95 is usual.
        valid: Rows that count; None: all.

    Raises:
        ValueError: arrays that do not fit, or gamma or lambda out of range.
    """
    _check(rewards, (values, next_values, terminated, truncated, valid), gamma=gamma, lambda_=lambda_)
    delta = rewards + gamma * next_values.masked_fill(terminated, 0.0) - values
    onward = _continues(terminated, truncated, valid).to(rewards.dtype)
    return _backwards(_only(delta, valid), gamma * lambda_ * onward)


def finished(terminated: Flags, truncated: Flags, valid: Flags | None = None) -> Flags:
    """Valid rows whose episode ends within the rollout: those that a Monte Carlo method may learn from."""
    ends = terminated | truncated if valid is None else (terminated | truncated) & valid
    later = ends.flip(0).cumsum(0).flip(0) > 0
    return later if valid is None else later & valid


def _continues(terminated: Flags, truncated: Flags, valid: Flags | None) -> Flags:
    """Rows whose next row is there, counts, and belongs to the same episode."""
    continues = ~(terminated | truncated)
    continues[-1:] = False
    if valid is not None:
        continues &= valid
        continues[:-1] &= valid[1:]
    return continues


def _backwards(step: Rows, factor: Rows) -> Rows:
    """x_t = step_t + factor_t x_{t+1}, from the last row on, whose factor must be 0.

    By doubling (Hillis and Steele, 1986): row t first knows itself, then 2 rows, then 4, so log2(t) passes over whole
    arrays do what a loop does in t. What is added in which order depends on the rows of the episode alone.
    """
    reach, known = 1, len(step)
    while reach < known:
        ahead = torch.addcmul(step[:-reach], factor[: known - reach], step[reach:])
        step = torch.cat([ahead, step[-reach:]])
        factor = factor[:-reach] * factor[reach:]
        reach *= 2
    return step


def _only(rows: Rows, valid: Flags | None) -> Rows:
    return rows if valid is None else rows.masked_fill(~valid, 0.0)


def _check(rewards: Tensor, others: tuple[Tensor | None, ...], **factors: float) -> None:
    """Broadcasting would hide a swapped or missing axis, so every array has the rewards' shape."""
    wrong = next((list(o.shape) for o in others if o is not None and o.shape != rewards.shape), None)
    if wrong is not None or rewards.dim() != 2 or len(rewards) == 0:
        raise ValueError(
            f"returns need arrays of one shape [t, b], t at least 1, got rewards of {list(rewards.shape)}"
            + (f" with an array of {wrong}" if wrong is not None else "")
            + ": put time first, environments second"
        )
    for name, factor in factors.items():
        if not 0 <= factor <= 1:
            raise ValueError(f"{name.rstrip('_')} lies in [0, 1], got {factor}: 0.99 and 0.95 are usual")
