"""Ceilings by plain loops, and the test that changes answers, on networks whose field is known."""

import pytest
import torch

from sightline.ops.patterns import criss_cross
from sightline.seeing.reach import reach
from sightline.studies.long_range.evaluation import (
    Changes,
    answer_in_field,
    architecture_reach,
    ceiling,
    change_every_answer,
    evaluate,
    questions_of_pixels,
)
from sightline.studies.long_range.networks import KNOWN, RecallNetwork
from sightline.studies.long_range.training import Budget, Training
from sightline.vision.built_in.canvases import CELL, TASKS

BUDGET = Budget(width=8, squares=4, rows=4, columns=5, test_canvases=32)


@pytest.mark.parametrize("network", KNOWN)
def test_the_field_by_rules_is_the_field_by_perturbation(network: str) -> None:
    """Two methods that share nothing: operations watched, and blocks changed."""
    twin = RecallNetwork(network, width=8, size=BUDGET.size)
    assert torch.equal(architecture_reach(network, BUDGET), reach(twin, BUDGET.size, block=CELL))


@pytest.mark.parametrize("task", TASKS)
def test_the_ceiling_of_one_pass_is_counted_square_by_square(task: str) -> None:
    training = Training(task, 3, "criss-cross R=1", 0, BUDGET)
    canvases = training.test_canvases(20)
    seen = architecture_reach(training.network, BUDGET)
    question = questions_of_pixels(canvases)
    reached = labelled = 0
    for b in range(20):
        for s, (asking, answering) in enumerate(zip(canvases.question_cell[b], canvases.answer_cell[b], strict=True)):
            (qy, qx), (ay, ax) = (divmod(int(cell), 5) for cell in (asking, answering))
            pixels = (canvases.label[b, qy * CELL : qy * CELL + CELL, qx * CELL : qx * CELL + CELL] >= 0).sum()
            labelled += int(pixels)
            reached += int(pixels) * (qy == ay or qx == ax)
            inside = question[b, qy * CELL : qy * CELL + CELL, qx * CELL : qx * CELL + CELL]
            assert (inside == s).sum() == pixels
    share, bound = ceiling(seen, canvases)
    assert share == pytest.approx(reached / labelled)
    assert bound == pytest.approx(share + (1 - share) / canvases.classes)
    assert 0.2 < share < 0.8
    assert not answer_in_field(seen, canvases)[canvases.label < 0].any()


@pytest.mark.parametrize("task", TASKS)
def test_what_lies_beyond_the_field_changes_no_bit_and_what_lies_within_does(task: str) -> None:
    training = Training(task, 3, "criss-cross R=1", 0, BUDGET)
    canvases = training.test_canvases(8)
    torch.manual_seed(1)
    network = RecallNetwork(**training.network_arguments())
    tested = change_every_answer(
        network, canvases, architecture_reach(training.network, BUDGET), torch.Generator().manual_seed(0)
    )
    asked = canvases.question_cell.numel()
    assert tested.beyond + tested.within == asked
    assert tested.beyond > 4
    assert tested.beyond_changed == 0
    assert tested.within_changed == tested.within > 4


def test_a_field_that_is_too_small_is_found_out() -> None:
    training = Training("recall", 3, "non-local", 0, BUDGET)
    canvases = training.test_canvases(8)
    too_small = architecture_reach("criss-cross R=1", BUDGET)
    tested = change_every_answer(
        RecallNetwork(**training.network_arguments()), canvases, too_small, torch.Generator().manual_seed(0)
    )
    assert tested.beyond_changed > 0.9 * tested.beyond > 0


def test_the_architecture_sees_its_own_row_and_column() -> None:
    seen = architecture_reach("criss-cross R=1", BUDGET)[:, :, ::CELL, ::CELL].flatten(2).flatten(0, 1)
    torch.testing.assert_close(seen, criss_cross.mask((4, 5)))


def test_an_evaluation_holds_together() -> None:
    training = Training("recall", 3, "shallow convolutions", 0, BUDGET)
    network = RecallNetwork(**training.network_arguments())
    got = evaluate(network, training, architecture_reach(training.network, BUDGET))
    canvases = training.test_canvases(32)
    labelled = canvases.label >= 0
    with torch.no_grad():
        right = network(canvases.image).argmax(1) == canvases.label
    assert got.score == pytest.approx(float(right[labelled].double().mean()))
    assert got.chance == pytest.approx(0.1)
    assert 0 < got.reach < got.ceiling < 1
    assert 0 < got.score_error < 0.1
    assert isinstance(got.tested, Changes)
