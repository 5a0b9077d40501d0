"""Augmentation as a whole: image and mask together, every setting, and the generator as the only chance."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from sightline.vision.augmentation.augment import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MEAN_COLOUR,
    Augmentation,
    augment,
    for_classification,
    normalise,
)
from sightline.vision.data.examples import Example

IGNORE = 255
STILL = Augmentation(
    crop=(40, 48), scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
)  # cuts, and does nothing else
COLOURS = torch.tensor([[10, 10, 10], [250, 10, 10], [10, 250, 10], [10, 10, 250]], dtype=torch.uint8)


def scene(h: int = 64, w: int = 80, seed: int = 0) -> Example:
    """Rectangles whose colour says their class: the image is the mask."""
    generator = np.random.default_rng(seed)
    mask = torch.zeros(h, w, dtype=torch.long)
    for _ in range(5):
        top, left = generator.integers(0, max(1, h - 20)), generator.integers(0, max(1, w - 20))
        mask[top : top + generator.integers(14, 30), left : left + generator.integers(14, 30)] = generator.integers(4)
    return Example(COLOURS[mask].permute(2, 0, 1).contiguous(), mask)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


GEOMETRIES = {
    "crop": STILL,
    "scale": replace(STILL, scale=(0.5, 2.0)),
    "flip": replace(STILL, flip=1.0),
    "padding": replace(STILL, crop=(90, 100), scale=(0.5, 1.2)),
    "shorter side": replace(STILL, shorter_side=100, scale=(0.7, 1.5)),
    "category": replace(STILL, category_max_ratio=0.6, scale=(0.5, 2.0)),
    "area": replace(STILL, window="area", area=(0.2, 1.0)),
    "rand": replace(STILL, scale=(0.5, 2.0), flip=0.5, random_augment=2, magnitude=6.0),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("seed", range(4))
def test_the_image_stays_its_mask(name, seed, monkeypatch):
    """Each pixel's nearest class colour is its label, but for pixels at borders, where colours mix."""
    monkeypatch.setattr("sightline.vision.augmentation.random_augment.CHANGES", ("rotate", "shear_x", "translate_y"))
    found = augment(scene(seed=seed), GEOMETRIES[name], generator(seed))
    h, w = GEOMETRIES[name].crop
    assert found.image.shape == (3, h, w)
    assert found.target.shape == (h, w)
    assert found.image.dtype == torch.uint8
    assert found.target.dtype == torch.int64
    palette = torch.cat([COLOURS, torch.tensor([MEAN_COLOUR], dtype=torch.uint8)]).int()
    distance = (found.image.permute(1, 2, 0).int()[:, :, None] - palette).abs().sum(-1)
    seen = distance.argmin(-1)
    seen = seen.where(seen < 4, IGNORE)
    labels = torch.nn.functional.pad(found.target[None, None].double(), [2] * 4, mode="replicate")
    around = labels.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4)[0, 0]
    border = around.amax(-1) != around.amin(-1)
    assert torch.equal(seen[~border], found.target[~border])
    # At borders two colours mix to grey halfway, which is near the fill's; a shift would show on one whole side.
    assert (seen == found.target)[border].double().mean() > 0.6 if border.any() else True


def test_windows_beyond_the_image_are_filled_and_ignored():
    found = augment(scene(10, 12), replace(STILL, crop=(30, 30)), generator(0))
    outside = found.target == IGNORE
    assert int((~outside).sum()) == 120
    assert (found.image[:, outside] == torch.tensor(MEAN_COLOUR)[:, None]).all()
    corners = set()
    for seed in range(60):
        inside = (augment(scene(10, 12), replace(STILL, crop=(30, 30)), generator(seed)).target != IGNORE).nonzero()
        corners.add(tuple(inside.amin(0).tolist()))
    assert len(corners) > 40  # anywhere, not only in the upper left corner


def test_fill_and_ignored_label_are_the_user_s_everywhere(monkeypatch):
    monkeypatch.setattr("sightline.vision.augmentation.random_augment.CHANGES", ("translate_x",))
    settings = replace(STILL, crop=(90, 100), random_augment=1, magnitude=5.0, fill=(1, 2, 3), ignore=77)
    found = augment(scene(), settings, generator(0))
    filled = (found.image == torch.tensor([1, 2, 3])[:, None, None]).all(0)
    assert torch.equal(filled, found.target == 77)
    assert set(found.target.unique().tolist()) <= {0, 1, 2, 3, 77}
    assert filled.sum() > 90 * 100 - 64 * 80


def test_changes_of_colour_leave_fill_and_mask_alone():
    plain = replace(STILL, crop=(90, 100))
    colourful = replace(plain, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.1)
    one, other = augment(scene(), plain, generator(7)), augment(scene(), colourful, generator(7))
    assert torch.equal(one.target, other.target)
    outside = one.target == IGNORE
    assert torch.equal(one.image[:, outside], other.image[:, outside])
    assert (one.image[:, ~outside] != other.image[:, ~outside]).any()


def test_scale_and_shorter_side_set_the_magnification():
    example = Example(torch.zeros(3, 100, 200, dtype=torch.uint8), torch.arange(200).repeat(100, 1))
    ratios = []
    for seed in range(300):
        row = augment(example, replace(STILL, scale=(0.5, 2.0)), generator(seed)).target[20]
        row = row[row != IGNORE] if (row == 199).sum() else row
        ratios.append((len(row) - 1) / max(1, int(row[-1] - row[0])))
    assert min(ratios) > 0.48
    assert max(ratios) < 2.1
    assert np.mean(ratios) == pytest.approx(1.25, abs=0.1)  # evenly drawn
    row = augment(example, replace(STILL, shorter_side=50), generator(0)).target[20]
    assert (row.diff() == 2).all()


def test_flips_as_often_as_asked_and_both_together():
    example = scene(40, 48)
    times = 0
    for seed in range(200):
        found = augment(example, replace(STILL, flip=0.3), generator(seed))
        flipped = torch.equal(found.target, example.target.flip(-1))
        assert torch.equal(found.image, example.image.flip(-1) if flipped else example.image)
        times += flipped
    assert abs(times - 60) < 4 * math.sqrt(200 * 0.3 * 0.7)


def test_a_crop_of_one_class_is_placed_again():
    mask = torch.zeros(40, 400, dtype=torch.long)
    mask[:, 300:] = torch.arange(100) // 10 % 3
    mask[:, 350:] = mask[:, 350:].where(torch.arange(50) % 7 > 0, IGNORE)
    example = Example(torch.zeros(3, 40, 400, dtype=torch.uint8), mask)

    def largest(category_max_ratio: float, seed: int) -> float:
        settings = replace(STILL, crop=(40, 60), category_max_ratio=category_max_ratio)
        found = augment(example, settings, generator(seed)).target
        counts = found[found != IGNORE].bincount()
        return float(counts.max() / counts.sum())

    assert np.mean([largest(1.0, seed) <= 0.5 for seed in range(40)]) < 0.4
    assert np.mean([largest(0.5, seed) <= 0.5 for seed in range(40)]) > 0.8


def test_a_class_stays_and_its_image_is_cut():
    example = Example(scene().image, torch.tensor(3))
    found = augment(example, for_classification((32, 32)), generator(0))
    assert found.image.shape == (3, 32, 32)
    assert found.target == 3


@pytest.mark.usefixtures("as_users_run_it")  # the shape checks draw from Python's random themselves
def test_the_generator_alone_decides():
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    full = Augmentation(crop=(40, 48), random_augment=2, magnitude_spread=0.5, category_max_ratio=0.75)
    example = scene()
    image, target = example.image.clone(), example.target.clone()
    found = [augment(example, full, generator(3)) for _ in range(2)]
    assert torch.equal(found[0].image, found[1].image)
    assert torch.equal(found[0].target, found[1].target)
    different = {augment(example, full, generator(seed)).image.numpy().tobytes() for seed in range(10)}
    assert len(different) == 10
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(example.image, image)  # the example itself is never written on
    assert torch.equal(example.target, target)


def test_small_images_pass_through_unchanged_when_nothing_is_asked():
    example = Example(torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8), torch.tensor(5))
    found = augment(example, replace(STILL, crop=(8, 8)), generator(0))
    assert torch.equal(found.image, example.image)


def test_normalising_is_the_formula():
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = (image.double() / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    torch.testing.assert_close(normalise(image).double(), expected, atol=1e-6, rtol=0)
    assert normalise(image[0]).shape == (3, 4, 5)
    fill = torch.tensor(MEAN_COLOUR, dtype=torch.uint8)[:, None, None]
    assert normalise(fill).abs().max() < 0.01  # the fill is nothing to the network
    plain = normalise(image, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    torch.testing.assert_close(plain, image.float() / 255)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window": "scales"}, "unknown window 'scales': did you mean 'scale'"),
        ({"crop": (0, 4)}, r"a crop is a height and a width of 1 pixel or more, got \(0, 4\)"),
        ({"scale": (2.0, 0.5)}, "scale is a least and a largest number above 0, got 2.0 and 0.5"),
        ({"area": (0.1, 1.5)}, "area is a least and a largest number above 0 of at most 1, got 0.1 and 1.5"),
        ({"hue": 0.7}, r"hue lies in \[0, 0.5\], got 0.7"),
        ({"category_max_ratio": 0.0}, r"category_max_ratio lies in \(0, 1\], got 0.0: 1 takes any crop"),
        ({"magnitude": 28.0}, "a magnitude from 0 to 10, got 0, 0.0 and 28.0"),
        ({"shorter_side": 0}, "the shorter side is 1 pixel or more, or None to keep it, got 0"),
        ({"fill": (0, 0, 256)}, "fill is red, green and blue from 0 to 255"),
    ],
)
def test_bad_settings_are_said_in_one_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        Augmentation(**settings)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_mask_of_another_size_is_said():
    with pytest.raises(ValueError, match="an image of 64 x 80 pixels has a mask of 64 x 79: make both of one size"):
        augment(Example(scene().image, scene().target[:, 1:]), STILL, generator(0))
