"""RandAugment's fourteen changes: nothing at magnitude 0, there and back, fill, and how often each is drawn."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.vision.augmentation import random_augment as module
from sightline.vision.augmentation.random_augment import CHANGES, FACTORS, GEOMETRIC, change, random_augment

FILL = (124, 116, 104)


def picture(h: int = 24, w: int = 30, seed: int = 0) -> Image.Image:
    """A smooth picture, as interpolation likes it."""
    y, x = np.mgrid[0:h, 0:w]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [128 + 90 * np.sin(2 * np.pi * (y / h + x / w) + p) for p in phase]
    return Image.fromarray(np.stack(waves, -1).round().astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=int)


def test_the_changes_are_the_paper_s_fourteen():
    assert len(CHANGES) == len(set(CHANGES)) == 14


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"auto_contrast", "equalize"}))
def test_magnitude_zero_changes_nothing_and_more_changes_more(name):
    image = picture()
    np.testing.assert_array_equal(pixels(change(name, image, 0.0)), pixels(image))
    if name != "identity":
        distance = [np.abs(pixels(change(name, image, m)) - pixels(image)).mean() for m in (0.0, 4.0, 10.0)]
        assert distance[0] < distance[1] < distance[2]


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("magnitude", [4.0, 10.0])
def test_there_and_back_is_where_it_was(name, magnitude):
    image = picture(60, 60)
    back = pixels(change(name, change(name, image, magnitude), -magnitude))
    middle = (slice(28, 32), slice(28, 32))  # what never left the picture, however large the change
    assert np.abs(back - pixels(image))[middle].max() <= 4  # two interpolations
    assert np.abs(pixels(change(name, image, magnitude)) - pixels(image)).max() > 20


def test_translations_and_rotations_go_where_they_should():
    image = Image.new("RGB", (40, 20))
    image.putpixel((20, 10), (255, 255, 255))
    assert change("translate_x", image, 10.0).getpixel((20 - 18, 10)) == (255, 255, 255)  # 0.45 of 40
    assert change("translate_y", image, -10.0).getpixel((20, 10 + 9)) == (255, 255, 255)  # 0.45 of 20
    mask = Image.fromarray(np.eye(41, dtype=np.int32))  # a diagonal through the centre
    turned = np.asarray(change("rotate", mask, 10.0, fill=7))
    ys, xs = np.nonzero(turned == 1)
    slope = np.polyfit(xs, ys, 1)[0]
    assert abs(abs(math.degrees(math.atan(slope)) - 45) - 30) < 2
    sheared = np.asarray(change("shear_x", Image.fromarray(np.eye(41, dtype=np.int32)[:, ::-1].copy()), 10.0, fill=7))
    assert sheared[20, 20] == 1  # the centre stays


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("magnitude", [-10.0, 10.0])
def test_image_and_mask_move_alike(name, magnitude):
    mask = np.zeros((48, 64), dtype=np.int32)
    mask[12:36, 20:44] = 1
    colour = np.repeat((255 * mask).astype(np.uint8)[..., None], 3, -1)
    image = pixels(change(name, Image.fromarray(colour), magnitude, fill=(90, 90, 90)))[..., 0]
    labels = np.asarray(change(name, Image.fromarray(mask), magnitude, fill=300))
    assert set(np.unique(labels)) <= {0, 1, 300}
    assert (labels == 300).any()
    np.testing.assert_array_equal(image == 90, labels == 300)
    inner = (image < 60) | (image > 195)
    np.testing.assert_array_equal(labels[inner & (labels < 300)], (image > 128)[inner & (labels < 300)])
    assert (inner & (labels < 300)).sum() > 0.85 * (labels < 300).sum()


def test_changes_of_colour_are_what_they_say():
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, -1))
    assert set(np.unique(pixels(change("posterize", image, 10.0)))) == set(range(0, 256, 16))
    np.testing.assert_array_equal(pixels(change("solarize", image, 10.0)), 255 - pixels(image))
    np.testing.assert_array_equal(pixels(change("solarize", image, 0.0)), pixels(image))  # white stays white
    half = pixels(change("solarize", image, 5.0))
    np.testing.assert_array_equal(half, np.where(pixels(image) < 128, pixels(image), 255 - pixels(image)))
    np.testing.assert_allclose(pixels(change("brightness", image, -10.0)), 0.1 * pixels(image), atol=1)
    assert pixels(change("auto_contrast", Image.new("RGB", (2, 2), (9, 9, 9)), 3.0)).shape == (2, 2, 3)
    narrow = Image.fromarray((64 + pixels(image) // 2).repeat(8, 0).astype(np.uint8))
    for name in ("auto_contrast", "equalize"):
        found = pixels(change(name, narrow, 0.0))
        assert found.min() <= 1
        assert found.max() == 255


def test_every_change_is_drawn_as_often_in_both_directions(monkeypatch):
    drawn: list[tuple[str, float]] = []

    def note(name: str, image: Image.Image, magnitude: float, *, fill: object) -> Image.Image:
        drawn.append((name, magnitude))
        return image

    monkeypatch.setattr(module, "change", note)
    generator = torch.Generator().manual_seed(0)
    for _ in range(1400):
        random_augment(picture(2, 2), generator, number=2, magnitude=7.0)
    times = Counter(name for name, _ in drawn)
    assert set(times) == set(CHANGES)
    assert max(abs(n - 200) for n in times.values()) < 4 * math.sqrt(200)
    assert {m for _, m in drawn} == {7.0, -7.0}
    assert abs(sum(m for _, m in drawn)) < 7 * 4 * math.sqrt(2800)
    drawn.clear()
    for _ in range(1000):
        random_augment(picture(2, 2), generator, number=1, magnitude=9.0, spread=0.5)
    size = np.abs([m for _, m in drawn])
    assert size.max() <= 10
    assert size.mean() == pytest.approx(9.0, abs=0.06)
    assert size.std() == pytest.approx(0.5, abs=0.05)


def test_only_geometric_changes_touch_the_mask(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    mask = Image.fromarray(np.arange(24 * 30, dtype=np.int32).reshape(24, 30) % 5)
    for names, moved in (((*FACTORS, "solarize", "equalize"), False), (GEOMETRIC, True)):
        monkeypatch.setattr(module, "CHANGES", names)
        for _ in range(12):
            _, found = random_augment(picture(), generator, number=1, magnitude=10.0, mask=mask)
            assert bool((np.asarray(found) != np.asarray(mask)).any()) == moved


def test_the_generator_alone_decides():
    one, other = (random_augment(picture(), torch.Generator().manual_seed(4), number=5) for _ in range(2))
    np.testing.assert_array_equal(pixels(one[0]), pixels(other[0]))
    assert one[1] is None
    different = {random_augment(picture(), torch.Generator().manual_seed(s))[0].tobytes() for s in range(8)}
    assert len(different) > 4


def test_bad_input_is_said_in_one_sentence():
    with pytest.raises(
        ValueError, match=r"a magnitude from 0 to 10, got 2, 0\.0 and 28\.0: 2 changes of magnitude 9 are"
    ):
        random_augment(picture(), torch.Generator(), magnitude=28.0)
    with pytest.raises(ValueError, match="unknown change 'shearx': did you mean 'shear_x'"):
        change("shearx", picture(), 3.0)
