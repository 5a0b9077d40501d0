"""What a trained network answers, what it could have seen, and what changes when the right answer changes.

Beside a score stands its ceiling: questions whose answer lies within the network's exact field (`seeing/receptive`) can
be answered rightly, the rest by chance. And beside the field stands a test of the trained network itself: the digit
that holds the answer is redrawn so that another answer is right, and the outputs at the question are compared bit for
bit.

Left out: partial information. A field that touches a digit's cell counts as seeing the digit, so that the
ceiling is an upper bound.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from sightline.seeing.reach import changed
from sightline.seeing.receptive import receptive_fields
from sightline.studies.long_range.networks import STRIDE, RecallNetwork
from sightline.studies.long_range.training import Budget, Training, predict
from sightline.vision.built_in.canvases import CELL, Canvases, change_answers, take

TWIN_SEED = 77


@dataclass(frozen=True)
class Changes:
    """Questions whose right answer was changed, and at how many of them the trained network's output changed at all."""

    beyond: int  # questions none of whose pixels has the answer in its field
    beyond_changed: int  # zero, or the field is wrong
    within: int
    within_changed: int


@dataclass(frozen=True)
class Evaluation:
    """Shares of labelled pixels, each over all test canvases, and the standard error with canvases as the unit."""

    score: float
    score_error: float
    reach: float  # share whose field reaches the answer
    ceiling: float
    score_within: float | None  # score where the field reaches the answer; None where it never does
    chance: float
    tested: Changes


def architecture_reach(network: str, budget: Budget) -> Bool[Tensor, "cells_y cells_x h w"]:
    """Which pixels' answers a cell of the canvas can reach at all: of the architecture, before any training."""
    fields = receptive_fields(RecallNetwork(network, width=budget.width, size=budget.size), budget.size)
    rows, columns = fields.layer("head").grid
    seen = torch.stack([fields.set("head", (y, x)) for y in range(rows) for x in range(columns)])
    cells = seen.unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).any(4).any(2)  # [positions, cells_y, cells_x]
    of_positions = cells.unflatten(0, (rows, columns)).permute(2, 3, 0, 1)
    return of_positions.repeat_interleave(STRIDE, 2).repeat_interleave(STRIDE, 3)


def questions_of_pixels(canvases: Canvases) -> Int[Tensor, "b h w"]:
    """The question that each labelled pixel asks, -1 elsewhere."""
    b, h, w = canvases.label.shape
    rows, columns = canvases.cells
    of_cell = torch.full((b, rows * columns), -1)
    of_cell.scatter_(1, canvases.question_cell, torch.arange(canvases.question_cell.shape[1]).expand(b, -1))
    y, x = torch.arange(h)[:, None] // CELL, torch.arange(w) // CELL
    return torch.where(canvases.label >= 0, of_cell[:, y * columns + x], -1)


def answer_in_field(seen: Bool[Tensor, "cells_y cells_x h w"], canvases: Canvases) -> Bool[Tensor, "b h w"]:
    """Whether the field of each labelled pixel reaches the digit that holds its answer; False elsewhere."""
    question = questions_of_pixels(canvases)
    b, h, w = question.shape
    cell = canvases.answer_cell.gather(1, question.clamp_min(0).flatten(1)).reshape(b, h, w)
    y, x = torch.arange(h)[:, None], torch.arange(w)
    return seen.flatten(0, 1)[cell, y, x] & (question >= 0)


def ceiling(seen: Bool[Tensor, "cells_y cells_x h w"], canvases: Canvases) -> tuple[float, float]:
    """Share of labelled pixels that can be answered, and the score of who answers those and guesses the rest."""
    share = float(answer_in_field(seen, canvases).sum() / (canvases.label >= 0).sum())
    return share, share + (1 - share) / canvases.classes


def change_every_answer(
    network: RecallNetwork, canvases: Canvases, seen: Bool[Tensor, "cells_y cells_x h w"], generator: Generator
) -> Changes:
    """Change the answer to each question in turn, and count the questions at which any bit of the output changed.

    In float64, whose plain kernels keep the positions of a map apart; float32 ones may round a whole tile together.
    """
    twin = RecallNetwork(
        network.network, canvases.classes, width=network.width, size=(canvases.image.shape[2], canvases.image.shape[3])
    )
    twin.load_state_dict(network.state_dict())
    twin.double().eval()
    within = answer_in_field(seen, canvases)
    question_at = questions_of_pixels(canvases)
    counts = torch.zeros(2, 2, dtype=torch.long)
    for question in range(canvases.question_cell.shape[1]):
        after = change_answers(canvases, question, generator)
        moved = changed(twin, canvases.image.double(), after.image.double())
        here = question_at == question
        sees = (within & here).flatten(1).any(1)
        moves = (moved & here).flatten(1).any(1)
        for s in (0, 1):
            counts[s, 0] += (sees == bool(s)).sum()
            counts[s, 1] += (moves & (sees == bool(s))).sum()
    return Changes(*(int(count) for count in counts.flatten()))


def evaluate(network: RecallNetwork, training: Training, seen: Bool[Tensor, "cells_y cells_x h w"]) -> Evaluation:
    """Score, ceiling and test of one trained network on canvases of digits that it was never trained on."""
    canvases = training.test_canvases(training.budget.test_canvases)
    labelled = canvases.label >= 0
    correct = (predict(network, canvases.image) == canvases.label) & labelled
    right = correct.flatten(1).sum(1).double()
    asked = labelled.flatten(1).sum(1).double()
    within = answer_in_field(seen, canvases)
    right_within = (correct & within).sum()
    share, bound = ceiling(seen, canvases)
    mean = right.sum() / asked.sum()
    # A ratio of sums whose independent units are canvases: the questions of one canvas share their digits.
    error = ((right - mean * asked) ** 2).sum().sqrt() / asked.sum()
    few = take(canvases, slice(0, max(training.budget.test_canvases // 16, 1)))
    return Evaluation(
        score=float(mean),
        score_error=float(error),
        reach=share,
        ceiling=bound,
        score_within=float(right_within / within.sum()) if share else None,
        chance=1 / canvases.classes,
        tested=change_every_answer(network, few, seen, torch.Generator().manual_seed(TWIN_SEED)),
    )
