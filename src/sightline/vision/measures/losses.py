"""Losses of classification and segmentation: cross-entropy, its hardest pixels, and Dice.

- `cross_entropy`: class indices with a label that does not count, or soft targets; class weights; label smoothing
  (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567, section 7).
- `ohem_cross_entropy`: online hard example mining as CCNet's released code does it
  (https://github.com/speedinghzl/CCNet, loss/loss.py).
- `dice_loss`: 1 - the soft Dice score, averaged over the classes that are there (Milletari et al., 2016,
  https://arxiv.org/abs/1606.04797, for squared denominators).

All are ratios of sums, so that they can be exact over several processes: `add_up` adds a tensor up over them and lets
gradients through. `cross_entropy_sums` gives the two sums themselves, for steps that accumulate several batches. Half
precision is computed in float32. Where nothing counts, the loss is 0 with zero gradients.

Left out: Lovasz and focal losses; a label that does not count within soft targets.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sightline.ops.arguments import choose

AddUp = Callable[[Tensor], Tensor]  # a tensor's sum over all processes, differentiable


def cross_entropy(
    logits: Float[Tensor, "b k *p"],
    target: Int[Tensor, "b *p"] | Float[Tensor, "b k *p"],
    *,
    ignore: int = 255,
    weight: Float[Tensor, "k"] | None = None,
    smoothing: float = 0.0,
    add_up: AddUp | None = None,
) -> Float[Tensor, ""]:
    """Mean of -log p(target) over what counts: sum_i w(t_i) (-log p_i(t_i)) / sum_i w(t_i).

    Args:
        logits: Scores before the softmax, over any number of pixels or none.
        target: Class indices; or soft targets that sum to 1 over k, as mixup makes them. One-hot ones equal indices.
        ignore: The index that does not count.
        weight: What a pixel of each class weighs. Only ratios matter.
        smoothing: In [0, 1]: the part of each target that is spread evenly over all k classes. Each class then has its
            own weight in the numerator, while the denominator stays the true class's, as in PyTorch.
        add_up: Adds both sums up over processes.

    Raises:
        ValueError: shapes that do not fit, a smoothing out of range or, on the CPU, a class that has no logit.
    """
    total, amount = cross_entropy_sums(logits, target, ignore=ignore, weight=weight, smoothing=smoothing)
    return _ratio(total, amount, add_up)


def cross_entropy_sums(
    logits: Float[Tensor, "b k *p"],
    target: Int[Tensor, "b *p"] | Float[Tensor, "b k *p"],
    *,
    ignore: int = 255,
    weight: Float[Tensor, "k"] | None = None,
    smoothing: float = 0.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Numerator and denominator of `cross_entropy`; the denominator depends on target and weight alone."""
    logits, weight = _prepare(logits, target, ignore, weight, smoothing)
    if target.is_floating_point():
        soft = target.to(logits.dtype)
        smooth = soft * (1 - smoothing) + smoothing / logits.shape[1]
        if weight is not None:
            weight = weight.reshape(-1, *[1] * (logits.ndim - 2))
            soft, smooth = soft * weight, smooth * weight
        return -(smooth * logits.log_softmax(1)).sum(), soft.sum()
    return _each(logits, target, ignore, weight, smoothing).sum(), _weighing(logits, target, ignore, weight).sum()


def ohem_cross_entropy(
    logits: Float[Tensor, "b k *p"],
    target: Int[Tensor, "b *p"],
    *,
    threshold: float = 0.7,
    least: int = 100_000,
    ignore: int = 255,
    weight: Float[Tensor, "k"] | None = None,
    smoothing: float = 0.0,
    add_up: AddUp | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy over the hard pixels: p(target) <= max(threshold, the `least`-th smallest p(target) of the batch).

    With fewer than `least` pixels that count all are kept, and of equal ones at the edge all. The released code looks
    for the `least`-th smallest on the CPU among probabilities shrunk to an eighth each way, to save time; here it is
    found among all pixels, where they are. Meant for the main logits: as released, the auxiliary head keeps plain
    cross-entropy. Which pixels are kept depends on neither weight nor smoothing.

    Args:
        logits: Scores before the softmax.
        target: Class indices.
        threshold: Probability of the true class, in [0, 1], up to which a pixel is hard.
        least: How many pixels of the batch are kept at least.
        ignore: The index that does not count.
        weight: What a pixel of each class weighs.
        smoothing: The part of each target that is spread evenly over all classes.
        add_up: Adds both sums up over processes; each process picks its own hard pixels.

    Raises:
        ValueError: as `cross_entropy`; a threshold out of range, or `least` below 0.
    """
    if not 0 <= threshold <= 1 or least < 0:
        raise ValueError(
            f"hard pixels are chosen by a probability in [0, 1] and a number of pixels from 0 on, got threshold "
            f"{threshold} and least {least}: CCNet's are 0.7 and 100000"
        )
    logits, weight = _prepare(logits, target, ignore, weight, smoothing)
    plain = _each(logits, target, ignore, None, 0.0)
    each = plain if weight is None and smoothing == 0 else _each(logits, target, ignore, weight, smoothing)
    hard = _hard(plain.detach(), target != ignore, threshold, least)
    amount = _weighing(logits, target, ignore, weight)
    return _ratio(each.where(hard, 0.0).sum(), amount.where(hard, 0.0).sum(), add_up)


def dice_loss(
    logits: Float[Tensor, "b k *p"],
    target: Int[Tensor, "b *p"],
    *,
    denominator: str = "sum",
    ignore: int = 255,
    add_up: AddUp | None = None,
) -> Float[Tensor, ""]:
    """Mean over the target's classes of 1 - 2 sum_i p_i t_i / (sum_i p_i + sum_i t_i), sums over the whole batch.

    p is the softmax; t is 1 where the target is the class, else 0. A class that is nowhere in the batch's target has no
    term: what it takes wrongly lowers the scores of those that are there. As those have pixels, no constant is added.

    Args:
        logits: Scores before the softmax.
        target: Class indices.
        denominator: "sum", as above, or "squares", V-Net's: sum_i p_i^2 + sum_i t_i^2.
        ignore: The index of pixels that take part in no sum.
        add_up: Adds the sums up over processes.

    Raises:
        ValueError: shapes that do not fit, an unknown denominator or, on the CPU, a class that has no logit.
    """
    choose("denominator", denominator, ("sum", "squares"))
    logits, _ = _prepare(logits, target, ignore, None, 0.0)
    counts = target != ignore
    probability = logits.softmax(1).where(counts.unsqueeze(1), 0.0)
    index = _as_index(target, ignore)
    over = [0, *range(2, logits.ndim)]
    taken = (probability if denominator == "sum" else probability.square()).sum(over)
    zeros = torch.zeros_like(taken)
    both = zeros.index_add(0, index.flatten(), probability.gather(1, index.unsqueeze(1)).flatten())
    there = zeros.index_add(0, index.flatten(), counts.flatten().to(zeros.dtype))
    if add_up is not None:
        both, taken, there = add_up(torch.stack([both, taken, there])).unbind()
    present = there > 0
    score = 2 * both / (taken + there).where(present, 1.0)
    return (1 - score).where(present, 0.0).sum() / present.sum().clamp_min(1)


def _prepare(
    logits: Tensor, target: Tensor, ignore: int, weight: Tensor | None, smoothing: float
) -> tuple[Tensor, Tensor | None]:
    """Check what came; bring logits and weights to the precision in which the loss is computed."""
    classes = logits.shape[1]
    expected = logits.shape if target.is_floating_point() else logits[:, 0].shape
    if target.shape != expected:
        raise ValueError(
            f"logits of shape {list(logits.shape)} meet a target of shape {list(target.shape)}, expected "
            f"{list(expected)}: resize the logits to the target's pixels, and give one index per pixel"
        )
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label smoothing is a part of each target, in [0, 1], got {smoothing}: 0.1 is usual")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{classes} classes need {classes} class weights, got weights of shape {list(weight.shape)}")
    if not target.is_floating_point() and not target.is_cuda:  # a GPU would have to be waited for
        wrong = target[(target != ignore) & ((target < 0) | (target >= classes))]
        if len(wrong):
            raise ValueError(
                f"the target holds class {int(wrong[0])}, but the logits have classes 0 to {classes - 1}, and only "
                f"{ignore} does not count: correct the mask, or give the network more classes"
            )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return logits, None if weight is None else weight.to(logits)


def _each(
    logits: Tensor, target: Tensor, ignore: int, weight: Tensor | None, smoothing: float
) -> Float[Tensor, "b *p"]:
    """The loss of every pixel, 0 where it does not count; summing is ours, as PyTorch's varies on a GPU."""
    return F.cross_entropy(
        logits, target.long(), weight=weight, ignore_index=ignore, label_smoothing=smoothing, reduction="none"
    )


def _weighing(logits: Tensor, target: Tensor, ignore: int, weight: Tensor | None) -> Float[Tensor, "b *p"]:
    """What every pixel weighs in the denominator."""
    counts = target != ignore
    return counts.to(logits.dtype) if weight is None else weight[_as_index(target, ignore)].where(counts, 0.0)


def _as_index(target: Tensor, ignore: int) -> Int[Tensor, "b *p"]:
    """The target with class 0 where it does not count."""
    return target.long().where(target != ignore, 0)


def _hard(loss: Tensor, counts: Tensor, threshold: float, least: int) -> Tensor:
    """Which pixels are hard, without asking how many count: a GPU would have to be waited for."""
    probability = (-loss).exp().where(counts, torch.inf)
    edge = loss.new_tensor(threshold)
    kept = min(least, probability.numel())
    if kept:
        # Where fewer than `kept` pixels count, the smallest `kept` include an infinite one, and the edge keeps all.
        # PyTorch's k-th value on a GPU is not the same every time; a sorted list is.
        flat = probability.flatten()
        smallest = flat.sort().values[kept - 1] if flat.is_cuda else flat.kthvalue(kept).values
        edge = torch.maximum(edge, smallest)
    return (probability <= edge) & counts


def _ratio(total: Tensor, amount: Tensor, add_up: AddUp | None) -> Float[Tensor, ""]:
    """Their ratio, and 0 with zero gradient where there is nothing."""
    if add_up is not None:
        total, amount = add_up(torch.stack([total, amount])).unbind()
    return total / amount.where(amount > 0, 1.0)
