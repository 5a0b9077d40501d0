"""Digits against scikit-learn's own arrays."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sightline.vision.built_in.digits import Digits


def test_every_scan_is_in_one_part_and_every_fifth_is_kept() -> None:
    bunch = load_digits()
    seen = []
    for split in ("train", "val"):
        digits = Digits(split)
        for index in range(len(digits)):
            image, target = digits[index]
            scan = int(digits.name(index).removeprefix("digit-"))
            seen.append(scan)
            assert (scan % 5 == 0) == (split == "val")
            assert int(target) == bunch.target[scan]
            assert image.shape == (3, 8, 8)
            assert image[0].equal(image[1])
            assert image[0].equal(image[2])
            assert np.abs(image[0].numpy() - bunch.images[scan] * 255 / 16).max() <= 0.5
    assert sorted(seen) == list(range(1797))


def test_test_is_another_name_of_val() -> None:
    assert len(Digits("test")) == len(Digits("val")) == 360
    assert all(Digits("test").name(i) == Digits("val").name(i) for i in range(360))


def test_magnified_pixels_are_squares() -> None:
    small, large = Digits(size=8)[11].image, Digits(size=24)[11].image
    assert large.shape == (3, 24, 24)
    for y in range(24):
        for x in range(24):
            assert large[:, y, x].equal(small[:, y // 3, x // 3])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="digits are drawn 8 pixels wide or a whole multiple of it, got size=28"):
        Digits(size=28)
    with pytest.raises(ValueError, match="unknown split 'tests': did you mean 'test'"):
        Digits("tests")
    with pytest.raises(IndexError, match="there are 360 examples"):
        Digits("val")[360]
