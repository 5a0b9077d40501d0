"""Sizes against the formula, pixels counted by hand, heats against the closed form, random kernels against its law."""

import math

import numpy as np
import pytest
import torch

from sightline.seeing.effective import heats
from sightline.seeing.effective_size import gaussian
from sightline.studies.receptive_field import repairs
from sightline.studies.receptive_field.growth import by_formula
from sightline.studies.receptive_field.repairs import (
    DEEP,
    DILATED,
    HOLES,
    NAMES,
    PLAIN,
    POOLED,
    STRIDED,
    Measure,
    Sight,
)

SMALL = Measure(seeds=1, width=12, images=2, draws=1, side=41, depth=5, deepest=6)


@pytest.fixture(scope="module")
def measured() -> tuple[list[dict], dict[str, Sight]]:
    rows, sights = [], {}
    for own, sight in repairs.measure_repairs(SMALL):
        rows += own
        sights[sight.name] = sight
    return rows, sights


def test_all_have_equally_many_layers_and_the_deep_one_more() -> None:
    for name in NAMES:
        layers = [step for step in repairs.layers_of(name, Measure()) if not step.pools]
        assert len(layers) == (40 if name == DEEP else 12)
    assert [step.stride for step in repairs.layers_of(STRIDED, Measure())].count(2) == 3
    assert sum(step.pools for step in repairs.layers_of(POOLED, Measure())) == 3
    assert {step.dilation for step in repairs.layers_of(DILATED, Measure())} == {1, 2, 4, 8}


def test_the_deep_network_covers_the_image() -> None:
    assert by_formula(repairs.layers_of(DEEP, Measure())).size == Measure().side


def test_sizes_are_those_of_the_formula_at_every_depth(measured: tuple[list[dict], dict[str, Sight]]) -> None:
    for row in measured[0]:
        steps = repairs.layers_of(row["network"], SMALL)
        places = [place for place, step in enumerate(steps) if not step.pools] + [len(steps)]
        assert row["size"] == by_formula(steps[: places[row["layers"]]]).size, row


def test_a_dilated_network_with_holes_reads_a_lattice(measured: tuple[list[dict], dict[str, Sight]]) -> None:
    rows = [row for row in measured[0] if row["network"] == HOLES]
    assert [row["pixels"] for row in rows] == [min(2 * n + 1, 11) ** 2 for n in range(1, 6)]  # 11 fit in the image
    assert [row["size"] for row in rows] == [8 * n + 1 for n in range(1, 6)]
    field = measured[1][HOLES].field
    ys, xs = np.nonzero(field)
    assert set(ys % 4) == {0}
    assert set(xs % 4) == {0}
    assert measured[1][HOLES].has_holes
    assert not any(measured[1][name].has_holes for name in NAMES if name != HOLES)


def test_no_heat_lies_outside_its_field(measured: tuple[list[dict], dict[str, Sight]]) -> None:
    for sight in measured[1].values():
        assert sight.heat.sum() == pytest.approx(1, abs=1e-5)
        assert sight.heat[~sight.field].sum() == 0
    for row in measured[0]:
        assert 1 <= row["half"] <= row["effective"] <= math.sqrt(row["pixels"])


def test_the_closed_form() -> None:
    assert repairs.closed_form(20) == pytest.approx(3.651484, abs=1e-6)
    assert repairs.closed_form(40, 7) == pytest.approx(12.649111, abs=1e-6)


@pytest.mark.parametrize("layers", [1, 3, 8])
def test_uniform_kernels_follow_the_closed_form_exactly(layers: int) -> None:
    network = repairs.uniform_stack(repairs.layers_of(PLAIN, Measure(depth=layers)))
    (heat,) = heats(network, torch.zeros(1, 1, 41, 41, dtype=torch.float64), network.ends[-1], [(20, 20)])
    deviation = gaussian(heat).deviation
    assert deviation == pytest.approx([repairs.closed_form(layers)] * 2, abs=1e-9)
    width = 2 * layers + 1
    weights = np.array([1.0])
    for _ in range(layers):
        weights = np.convolve(weights, np.ones(3) / 3)
    expected = np.zeros((41, 41))
    span = slice(20 - layers, 21 + layers)
    expected[span, span] = np.outer(weights, weights)
    assert weights.shape == (width,)
    np.testing.assert_allclose((heat / heat.sum()).numpy(), expected, atol=1e-12)


def test_squares_of_random_gradients_follow_it_in_the_mean_and_the_heat_is_wider() -> None:
    measure = Measure(seeds=2, width=24, images=1, draws=16, side=25, deepest=6)
    deep = [{"layers": 6, "size": 13, "effective": 10.0, "deviation": 2.6}]
    (row,) = repairs.measure_law(measure, deep)
    assert row["uniform"] == pytest.approx(row["closed_form"], abs=1e-9)
    assert row["linear_of_squares"] == pytest.approx(row["closed_form"], rel=0.05)
    assert 1.2 < row["linear"] / row["closed_form"] < math.sqrt(2) + 0.05
    assert row["relu"] == 2.6


def test_the_side_of_a_heat_counts_pixels() -> None:
    heat = torch.zeros(10, 10)
    heat[:2, :2] = 1.0
    assert repairs.side_of(heat) == pytest.approx(2)
    assert repairs.side_of(heat, 0.5) == pytest.approx(math.sqrt(2))


def test_a_pooling_belongs_to_the_layer_that_it_follows() -> None:
    network = repairs.Stack(repairs.layers_of(POOLED, SMALL), 2)
    assert network.ends == ["layers.1", "layers.4", "layers.6", "layers.8", "layers.11"]
    assert isinstance(network.layers[4], torch.nn.MaxPool2d)


def test_crops_are_pieces_of_both_photographs_and_always_the_same() -> None:
    pieces = repairs.crops(3, 33)
    assert pieces.shape == (3, 3, 33, 33)
    torch.testing.assert_close(pieces, repairs.crops(3, 33))
    torch.testing.assert_close(pieces.mean((1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
