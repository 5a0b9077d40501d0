"""The exact sets of small networks are those that perturbation finds; where they are larger, an operation is named."""

import pytest
import torch
from tests.seeing.oracles import nan_hull, perturbed_set, reader
from tests.seeing.small_attention import ATTENTION
from tests.seeing.small_cases import Case
from tests.seeing.small_convolutions import CONVOLUTIONS
from tests.seeing.small_movements import MOVEMENTS
from torch import Tensor, nn

from sightline.seeing.receptive import Fields, receptive_fields

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
CASES = {**CONVOLUTIONS, **MOVEMENTS, **ATTENTION}
SWALLOWS_NAN = {  # see the oracle: compared or indexed
    *(
        "sampled where the image says",
        "deformable",
        "the best tokens",
        "sorted along rows",
        "an operator without a rule",
    ),
}
MASKED = ("mask", "shifted", "causal", "multiplied", "filled", "minus infinity", "all pairs", "triang")
ZEROS = (*MASKED, "corners", "bicubic", "antialias")  # a tap of a resize may weigh nothing
KEEPS_NAN = {name for name in CASES if any(word in name for word in ZEROS)}


def prepared(case: Case) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = case.build().double().train(case.training)
    return network, torch.randn(1, case.channels, *case.size, dtype=torch.float64)


def some_neurons(network: nn.Module, image: Tensor, count: int) -> list[tuple[int, int]]:
    """Random positions of the output, a corner among them."""
    with torch.no_grad():
        h, w = network(image).shape[2:]
    draw = torch.Generator().manual_seed(1)
    chosen = torch.randperm(h * w, generator=draw)[: count - 1].tolist()
    return [(h - 1, 0), *((n // w, n % w) for n in chosen)]


def check_hull(hull: tuple[int, int, int, int] | None, pixels: Tensor, kind: str) -> None:
    """The box around the set; value-aware it may be larger, where a tap is zero in some channels only."""
    rows, columns = pixels.any(1).nonzero().flatten().tolist(), pixels.any(0).nonzero().flatten().tolist()
    if not rows:
        assert hull is None or kind == "value-aware"
        return
    assert hull is not None
    box = (rows[0], rows[-1], columns[0], columns[-1])
    if kind == "structural":
        assert hull == box
    assert hull[0] <= box[0] <= box[1] <= hull[1]
    assert hull[2] <= box[2] <= box[3] <= hull[3]


def compare(fields: Fields, neurons: list[tuple[int, int]], truth: Tensor, dense: tuple[str, ...]) -> None:
    larger = False
    for position, want in zip(neurons, truth, strict=True):
        got = fields.set("", position)
        missed, excess = (want & ~got).nonzero().tolist(), (got & ~want).nonzero().tolist()
        assert not missed, f"{fields.kind} {position}: {len(missed)} pixels missed, {missed[:5]}"
        assert not excess or dense, f"{fields.kind} {position}: {len(excess)} pixels too many, {excess[:5]}"
        larger |= bool(excess)
        if not dense:
            check_hull(fields.hull("", position), got, fields.kind)
    named = fields.layers[""].dense
    assert set(named) <= set(dense)
    assert named or not larger


@pytest.mark.parametrize("values", [False, True], ids=["structural", "value-aware"])
@pytest.mark.parametrize("name", CASES)
def test_sets_are_those_that_perturbation_finds(name: str, values: bool) -> None:
    case = CASES[name]
    network, image = prepared(case)
    neurons = some_neurons(network, image, case.neurons)
    fields = receptive_fields(network, image, values=values, training=case.training)
    assert fields.kind == ("value-aware" if values else "structural")
    batch = 1 if case.joins_batch else 64
    truth = perturbed_set(network, image, reader(*neurons), redrawn=not values, batch=batch)
    compare(fields, neurons, truth, () if values and case.exact_at_values else case.dense)
    assert bool(fields.warnings) == bool(case.warns)
    assert all(case.warns in said for said in fields.warnings)


@pytest.mark.parametrize("name", [name for name in CASES if name not in SWALLOWS_NAN | KEEPS_NAN])
def test_hulls_are_those_that_nan_finds(name: str) -> None:
    case = CASES[name]
    network, image = prepared(case)
    neurons = some_neurons(network, image, case.neurons)
    fields = receptive_fields(network, image, training=case.training)
    for position, want in zip(neurons, nan_hull(network, image, reader(*neurons)), strict=True):
        assert fields.hull("", position) == want


def test_the_oracles_agree_where_both_are_right() -> None:
    """A hand-worked cross: one criss-cross pass after a 1 x 1 convolution sees a row and a column."""
    case = CASES["criss-cross, once"]
    network, image = prepared(case)
    (cross,) = perturbed_set(network, image, reader((2, 3)), redrawn=True)
    want = torch.zeros(case.size, dtype=torch.bool)
    want[2], want[:, 3] = True, True
    torch.testing.assert_close(cross, want)
    assert nan_hull(network, image, reader((2, 3))) == [(0, case.size[0] - 1, 0, case.size[1] - 1)]
