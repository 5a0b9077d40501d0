"""Canvases of real handwriting on which a right answer needs information from elsewhere in the image.

Scikit-learn's handwritten digits (8 x 8 pixels, 10 classes) stand on a grid of cells of 8 pixels. Every fifth digit of
the data set is kept for testing and never appears on a training canvas.

- `recall`: some digits, each in its own colour, and some coloured squares; each square's pixels are labelled with the
  class of the digit that has its colour. It needs a look-up by content, anywhere in the image.
- `key_class`: one red key digit among white ones; each white digit's ink is labelled with "is it of the key's class?".
  It needs context but no look-up: one summary of the whole image, the key's class, serves every position. The white
  digits are of two classes, either as likely the key's, so that who does not see the key is bound to chance.

Both are our own; the recall task follows the associative recall of sequence models (Graves et al., 2014,
https://arxiv.org/abs/1410.5401) laid out in two dimensions. Left out: distortion, noise, digits off the grid.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from sightline.ops.arguments import choose
from sightline.vision.data.examples import IGNORE, SPLITS, Example, random_of, within

CELL = 8  # pixels along each side of a cell: the size of one handwritten digit
CLASSES = 10
UNLABELLED = -100  # what `torch.nn.functional.cross_entropy` ignores
ANSWERS = {"recall": tuple("0123456789"), "key-class": ("another class", "the key's class")}


@dataclass(frozen=True)
class Canvases:
    """A batch of canvases, and what stands where: enough to paint them again with another digit.

    `s` questions are asked per canvas; the answer to each is one of the `k` digits. Cells are counted row by row.
    """

    image: Float[Tensor, "b 3 h w"]  # in [0, 1]
    label: Int[Tensor, "b h w"]  # class of each labelled pixel, -100 elsewhere
    digit_sample: Int[Tensor, "b k"]  # which of scikit-learn's digits
    digit_cell: Int[Tensor, "b k"]
    digit_colour: Float[Tensor, "b k 3"]
    question_cell: Int[Tensor, "b s"]  # the cell whose labelled pixels ask
    answer_digit: Int[Tensor, "b s"]  # the digit, of 0 .. k - 1, that holds the answer
    cells: tuple[int, int]  # rows and columns of cells
    task: str
    split: str

    @property
    def answer_cell(self) -> Int[Tensor, "b s"]:
        """The cell of the digit that holds the answer to each question."""
        return self.digit_cell.gather(1, self.answer_digit)

    @property
    def classes(self) -> int:
        """How many answers there are."""
        return CLASSES if self.task == "recall" else 2


def recall(
    batch: int,
    *,
    digits: int = 8,
    squares: int = 8,
    cells: tuple[int, int] = (6, 6),
    split: str = "train",
    generator: Generator,
) -> Canvases:
    """Label each coloured square with the class of the digit that has its colour; chance is one in ten.

    Raises:
        ValueError: digits and squares do not fit on the canvas, or the split is unknown.
    """
    cell = _draw_cells(batch, digits + squares, cells, generator)
    shape = (batch, digits)
    sample = _members(split)[torch.randint(len(_members(split)), shape, generator=generator)]
    hue = (torch.rand(batch, 1, generator=generator) + torch.arange(digits) / digits) % 1
    asked = torch.randint(digits, (batch, squares), generator=generator)
    return _paint_recall(sample, cell[:, :digits], _rainbow(hue), cell[:, digits:], asked, cells, split)


def key_class(
    batch: int,
    *,
    digits: int = 8,
    cells: tuple[int, int] = (6, 6),
    split: str = "train",
    generator: Generator,
) -> Canvases:
    """Label each white digit's ink with 1 where it is of the red key digit's class, else 0; chance is one in two.

    Raises:
        ValueError: the key and `digits` white digits do not fit on the canvas, or the split is unknown.
    """
    cell = _draw_cells(batch, digits + 1, cells, generator)
    key = torch.randint(CLASSES, (batch, 1), generator=generator)
    same = torch.rand(batch, digits, generator=generator) < 0.5
    # One other class per canvas: were there several, the commonest class among the white digits would betray the key.
    other = (key + torch.randint(1, CLASSES, (batch, 1), generator=generator)) % CLASSES
    sample = _draw_of_class(torch.cat([key, torch.where(same, key, other)], 1), split, generator)
    return _paint_key_class(sample, cell, cells, split)


TASKS: dict[str, Callable[..., Canvases]] = {"recall": recall, "key-class": key_class}


def change_answers(canvases: Canvases, question: int, generator: Generator) -> Canvases:
    """The same canvases, the digit that answers one question redrawn so that the right answer is another one."""
    digit = canvases.answer_digit[:, question, None]
    _, classes = _handwriting()
    now = classes[canvases.digit_sample.gather(1, digit)]
    wanted = (now + torch.randint(1, CLASSES, now.shape, generator=generator)) % CLASSES
    if canvases.task == "key-class":
        asking = classes[canvases.digit_sample[:, question + 1, None]]
        wanted = torch.where(asking == now, wanted, asking)
    drawn = _draw_of_class(wanted, canvases.split, generator)
    sample = canvases.digit_sample.scatter(1, digit, drawn)
    if canvases.task == "key-class":
        return _paint_key_class(sample, canvases.digit_cell, canvases.cells, canvases.split)
    return _paint_recall(
        sample,
        canvases.digit_cell,
        canvases.digit_colour,
        canvases.question_cell,
        canvases.answer_digit,
        canvases.cells,
        canvases.split,
    )


def take(canvases: Canvases, index: Tensor | slice) -> Canvases:
    """Some canvases of a batch."""
    names = ("image", "label", "digit_sample", "digit_cell", "digit_colour", "question_cell", "answer_digit")
    return replace(canvases, **{name: getattr(canvases, name)[index] for name in names})


@dataclass(frozen=True)
class CanvasExamples:
    """Canvases as examples to segment, at any size: more cells, or each pixel a square of `scale` by `scale` pixels.

    What is not labelled there (-100) does not count here (255).
    """

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
        return ANSWERS[self.canvas]

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


@functools.cache
def _handwriting() -> tuple[Float[Tensor, "samples 8 8"], Int[Tensor, "samples"]]:
    from sklearn.datasets import load_digits  # slow to import, and only canvases need it

    bunch = load_digits()
    return torch.tensor(bunch.images / bunch.images.max(), dtype=torch.float32), torch.tensor(bunch.target)


@functools.cache
def _members(split: str) -> Int[Tensor, "members"]:
    """The samples of a split: every fifth is for testing."""
    choose("split", split, ("train", "test"))
    samples = torch.arange(len(_handwriting()[1]))
    return samples[(samples % 5 == 0) == (split == "test")]


@functools.cache
def _members_by_class(split: str) -> list[Tensor]:
    members, classes = _members(split), _handwriting()[1]
    return [members[classes[members] == digit] for digit in range(CLASSES)]


def _draw_of_class(wanted: Int[Tensor, "b k"], split: str, generator: Generator) -> Int[Tensor, "b k"]:
    members = _members_by_class(split)
    start = torch.tensor([0, *(len(m) for m in members)]).cumsum(0)
    count = torch.tensor([len(m) for m in members])[wanted]
    place = (torch.rand(wanted.shape, generator=generator) * count).long().clamp_max(count - 1)
    return torch.cat(members)[start[wanted] + place]


def _draw_cells(batch: int, things: int, cells: tuple[int, int], generator: Generator) -> Int[Tensor, "b things"]:
    """Different cells for all things of a canvas, every arrangement equally likely."""
    if batch < 1 or things < 2 or min(cells) < 1 or things > cells[0] * cells[1]:
        raise ValueError(
            f"a canvas of {cells[0]} x {cells[1]} cells holds 2 to {cells[0] * cells[1]} things, got {things} "
            f"on each of {batch} canvases: ask for fewer digits and squares, or for more cells"
        )
    return torch.rand(batch, cells[0] * cells[1], generator=generator).argsort(1)[:, :things]


def _rainbow(hue: Float[Tensor, "b k"]) -> Float[Tensor, "b k 3"]:
    """Fully saturated, bright colours: hue in [0, 1) to red, green, blue in [0, 1]."""
    phase = (hue[..., None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return ((phase - 3).abs() - 1).clamp(0, 1)


def _lay_out(patches: Tensor, cell: Int[Tensor, "b things"], cells: tuple[int, int], empty: int) -> Tensor:
    """Patches [b, things, channels, 8, 8] into their cells of a canvas [b, channels, h, w]."""
    b, _, channels = patches.shape[:3]
    rows, columns = cells
    canvas = patches.new_full((b, rows * columns, channels, CELL, CELL), empty)
    canvas[torch.arange(b)[:, None], cell] = patches
    return (
        canvas.reshape(b, rows, columns, channels, CELL, CELL)
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(b, channels, rows * CELL, columns * CELL)
    )


def _paint_recall(
    sample: Tensor,
    digit_cell: Tensor,
    colour: Tensor,
    square_cell: Tensor,
    square_digit: Tensor,
    cells: tuple[int, int],
    split: str,
) -> Canvases:
    pixels, classes = _handwriting()
    inside = torch.zeros(CELL, CELL)
    inside[CELL // 4 : -CELL // 4, CELL // 4 : -CELL // 4] = 1  # a square fills the middle half of its cell
    square_colour = colour.gather(1, square_digit[..., None].expand(-1, -1, 3))
    digits = colour[..., None, None] * pixels[sample][:, :, None]
    squares = square_colour[..., None, None] * inside
    answer = classes[sample].gather(1, square_digit)
    labels = torch.where(inside.bool(), answer[..., None, None, None], UNLABELLED)
    return Canvases(
        image=_lay_out(torch.cat([digits, squares], 1), torch.cat([digit_cell, square_cell], 1), cells, 0),
        label=_lay_out(labels, square_cell, cells, UNLABELLED)[:, 0],
        digit_sample=sample,
        digit_cell=digit_cell,
        digit_colour=colour,
        question_cell=square_cell,
        answer_digit=square_digit,
        cells=cells,
        task="recall",
        split=split,
    )


def _paint_key_class(sample: Tensor, cell: Tensor, cells: tuple[int, int], split: str) -> Canvases:
    pixels, classes = _handwriting()
    colour = torch.ones(*sample.shape, 3)
    colour[:, 0] = torch.tensor([1.0, 0.0, 0.0])
    ink = pixels[sample]
    same = (classes[sample[:, 1:]] == classes[sample[:, :1]]).long()
    labels = torch.where(ink[:, 1:] > 0, same[..., None, None], UNLABELLED)[:, :, None]
    return Canvases(
        image=_lay_out(colour[..., None, None] * ink[:, :, None], cell, cells, 0),
        label=_lay_out(labels, cell[:, 1:], cells, UNLABELLED)[:, 0],
        digit_sample=sample,
        digit_cell=cell,
        digit_colour=colour,
        question_cell=cell[:, 1:],
        answer_digit=torch.zeros_like(sample[:, 1:]),
        cells=cells,
        task="key-class",
        split=split,
    )
