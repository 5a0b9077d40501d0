"""Tiles lie where they should, on one scale; the pictures are readable files."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sightline.seeing import kernel_pictures
from sightline.seeing.kernel_pictures import (
    GAP,
    colours,
    draw_filters,
    draw_similarity,
    draw_slices,
    draw_waves,
    grid,
)
from sightline.seeing.kernels import slices, waves
from sightline.seeing.position_tables import similarity


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("size", [(3, 3), (2, 5), (1, 1)])
def test_every_tile_lies_in_its_place_on_one_scale(size: tuple[int, int]) -> None:
    filters, (h, w) = noise(7, 3, *size), size
    sheet = grid(filters, across=3, enlarged=2)
    assert sheet.shape == (3 * (2 * h + GAP) + GAP, 3 * (2 * w + GAP) + GAP, 3)
    largest = filters.abs().max().double()
    for k in range(7):
        top, left = GAP + k // 3 * (2 * h + GAP), GAP + k % 3 * (2 * w + GAP)
        for y in range(2 * h):
            for x in range(2 * w):
                expected = 0.5 + filters[k, :, y // 2, x // 2].double() / (2 * largest)
                torch.testing.assert_close(sheet[top + y, left + x], expected)


def test_a_dead_filter_looks_dead_unless_it_is_asked_for() -> None:
    filters = noise(2, 3, 3, 3)
    filters[1] *= 1e-6
    place = (slice(GAP, GAP + 3), slice(3 + 2 * GAP, 6 + 2 * GAP))
    common, own = (grid(filters, per_filter=p, across=2, enlarged=1)[place] for p in (False, True))
    torch.testing.assert_close(common, torch.full_like(common, 0.5), rtol=0, atol=1e-4)
    assert (own - 0.5).abs().max() == 0.5
    torch.testing.assert_close(
        grid(torch.zeros(1, 3, 2, 2), enlarged=1)[GAP:-GAP, GAP:-GAP], torch.full((2, 2, 3), 0.5).double()
    )


def test_filters_that_are_not_rgb_take_a_row_each() -> None:
    filters = noise(2, 4, 1, 1)
    sheet = grid(filters, enlarged=1)
    assert sheet.shape == (2 * (1 + GAP) + GAP, 4 * (1 + GAP) + GAP, 3)
    for k in range(2):
        for c in range(4):
            pixel = sheet[GAP + k * (1 + GAP), GAP + c * (1 + GAP)]
            torch.testing.assert_close(pixel, colours(filters[k, c, 0, 0] / filters.abs().max()), rtol=1e-6, atol=1e-6)
    assert grid(noise(2, 3, 1, 1), rgb=False, enlarged=1).shape == (2 * (1 + GAP) + GAP, 3 * (1 + GAP) + GAP, 3)


def test_colours_are_white_at_zero_and_their_brightness_falls_alike_on_both_sides() -> None:
    ends = colours(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    torch.testing.assert_close(ends[[0, 2, 4]] * 255, torch.tensor([[0, 114, 178], [255] * 3, [213, 94, 0]]).double())
    torch.testing.assert_close(ends[[0, 4]], ends[[1, 3]])
    middle = colours(torch.tensor([-0.5, 0.5]))
    torch.testing.assert_close(middle, (1 + ends[[0, 4]]) / 2)


@pytest.mark.parametrize("count", [1, 2, 5, 13, 32, 64, 96, 768])
def test_a_grid_is_no_strip_and_wastes_little(count: int) -> None:
    across = kernel_pictures._across(count, 1.0)
    lines = -(-count // across)
    assert 1 <= across <= count
    assert lines * across - count < across
    if count > 4:
        assert 0.5 <= across / lines <= 4


def test_pictures_are_files_that_hold_their_tiles() -> None:
    filters = noise(6, 3, 5, 5)
    picture = opened(draw_filters(filters, "six filters"))
    tiles = (255 * grid(filters)).round().byte().numpy()
    height, width = tiles.shape[:2]
    found = [
        (y, x)
        for y in range(picture.shape[0] - height + 1)
        for x in (kernel_pictures.MARGIN,)
        if (picture[y : y + height, x : x + width] == tiles).all()
    ]
    assert len(found) == 1
    assert draw_filters(filters, "six filters") == draw_filters(filters, "six filters")


def test_all_kinds_of_pictures_can_be_drawn() -> None:
    found = similarity(noise(11, 4))
    for png in (
        draw_filters(noise(5, 1, 3, 3), "one channel"),
        draw_filters(noise(5, 2, 3, 3), "two channels", per_filter=True),
        draw_slices(slices(noise(4, 9, 3, 3), 1, most=5), "slices"),
        draw_similarity(found, "positions"),
        draw_waves(waves(noise(5, 3, 7, 7)), "waves"),
    ):
        assert min(opened(png).shape[:2]) > 100


def test_words_never_run_over_the_edge() -> None:
    long = "a very long name of a layer " * 12
    picture = opened(draw_filters(noise(2, 3, 3, 3), long))
    assert (picture[:, -kernel_pictures.MARGIN :] == 255).all()
    for one in (noise(2, 3, 3, 3), noise(2, 1, 3, 3)):  # and the key
        assert (opened(draw_filters(-1.2345e-9 * one, "t"))[:, -kernel_pictures.MARGIN :] == 255).all()


def test_bad_input_is_said_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"a grid needs filters, got a tensor of shape \(0, 3, 2, 2\)"):
        grid(torch.zeros(0, 3, 2, 2))
    with pytest.raises(ValueError, match=r"RGB was asked of filters that have 2 channels: leave rgb=None"):
        grid(torch.zeros(1, 2, 2, 2), rgb=True)
