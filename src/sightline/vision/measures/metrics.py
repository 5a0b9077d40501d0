"""Scores of classification and segmentation, from a confusion matrix that adds up over batches and processes.

A class is absent from a score where its formula would divide by zero; it is then nan, and left out of means:
intersection over union where the class is neither in the truth nor in the prediction, accuracy where it is not in the
truth. Scores are float64.

Left out: boundary scores, panoptic quality, calibration.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def confusion_matrix(
    prediction: Int[Tensor, "*p"], target: Int[Tensor, "*p"], classes: int, *, ignore: int = 255
) -> Int[Tensor, "{classes} {classes}"]:
    """How many pixels of each true class (row) were given each class (column).

    Args:
        prediction: The class given to each pixel, in 0 .. classes - 1; what it is on ignored pixels does not matter.
        target: The true class of each pixel.
        classes: How many classes there are.
        ignore: The label in the target that does not count.

    Raises:
        ValueError: shapes differ, or a class is out of range on a pixel that counts.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"a prediction of shape {list(prediction.shape)} meets a target of shape {list(target.shape)}: resize the "
            f"prediction to the target's pixels"
        )
    counts = target != ignore
    truth, given = target[counts].long(), prediction[counts].long()
    for what, values in (("target", truth), ("prediction", given)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise ValueError(
                f"the {what} holds class {int(wrong[0])}, but classes go from 0 to {classes - 1}, and only {ignore} in "
                f"the target does not count: correct it, or say how many classes there are"
            )
    return torch.bincount(truth * classes + given, minlength=classes * classes).reshape(classes, classes)


def pixel_accuracy(matrix: Int[Tensor, "k k"]) -> Float[Tensor, ""]:
    """The part of all pixels that is right; nan where none counts."""
    return matrix.diagonal().sum().double() / matrix.sum()


def class_accuracy(matrix: Int[Tensor, "k k"]) -> Float[Tensor, "k"]:
    """The part of each true class's pixels that is right (recall); nan for a class that is not in the truth."""
    return matrix.diagonal().double() / matrix.sum(1)


def mean_accuracy(matrix: Int[Tensor, "k k"]) -> Float[Tensor, ""]:
    """Mean of `class_accuracy` over the classes in the truth."""
    return class_accuracy(matrix).nanmean()


def class_iou(matrix: Int[Tensor, "k k"]) -> Float[Tensor, "k"]:
    """Pixels both of the class and given it, over pixels of the class or given it; nan where there are neither.

    A class that is only in the prediction scores 0: it was found where it is not.
    """
    both = matrix.diagonal()
    return both.double() / (matrix.sum(0) + matrix.sum(1) - both)


def mean_iou(matrix: Int[Tensor, "k k"]) -> Float[Tensor, ""]:
    """Mean of `class_iou` over the classes that are in the truth or the prediction."""
    return class_iou(matrix).nanmean()


def top_k_hits(logits: Float[Tensor, "b k"], target: Int[Tensor, "b"], best: int = 1) -> Int[Tensor, ""]:
    """How many samples have their true class among the `best` highest logits; adds up over batches.

    Classes that tie with the true one, and logits that are nan, count as higher: a network that says the same of every
    class finds nothing.

    Raises:
        ValueError: `best` is not from 1 to the number of classes.
    """
    classes = logits.shape[1]
    if not 1 <= best <= classes:
        raise ValueError(f"top-{best} was asked of {classes} classes: ask for 1 to {classes}")
    true = logits.gather(1, target.long()[:, None])
    return ((~(logits < true)).sum(1) <= best).sum()


def top_k_accuracy(logits: Float[Tensor, "b k"], target: Int[Tensor, "b"], best: int = 1) -> Float[Tensor, ""]:
    """The part of samples that `top_k_hits` counts; nan for no samples."""
    return top_k_hits(logits, target, best).double() / len(target)
