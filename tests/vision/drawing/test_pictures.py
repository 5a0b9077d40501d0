"""Masks read back as the classes they were; pictures show what is said, where it is said."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from sightline.vision.drawing import pictures
from sightline.vision.drawing.palette import colours
from sightline.vision.drawing.pictures import Tile


def photo(h: int = 40, w: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize(("count", "mode"), [(2, "P"), (256, "P"), (257, "I;16"), (60000, "I;16")])
def test_a_mask_file_holds_the_classes(count, mode):
    mask = np.random.default_rng(0).integers(0, count, (17, 23))
    mask[0, 0] = count - 1
    read = Image.open(BytesIO(pictures.mask_png(mask, colours(count))))
    assert read.mode == mode
    assert np.array_equal(np.asarray(read), mask)
    if mode == "P":
        assert np.array_equal(np.asarray(read.convert("RGB")), colours(count)[mask])


def test_a_mask_file_refuses_what_is_no_class():
    with pytest.raises(ValueError, match="holds classes 0 to 2, got 3 classes and values from 0 to 3"):
        pictures.mask_png(np.array([[0, 3]]), colours(3))
    with pytest.raises(ValueError, match="values from -1"):
        pictures.mask_png(np.array([[-1, 2]]), colours(3))


def test_what_does_not_count_is_white_when_painted_and_untouched_below_an_overlay():
    mask = np.array([[0, 1, 255]])
    assert pictures.paint(mask, colours(2)).tolist() == [[[0, 0, 0], [230, 159, 0], [255, 255, 255]]]
    image = np.full((5, 5, 3), (0, 200, 0), np.uint8)  # as bright as a grey of 117
    mask = np.full((5, 5), 1)
    mask[:, 2:] = 255
    laid = pictures.overlay(image, mask, colours(2), share=0.5)
    assert laid[0].tolist() == [[174, 138, 59], [255, 255, 255], *[[0, 200, 0]] * 3]


def test_borders_are_where_neighbours_differ():
    mask = np.zeros((4, 4), int)
    mask[2:, 3] = 1
    expected = np.zeros((4, 4), bool)
    expected[1, 3] = expected[2, 2] = expected[3, 2] = True
    assert np.array_equal(pictures.borders(mask), expected)


def test_wrong_pixels_are_red_and_only_they():
    truth = np.zeros((8, 8), int)
    said = truth.copy()
    said[3, 4] = 1
    truth[:, 0], said[:, 0] = 255, 1  # what does not count is never wrong
    red = (pictures.wrong(photo(8, 8), said, truth, 255) == (255, 70, 60)).all(-1)
    assert np.argwhere(red).tolist() == [[3, 4]]


def test_heat_grows_with_the_weight_and_the_ring_surrounds_the_pixel():
    image = np.full((60, 80, 3), 200, np.uint8)
    ramp = np.tile(np.linspace(0, 3, 80), (60, 1))
    drawn = pictures.heat(image, ramp).astype(int)
    assert drawn[30, 79].sum() > drawn[30, 40].sum() > drawn[30, 0].sum()
    assert np.array_equal(drawn[0, 0], [90, 90, 90])  # nothing looked at keeps the dimmed image
    changed = (pictures.heat(image, ramp, (20, 50)) != drawn).any(-1)
    ys, xs = np.nonzero(changed)
    assert (ys.min() + ys.max()) / 2 == pytest.approx(20, abs=1)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(50, abs=1)
    assert not changed[20, 50]
    assert np.array_equal(pictures.heat(image, np.zeros((60, 80)))[0, 0], [90, 90, 90])


def test_a_sheet_holds_every_tile_below_each_other_or_beside():
    tiles = [
        Tile(f"image {i}", [("image", photo()), ("mask", photo(40, 60))], ["one sentence " * 20]) for i in range(3)
    ]
    tall = pictures.contact_sheet("title", tiles, legend=[("road", (1, 2, 3))] * 30, width=100)
    wide = pictures.contact_sheet("title", tiles, across=3, width=100)
    assert tall.shape[0] > 2 * wide.shape[0] > 0
    assert wide.shape[1] > 600
    assert (tall == (1, 2, 3)).all(-1).sum() > 30 * 100  # thirty swatches of the legend


def test_a_sheet_of_nothing_is_a_sheet():
    assert pictures.contact_sheet("nothing", []).shape[2] == 3


def test_small_pictures_keep_their_pixels():
    board = np.indices((4, 4)).sum(0) % 2 * 255
    sheet = pictures.contact_sheet("", [Tile("", [("", np.repeat(board[..., None], 3, 2).astype(np.uint8))])], width=40)
    inner = {tuple(colour) for colour in sheet[60:].reshape(-1, 3).tolist()}
    assert inner <= {(0, 0, 0), (255, 255, 255)}


def test_long_names_are_shortened_in_their_middle():
    _, bold = pictures._fonts()
    short = pictures._shortened("a/very/long/path/to/the/file-number-000123.png", 150, bold)
    assert bold.getlength(short) <= 150
    assert "…" in short
    assert short.endswith("123.png")
