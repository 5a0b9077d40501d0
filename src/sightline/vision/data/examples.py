"""What a data set is: examples by number, each an image with its target; any object that keeps this contract will do.

Nothing is registered and nothing is subclassed: `check_examples` says what is wrong with your own. The same index gives
the same example always, in any process: whatever is random about training (order, crops, flips) happens outside, so
that a resumed run sees what an uninterrupted one would have seen.

Left out: streams without a length, several targets per image, boxes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from sightline.ops.arguments import choose

IGNORE = 255  # the label of pixels that do not count
SPLITS = ("train", "val", "test")


class Example(NamedTuple):
    """One image and what is to be said of it."""

    image: UInt8[Tensor, "3 h w"]  # red, green, blue in [0, 255]
    target: Int64[Tensor, "*p"]  # "segment": the class of each pixel [h, w]; "classify": the image's class []


@runtime_checkable
class Examples(Protocol):
    """A data set of images; images of different sizes are allowed."""

    @property
    def task(self) -> Literal["segment", "classify"]:
        """What a target is: a mask or a class."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class; targets are indices into it."""
        ...

    @property
    def ignore(self) -> int:
        """The label of pixels that do not count; no image to classify bears it."""
        ...

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Example `index` in [0, len): the same one always; IndexError beyond."""
        ...

    def name(self, index: int) -> str:
        """What a person calls the example: a file's path or a made-up name, different for each."""
        ...


def within(index: int, count: int) -> int:
    """`index` if there is such an example; a loop over the examples ends by this error.

    Raises:
        IndexError: there is no example of this number.
    """
    if not 0 <= index < count:
        raise IndexError(f"there are {count} examples, numbered from 0, got the index {index}")
    return index


def random_of(seed: int, split: str, index: int) -> np.random.Generator:
    """A stream of random numbers that belongs to one drawn example; no two splits or seeds share one.

    Raises:
        ValueError: the seed is negative or the split unknown.
    """
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, got {seed}")
    return np.random.default_rng([seed, SPLITS.index(choose("split", split, SPLITS)), index])


def size_of(size: Sequence[int], least: int) -> tuple[int, int]:
    """Height and width, checked.

    Raises:
        ValueError: they are not two whole numbers of at least `least`.
    """
    if len(size) != 2 or any(int(side) != side or side < least for side in size):
        raise ValueError(f"a size is a height and a width of {least} pixels or more, got {tuple(size)}")
    return int(size[0]), int(size[1])
