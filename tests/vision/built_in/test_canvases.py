"""Canvases, read back pixel by pixel with plain loops that share nothing with the painter."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from sightline.vision.built_in.canvases import TASKS, Canvases, change_answers, key_class, recall, take

SIZES = [(6, 6), (3, 7), (8, 2)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cell_pixels(canvases: Canvases, b: int, cell: int) -> tuple[Tensor, Tensor]:
    """Image [3, 8, 8] and label [8, 8] of one cell."""
    y, x = cell // canvases.cells[1] * 8, cell % canvases.cells[1] * 8
    return canvases.image[b, :, y : y + 8, x : x + 8], canvases.label[b, y : y + 8, x : x + 8]


@pytest.mark.parametrize("cells", SIZES)
def test_every_square_is_labelled_with_the_one_digit_of_its_colour(cells: tuple[int, int]) -> None:
    scans, classes = torch.tensor(load_digits().images / 16), load_digits().target
    drawn = recall(9, digits=5, squares=6, cells=cells, generator=generator())
    assert drawn.image.shape == (9, 3, cells[0] * 8, cells[1] * 8)
    assert drawn.label.dtype == torch.int64
    assert drawn.image.min() == 0
    assert drawn.image.max() == 1
    for b in range(9):
        things = {"digit": 0, "square": 0, "empty": 0}
        handwriting = []
        squares = []
        for cell in range(cells[0] * cells[1]):
            image, label = cell_pixels(drawn, b, cell)
            ink = image.amax(0)
            if (label >= 0).any():
                things["square"] += 1
                inside = label >= 0
                assert inside.sum() == 16
                assert (ink > 0).equal(inside)
                assert label[inside].unique().numel() == 1
                colours = image[:, inside].unique(dim=1)
                assert colours.shape[1] == 1
                squares.append((colours[:, 0], int(label[inside][0])))
            elif (ink > 0).any():
                things["digit"] += 1
                near = ((scans - ink).abs().amax((1, 2)) < 1e-5).nonzero()
                assert len(near) == 1, "the ink is one of the handwritten digits"
                brightest = ink.flatten().argmax()
                handwriting.append((image.flatten(1)[:, brightest] / ink.max(), int(classes[near[0, 0]])))
            else:
                things["empty"] += 1
        assert things == {"digit": 5, "square": 6, "empty": cells[0] * cells[1] - 11}
        for colour, label in squares:
            same = [digit for digit_colour, digit in handwriting if (digit_colour - colour).abs().max() < 1e-5]
            assert same == [label]


def test_the_key_decides_the_label_of_every_white_digit() -> None:
    classes = load_digits().target
    drawn = key_class(40, digits=7, cells=(4, 5), generator=generator())
    yes = 0
    for b in range(40):
        key = classes[drawn.digit_sample[b, 0]]
        image, label = cell_pixels(drawn, b, int(drawn.digit_cell[b, 0]))
        assert image[1:].max() == 0, "the key is red"
        assert (label == -100).all()
        for sample, cell in zip(drawn.digit_sample[b, 1:], drawn.digit_cell[b, 1:], strict=True):
            image, label = cell_pixels(drawn, b, int(cell))
            assert image[0].equal(image[1])
            assert (label >= 0).equal(image[0] > 0)
            assert (label[label >= 0] == int(classes[sample] == key)).all()
            yes += int(classes[sample] == key)
        assert (drawn.label[b] >= 0).sum() == (drawn.image[b, 2] > 0).sum()
    assert 0.4 < yes / 280 < 0.6


def test_the_white_digits_do_not_betray_the_key() -> None:
    classes = torch.tensor(load_digits().target)
    drawn = key_class(3000, digits=7, generator=generator())
    key, white = classes[drawn.digit_sample[:, :1]], classes[drawn.digit_sample[:, 1:]]
    assert all(len(set(row.tolist())) <= 2 for row in white)
    of_the_key = ((white == key).sum(1) > 3).double()  # of seven digits, is the larger class the key's?
    assert abs(float(of_the_key.mean()) - 0.5) < 4 * 0.5 / 3000**0.5


@pytest.mark.parametrize("task", TASKS)
def test_test_digits_are_never_trained_on(task: str) -> None:
    train = TASKS[task](300, split="train", generator=generator()).digit_sample.unique()
    test = TASKS[task](300, split="test", generator=generator()).digit_sample.unique()
    assert (train % 5 != 0).all()
    assert (test % 5 == 0).all()
    assert len(test) > 300


@pytest.mark.parametrize("task", TASKS)
def test_the_generator_decides_everything(task: str) -> None:
    draw = TASKS[task]
    first, again, other = (draw(3, digits=4, generator=generator(seed)) for seed in (5, 5, 6))
    torch.testing.assert_close(first.image, again.image, rtol=0, atol=0)
    torch.testing.assert_close(first.label, again.label)
    assert not first.image.equal(other.image)


@pytest.mark.parametrize("task", TASKS)
def test_changing_an_answer_changes_its_digit_and_its_labels_alone(task: str) -> None:
    before = TASKS[task](20, digits=4, cells=(5, 6), generator=generator())
    question = 2
    after = change_answers(before, question, generator(1))
    for b in range(20):
        answer = int(before.answer_cell[b, question])
        for cell in range(30):
            old_image, old_label = cell_pixels(before, b, cell)
            new_image, new_label = cell_pixels(after, b, cell)
            assert old_image.equal(new_image) == (cell != answer)
            if cell == int(before.question_cell[b, question]):
                labelled = old_label >= 0
                assert labelled.any()
                assert (old_label[labelled] != new_label[labelled]).all()
            elif cell not in before.question_cell[b]:
                assert old_label.equal(new_label)


def test_every_class_is_asked_for_about_equally_often() -> None:
    label = recall(600, digits=4, generator=generator()).label
    share = torch.bincount(label[label >= 0], minlength=10) / (label >= 0).sum()
    assert share.min() > 0.07
    assert share.max() < 0.13


def test_some_canvases_of_a_batch() -> None:
    drawn = recall(6, digits=3, generator=generator())
    some = take(drawn, slice(1, 3))
    torch.testing.assert_close(some.image, drawn.image[1:3])
    torch.testing.assert_close(some.answer_cell, drawn.answer_cell[1:3])
    assert some.cells == drawn.cells


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a canvas of 3 x 4 cells holds 2 to 12 things, got 13 on each of 2 canvases"):
        recall(2, digits=5, squares=8, cells=(3, 4), generator=generator())
    with pytest.raises(ValueError, match=r"unknown split 'tests': did you mean 'test'\? it is one of train, test"):
        key_class(2, split="tests", generator=generator())
