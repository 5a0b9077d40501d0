"""The category-consistent loss of CCNet: features of one class close together, means of different classes apart.

Huang et al., 2020 (https://arxiv.org/abs/1811.11721v2, section 3.4), with h the features, mu_c a class's mean feature,
N_c its pixels and C the classes that are there:

- variance: 1/|C| sum_c 1/N_c sum_i phi_var(|h_i - mu_c|), phi_var(d) = 0 up to delta_v, (d - delta_v)^2 up to delta_d,
  and d - delta_d + (delta_d - delta_v)^2 beyond: continuous, but its slope falls from 2 (delta_d - delta_v) to 1;
- distance: 1/(|C| (|C| - 1)) sum over pairs of phi_dis(|mu_a - mu_b|), phi_dis(d) = (2 delta_d - d)^2 up to 2 delta_d,
  0 beyond; with one class there are no pairs, and it is 0;
- regularisation: 1/|C| sum_c |mu_c|.

Memory is a few times the features'; nothing holds pixels x classes x channels.

Left out: the 1 x 1 convolution that makes sixteen times fewer channels first, to save time: it has weights, so it
belongs to the network, and the loss takes what it is given.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.vision.measures.losses import AddUp


class CategoryConsistency(NamedTuple):
    """The three parts of the loss, each before its factor."""

    variance: Float[Tensor, ""]
    distance: Float[Tensor, ""]
    regularisation: Float[Tensor, ""]


def category_consistent_loss(
    features: Float[Tensor, "b d y x"],
    target: Int[Tensor, "b h w"],
    *,
    classes: int,
    ignore: int = 255,
    delta_v: float = 0.5,
    delta_d: float = 1.5,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 0.001,
    over: str = "batch",
    align_corners: bool = False,
    add_up: AddUp | None = None,
) -> Float[Tensor, ""]:
    """alpha * variance + beta * distance + gamma * regularisation; see `category_consistency` for the rest."""
    parts = category_consistency(
        features,
        target,
        classes=classes,
        ignore=ignore,
        delta_v=delta_v,
        delta_d=delta_d,
        over=over,
        align_corners=align_corners,
        add_up=add_up,
    )
    return alpha * parts.variance + beta * parts.distance + gamma * parts.regularisation


def category_consistency(
    features: Float[Tensor, "b d y x"],
    target: Int[Tensor, "b h w"],
    *,
    classes: int,
    ignore: int = 255,
    delta_v: float = 0.5,
    delta_d: float = 1.5,
    over: str = "batch",
    align_corners: bool = False,
    add_up: AddUp | None = None,
) -> CategoryConsistency:
    """The three parts of the loss; all 0, with zero gradients, where no pixel counts.

    Args:
        features: A map, of which every position is one h_i; for CCNet, what the last criss-cross pass returns.
        target: Class indices, of any size: each position of the map takes the nearest pixel's, see `nearest_target`.
        classes: How many classes there are; fewer may be in the target.
        ignore: The index that does not count.
        delta_v: Distance to the mean that costs nothing.
        delta_d: Where phi_var turns linear, and half the distance that means should keep.
        over: "batch": a class has one mean in the batch (the port libDM does so); "image": one in each image, and the
            parts are averaged over the images in which something counts. Then no image depends on the others.
        align_corners: How the network's logits are resized, which says where a position of the map stands.
        add_up: Adds a tensor up over processes, differentiably: means are then over the batches of all.

    Raises:
        ValueError: 0 <= delta_v <= delta_d does not hold, `over` is unknown, the batches differ or, on the CPU, a class
            out of range.
    """
    choose("set of pixels", over, ("batch", "image"))
    if not 0 <= delta_v <= delta_d:
        raise ValueError(f"0 <= delta_v <= delta_d must hold, got {delta_v} and {delta_d}: the paper's are 0.5 and 1.5")
    if len(features) != len(target):
        raise ValueError(f"{len(features)} maps of features meet {len(target)} targets: give one target for each map")
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    label = nearest_target(target, (features.shape[-2], features.shape[-1]), align_corners=align_corners).long()
    counts = label != ignore
    if not label.is_cuda and (wrong := label[counts & ((label < 0) | (label >= classes))]).numel():
        raise ValueError(
            f"the target holds class {int(wrong[0])}, but there are classes 0 to {classes - 1}, and only {ignore} does "
            f"not count: correct the mask, or say how many classes there are"
        )
    groups = len(features) if over == "image" else 1
    per_group = torch.arange(groups, device=label.device).reshape(-1, 1, 1) * classes
    # What does not count goes to one more row, which nobody reads.
    row = (label + per_group).where(counts, groups * classes).flatten()
    vectors = features.movedim(1, -1).flatten(0, 2)
    return _parts(vectors, row, groups, classes, (delta_v, delta_d), add_up if over == "batch" else None, add_up)


def nearest_target(
    target: Int[Tensor, "b h w"], size: tuple[int, int], *, align_corners: bool = False
) -> Int[Tensor, "b y x"]:
    """The target at the positions of a map of `size`: the pixel whose centre is nearest, of two equally near the later.

    Position i of y stands at pixel (i + 1/2) h / y - 1/2 or, with `align_corners`, at i (h - 1) / (y - 1), and in the
    middle of the image where y = 1.
    """
    rows, columns = (
        _nearest(pixels, positions, align_corners, target.device)
        for pixels, positions in zip(target.shape[-2:], size, strict=True)
    )
    return target[:, rows[:, None], columns]


def _nearest(pixels: int, positions: int, align_corners: bool, device: torch.device) -> Int[Tensor, "positions"]:
    """In whole numbers, so that no rounding decides."""
    position = torch.arange(positions, device=device)
    if align_corners and positions > 1:
        return (2 * position * (pixels - 1) + positions - 1) // (2 * (positions - 1))
    return (2 * position + 1) * pixels // (2 * positions)


def _parts(
    vectors: Float[Tensor, "n d"],
    row: Int[Tensor, "n"],
    groups: int,
    classes: int,
    deltas: tuple[float, float],
    add_up_rows: AddUp | None,
    add_up: AddUp | None,
) -> CategoryConsistency:
    """`row` says to which class of which group a vector belongs; rows are added up where all processes share them."""
    rows = groups * classes + 1
    counted = vectors.new_zeros(rows).index_add(0, row, torch.ones_like(vectors[:, 0]))
    sums = vectors.new_zeros(rows, vectors.shape[1]).index_add(0, row, vectors)
    if add_up_rows is not None:
        counted, sums = add_up_rows(counted), add_up_rows(sums)
    amount = counted.clamp_min(1)
    means = sums / amount[:, None]

    spread = _beyond((vectors - means[row]).norm(dim=1), *deltas)
    spread = vectors.new_zeros(rows).index_add(0, row, spread)
    if add_up_rows is not None:
        spread = add_up_rows(spread)

    there = (counted[:-1] > 0).reshape(groups, classes)
    means = means[:-1].reshape(groups, classes, -1)
    number = there.sum(1).to(vectors.dtype)
    variance = (spread / amount)[:-1].reshape(groups, classes).where(there, 0.0).sum(1) / number.clamp_min(1)
    regularisation = means.norm(dim=2).where(there, 0.0).sum(1) / number.clamp_min(1)

    apart = torch.cdist(means, means, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = there[:, :, None] & there[:, None, :] & ~torch.eye(classes, dtype=torch.bool, device=there.device)
    too_close = (2 * deltas[1] - apart).clamp_min(0).square().where(pairs, 0.0)
    distance = too_close.sum((1, 2)) / (number * (number - 1)).clamp_min(1)

    total = torch.stack([variance.sum(), distance.sum(), regularisation.sum(), (number > 0).sum().to(vectors.dtype)])
    if add_up is not None and add_up_rows is None:
        total = add_up(total)
    return CategoryConsistency(*(total[:3] / total[3].clamp_min(1)).unbind())


def _beyond(distance: Float[Tensor, "n"], delta_v: float, delta_d: float) -> Float[Tensor, "n"]:
    """phi_var as published. The port libDM goes on beyond delta_d with the slope from there, 2 (delta_d - delta_v)."""
    near = (distance - delta_v).clamp_min(0).square()
    return near.where(distance <= delta_d, distance - delta_d + (delta_d - delta_v) ** 2)
