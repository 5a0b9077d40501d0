"""Scikit-learn's handwritten digits as examples to classify: real handwriting that needs no download.

1797 scans of 8 x 8 pixels and 17 grey levels (E. Alpaydin and C. Kaynak, 1998, https://doi.org/10.24432/C50P49). Every
fifth is kept for testing, as on the canvases of `canvases.py`. There is no third part: "val" and "test" are two
names of the same scans.

Left out: the 32 x 32 scans that these are made from; scikit-learn does not ship them.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.vision.data.examples import IGNORE, SPLITS, Example, within

SIDE = 8  # pixels along each side of a scan
FIFTH = 5  # every so many is kept for testing


@dataclass(frozen=True)
class Digits:
    """Handwritten digits, white on black, in three equal channels."""

    split: str = "train"  # "train", or "val" alias "test": every fifth
    size: int = SIDE  # pixels along each side, a multiple of 8: each pixel becomes a square of equal ones

    task: ClassVar[Literal["classify"]] = "classify"
    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")
    ignore: ClassVar[int] = IGNORE

    def __post_init__(self) -> None:
        choose("split", self.split, SPLITS)
        if self.size < SIDE or self.size % SIDE:
            raise ValueError(f"digits are drawn {SIDE} pixels wide or a whole multiple of it, got size={self.size}")

    def __len__(self) -> int:
        return len(_samples(self.split))

    def __getitem__(self, index: int) -> Example:
        sample = _samples(self.split)[within(index, len(self))]
        scans, labels = _scans()
        times = self.size // SIDE
        image = scans[sample].repeat_interleave(times, 0).repeat_interleave(times, 1)
        return Example(image.expand(3, -1, -1).contiguous(), torch.tensor(int(labels[sample])))

    def name(self, index: int) -> str:
        """The scan's number in scikit-learn's data set."""
        return f"digit-{_samples(self.split)[within(index, len(self))]:04d}"


@functools.cache
def _scans() -> tuple[UInt8[Tensor, "n 8 8"], np.ndarray]:
    from sklearn.datasets import load_digits  # slow to import, and only digits need it

    bunch = load_digits()
    return torch.from_numpy(np.rint(bunch.images / bunch.images.max() * 255).astype(np.uint8)), bunch.target


@functools.cache
def _samples(split: str) -> tuple[int, ...]:
    """The scans of a split, by their number."""
    count = len(_scans()[1])
    return tuple(sample for sample in range(count) if (sample % FIFTH == 0) == (split != "train"))
