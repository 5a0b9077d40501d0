"""The networks of the study see what their name says, exactly, and say where they look."""

import pytest
import torch

from sightline.ops.patterns import Pattern, criss_cross, everything, field, window
from sightline.seeing.reach import reach
from sightline.studies.long_range.costs import count_flops
from sightline.studies.long_range.networks import CELL, NETWORKS, RecallNetwork
from sightline.studies.long_range.training import labelled_loss
from sightline.vision.built_in.canvases import recall

FIELDS: dict[str, list[Pattern]] = {
    "shallow convolutions": [window(3)],
    "deep convolutions": [window(3)] * 8,
    "dilated convolutions": [window(3), window(3, 2), window(3, 4)],
    "U-Net": [everything],  # on a map this small
    "global average pooling": [everything],
    "criss-cross R=1": [criss_cross],
    "criss-cross R=2": [criss_cross] * 2,
    "criss-cross R=3": [criss_cross] * 3,
    "non-local": [everything],
    "Vision Transformer": [everything],
}
ATTEND = ("criss-cross R=1", "criss-cross R=2", "criss-cross R=3", "non-local", "Vision Transformer")


@pytest.mark.parametrize("network", NETWORKS)
def test_the_field_of_a_network_is_that_of_its_context(network: str) -> None:
    y, x = 5, 4
    size = (y * CELL, x * CELL)
    got = reach(RecallNetwork(network, width=8, size=size), size, block=CELL)
    for query in ((0, 0), (2, 1), (4, 3)):
        wanted = field(FIELDS[network], query, (y, x))
        pixels = got[:, :, query[0] * CELL : (query[0] + 1) * CELL, query[1] * CELL : (query[1] + 1) * CELL]
        torch.testing.assert_close(pixels, wanted[..., None, None].expand_as(pixels))


@pytest.mark.parametrize("network", NETWORKS)
def test_where_it_looks_sums_to_one_and_lies_in_its_field(network: str) -> None:
    built = RecallNetwork(network, width=8, size=(3 * CELL, 4 * CELL)).eval()
    looks = built.looks(torch.rand(2, 3, 3 * CELL, 4 * CELL), (1, 2))
    assert (looks is not None) == (network in ATTEND)
    if looks is not None:
        assert looks.shape == (2, 3, 4)
        torch.testing.assert_close(looks.sum((1, 2)), torch.ones(2))
        seen = field(FIELDS[network], (1, 2), (3, 4))
        torch.testing.assert_close((looks > 0).all(0), seen)


def test_every_position_answers_for_the_pixels_of_its_cell() -> None:
    built = RecallNetwork("non-local", classes=7, width=8).eval()
    image = torch.rand(2, 3, 2 * CELL, 3 * CELL)
    answers, pixels = built.answers(image), built(image)
    assert answers.shape == (2, 7, 2, 3)
    for y in range(2 * CELL):
        for x in range(3 * CELL):
            torch.testing.assert_close(pixels[..., y, x], answers[..., y // CELL, x // CELL], rtol=0, atol=0)


def test_the_loss_over_labelled_pixels_is_the_usual_one() -> None:
    canvases = recall(3, digits=3, squares=4, cells=(3, 4), generator=torch.Generator().manual_seed(0))
    built = RecallNetwork("criss-cross R=1", width=8).eval()
    usual = torch.nn.functional.cross_entropy(built(canvases.image), canvases.label)
    torch.testing.assert_close(labelled_loss(built.answers(canvases.image), canvases), usual)


def test_operations_are_counted_inside_our_operators_too() -> None:
    width, y, x = 16, 3, 4
    n = y * x
    alike = 2 * n * (3 * CELL * CELL * width + 2 * width * width + width * 10)  # stem, head
    one_pass = 2 * n * (2 * width * width // 2 + width * width) + 2 * n * (y + x - 1) * (width // 2 + width)
    for passes in (1, 2):
        got = count_flops(RecallNetwork(f"criss-cross R={passes}", width=width), (y * CELL, x * CELL))
        assert got == alike + passes * one_pass
    inner = width // 2
    got = count_flops(RecallNetwork("non-local", width=width), (y * CELL, x * CELL))
    assert got == alike + 2 * n * 4 * width * inner + 2 * n * n * (inner + inner)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'non-lokal': did you mean 'non-local'\?"):
        RecallNetwork("non-lokal")
