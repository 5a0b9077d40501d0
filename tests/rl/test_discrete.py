"""Choices against `torch.distributions`, hand-worked masks, finite differences and counted samples."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as oracle

from sightline.rl.distributions import Bernoulli, categorical, multi_discrete
from sightline.rl.noise import gumbel

BATCHES = [(), (1,), (5,), (4, 3)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_categorical_equals_torchs(batch, k):
    logits, others = 3 * normal(*batch, k), normal(*batch, k, seed=1)
    ours, theirs = categorical(logits), oracle.Categorical(logits=logits)
    for action in range(k):
        taken = torch.full(batch, action)
        torch.testing.assert_close(ours.log_prob(taken), theirs.log_prob(taken))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    theirs_kl = oracle.kl_divergence(theirs, oracle.Categorical(logits=others))
    torch.testing.assert_close(ours.kl(categorical(others)), theirs_kl)
    torch.testing.assert_close(ours.mode(), logits.argmax(-1))


def test_a_masked_row_worked_by_hand():
    logits = torch.tensor([0.0, 9.0, math.log(3), -9.0], dtype=torch.float64)
    other = torch.zeros(4, dtype=torch.float64)
    mask = torch.tensor([True, False, True, False])
    ours, uniform = categorical(logits, mask), categorical(other, mask)  # 1/4 and 3/4; 1/2 and 1/2
    expected = torch.tensor([math.log(0.25), -math.inf, math.log(0.75), -math.inf], dtype=torch.float64)
    torch.testing.assert_close(ours.log_probabilities, expected)
    assert [ours.log_prob(torch.tensor(a)).item() for a in (1, 3)] == [-math.inf, -math.inf]
    assert ours.log_probabilities.exp()[[1, 3]].tolist() == [0.0, 0.0]
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert ours.entropy().item() == pytest.approx(entropy)
    assert ours.kl(uniform).item() == pytest.approx(math.log(2) - entropy)
    assert uniform.kl(ours).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert ours.mode().item() == 2
    assert ours.kl(categorical(other)).item() == pytest.approx(math.log(4) - entropy)  # may do less: finite
    assert categorical(other).kl(ours).item() == math.inf  # may do what the other may not
    only = categorical(logits, torch.tensor([False, False, False, True]))
    assert (only.mode().item(), only.entropy().item(), only.log_prob(torch.tensor(3)).item()) == (3, 0.0, 0.0)


def test_illegal_actions_get_no_gradient_and_legal_ones_that_of_the_smaller_choice():
    logits = normal(6, 5).requires_grad_()
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.5
    mask[:, 2] = True
    ours, uniform = categorical(logits, mask), categorical(torch.zeros(6, 5, dtype=torch.float64), mask)
    (found,) = torch.autograd.grad(
        (ours.log_prob(torch.full((6,), 2)) + 3 * ours.entropy() + ours.kl(uniform) + uniform.kl(ours)).sum(), logits
    )
    assert found.isfinite().all()
    assert (found[~mask] == 0).all()
    for row in range(6):
        legal = mask[row].nonzero().flatten()
        small = logits[row, legal].detach().requires_grad_()
        theirs, flat = oracle.Categorical(logits=small), oracle.Categorical(logits=torch.zeros_like(small))
        total = theirs.log_prob((legal == 2).nonzero()[0, 0]) + 3 * theirs.entropy()
        total = total + oracle.kl_divergence(theirs, flat) + oracle.kl_divergence(flat, theirs)
        torch.testing.assert_close(found[row, legal], torch.autograd.grad(total, small)[0])


def test_an_infinite_kl_spoils_no_gradient_of_another_row():
    logits = normal(2, 3).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    apart = categorical(logits).kl(categorical(normal(2, 3, seed=1), mask))
    assert apart.isinf().tolist() == [True, False]
    assert torch.autograd.grad(apart[1], logits)[0].isfinite().all()


def test_samples_come_as_often_as_they_should_and_illegal_ones_never():
    logits, n = torch.tensor([0.0, 1.0, 5.0, -1.0, 0.5]), 40_000
    mask = torch.tensor([True, True, False, True, True])
    ours = categorical(logits.expand(n, 5), mask)
    counts = torch.bincount(ours.sample(noise(n, 5)), minlength=5)
    assert counts[2] == 0
    p = categorical(logits, mask).log_probabilities.exp()
    error = (p * (1 - p) / n).sqrt()  # the standard error of a share
    assert ((counts / n - p).abs() <= 4 * error).all()


def noise(*shape: int) -> Tensor:
    draw = gumbel(*shape[1:])
    return torch.from_numpy(draw(np.random.default_rng(0), shape[0]))


def test_masks_broadcast_and_a_row_with_nothing_legal_is_one_error():
    mask = torch.tensor([True, False, True])
    wide = categorical(normal(4, 2, 3), mask)
    assert wide.log_probabilities.isneginf().any(0).any(0).tolist() == [False, True, False]
    nothing = torch.ones(4, 2, 3, dtype=torch.bool)
    nothing[2, 1] = False
    with pytest.raises(ValueError, match=r"the action mask forbids every action in row \(2, 1\)"):
        categorical(normal(4, 2, 3), nothing)
    whole = torch.tensor([[True, True, True, False, True], [True, False, False, False, False]])
    with pytest.raises(ValueError, match=r"forbids every action in row \(1, 1\)"):
        multi_discrete(normal(2, 5), [3, 2], whole)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("sizes", [[2, 5, 3], [4, 4], [1], [1, 6]])
@pytest.mark.parametrize("masked", [False, True])
def test_several_choices_equal_torchs_one_by_one(batch, sizes, masked):
    logits, others = normal(*batch, sum(sizes)).requires_grad_(), normal(*batch, sum(sizes), seed=1)
    mask = torch.rand(*batch, sum(sizes), generator=torch.Generator().manual_seed(2)) < 0.6
    ends = np.cumsum(sizes)
    mask[..., torch.from_numpy(ends - 1)] = True  # the last action of each choice is always legal
    ours = multi_discrete(logits, sizes, mask if masked else None)
    theirs = multi_discrete(others, sizes, mask if masked else None)
    action = torch.tensor(sizes).expand(*batch, len(sizes)) - 1
    expected, expected_modes = [torch.zeros(batch, dtype=torch.float64) for _ in range(3)], []
    for end, size in zip(ends, sizes, strict=True):
        part, allowed = slice(end - size, end), mask[..., end - size : end]
        least = torch.finfo(torch.float64).min
        one, other = logits[..., part], others[..., part]
        if masked:
            one, other = one.where(allowed, least), other.where(allowed, least)
        one, other = oracle.Categorical(logits=one), oracle.Categorical(logits=other)
        expected[0] = expected[0] + one.log_prob(torch.full(batch, size - 1))
        expected[1] = expected[1] + one.entropy()
        expected[2] = expected[2] + oracle.kl_divergence(one, other)
        expected_modes.append(one.logits.argmax(-1))
    found = [ours.log_prob(action), ours.entropy(), ours.kl(theirs)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(ours.mode(), torch.stack(expected_modes, -1))
    gradients = [torch.autograd.grad(sum(terms).sum(), logits)[0] for terms in (found, expected)]
    torch.testing.assert_close(*gradients)
    if masked:
        assert (gradients[0][~mask] == 0).all()
    sample = ours.sample(noise(math.prod(batch), len(sizes) * max(sizes)).reshape(*batch, -1))
    assert ours.log_prob(sample).isfinite().all()


def test_samples_of_several_choices_are_independent():
    logits, n = torch.tensor([0.0, 1.0, 0.5, -0.5, 0.2]), 40_000
    ours = multi_discrete(logits.expand(n, 5), [2, 3])
    sample = ours.sample(noise(n, 6))
    counts = torch.zeros(2, 3).index_put((sample[:, 0], sample[:, 1]), torch.ones(n), accumulate=True)
    p = logits[:2].softmax(-1).unsqueeze(1) * logits[2:].softmax(-1)
    assert ((counts / n - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.usefixtures("as_users_run_it")
def test_too_few_logits_are_one_error():
    with pytest.raises(ValueError, match=r"choices of sizes \[2, 3\] need 5 logits, got 4"):
        multi_discrete(normal(2, 4), [2, 3])


@pytest.mark.parametrize("batch", BATCHES)
def test_bernoulli_equals_torchs(batch):
    logits, others = 2 * normal(*batch, 3), normal(*batch, 3, seed=1)
    ours, theirs = Bernoulli(logits), oracle.Independent(oracle.Bernoulli(logits=logits), 1)
    for seed in range(3):
        action = (normal(*batch, 3, seed=seed) > 0).long()
        torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action.double()))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    other = oracle.Independent(oracle.Bernoulli(logits=others), 1)
    torch.testing.assert_close(ours.kl(Bernoulli(others)), oracle.kl_divergence(theirs, other))
    assert torch.equal(ours.mode(), theirs.mode.long())


def test_bernoulli_samples_come_as_often_as_they_should():
    logits, n = torch.tensor([-2.0, 0.0, 1.0]), 40_000
    share = Bernoulli(logits.expand(n, 3)).sample(torch.rand(n, 3)).double().mean(0)
    p = logits.sigmoid()
    assert ((share - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()
    edge = Bernoulli(torch.tensor([-1e4, 1e4]))
    assert edge.sample(torch.zeros(2)).tolist() == [0, 1]
    assert edge.sample(torch.full((2,), 1 - 2**-24)).tolist() == [0, 1]


def test_gradients_equal_finite_differences():
    logits, others = normal(3, 4).requires_grad_(), normal(3, 4, seed=1).requires_grad_()
    action, bits = torch.tensor([0, 3, 2]), torch.tensor([[0, 1, 1, 0]] * 3)
    check = torch.autograd.gradcheck
    assert check(lambda x: categorical(x).log_prob(action), (logits,))
    assert check(lambda x: categorical(x).entropy(), (logits,))
    assert check(lambda x, y: categorical(x).kl(categorical(y)), (logits, others))
    assert check(lambda x: Bernoulli(x).log_prob(bits), (logits,))
    assert check(lambda x: Bernoulli(x).entropy(), (logits,))
    assert check(lambda x, y: Bernoulli(x).kl(Bernoulli(y)), (logits, others))


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_logits_stay_finite_in_float32(size):
    logits = torch.tensor([[size, -size, 0.0], [-size, -size, -size], [size, size, -size]], requires_grad=True)
    mask = torch.tensor([True, True, False])
    for ours, action in [
        (categorical(logits), torch.tensor([1, 0, 2])),
        (categorical(logits, mask), torch.tensor([1, 0, 1])),
        (Bernoulli(logits), torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 1]])),
    ]:
        numbers = [ours.log_prob(action), ours.entropy(), ours.kl(ours)]
        assert all(n.isfinite().all() for n in numbers)
        assert torch.autograd.grad(sum(n.sum() for n in numbers), logits)[0].isfinite().all()
    assert categorical(logits).log_prob(torch.tensor([1, 0, 2]))[0] == -2 * size
    sure = Bernoulli(torch.tensor([[30.0]]))  # where softplus(x) - x sigmoid(x) is 0 in float32
    assert sure.entropy().item() == pytest.approx(31 * math.exp(-30), rel=1e-5)
    assert categorical(logits).kl(categorical(-logits)).isfinite().all()
