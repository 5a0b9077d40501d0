"""What an example goes through before it is evaluated."""

import pytest
import torch
from torch import nn

from sightline.models.vit import Size, VisionTransformer
from sightline.vision.augmentation.prepare import Preparation, needed_multiple, prepare, resized
from sightline.vision.data.examples import Example


def example(h: int, w: int) -> Example:
    mask = torch.arange(h * w).reshape(h, w) % 7
    return Example((30 * mask).to(torch.uint8).repeat(3, 1, 1), mask)


def test_nothing_asked_is_nothing_done():
    given = example(11, 13)
    found = prepare(given, Preparation())
    assert torch.equal(found.image, given.image)
    assert torch.equal(found.target, given.target)


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((20, 30), 10, (10, 15)),
        ((30, 20), 40, (60, 40)),
        ((5, 5), 3, (3, 3)),
        ((30, 50), 10, (10, 17)),
        ((50, 30), 10, (17, 10)),
    ],
)
def test_the_shorter_side_is_exact_and_the_proportions_stay(size, side, expected):
    assert resized(size, side) == expected
    found = prepare(example(*size), Preparation(shorter_side=side))
    assert found.image.shape == (3, *expected)
    assert found.target.shape == expected


def test_pixels_are_added_right_and_below_alone():
    given = example(11, 13)
    found = prepare(given, Preparation(multiple=8))
    assert found.image.shape == (3, 16, 16)
    assert torch.equal(found.image[:, :11, :13], given.image)
    assert torch.equal(found.target[:11, :13], given.target)
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[:11, :13] = False
    assert (found.target[outside] == 255).all()
    assert (found.image[:, outside] == torch.tensor([124, 116, 104])[:, None]).all()


def test_the_middle_is_cut_after_resizing_and_classes_stay():
    given = Example(example(20, 30).image, torch.tensor(4))
    found = prepare(given, Preparation(shorter_side=10, crop=(8, 8)))
    whole = prepare(given, Preparation(shorter_side=10)).image
    assert torch.equal(found.image, whole[:, 1:9, 3:11])
    assert found.target == 4


def test_only_patches_need_a_multiple():
    encoder = VisionTransformer(Size(channels=8, depth=1, heads=2), image_size=(16, 16), patch=4)
    assert needed_multiple(nn.Sequential(encoder, nn.Conv2d(8, 3, 1))) == 4
    assert needed_multiple(nn.Conv2d(3, 3, 1)) == 1


def test_bad_input_is_said_in_one_sentence():
    with pytest.raises(ValueError, match="a shorter side and a multiple are 1 pixel or more, got None and 0"):
        Preparation(multiple=0)
    with pytest.raises(ValueError, match=r"a crop is a height and a width of 1 pixel or more, got \(0, 4\)"):
        Preparation(crop=(0, 4))
