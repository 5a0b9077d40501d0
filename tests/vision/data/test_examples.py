"""The contract of a data set, and that its checker finds every way to break it."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from sightline.vision.built_in.canvases import CanvasExamples
from sightline.vision.built_in.digits import Digits
from sightline.vision.built_in.frames import Frames
from sightline.vision.built_in.shapes import Shapes
from sightline.vision.data.check import check_examples
from sightline.vision.data.examples import Example, Examples, random_of, size_of, within


@dataclasses.dataclass
class Own:
    """A user's data set, with one thing wrong."""

    wrong: str = ""
    task: Any = "segment"
    classes: Any = ("a", "b")
    ignore: Any = 255
    looks: int = 0

    def __len__(self) -> int:
        return 0 if self.wrong == "empty" else 4

    def __getitem__(self, index: int) -> Any:
        if self.wrong != "endless":
            within(index, 4)
        self.looks += 1
        random = np.random.default_rng(self.looks if self.wrong == "random" else index)
        image = torch.from_numpy(random.integers(0, 256, (3, 4, 5), dtype=np.uint8))
        target = torch.full((4, 5), index % 2) if self.task == "segment" else torch.tensor(index % 2)
        match self.wrong:
            case "pair":
                return image, target
            case "float":
                image = image / 255
            case "int32":
                target = target.int()
            case "grey":
                image = image[:1]
            case "size":
                target = target[:, :4]
            case "mask":
                target = torch.zeros(4, 5, dtype=torch.int64)
            case "range":
                target = target + 1
            case "ignored":
                target = torch.full_like(target, 255)
            case "copy":
                image = image + (1 if hasattr(self, "copied") else 0)
        return Example(image, target)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, copied=True)

    def __getstate__(self) -> dict:
        if self.wrong == "pickle":
            raise RuntimeError("a file is open")
        return self.__dict__.copy()

    def name(self, index: int) -> Any:
        return {"names": "same", "number": index}.get(self.wrong, f"own-{index}")


SETS = [
    Shapes(5, (20, 33)),
    Digits("val", 16),
    Frames(8, tile=8),
    CanvasExamples("key-class", 3),
    CanvasExamples("recall", 3, cells=(4, 5), scale=3),
    Own(),
    Own("ignored"),
    Own(task="classify"),
]


@pytest.mark.parametrize("examples", SETS, ids=lambda e: type(e).__name__)
def test_what_keeps_the_contract_passes(examples: Examples) -> None:
    check_examples(examples)
    assert isinstance(examples, Examples)
    assert len(list(examples)) == len(examples)


@pytest.mark.parametrize(
    ("examples", "error", "sentence"),
    [
        (Own("empty"), ValueError, "there is no example"),
        (Own("endless"), ValueError, "there are 4 examples, and number 4 raises no IndexError"),
        (Own("random"), ValueError, "example 0 differs from one look to the next"),
        (Own("copy"), ValueError, "example 0 differs in a pickled copy"),
        (Own("pickle"), TypeError, "cannot be pickled, so no other process can read it: a file is open"),
        (Own("pair"), TypeError, r"example 0 is an Example\(image, target\), got a tuple"),
        (Own("float"), TypeError, "the image of example 0 is a tensor of torch.uint8, got torch.float32"),
        (Own("int32"), TypeError, "the target of example 0 is a tensor of torch.int64, got torch.int32"),
        (Own("grey"), ValueError, r"the image of example 0 is \[3, h, w\], got \(1, 4, 5\)"),
        (Own("size"), ValueError, r"example 0 is \[4, 5\] to segment, got \[4, 4\] for an image of another size"),
        (Own("mask", task="classify"), ValueError, r"the target of example 0 is \[\] to classify, got \[4, 5\]"),
        (Own("range"), ValueError, "example 1 has classes from 2 to 2, and there are 2, numbered from 0"),
        (Own("range", task="classify"), ValueError, "example 1 has classes from 2 to 2"),
        (Own("ignored", task="classify"), ValueError, "example 0 has classes from 255 to 255"),
        (Own("names"), ValueError, "examples 0 and 1 have one name, 'same'"),
        (Own("number"), TypeError, "the name of example 0 is text, got 0"),
        (Own(classes=["a", "b"]), TypeError, r"classes are a tuple of names, got \['a', 'b'\]"),
        (Own(classes=("a", "a")), ValueError, "every class has a name of its own"),
        (Own(ignore=None), TypeError, "ignore is the label of what does not count, a whole number, got None"),
        (Own(task="segmentation"), ValueError, "unknown task 'segmentation': did you mean 'segment'"),
        ([1, 2], TypeError, "a data set has task, and this list has not"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_every_breach_is_one_sentence(examples: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        check_examples(examples)


def test_streams_of_random_numbers_never_meet() -> None:
    first = {
        random_of(seed, split, index).random()
        for seed in range(5)
        for split in ("train", "val", "test")
        for index in range(20)
    }
    assert len(first) == 5 * 3 * 20
    assert random_of(3, "val", 7).random() == random_of(3, "val", 7).random()
    with pytest.raises(ValueError, match="a seed is 0 or more, got -1"):
        random_of(-1, "train", 0)
    with pytest.raises(ValueError, match="unknown split 'vall': did you mean 'val'"):
        random_of(0, "vall", 0)


def test_numbers_and_sizes_are_checked() -> None:
    assert within(3, 4) == 3
    for index in (4, -1):
        with pytest.raises(IndexError, match=f"there are 4 examples, numbered from 0, got the index {index}"):
            within(index, 4)
    assert size_of([8, 9], 8) == (8, 9)
    for size in ((7, 9), (8,), (8, 9, 10)):
        with pytest.raises(ValueError, match="a size is a height and a width of 8 pixels or more"):
            size_of(size, 8)
