"""Losses against loops over rows and hand-worked tables; the policy gradient against an exact one, by enumeration."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from sightline.rl.losses import (
    approximate_kl,
    clip_fraction,
    clipped_surrogate_loss,
    entropy_bonus,
    normalised,
    policy_gradient_loss,
    value_loss,
)
from sightline.rl.returns import discounted_returns

SHAPES = [(1,), (9,), (4, 3), (1, 1)]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def marks(shape: tuple[int, ...], masked: bool) -> Tensor | None:
    if not masked:
        return None
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(9)) < 0.6
    valid.view(-1)[0] = True
    return valid


def counted(valid: Tensor | None, *rows: Tensor) -> list[tuple[float, ...]]:
    flat = [r.flatten().tolist() for r in rows]
    keep = [True] * len(flat[0]) if valid is None else valid.flatten().tolist()
    return [row for row, kept in zip(zip(*flat, strict=True), keep, strict=True) if kept]


def mean(terms: list[float]) -> float:
    return math.fsum(terms) / len(terms)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_every_loss_equals_a_loop_over_rows(shape, masked):
    new, old, advantage, value, old_value, target = (normal(shape, seed) for seed in range(6))
    valid = marks(shape, masked)
    for clip in (0.1, 0.2, 1.5):
        terms = []
        for n, o, a in counted(valid, new, old, advantage):
            ratio = math.exp(n - o)
            terms.append(min(ratio * a, max(1 - clip, min(1 + clip, ratio)) * a))
        loss = clipped_surrogate_loss(new, old, advantage, clip=clip, valid=valid)
        assert loss.item() == pytest.approx(-mean(terms), rel=1e-12)
        terms = []
        for v, o, g in counted(valid, value, old_value, target):
            near = o + max(-clip, min(clip, v - o))
            terms.append(max((v - g) ** 2, (near - g) ** 2) / 2)
        loss = value_loss(value, target, old_values=old_value, clip=clip, valid=valid)
        assert loss.item() == pytest.approx(mean(terms), rel=1e-12)
        outside = [not 1 - clip <= math.exp(n - o) <= 1 + clip for n, o in counted(valid, new, old)]
        assert clip_fraction(new, old, clip=clip, valid=valid).item() == pytest.approx(mean(outside), abs=1e-12)
    plain = [n * g for n, g in counted(valid, new, target)]
    assert policy_gradient_loss(new, target, valid=valid).item() == pytest.approx(-mean(plain), rel=1e-12)
    less = [n * (g - v) for n, g, v in counted(valid, new, target, value)]
    assert policy_gradient_loss(new, target, value, valid=valid).item() == pytest.approx(-mean(less), rel=1e-12)
    squared = [(v - g) ** 2 / 2 for v, g in counted(valid, value, target)]
    assert value_loss(value, target, valid=valid).item() == pytest.approx(mean(squared), rel=1e-12)
    assert entropy_bonus(value, valid=valid).item() == pytest.approx(mean([v for (v,) in counted(valid, value)]))
    k3 = [math.exp(n - o) - 1 - (n - o) for n, o in counted(valid, new, old)]
    assert approximate_kl(new, old, valid=valid).item() == pytest.approx(mean(k3), rel=1e-12, abs=1e-15)


def test_tables_worked_by_hand():
    new, old = numbers(2.0, 1.0, 0.5, 1.0).log(), numbers(1.0, 1.0, 1.0, 2.0).log()  # ratios 2, 1, 1/2, 1/2
    advantages = numbers(1.0, 3.0, 1.0, -4.0)
    # min(2, 1.2), 3, min(0.5, 0.8), min(-2, -3.2): the sum is 1.2 + 3 + 0.5 - 3.2.
    assert clipped_surrogate_loss(new, old, advantages, clip=0.2).item() == pytest.approx(-1.5 / 4)
    assert clip_fraction(new, old, clip=0.2).item() == 0.75
    assert clip_fraction(new, old, clip=0.6).item() == 0.25
    ends = 2 * (0.5 - 1 + math.log(2)) + (2 - 1 - math.log(2))
    assert approximate_kl(new, old).item() == pytest.approx(ends / 4)
    # A value that left (0 -> 3 for a target of 1) is pulled from where it is; one that overshot its way to a target of
    # 3 is held at 0.5: (3 - 1)^2 and max((2 - 3)^2, (0.5 - 3)^2), halved.
    values, start, targets = numbers(3.0, 2.0), numbers(0.0, 0.0), numbers(1.0, 3.0)
    assert value_loss(values, targets).item() == pytest.approx((4 + 1) / 4)
    assert value_loss(values, targets, old_values=start, clip=0.5).item() == pytest.approx((4 + 6.25) / 4)
    log_probability = numbers(0.5, 0.25).log()
    assert policy_gradient_loss(log_probability, numbers(1.0, -2.0)).item() == pytest.approx(
        (math.log(2) - 2 * math.log(4)) / 2
    )
    torch.testing.assert_close(normalised(numbers(1.0, 3.0)), numbers(-1.0, 1.0))


def test_gradients_of_the_surrogate_are_those_of_the_naive_form_and_stop_where_it_is_clipped():
    new, old = normal((50,), 0).requires_grad_(), normal((50,), 1)
    advantages, valid = normal((50,), 2), marks((50,), True)
    (found,) = torch.autograd.grad(clipped_surrogate_loss(new, old, advantages, clip=0.2, valid=valid), new)
    ratio = new[valid].exp() / old[valid].exp()
    stacked = torch.stack([ratio * advantages[valid], ratio.clip(0.8, 1.2) * advantages[valid]])
    (naive,) = torch.autograd.grad(-stacked.min(0).values.mean(), new)
    torch.testing.assert_close(found, naive, rtol=1e-12, atol=1e-14)
    ratio = (new - old).exp()
    stopped = ((ratio > 1.2) & (advantages > 0)) | ((ratio < 0.8) & (advantages < 0)) | ~valid
    assert 0 < stopped.sum() < 50
    assert torch.equal(found == 0, stopped)


def test_gradients_equal_finite_differences():
    new, old, advantages, value = (normal((7,), seed).requires_grad_() for seed in range(4))
    valid, fixed = marks((7,), True), [old.detach(), advantages.detach()]
    check = torch.autograd.gradcheck
    assert check(lambda n: clipped_surrogate_loss(n, fixed[0], fixed[1], clip=0.2, valid=valid), (new,))
    assert check(lambda v: value_loss(v, fixed[1], old_values=fixed[0], clip=0.3, valid=valid), (value,))
    assert check(lambda v: value_loss(v, fixed[1], valid=valid), (value,))
    assert check(lambda n: policy_gradient_loss(n, fixed[0], fixed[1], valid=valid), (new,))
    assert check(lambda e: entropy_bonus(e, valid=valid), (value,))
    assert check(lambda a: normalised(a, valid=valid), (advantages,))


def test_targets_and_diagnostics_give_no_gradient():
    new, old, advantages, value = (normal((5,), seed).requires_grad_() for seed in range(4))
    surrogate = clipped_surrogate_loss(new, old, advantages, clip=0.2)
    gradient = torch.autograd.grad(surrogate, (new, old, advantages), allow_unused=True)
    assert [g is not None for g in gradient] == [True, False, False]
    gradient = torch.autograd.grad(
        policy_gradient_loss(new, advantages, value), (new, advantages, value), allow_unused=True
    )
    assert [g is not None for g in gradient] == [True, False, False]
    clipped = value_loss(value, advantages, old_values=old, clip=0.2)
    gradient = torch.autograd.grad(clipped, (value, advantages, old), allow_unused=True)
    assert [g is not None for g in gradient] == [True, False, False]
    assert not approximate_kl(new, old).requires_grad
    assert not clip_fraction(new, old, clip=0.2).requires_grad


def test_rows_that_do_not_count_reach_neither_a_loss_nor_a_gradient():
    valid = torch.tensor([True, False, True, False])
    good = [normal((4,), seed) for seed in range(4)]
    expected = [f(*(g[valid] for g in good), None) for f in ALL]
    for bad in (math.nan, math.inf, -math.inf):
        spoilt = [g.where(valid, bad).requires_grad_() for g in good]
        for function, wanted in zip(ALL, expected, strict=True):
            loss = function(*spoilt, valid)
            torch.testing.assert_close(loss, wanted.detach(), rtol=1e-14, atol=0)
            if loss.requires_grad:
                for gradient in torch.autograd.grad(loss, spoilt, allow_unused=True):
                    assert gradient is None or (gradient.isfinite().all() and (gradient[~valid] == 0).all())


ALL = [
    lambda new, old, a, v, valid: clipped_surrogate_loss(new, old, a, clip=0.2, valid=valid),
    lambda new, old, a, v, valid: policy_gradient_loss(new, a, v, valid=valid),
    lambda new, old, a, v, valid: value_loss(v, a, valid=valid),
    lambda new, old, a, v, valid: value_loss(v, a, old_values=old, clip=0.1, valid=valid),
    lambda new, old, a, v, valid: entropy_bonus(v, valid=valid),
    lambda new, old, a, v, valid: approximate_kl(new, old, valid=valid),
    lambda new, old, a, v, valid: clip_fraction(new, old, clip=0.1, valid=valid),
]


@pytest.mark.parametrize("masked", [False, True])
def test_normalised_advantages_have_mean_0_and_deviation_1_over_the_rows_that_count(masked):
    advantages, valid = 5 + 3 * normal((6, 4), 0), marks((6, 4), masked)
    found = normalised(advantages, valid=valid)
    kept = found.flatten() if valid is None else found[valid]
    torch.testing.assert_close(kept.mean(), numbers(0.0)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(kept.square().mean(), numbers(1.0)[0], rtol=1e-6, atol=0)
    if valid is not None:
        assert (found[~valid] == 0).all()
    assert normalised(numbers(3.0)).tolist() == [0.0]
    assert normalised(numbers(2.0, 2.0, 2.0)).tolist() == [0.0, 0.0, 0.0]


def test_the_approximate_kl_is_unbiased_and_never_below_0():
    p, q = numbers(0.5, 0.3, 0.2), numbers(0.2, 0.2, 0.6)
    each = torch.stack([approximate_kl(q[i : i + 1].log(), p[i : i + 1].log()) for i in range(3)])
    assert (each >= 0).all()
    torch.testing.assert_close((p * each).sum(), (p * (p / q).log()).sum())  # the mean over old actions is KL(old, new)
    near = torch.full((1000,), -1.0)
    assert approximate_kl(near + 1e-4, near).item() == pytest.approx(5e-9, rel=1e-2)  # float32 keeps its digits


HORIZON = 4
MOVES = {(0, 0): (0, 0.0), (0, 1): (1, 1.0), (1, 0): (0, -0.5), (1, 1): (None, 5.0)}  # (state, action) -> next, reward


def exact_return(logits: Tensor, gamma: float, steps: int = HORIZON, state: int = 0) -> Tensor:
    """Expected discounted return by dynamic programming over the two states."""
    if steps == 0:
        return logits.new_zeros(())
    policy, total = logits[state].softmax(-1), logits.new_zeros(())
    for action in (0, 1):
        following, reward = MOVES[state, action]
        future = logits.new_zeros(()) if following is None else exact_return(logits, gamma, steps - 1, following)
        total = total + policy[action] * (reward + gamma * future)
    return total


def every_episode() -> list[list[tuple[int, int, float, bool]]]:
    """All possible episodes from state 0, as rows (state, action, reward, terminated)."""
    found = {}
    for actions in itertools.product((0, 1), repeat=HORIZON):
        state, rows = 0, []
        for action in actions:
            following, reward = MOVES[state, action]
            rows.append((state, action, reward, following is None))
            if following is None:
                break
            state = following
        found[tuple(rows)] = rows
    return list(found.values())


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize("kind", ["reinforce", "baseline", "surrogate"])
def test_the_expected_policy_gradient_is_the_exact_gradient_of_the_expected_return(gamma, kind):
    logits = numbers(0.3, -0.4, -0.2, 0.9).reshape(2, 2).requires_grad_()
    (exact,) = torch.autograd.grad(exact_return(logits, gamma), logits)
    episodes = every_episode()
    states, actions = (torch.zeros(HORIZON, len(episodes), dtype=torch.long) for _ in range(2))
    rewards = torch.full((HORIZON, len(episodes)), math.nan, dtype=torch.float64)
    terminated, truncated, valid = (torch.zeros(HORIZON, len(episodes), dtype=torch.bool) for _ in range(3))
    for i, rows in enumerate(episodes):  # shorter episodes leave rows that do not count
        for t, (state, action, reward, ended) in enumerate(rows):
            states[t, i], actions[t, i], rewards[t, i], valid[t, i] = state, action, reward, True
            terminated[t, i] = ended
        truncated[len(rows) - 1, i] = not rows[-1][3]
    returns = discounted_returns(rewards, terminated, truncated, gamma=gamma, valid=valid)
    log_probability = logits.log_softmax(-1)[states, actions]
    probability = log_probability.detach().where(valid, 0.0).sum(0).exp()
    torch.testing.assert_close(probability.sum(), numbers(1.0)[0])
    # The objective discounts from the start, so row t of an episode weighs gamma^t; so do the episodes' probabilities.
    weight = probability * gamma ** torch.arange(HORIZON, dtype=torch.float64).unsqueeze(1)
    baseline = numbers(1.5, -2.0)[states]
    if kind == "reinforce":
        loss = policy_gradient_loss(log_probability, weight * returns, valid=valid)
    elif kind == "baseline":  # any function of the state leaves the expectation as it is
        loss = policy_gradient_loss(log_probability, weight * returns, weight * baseline, valid=valid)
    else:  # at the policy that acted, the surrogate has the same gradient
        old = log_probability.detach()
        loss = clipped_surrogate_loss(log_probability, old, weight * (returns - baseline), clip=0.2, valid=valid)
    (gradient,) = torch.autograd.grad(loss * valid.sum(), logits)
    torch.testing.assert_close(-gradient, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_one_sentence():
    rows, none = normal((4,), 0), torch.zeros(4, dtype=torch.bool)
    for function in ALL:
        with pytest.raises(ValueError, match="none of the 4 rows counts, so there is no mean: leave such a batch out"):
            function(rows, rows, rows, rows, none)
    with pytest.raises(ValueError, match="none of the 4 rows counts"):
        normalised(rows, valid=none)
    with pytest.raises(ValueError, match="none of the 0 rows counts"):
        entropy_bonus(rows[:0])
    with pytest.raises(ValueError, match=r"one shape.* got shapes \[\[4\], \[4, 1\]\]"):
        value_loss(rows, rows.unsqueeze(-1))  # would broadcast to 16 errors
    with pytest.raises(ValueError, match="above 0, got 0"):
        clipped_surrogate_loss(rows, rows, rows, clip=0)
    with pytest.raises(ValueError, match="clip without old_values"):
        value_loss(rows, rows, clip=0.2)
    with pytest.raises(ValueError, match="old_values without clip"):
        value_loss(rows, rows, old_values=rows)
    shapes = [
        lambda: policy_gradient_loss(rows, rows, rows[:1]),
        lambda: policy_gradient_loss(rows, rows, valid=none[:1]),
        lambda: clipped_surrogate_loss(rows, rows, rows[:1], clip=0.2),
        lambda: clipped_surrogate_loss(rows, rows[:1], rows, clip=0.2),
        lambda: value_loss(rows, rows, old_values=rows[:1], clip=0.2),
    ]
    for wrong in shapes:
        with pytest.raises(ValueError, match="a loss needs arrays of one shape"):
            wrong()
