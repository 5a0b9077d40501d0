"""The judgement is the sum over all examples, and the worst are those that are worst by the score that they show."""

import pytest
import torch
from tests.vision.prediction.made_up_run import CLASSES, Mistaken, loaded

from sightline.vision.measures.metrics import class_iou
from sightline.vision.report.judging import confusion_sentence, judge, largest_confusions


def test_masks_are_judged_by_their_own_mean_iou_the_worst_first(tmp_path):
    examples = Mistaken()
    found = judge(loaded(tmp_path), examples, worst=2)
    expected = torch.zeros(3, 3, dtype=torch.int64)
    scores = {}
    for index in range(4):
        image, target = examples[index]
        own = torch.zeros(3, 3, dtype=torch.int64)
        for truth, said in zip(
            target[:-1].flatten().tolist(), image.long().argmax(0)[:-1].flatten().tolist(), strict=True
        ):
            own[truth, said] += 1
        expected += own
        scores[examples.name(index)] = float(class_iou(own).nanmean())
    assert torch.equal(found.matrix, expected)
    assert (found.count, found.wrong, found.ignore) == (4, 3, 255)
    assert [case.name for case in found.worst] == ["photo-3.png", "photo-1.png"]
    assert [case.score for case in found.worst] == pytest.approx([scores["photo-3.png"], scores["photo-1.png"]])
    assert torch.equal(found.worst[0].truth, examples[3].target)
    assert torch.equal(found.worst[0].said, examples[3].image.long().argmax(0))


def test_classes_are_judged_by_the_probability_of_the_truth(tmp_path):
    found = judge(loaded(tmp_path, task="classify"), Mistaken("classify", (0, 1, 0, 1, 1)))
    assert int(found.matrix.diagonal().sum()) == 2
    assert int(found.matrix.sum()) == 5
    assert found.wrong == 3
    assert {case.name for case in found.worst} == {"photo-1.png", "photo-3.png", "photo-4.png"}
    assert [case.score for case in found.worst] == sorted(case.score for case in found.worst)
    case = found.worst[0]
    assert case.sentence.startswith(f"It is {CLASSES[int(case.truth)]} (")
    assert f"and was called {CLASSES[int(case.said)]} (" in case.sentence
    assert case.look is not None
    assert case.look.shape == (16, 20)


def test_a_sentence_says_what_was_taken_for_what():
    matrix = torch.tensor([[90, 10, 0], [0, 50, 0], [30, 0, 20]])
    assert largest_confusions(matrix, 5) == [(2, 0, 30), (0, 1, 10)]
    assert confusion_sentence(matrix, CLASSES).replace("\u00a0", " ") == (
        "60 % of blue was called red (15 % of the pixels); 10 % of red was called green (5 % of the pixels)."
    )
    assert confusion_sentence(torch.eye(3, dtype=torch.int64), CLASSES) == "Nothing is wrong."


def test_examples_of_something_else_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="was trained to segment, the examples are to classify"):
        judge(loaded(tmp_path), Mistaken("classify"))
    with pytest.raises(ValueError, match="knows the classes red, green, blue, the examples have red, green: give it"):
        judge(loaded(tmp_path), Mistaken(classes=("red", "green")))
