"""Sight by plain loops over questions, on networks whose answers and attention are known."""

import pytest
import torch

from sightline.ops.patterns import criss_cross, field
from sightline.studies.long_range.evaluation import architecture_reach
from sightline.studies.long_range.networks import RecallNetwork
from sightline.studies.long_range.training import Budget, Training
from sightline.studies.recurrence.sight import (
    architecture,
    arrivals,
    cells_agree,
    passes_of,
    routes,
    same_line,
    share_on_answer,
    sight,
)

BUDGET = Budget(width=8, squares=4, rows=4, columns=5, test_canvases=16)


def test_what_stands_on_the_cross_is_counted_question_by_question() -> None:
    training = Training("recall", 3, "criss-cross R=1", 0, BUDGET)
    canvases = training.test_canvases(16)
    torch.manual_seed(0)
    network = RecallNetwork(**training.network_arguments())
    got = sight(network, training)
    with torch.no_grad():
        said = network.eval()(canvases.image).argmax(1)
    tally = {True: [0, 0], False: [0, 0]}
    lies = same_line(canvases)
    for b in range(16):
        for s, (asks, answers) in enumerate(zip(canvases.question_cell[b], canvases.answer_cell[b], strict=True)):
            (y, x), (v, u) = divmod(int(asks), 5), divmod(int(answers), 5)
            on = y == v or x == u
            assert bool(lies[b, s]) == on
            box = (slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8))
            labelled = canvases.label[b][box] >= 0
            tally[on][0] += int((said[b][box] == canvases.label[b][box])[labelled].sum())
            tally[on][1] += int(labelled.sum())
    assert got.on_cross == pytest.approx(tally[True][0] / tally[True][1])
    assert got.off_cross == pytest.approx(tally[False][0] / tally[False][1])
    assert got.asked_on_cross == pytest.approx(float(lies.double().mean()))
    assert got.look_off_cross == 0
    assert got.look_on_cross > 0
    assert got.arrive_off_cross == 0
    assert got.arrive_on_cross > got.look_on_cross  # the question's own cell does not count
    assert 0 <= got.mean_iou < 0.5


def test_the_attention_on_an_answer_is_that_cells_weight() -> None:
    training = Training("recall", 3, "criss-cross R=2", 0, BUDGET)
    canvases = training.test_canvases(2)
    network = RecallNetwork(**training.network_arguments()).eval()
    shares = share_on_answer(network, canvases, RecallNetwork.looks)
    for b in range(2):
        for s in range(4):
            asks, answers = int(canvases.question_cell[b, s]), int(canvases.answer_cell[b, s])
            with torch.no_grad():
                weights = network.looks(canvases.image[b : b + 1], divmod(asks, 5))[0]
            assert shares[b, s] == pytest.approx(float(weights[divmod(answers, 5)]))
    alone = RecallNetwork("criss-cross R=0", width=8, size=BUDGET.size)
    assert share_on_answer(alone, canvases, RecallNetwork.looks) is None
    assert share_on_answer(alone, canvases, arrivals) is None
    assert sight(alone, Training("recall", 3, "criss-cross R=0", 0, BUDGET)).look_on_cross is None
    assert arrivals(RecallNetwork("non-local", width=8, size=BUDGET.size), canvases.image[:1], (0, 0)) is None


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_what_arrives_is_the_product_of_the_passes_with_the_ways_around_them(passes: int) -> None:
    network = RecallNetwork(f"criss-cross R={passes}", width=8, size=BUDGET.size).double().eval()
    image, query = torch.rand(1, 3, *BUDGET.size, dtype=torch.float64), (1, 3)
    layer = network.context.layer
    product, x = torch.eye(20, dtype=torch.float64), network.stem(image)
    with torch.no_grad():
        for one in layer.passes:
            table = torch.stack([one.weights(x, divmod(place, 5))[0].flatten() for place in range(20)])
            product = (one.gamma * table + torch.eye(20)) @ product
            x = one(x)
        row = product[1 * 5 + 3].clone()
        row[1 * 5 + 3] = 0
        torch.testing.assert_close(arrivals(network, image, query)[0].flatten(), row / row.sum())


@pytest.mark.parametrize("passes", [0, 1, 2, 3])
def test_the_field_found_bit_by_bit_is_that_of_the_patterns(passes: int) -> None:
    reach = architecture_reach(f"criss-cross R={passes}", BUDGET)
    assert cells_agree(reach, passes, (4, 5))
    wrong = reach.clone()
    wrong[0, 0, 0, 0] = ~wrong[0, 0, 0, 0]
    assert not cells_agree(wrong, passes, (4, 5))
    assert passes_of(f"criss-cross R={passes}") == passes


def test_routes_are_counted_by_walking() -> None:
    size, query = (3, 4), (1, 2)

    def walk(place: tuple[int, int], steps: int) -> dict[tuple[int, int], int]:
        if steps == 0:
            return {place: 1}
        found: dict[tuple[int, int], int] = {}
        seen = criss_cross.visible(place, size)
        for y, x in seen.nonzero().tolist():
            for end, ways in walk((y, x), steps - 1).items():
                found[end] = found.get(end, 0) + ways
        return found

    for passes in (0, 1, 2, 3):
        ways = walk(query, passes)
        for y in range(3):
            for x in range(4):
                assert routes(passes, size, query, (y, x)) == ways.get((y, x), 0)
    assert routes(2, (12, 12), (5, 5), (6, 7)) == 2


def test_the_architecture_says_field_and_routes() -> None:
    found = [architecture(passes, (12, 12), (6, 4)) for passes in (0, 1, 2)]
    assert [one["field"] for one in found] == [1, 23, 144]
    assert [one["routes_off_cross"] for one in found] == [0, 0, 2]
    assert found[0]["published_head_field"] == pytest.approx(49 / 97**2)
    thick = 2 * 7 * 97 - 49  # a cross of seven rows and seven columns
    assert found[1]["published_head_field"] == pytest.approx(thick / 97**2)
    assert found[2]["published_head_field"] == 1
    assert found[1]["field"] == field([criss_cross], (6, 4), (12, 12)).sum()
