"""Losses against loops over pixels in float64, written from the formulas; gradients against finite differences."""

import math

import pytest
import torch
from torch import Tensor

from sightline.vision.measures.losses import cross_entropy, cross_entropy_sums, dice_loss, ohem_cross_entropy

IGNORE = 255
SHAPES = [(2, 3, 5, 7), (1, 4, 1, 1), (3, 2, 4), (5, 6)]


def random_case(shape: tuple[int, ...], seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    target[torch.rand(target.shape, generator=generator) < ignored] = IGNORE
    target.flatten()[0] = 0  # something always counts
    return logits, target


def pixels(logits: Tensor, target: Tensor) -> list[tuple[list[float], int]]:
    """Every pixel's probabilities and label, in plain Python."""
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist()
    rows = []
    for row, label in zip(scores, target.flatten().tolist(), strict=True):
        total = math.fsum(math.exp(s) for s in row)
        rows.append(([math.exp(s) / total for s in row], label))
    return rows


def cross_entropy_by_hand(logits: Tensor, target: Tensor, weight: list[float], smoothing: float) -> float:
    k = logits.shape[1]
    total = amount = 0.0
    for probability, label in pixels(logits, target):
        if label == IGNORE:
            continue
        for c in range(k):
            wanted = (1 - smoothing) * (c == label) + smoothing / k
            total -= weight[c] * wanted * math.log(probability[c])
        amount += weight[label]
    return total / amount


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_a_loop_over_pixels(shape, weighted, smoothing):
    logits, target = random_case(shape)
    weight = torch.rand(shape[1], dtype=torch.float64) + 0.5 if weighted else None
    by_hand = cross_entropy_by_hand(logits, target, weight.tolist() if weighted else [1.0] * shape[1], smoothing)
    assert cross_entropy(logits, target, weight=weight, smoothing=smoothing).item() == pytest.approx(by_hand, rel=1e-12)
    total, amount = cross_entropy_sums(logits, target, weight=weight, smoothing=smoothing)
    assert (total / amount).item() == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_targets_equal_a_loop_and_one_hot_ones_equal_class_indices(smoothing, weighted):
    logits, target = random_case((4, 3), ignored=0)
    weight = torch.tensor([1.0, 2.0, 0.25], dtype=torch.float64) if weighted else None
    w = weight.tolist() if weighted else [1.0] * 3
    soft = torch.rand(4, 3, dtype=torch.float64).softmax(1)
    total = amount = 0.0
    for (probability, _), wanted in zip(pixels(logits, target), soft.tolist(), strict=True):
        for c in range(3):
            total -= w[c] * ((1 - smoothing) * wanted[c] + smoothing / 3) * math.log(probability[c])
            amount += w[c] * wanted[c]
    options = {"weight": weight, "smoothing": smoothing}
    assert cross_entropy(logits, soft, **options).item() == pytest.approx(total / amount, rel=1e-12)
    one_hot = torch.nn.functional.one_hot(target, 3).double()
    torch.testing.assert_close(cross_entropy(logits, one_hot, **options), cross_entropy(logits, target, **options))


def ohem_by_hand(logits: Tensor, target: Tensor, threshold: float, least: int) -> tuple[float, int]:
    """Sort all pixels that count by the probability of their class, hardest first, and read the rule off the list."""
    found = sorted(probability[label] for probability, label in pixels(logits, target) if label != IGNORE)
    if least >= len(found):
        kept = found
    else:
        edge = max(threshold, found[least - 1]) if least else threshold
        kept = [p for p in found if p <= edge]
    return (math.fsum(-math.log(p) for p in kept) / len(kept) if kept else 0.0), len(kept)


@pytest.mark.parametrize(
    ("threshold", "least"), [(0.7, 5), (0.02, 20), (0.3, 0), (0.0, 0), (0.5, 10_000), (1.0, 3), (0.0, 1)]
)
def test_hard_pixels_are_those_of_a_sorted_list(threshold, least):
    logits, target = random_case((2, 3, 5, 7))
    expected, kept = ohem_by_hand(logits, target, threshold, least)
    assert kept >= min(least, int((target != IGNORE).sum()))
    loss = ohem_cross_entropy(logits, target, threshold=threshold, least=least)
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=0)


def test_hard_pixels_under_weights_and_smoothing_are_the_same_ones():
    logits, target = random_case((2, 3, 5, 7))
    weight = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    probability = logits.softmax(1).gather(1, target.where(target != IGNORE, 0)[:, None])[:, 0]
    easy = probability > max(0.4, probability[target != IGNORE].sort().values[11].item())
    expected = cross_entropy_by_hand(logits, target.where(~easy, IGNORE), weight.tolist(), 0.1)
    loss = ohem_cross_entropy(logits, target, threshold=0.4, least=12, weight=weight, smoothing=0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_equally_hard_pixels_are_all_kept_and_easy_ones_get_no_gradient():
    logits = torch.tensor([[0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, -5.0]], dtype=torch.float64)[None].requires_grad_()
    target = torch.zeros(1, 4, dtype=torch.long)
    loss = ohem_cross_entropy(logits, target, threshold=0.1, least=1)  # three ties at probability 1/2, one easy pixel
    assert loss.item() == pytest.approx(math.log(2))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, :, :3] != 0).all()
    assert (gradient[0, :, 3] == 0).all()


def dice_by_hand(logits: Tensor, target: Tensor, squares: bool) -> float:
    rows = [(p, label) for p, label in pixels(logits, target) if label != IGNORE]
    terms = []
    for c in sorted({label for _, label in rows}):
        both = sum(p[c] for p, label in rows if label == c)
        below = sum((p[c] ** 2 if squares else p[c]) + (label == c) for p, label in rows)
        terms.append(1 - 2 * both / below)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("denominator", ["sum", "squares"])
def test_dice_equals_a_loop_over_classes_that_are_there(shape, denominator):
    logits, target = random_case(shape, seed=1)
    by_hand = dice_by_hand(logits, target, denominator == "squares")
    assert dice_loss(logits, target, denominator=denominator).item() == pytest.approx(by_hand, rel=1e-12)


def test_dice_is_zero_when_all_is_right_and_feels_a_class_that_is_not_there():
    target = torch.tensor([[0, 0, 1, IGNORE]])
    right = 50 * torch.nn.functional.one_hot(target.where(target != IGNORE, 2), 3).double().movedim(-1, 1)
    assert dice_loss(right, target).item() == pytest.approx(0, abs=1e-12)
    wrong = right.clone()
    wrong[0, :, 0] = torch.tensor([0.0, 0.0, 50.0])  # class 2 is nowhere in the target
    assert dice_loss(wrong, target).item() == pytest.approx((1 - 2 * 1 / (1 + 2)) / 2)  # class 1 stays perfect


LOSSES = {
    "cross_entropy": lambda logits, target: cross_entropy(
        logits, target, weight=torch.arange(1, 4).to(logits), smoothing=0.1
    ),
    "ohem": lambda logits, target: ohem_cross_entropy(logits, target, threshold=0.3, least=7),
    "dice": dice_loss,
    "dice of squares": lambda logits, target: dice_loss(logits, target, denominator="squares"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name):
    logits, target = random_case((2, 3, 3, 3), seed=3)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, target), logits.requires_grad_())


def test_gradients_of_soft_targets_equal_finite_differences():
    logits, soft = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, t: cross_entropy(x, t, smoothing=0.1), (logits.requires_grad_(), soft.softmax(1).requires_grad_())
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_that_counts_costs_nothing_and_teaches_nothing(name, dtype):
    logits = torch.randn(2, 3, 3, 3, dtype=dtype).requires_grad_()
    loss = LOSSES[name](logits, torch.full((2, 3, 3), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, target = random_case((2, 3, 5, 7))
    half = logits.to(dtype)
    loss = LOSSES[name](half, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](half.float(), target), rtol=0, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    logits, target = random_case((2, 3, 5, 7))
    logits = logits.float().requires_grad_()
    plain = LOSSES[name](logits, target)
    with torch.autocast("cpu", torch.bfloat16):
        cast = LOSSES[name](logits, target)
    assert torch.equal(plain, cast)
    assert torch.equal(torch.autograd.grad(plain, logits)[0], torch.autograd.grad(cast, logits)[0])


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_get_no_gradient_and_change_nothing(name):
    logits, target = random_case((2, 3, 5, 7))
    other = logits.where((target != IGNORE)[:, None], torch.randn_like(logits))
    assert LOSSES[name](logits, target) == LOSSES[name](other, target)
    (gradient,) = torch.autograd.grad(LOSSES[name](logits.requires_grad_(), target), logits)
    assert (gradient.movedim(1, -1)[target == IGNORE] == 0).all()


def test_classes_that_weigh_nothing_leave_zero():
    logits, target = random_case((2, 3, 5, 7))
    assert cross_entropy(logits, target, weight=torch.zeros(3)).item() == 0


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_one_sentence():
    logits, target = random_case((2, 3, 5, 7))
    with pytest.raises(ValueError, match=r"logits of shape \[2, 3, 5, 7\] meet a target of shape \[2, 10, 14\], exp"):
        cross_entropy(logits, target.repeat(1, 2, 2))
    with pytest.raises(ValueError, match="3 classes need 3 class weights"):
        cross_entropy(logits, target, weight=torch.ones(4))
    with pytest.raises(ValueError, match=r"label smoothing is a part of each target, in \[0, 1\], got 2"):
        cross_entropy(logits, target, smoothing=2)
    for loss in (cross_entropy, ohem_cross_entropy, dice_loss):
        with pytest.raises(
            ValueError, match="the target holds class 7, but the logits have classes 0 to 2, and only 255"
        ):
            loss(logits, target.index_fill(2, torch.tensor([3]), 7))
        with pytest.raises(ValueError, match="the target holds class -1"):
            loss(logits, target.index_fill(2, torch.tensor([3]), -1))
    with pytest.raises(ValueError, match=r"from 0 on, got threshold 1.5 and least 3: CCNet's are"):
        ohem_cross_entropy(logits, target, threshold=1.5, least=3)
    with pytest.raises(ValueError, match="unknown denominator 'square': did you mean 'squares'"):
        dice_loss(logits, target, denominator="square")
