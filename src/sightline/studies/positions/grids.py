"""An image task that needs to know where, in the three senses of the word.

Every cell of a canvas holds a handwritten digit (scikit-learn's, `vision/built_in/digits.py`), except for the
questions, squares of three colours:

- a green square asks for the digit in the cell directly to its left: a place relative to its own, one step away;
- a red square asks for the red digit of its row (each row has one): the same row, at any distance;
- a blue square asks in which quadrant of the image it stands: its place as a share of the image.

The digits are drawn independently of where they stand, so that who does not know where can only guess: for him the
answer to a green or red square is any white or red digit of the canvas, all equally likely, and his ceiling, the share
of the commonest one, is counted exactly (`ceiling`). Left out: digits off the grid, and questions that need two
steps.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from sightline.vision.built_in.digits import SIDE as CELL
from sightline.vision.built_in.digits import Digits

QUESTIONS = ("left", "row", "quadrant")  # their numbers, and the colours of their squares below
COLOURS = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
DIGITS, QUADRANTS = 10, 4
CLASSES = DIGITS + QUADRANTS
NONE = -100  # no question here; what `torch.nn.functional.cross_entropy` ignores
GREEN, OTHERS = 0.25, 0.4  # shares that make each kind of question about an eighth of the cells
CHANCE = {"left": 1 / DIGITS, "row": 1 / DIGITS, "quadrant": 1 / QUADRANTS}


@dataclass(frozen=True)
class Grids:
    """A batch of canvases of `y` x `x` cells."""

    image: Float[Tensor, "b 3 h w"]  # in [0, 1]
    question: Int[Tensor, "b y x"]  # number in `QUESTIONS`, -100 where nothing is asked
    label: Int[Tensor, "b y x"]  # 0 .. 9 a digit, 10 .. 13 a quadrant, -100 where nothing is asked
    digit: Int[Tensor, "b y x"]  # class of the digit that stands there, -100 at questions
    red: Bool[Tensor, "b y x"]  # the red digits


def draw(batch: int, cells: tuple[int, int], split: str, generator: Generator) -> Grids:
    """Canvases of this many rows and columns of cells, of digits of this split.

    Raises:
        ValueError: an odd or too small number of cells, which has no quadrants or no room.
    """
    rows, columns = cells
    if min(cells) < 4 or rows % 2 or columns % 2:
        raise ValueError(f"a canvas has an even number of at least 4 cells along each side, got {rows} x {columns}")
    pixels, classes = _bank(split)
    shape = (batch, rows, columns)
    x = torch.arange(columns)
    red = x == torch.randint(columns, (batch, rows, 1), generator=generator)
    # Pairs of cells (digit, green square) cannot overlap where every row is cut into pairs from a random start.
    second = ((x + torch.randint(2, (batch, rows, 1), generator=generator)) % 2 == 1) & (x > 0)
    free = second & ~red & ~red.roll(1, 2)
    green = free & (torch.rand(shape, generator=generator) < GREEN)
    taken = red | green | green.roll(-1, 2)
    asks = ~taken & (torch.rand(shape, generator=generator) < OTHERS)
    kind = torch.randint(1, 3, shape, generator=generator)
    question = torch.where(green, 0, torch.where(asks, kind, NONE))
    sample = torch.randint(len(classes), shape, generator=generator)
    digit = torch.where(question == NONE, classes[sample], NONE)
    red_class = (digit * red).sum(2, keepdim=True).expand(shape)
    y = torch.arange(rows)[:, None]
    quadrant = DIGITS + 2 * (y >= rows // 2).long() + (x >= columns // 2).long()
    answers = torch.stack([digit.roll(1, 2), red_class, quadrant.expand(shape)])
    label = torch.where(question == NONE, NONE, answers.gather(0, question.clamp_min(0)[None])[0])
    return Grids(_paint(pixels[sample], question, red), question, label, digit, red)


def ceiling(grids: Grids, kind: str) -> float:
    """The best share of right answers of who does not know where: the commonest candidate on each canvas.

    For quadrants it is the commonest quadrant of all canvases, since no canvas betrays its own.
    """
    number = QUESTIONS.index(kind)
    asked = (grids.question == number).flatten(1).sum(1).double()
    if kind == "quadrant":
        of_all = grids.label[grids.question == number].bincount(minlength=CLASSES)
        return float(of_all.max() / of_all.sum())
    candidates = grids.red if kind == "row" else (grids.digit != NONE) & ~grids.red
    counts = torch.stack([(candidates & (grids.digit == one)).flatten(1).sum(1) for one in range(DIGITS)], 1).double()
    share = counts.amax(1) / counts.sum(1).clamp_min(1)
    return float((share * asked).sum() / asked.sum())


def shuffled(image: Float[Tensor, "b c h w"], order: Int[Tensor, " n"]) -> Float[Tensor, "b c h w"]:
    """The image with its cells in another order: cell i of the result is cell order[i]."""
    b, c, h, w = image.shape
    rows, columns = h // CELL, w // CELL
    cells = image.reshape(b, c, rows, CELL, columns, CELL).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)[:, order]
    return cells.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


@functools.cache
def _bank(split: str) -> tuple[Float[Tensor, "n 8 8"], Int[Tensor, " n"]]:
    """The digits of a split, and their classes."""
    every = [example for digits in [Digits(split)] for example in (digits[i] for i in range(len(digits)))]
    pixels = torch.stack([example.image[0] for example in every]).float() / 255
    return pixels, torch.stack([example.target for example in every])


def _paint(
    pixels: Float[Tensor, "b y x 8 8"], question: Int[Tensor, "b y x"], red: Bool[Tensor, "b y x"]
) -> Float[Tensor, "b 3 h w"]:
    inside = torch.zeros(CELL, CELL)
    inside[CELL // 4 : -CELL // 4, CELL // 4 : -CELL // 4] = 1  # a square fills the middle half of its cell
    white = torch.where(red[..., None], COLOURS[1], torch.ones(3))
    asks = (question != NONE)[..., None]
    colour = torch.where(asks, COLOURS[question.clamp_min(0)], white)
    ink = torch.where(asks[..., None], inside, pixels)
    canvas = colour[..., None, None] * ink[..., None, :, :]  # [b, y, x, 3, 8, 8]
    b, rows, columns = question.shape
    return canvas.permute(0, 3, 1, 4, 2, 5).reshape(b, 3, rows * CELL, columns * CELL)
