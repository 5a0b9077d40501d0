"""Sizes of heats against numbers worked elsewhere, brute force and shapes whose area is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sightline.seeing.effective_size import areas, gaussian, level, luo_size, replknet_areas, share


def bell(side: int, deviation: float, centre: float) -> Tensor:
    places = torch.arange(side, dtype=torch.float64) - centre
    line = torch.exp(-(places**2) / (2 * deviation**2))
    return line[:, None] * line


@pytest.mark.parametrize(
    ("factor", "printed"),
    [
        (1e-2, (3.5, 5.5, 10.8, 73.0)),
        (1.0, (4.0, 6.4, 12.3, 75.4)),
        (1e2, (8.5, 13.3, 24.3, 92.5)),
        (1e4, (13.4, 20.6, 36.8, 97.9)),
    ],
)
def test_replknet_areas_move_with_the_magnitude_and_areas_do_not(factor: float, printed: tuple[float, ...]) -> None:
    heat = factor * bell(1024, 160, 512)
    assert tuple(round(100 * (area or 0), 1) for area in replknet_areas(heat).values()) == printed
    assert tuple(round(100 * area, 1) for area in areas(heat).values()) == (3.4, 5.5, 10.6, 67.0)


@pytest.mark.parametrize("size", [(16, 16), (17, 17), (15, 22), (24, 11), (5, 5), (2, 2), (1, 1)])
def test_replknet_areas_by_brute_force(size: tuple[int, int]) -> None:
    h, w = size
    heat = torch.rand(h, w, generator=torch.Generator().manual_seed(h)).double() ** 4
    shown = np.log10(heat.numpy() + 1)
    for t, found in replknet_areas(heat, (0.05, 0.3, 0.6, 0.9)).items():
        expected = None
        for reach in range(1, min(h, w) // 2):
            part = shown[h // 2 - reach : h // 2 + 1 + reach, w // 2 - reach : w // 2 + 1 + reach]
            if part.sum() / shown.sum() > t:
                expected = (2 * reach + 1) ** 2 / (h * w)
                break
        assert found == (None if expected is None else pytest.approx(expected))


def test_areas_and_levels_by_brute_force() -> None:
    heat = torch.rand(7, 9, generator=torch.Generator().manual_seed(3)).double() ** 3
    for t, area in areas(heat, (0.1, 0.5, 0.95)).items():
        held, count = 0.0, 0
        for one in sorted(heat.flatten().tolist(), reverse=True):
            held, count = held + one, count + 1
            if held >= t * float(heat.sum()):
                break
        assert area == count / 63
        assert int((heat >= level(heat, t)).sum()) == count
        assert areas(1e-30 * heat, (t,))[t] == area


def test_a_box_of_equal_pixels_has_the_box_s_area() -> None:
    heat = torch.zeros(10, 20).double()
    heat[3:7, 5:15] = 2.5
    assert areas(heat, (0.25, 0.5, 0.95)) == {0.25: 0.05, 0.5: 0.1, 0.95: 0.19}
    assert level(heat, 0.95) == 2.5
    found = gaussian(heat)
    assert found.centre == pytest.approx((4.5, 9.5))
    assert found.deviation == pytest.approx((math.sqrt(15 / 12), math.sqrt(99 / 12)))


def test_a_sampled_bell_gives_its_own_numbers() -> None:
    found = gaussian(bell(101, 8, 47.25))
    assert found.centre == pytest.approx((47.25, 47.25), abs=1e-6)
    assert found.deviation == pytest.approx((8, 8), abs=1e-6)
    # In the plane a Gaussian holds t within r^2 = -2 sigma^2 log(1 - t), an area of pi r^2.
    heat = bell(401, 30, 200)
    for t, area in areas(heat, (0.5, 0.95)).items():
        assert area * heat.numel() == pytest.approx(-2 * math.pi * 900 * math.log(1 - t), rel=2e-3)
        assert level(heat, t) == pytest.approx(1 - t, rel=2e-3)


def test_share_is_the_effective_part_of_the_field() -> None:
    heat, field = torch.zeros(10, 10).double(), torch.zeros(10, 10, dtype=torch.bool)
    field[2:8, 2:7] = True
    heat[4:6, 4:6] = torch.tensor([[4.0, 3.0], [2.0, 1.0]])
    assert share(heat, field, 0.4) == 1 / 30
    assert share(heat, field, 0.6) == 2 / 30
    assert share(heat, field) == 4 / 30
    assert share(field.double(), field) == pytest.approx(0.95, abs=1 / 30)


@pytest.mark.parametrize(("layers", "size"), [(5, 8.31), (10, 11.70), (20, 16.16), (40, 22.74)])
def test_luo_sizes_of_uniform_kernels(layers: int, size: float) -> None:
    line = np.ones(1)
    for _ in range(layers):
        line = np.convolve(line, np.ones(3))
    assert luo_size(torch.from_numpy(np.outer(line, line))) == pytest.approx(size, abs=0.005)


@pytest.mark.parametrize(
    ("heat", "sentence"),
    [
        (
            torch.zeros(4, 4),
            r"the heat is zero everywhere: no pixel moves this neuron; choose another, or other images",
        ),
        (torch.full((4, 4), -1.0), r"a heat is finite and nowhere negative, this one is not"),
        (torch.full((4, 4), torch.nan), r"a heat is finite and nowhere negative, this one is not"),
    ],
)
def test_what_is_no_heat_is_refused(heat: Tensor, sentence: str) -> None:
    field = torch.ones(4, 4, dtype=torch.bool)
    for measure in (areas, level, gaussian, luo_size, replknet_areas, lambda one: share(one, field)):
        with pytest.raises(ValueError, match=sentence):
            measure(heat)


def test_bad_questions_are_answered_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"a share of the heat lies between 0 and 1, got 50.0"):
        areas(torch.ones(4, 4), (50.0,))
    with pytest.raises(ValueError, match=r"the share of an empty field was asked for"):
        share(torch.ones(4, 4), torch.zeros(4, 4, dtype=torch.bool))
