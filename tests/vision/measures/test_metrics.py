"""Scores against scikit-learn's, which counts in its own way."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, recall_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from sightline.vision.measures.metrics import (
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    top_k_accuracy,
    top_k_hits,
)

IGNORE = 255


def random_case(classes: int, seed: int, shape: tuple[int, ...] = (2, 7, 9)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, shape, generator=generator)
    prediction = target.where(
        torch.rand(shape, generator=generator) < 0.6, torch.randint(classes, shape, generator=generator)
    )
    target[torch.rand(shape, generator=generator) < 0.2] = IGNORE
    return prediction, target


@pytest.mark.parametrize("classes", [1, 2, 5, 19])
def test_scores_equal_scikit_learn_s(classes):
    prediction, target = random_case(classes, seed=classes)
    counts = target != IGNORE
    truth, given = target[counts].numpy(), prediction[counts].numpy()
    matrix = confusion_matrix(prediction, target, classes)
    labels = np.arange(classes)
    assert pixel_accuracy(matrix).item() == pytest.approx(accuracy_score(truth, given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about one class alone, and about absent ones, of which the next test speaks
        counted = sklearn_confusion_matrix(truth, given, labels=labels)
        iou = jaccard_score(truth, given, labels=labels, average=None)
        recall = recall_score(truth, given, labels=labels, average=None)
    np.testing.assert_array_equal(matrix.numpy(), counted)
    there = np.isin(labels, truth) | np.isin(labels, given)
    np.testing.assert_allclose(class_iou(matrix).numpy()[there], iou[there], rtol=1e-12)
    assert mean_iou(matrix).item() == pytest.approx(iou[there].mean())
    in_truth = np.isin(labels, truth)
    np.testing.assert_allclose(class_accuracy(matrix).numpy()[in_truth], recall[in_truth], rtol=1e-12)
    assert mean_accuracy(matrix).item() == pytest.approx(recall[in_truth].mean())


def test_absent_classes_are_nan_and_left_out_of_means():
    target = torch.tensor([0, 0, 1, 1, IGNORE])
    prediction = torch.tensor([0, 0, 1, 2, 3])  # 2 is only predicted; 3 only where nothing counts; 4 is nowhere
    matrix = confusion_matrix(prediction, target, 5)
    assert class_iou(matrix)[:3].tolist() == [1, 0.5, 0]
    assert class_iou(matrix)[3:].isnan().all()
    assert mean_iou(matrix).item() == pytest.approx(0.5)
    assert class_accuracy(matrix)[:2].tolist() == [1, 0.5]
    assert class_accuracy(matrix)[2:].isnan().all()
    assert mean_accuracy(matrix).item() == pytest.approx(0.75)
    assert pixel_accuracy(matrix).item() == pytest.approx(0.75)


def test_predictions_on_ignored_pixels_do_not_count_whatever_they_are():
    prediction, target = random_case(4, seed=0)
    matrix = confusion_matrix(prediction, target, 4)
    assert torch.equal(matrix, confusion_matrix(prediction.where(target != IGNORE, 99), target, 4))
    assert matrix.sum() == (target != IGNORE).sum()


def test_matrices_add_up_over_batches():
    prediction, target = random_case(4, seed=1)
    parts = [confusion_matrix(p, t, 4) for p, t in zip(prediction, target, strict=True)]
    assert torch.equal(parts[0] + parts[1], confusion_matrix(prediction, target, 4))
    assert parts[0].dtype == torch.int64


def test_a_perfect_prediction_scores_one_and_nothing_scores_nan():
    _, target = random_case(3, seed=2)
    matrix = confusion_matrix(target.where(target != IGNORE, 0), target, 3)
    assert mean_iou(matrix) == mean_accuracy(matrix) == pixel_accuracy(matrix) == 1
    nothing = confusion_matrix(target, torch.full_like(target, IGNORE), 3)
    assert nothing.sum() == 0
    assert math.isnan(mean_iou(nothing))
    assert math.isnan(pixel_accuracy(nothing))


@pytest.mark.parametrize("best", [1, 2, 5])
def test_top_k_equals_a_sorted_list(best):
    logits, target = torch.randn(40, 5), torch.randint(5, (40,))
    ranked = [sorted(range(5), key=lambda c: -row[c])[:best] for row in logits.tolist()]
    hits = sum(t in found for t, found in zip(target.tolist(), ranked, strict=True))
    assert top_k_hits(logits, target, best) == hits
    assert top_k_accuracy(logits, target, best).item() == pytest.approx(hits / 40)


def test_ties_and_nan_find_nothing():
    target = torch.tensor([0, 1, 2])
    assert top_k_hits(torch.zeros(3, 3), target, 2) == 0
    assert top_k_hits(torch.full((3, 3), torch.nan), target, 2) == 0
    assert top_k_hits(torch.zeros(3, 3), target, 3) == 3


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_one_sentence():
    prediction, target = random_case(3, seed=3)
    with pytest.raises(ValueError, match=r"a prediction of shape \[2, 7, 8\] meets a target of shape \[2, 7, 9\]: res"):
        confusion_matrix(prediction[..., 1:], target, 3)
    with pytest.raises(ValueError, match="the target holds class 2, but classes go from 0 to 1, and only 255"):
        confusion_matrix(prediction, target.where(target == IGNORE, 2), 2)
    with pytest.raises(ValueError, match="the prediction holds class -1"):
        confusion_matrix(torch.full_like(target, -1), target, 3)
    with pytest.raises(ValueError, match="top-6 was asked of 5 classes: ask for 1 to 5"):
        top_k_accuracy(torch.zeros(2, 5), torch.zeros(2, dtype=torch.long), 6)
