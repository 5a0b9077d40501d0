"""How well a network does on examples that it is not trained on: scores of classification and of segmentation.

Every example is prepared (`augmentation/prepare.py`), shown once and whole; images of one size go through together.
With several processes each looks at its share, and the counts are added up.

Left out: windows, several sizes and mirror images (`prediction/predict.py`), and losses on these examples.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sightline.run.processes import add_up, processes
from sightline.vision.augmentation.prepare import Preparation
from sightline.vision.data.examples import Example, Examples
from sightline.vision.measures.metrics import (
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    top_k_hits,
)
from sightline.vision.training.batches import prepared

if TYPE_CHECKING:
    from sightline.vision.training.train import Learner

SCORE = {"segment": "mean_iou", "classify": "top1"}  # the one by which networks are compared


def evaluate(
    learner: "Learner", examples: Examples, preparation: Preparation, *, batch: int = 8, workers: int = 0
) -> dict[str, float]:
    """The scores of `learner.best`, in evaluation mode.

    Segmentation: `mean_iou`, `pixel_accuracy`, `mean_accuracy` and `IoU/CLASS` for each class (nan where it is absent).
    Classification: `top1`, `top5` (with fewer than six classes, none) and `accuracy/CLASS`.

    Raises:
        ValueError: the network answers in another shape, or an example is broken.
    """
    me = processes()
    network, classes = learner.best, len(examples.classes)
    was_training = network.training
    network.eval()
    matrix, hits, seen = torch.zeros(classes, classes, dtype=torch.int64), 0, 0
    with torch.no_grad():
        for group in _groups(
            prepared(examples, preparation, range(me.rank, len(examples), me.count), workers=workers), batch
        ):
            target = torch.stack([example.target for example in group])
            logits = _logits(learner, network, torch.stack([example.image for example in group]))
            prediction = logits.argmax(1).cpu()
            matrix += confusion_matrix(prediction, target, classes, ignore=examples.ignore if target.ndim > 1 else -1)
            if learner.task == "classify" and classes > 5:
                hits += int(top_k_hits(logits.cpu(), target, 5))
            seen += len(group)
    network.train(was_training)
    counts = add_up(torch.cat([matrix.flatten(), torch.tensor([hits, seen])]))
    matrix, (hits, seen) = counts[:-2].view(classes, classes), counts[-2:].tolist()
    if learner.task == "segment":
        return segmentation_scores(matrix, examples.classes)
    scores = {"top1": float(pixel_accuracy(matrix))} | ({"top5": hits / seen} if classes > 5 else {})
    each = matrix.diagonal().double() / matrix.sum(1)
    return scores | {f"accuracy/{name}": float(part) for name, part in zip(examples.classes, each, strict=True)}


def segmentation_scores(matrix: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """From a confusion matrix, by the names under which they are written."""
    scores = {
        "mean_iou": float(mean_iou(matrix)),
        "pixel_accuracy": float(pixel_accuracy(matrix)),
        "mean_accuracy": float(mean_accuracy(matrix)),
    }
    return scores | {f"IoU/{name}": float(iou) for name, iou in zip(classes, class_iou(matrix), strict=True)}


def _groups(examples: Iterator[Example], most: int) -> Iterator[list[Example]]:
    """Examples that follow each other and have one size, at most so many together."""
    group: list[Example] = []
    for example in examples:
        if group and (len(group) == most or group[0].image.shape != example.image.shape):
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _logits(learner: "Learner", network: nn.Module, image: Tensor) -> Tensor:
    with torch.autocast(learner.device.type, learner.precision, enabled=learner.precision is not None):
        logits = network(learner.images(image))
    expected = (len(image), learner.classes, *(image.shape[2:] if learner.task == "segment" else ()))
    if tuple(logits.shape) != expected:
        raise ValueError(f"the network answers with shape {tuple(logits.shape)} where {expected} is needed")
    return logits.float()
