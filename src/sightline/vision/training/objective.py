"""What a training minimises, cut into parts: added up over parts of a batch and processes it is the batch's loss.

Means of means are no means: where one part has fewer pixels that count than another, a mean over the parts weighs its
pixels more. The cross-entropy's denominator depends on the targets alone and is known before the first part goes
through the network, so each part is divided by the whole batch's, and the sum is exact. The other losses (hard pixels,
Dice, category consistency) belong to a whole set of pixels: each is computed for one part over all processes, and
weighed by the part's share of the denominator; all hard pixels kept, that is the cross-entropy again.

Left out: exact Dice and hard pixels over accumulated parts, which would need every part twice.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sightline.run.processes import add_up
from sightline.vision.measures.category_consistent import category_consistent_loss
from sightline.vision.measures.losses import AddUp, cross_entropy_sums, dice_loss, ohem_cross_entropy
from sightline.vision.training.recipes import Losses


class Whole(NamedTuple):
    """What a part has to know of the whole batch."""

    amount: float  # the cross-entropy's denominator over all parts and processes
    share: float  # of this part, over all processes
    parts: int
    processes: int

    @property
    def adding(self) -> AddUp | None:
        """How sums over processes are made; None alone."""
        return add_up if self.processes > 1 else None


def amount_of(counts: Int64[Tensor, "... k"], losses: Losses) -> Float[Tensor, "..."]:
    """What the pixels of each class weigh together: the denominator of their cross-entropy."""
    return counts.double() @ class_weights_of(losses, counts.shape[-1], torch.float64)


def class_weights_of(losses: Losses, classes: int, dtype: torch.dtype) -> Float[Tensor, "k"]:
    """What a pixel of each class weighs.

    Raises:
        ValueError: there are weights for another number of classes.
    """
    if losses.class_weights is None:
        return torch.ones(classes, dtype=dtype)
    if len(losses.class_weights) != classes:
        raise ValueError(f"{classes} classes need as many class weights, got {len(losses.class_weights)}")
    return torch.tensor(losses.class_weights, dtype=dtype)


def cross_entropy_part(
    logits: Tensor, target: Tensor, losses: Losses, whole: Whole, *, ignore: int = 255
) -> Float[Tensor, ""]:
    """This part of a batch's cross-entropy."""
    weight = None if losses.class_weights is None else logits.new_tensor(losses.class_weights, dtype=torch.float32)
    total, _ = cross_entropy_sums(logits, target, ignore=ignore, weight=weight, smoothing=losses.smoothing)
    return total / (whole.amount if whole.amount > 0 else 1.0)


def segmentation_parts(
    logits: Float[Tensor, "b k h w"],
    auxiliary: Float[Tensor, "b k h w"] | None,
    features: Float[Tensor, "b d y x"] | None,
    target: Int64[Tensor, "b h w"],
    losses: Losses,
    whole: Whole,
    *,
    ignore: int = 255,
    align_corners: bool = False,
) -> dict[str, Tensor]:
    """Every loss of this part by its name, with its factor; they are added up.

    Args:
        logits: Of the head.
        auxiliary: Of the auxiliary head, where there is one.
        features: What the category-consistent loss is about, where the head has them.
        target: Classes.
        losses: Which losses, and their factors.
        whole: Of the whole batch.
        ignore: The label that does not count.
        align_corners: How the network's logits are resized.

    Raises:
        ValueError: the category-consistent loss was asked of a head without features.
    """
    found = {"cross_entropy": _main(logits, target, losses, whole, ignore)}
    if auxiliary is not None and losses.auxiliary > 0:
        found["auxiliary"] = losses.auxiliary * cross_entropy_part(auxiliary, target, losses, whole, ignore=ignore)
    scale = whole.share / whole.processes  # every process has the same value, and gradients are added up
    if losses.dice > 0:
        found["dice"] = losses.dice * scale * dice_loss(logits, target, ignore=ignore, add_up=whole.adding)
    if losses.category > 0:
        if features is None:
            raise ValueError(
                "the category-consistent loss needs a head that says what its features are (a method `features`), as"
                " the criss-cross head does: choose such a head, or leave the loss out"
            )
        consistency = category_consistent_loss(
            features,
            target,
            classes=logits.shape[1],
            ignore=ignore,
            align_corners=align_corners,
            add_up=whole.adding,
        )
        found["category"] = losses.category * scale * consistency
    return found


def _main(logits: Tensor, target: Tensor, losses: Losses, whole: Whole, ignore: int) -> Tensor:
    if not losses.ohem:
        return cross_entropy_part(logits, target, losses, whole, ignore=ignore)
    weight = None if losses.class_weights is None else logits.new_tensor(losses.class_weights, dtype=torch.float32)
    hard = ohem_cross_entropy(
        logits,
        target,
        threshold=losses.ohem_threshold,
        least=-(-losses.ohem_least // (whole.parts * whole.processes)),
        ignore=ignore,
        weight=weight,
        smoothing=losses.smoothing,
        add_up=whole.adding,
    )
    return hard * whole.share / whole.processes
