"""Colours stay with their class, differ, and the first eight differ to every kind of colour vision."""

import numpy as np
import pytest

from sightline.vision.drawing.palette import CITYSCAPES, OKABE_ITO, UNLABELLED, VOC, colours, oklab, palette

# Machado, Oliveira and Fernandes, 2009, severity 1, on linear light: what a protanope and a deuteranope see.
PROTANOPE = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPE = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


def least_distance(rgb: np.ndarray) -> float:
    seen = oklab(rgb)
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
    return float(apart[~np.eye(len(rgb), dtype=bool)].min())


def test_a_class_keeps_its_colour_however_many_there_are():
    many = colours(400)
    for count in (0, 1, 8, 9, 21, 150, 256, 300):
        assert np.array_equal(colours(count), many[:count])
    assert many[:8].tolist() == [list(colour) for colour in OKABE_ITO]


@pytest.mark.parametrize("count", [8, 20, 150, 256, 5000])
def test_all_colours_differ_and_none_is_the_one_of_what_does_not_count(count):
    found = {tuple(colour) for colour in colours(count).tolist()}
    assert len(found) == count
    assert UNLABELLED not in found


def test_far_apart_means_visibly_so():
    assert least_distance(colours(20)) > 0.12  # 0.02 is about what an eye just tells apart
    assert least_distance(colours(150)) > 0.04


@pytest.mark.parametrize("matrix", [PROTANOPE, DEUTERANOPE])
def test_the_first_eight_differ_to_other_kinds_of_colour_vision(matrix):
    share = np.array(OKABE_ITO) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = (light @ np.array(matrix).T).clip(0, 1)
    back = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    assert least_distance((255 * back).round().astype(np.uint8)) > 0.06


def test_oklab_has_the_published_values():
    # Ottosson's page: white is (1, 0, 0); red, green and blue as in CSS Color 4.
    found = oklab(np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8))
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.17950], [0.45201, -0.03246, -0.31153]]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_published_palettes_serve_their_classes():
    voc = palette(VOC)
    assert voc[[0, 1, 2, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128]]
    assert palette(["Road", *[name.replace(" ", "_") for name in CITYSCAPES][1:]])[13].tolist() == [0, 0, 142]
    assert palette(["road", "car"]).tolist() == colours(2).tolist()
