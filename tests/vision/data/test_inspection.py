"""Looking at the data first: each kind of damage is found and named, and what is counted is what is there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.vision.data.made_up_folders import write_image, write_mask

from sightline.vision.built_in.digits import Digits
from sightline.vision.built_in.shapes import Shapes
from sightline.vision.data.examples import Example
from sightline.vision.data.folders import open_examples
from sightline.vision.data.inspection import inspect


@pytest.fixture
def damaged(tmp_path) -> Path:
    """Seven images, of which two are whole."""
    images, masks = tmp_path / "images" / "train", tmp_path / "masks" / "train"
    for number, name in enumerate("abcdefg"):
        write_image(images / f"{name}.png", (40, 30 + number))
        write_mask(masks / f"{name}.png", [0, 0, 1, 255], (40, 30 + number))
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:1500])
    write_mask(masks / "c.png", [0], (40, 31))
    write_mask(masks / "d.png", [0, 0, 0, 4], (40, 33))
    (masks / "e.png").unlink()
    (images / "f.png").write_bytes(b"")
    write_image(masks / "f.png", (40, 35))
    (tmp_path / "classes.txt").write_text("ground\nshape\nnever\n")
    return tmp_path


def test_every_kind_of_damage_is_named(damaged) -> None:
    found = inspect(open_examples(damaged, task="segment"))
    patterns = [
        r"images/train/e\.png has no mask: .*masks/train/e\.png is not there",
        r"images/train/b\.png cannot be read: .*truncated",
        r"images/train/c\.png is 40 x 32 pixels high and wide, and its mask .*masks/train/c\.png is 40 x 31: they must",
        r"masks/train/d\.png has the value 4 at pixel y=0, x=3, the first of 330 such pixels: masks hold 0 to 2",
        r"images/train/f\.png cannot be read: it is empty \(0 bytes\), no image",
        r"masks/train/f\.png is a RGB picture, and a mask has one number per pixel",
    ]
    assert len(found.broken) == len(patterns)
    for sentence, pattern in zip(found.broken, patterns, strict=True):
        assert re.search(pattern, sentence), sentence
    assert found.warnings == ("the class 2 'never' is empty: no image of the part 'train' has a pixel of it",)
    whole = [0, 5]
    for row in range(6):
        assert (found.counts[row].sum() > 0) == (row in whole)
    assert found.sizes.tolist() == [[40, 30], [0, 0], [0, 0], [0, 0], [0, 0], [40, 36]]
    assert found.counts[0].tolist() == [600, 300, 0]
    assert found.ignored.tolist() == [300, 0, 0, 0, 0, 360]


def test_one_error_has_the_first_sentences_and_how_many_follow(damaged) -> None:
    found = inspect(open_examples(damaged, task="segment"))
    with pytest.raises(ValueError, match="6 things are broken in the data: ") as error:
        found.raise_if_broken(shown=2)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert lines[1].endswith("is not there;"), "still one sentence where lines are joined"
    assert "e.png" in lines[1]
    assert lines[-1].strip() == "... and 4 more"
    with pytest.raises(ValueError, match="1 thing is broken in the data: there are no images in the part 'val': no"):
        inspect(Nothing()).raise_if_broken()


def test_whole_data_passes_and_is_counted() -> None:
    shapes = Shapes(20, (24, 40))
    seen = []
    found = inspect(shapes, progress=lambda done, total: seen.append((done, total)))
    found.raise_if_broken()
    assert seen == [(number, 20) for number in range(1, 21)]
    for index in range(20):
        mask = shapes[index].target
        assert found.counts[index].tolist() == [int((mask == k).sum()) for k in range(7)]
    assert found.sizes.tolist() == [[24, 40]] * 20
    assert int(found.ignored.sum()) == 0
    text = str(found)
    assert "20 images, 0 broken, 0 warnings" in text
    share = (found.counts[:, 0].sum() / (20 * 24 * 40)).item()
    assert re.search(rf"background +{share:.2%} of pixels", text)
    assert "ignored" not in text
    assert "(ignored)" in str(inspect(Own([[255, 0]])))


def test_classes_of_whole_images_are_counted() -> None:
    found = inspect(Digits("val"))
    labels = [int(target) for _, target in Digits("val")]
    assert found.counts.sum(0).tolist() == [labels.count(k) for k in range(10)]
    assert found.counts.sum(1).tolist() == [1] * 360


class Own:
    """A user's data set with these masks, one row high."""

    task, classes, ignore = "segment", ("a", "b", "c", "d"), 255

    def __init__(self, masks: list[list[int]], wide: int = 0) -> None:
        self.masks, self.wide = masks, wide

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Example:
        mask = torch.tensor(self.masks[index])
        if mask.ndim:
            mask = mask[None]
        width = self.wide or len(mask.flatten())
        return Example(torch.zeros(3, 1, width, dtype=torch.uint8), mask)

    def name(self, index: int) -> str:
        return f"own {index}"


class Nothing(Own):
    split = "val"

    def __init__(self) -> None:
        super().__init__([])


def test_what_any_data_set_may_do_wrong() -> None:
    assert inspect(Own([[0, 1, 255, 2]])).warnings == ("the class 3 'd' is empty: no image has a pixel of it",)
    assert inspect(Own([[0, 255]])).warnings == (
        "the classes 1 to 3 ('b', 'c', 'd') are empty: no image has a pixel of them",
    )
    blank = inspect(Own([[0, 1, 2, 3], [255, 255], [255]]))
    assert blank.warnings == ("the pixels of own 1 do not count, none of them, and neither do those of 1 more",)
    assert inspect(Own([[0, 4]])).broken == ("own 0 has the class 4 at pixel y=0, x=1: there are 0 to 3",)
    assert inspect(Own([[0, -1]])).broken == ("own 0 has the class -1 at pixel y=0, x=1: there are 0 to 3",)
    assert inspect(Own([[0, 1]], wide=5)).broken == (
        "own 0 is 1 x 5 pixels high and wide, and its mask is 1 x 2: they must be of one size",
    )
    whole = Own([255], wide=2)
    whole.task = "classify"
    assert inspect(whole).broken == ("own 0 has the class 255: there are 0 to 3",)


def test_stopping_does_not_read_the_rest(tmp_path) -> None:
    read = []

    class Slow(Own):
        def __getitem__(self, index: int) -> Example:
            read.append(index)
            return super().__getitem__(index)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(Slow([[0, 1]] * 5000), progress=stop, workers=1)
    assert len(read) < 4000


def test_looking_is_the_same_with_any_number_of_threads(damaged) -> None:
    examples = open_examples(damaged, task="segment")
    one, many = inspect(examples, workers=1), inspect(examples, workers=8)
    assert one.broken == many.broken
    assert np.array_equal(one.counts, many.counts)
