"""The canvases of the first study (`canvases.py`) as examples to segment, at any size.

A larger canvas has more cells, or larger ones: `scale` turns every pixel into a square of equal pixels. What is not
labelled there (-100) does not count here (255). Digits on canvases of "val" or "test" never stand on one to train on.

Left out: who asks and who answers; `canvases.py` has it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from sightline.ops.arguments import choose
from sightline.vision.canvases import CELL, TASKS, UNLABELLED, Canvases
from sightline.vision.examples import IGNORE, SPLITS, Example, random_of, within

NAMES = {"recall": tuple("0123456789"), "key-class": ("another class", "the key's class")}


@dataclass(frozen=True)
class CanvasExamples:
    """Canvases on which a right answer needs information from elsewhere in the image."""

    canvas: str = "recall"  # "recall" or "key-class"
    count: int = 200
    digits: int = 8  # on each canvas, and as many coloured squares where the task has them
    cells: tuple[int, int] = (6, 6)  # rows and columns
    scale: int = 1  # pixels along each side of what is one pixel on the canvas
    seed: int = 0
    split: str = "train"  # "train", or "val" and "test": other canvases of the same held-out digits

    task: ClassVar[Literal["segment"]] = "segment"
    ignore: ClassVar[int] = IGNORE

    def __post_init__(self) -> None:
        choose("canvas", self.canvas, TASKS)
        choose("split", self.split, SPLITS)
        if self.count < 1 or self.scale < 1:
            raise ValueError(f"canvases and scale are 1 or more, got count={self.count}, scale={self.scale}")
        self.draw(0)  # says what does not fit

    @property
    def classes(self) -> tuple[str, ...]:
        """The answers: a digit's class, or whether it is the key's."""
        return NAMES[self.canvas]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return self.cells[0] * CELL * self.scale, self.cells[1] * CELL * self.scale

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int) -> Canvases:
        """Canvas `index` with what stands where; a batch of one."""
        stream = random_of(self.seed, self.split, within(index, self.count))
        generator = torch.Generator().manual_seed(int(stream.integers(2**63)))
        squares = {"squares": self.digits} if self.canvas == "recall" else {}
        split = "train" if self.split == "train" else "test"
        return TASKS[self.canvas](1, digits=self.digits, cells=self.cells, split=split, generator=generator, **squares)

    def __getitem__(self, index: int) -> Example:
        canvas = self.draw(index)
        image = (canvas.image[0] * 255).round().to(torch.uint8)
        mask = torch.where(canvas.label[0] == UNLABELLED, self.ignore, canvas.label[0])
        for axis in (-2, -1):
            image = image.repeat_interleave(self.scale, axis)
            mask = mask.repeat_interleave(self.scale, axis)
        return Example(image, mask)

    def name(self, index: int) -> str:
        """A made-up name that tells how to draw the canvas again."""
        return f"{self.canvas}-{self.split}-{self.seed}-{within(index, self.count):05d}"
