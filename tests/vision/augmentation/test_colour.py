"""Changes of colour against Pillow's, and against what each must leave alone."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from sightline.vision.augmentation.colour import LUMA, change_colour, chroma_matrix


@pytest.fixture
def image() -> torch.Tensor:
    """Colours in the middle, so that nothing is cut at 0 or 255."""
    return torch.randint(90, 160, (3, 20, 24), dtype=torch.uint8)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
@pytest.mark.parametrize(
    ("name", "pillow"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_each_factor_is_pillow_s_to_rounding(image, name, pillow, factor):
    expected = np.array(pillow(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(factor), dtype=int)
    found = change_colour(image, **{name: factor}).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1


def test_nothing_changes_by_factors_of_one(image):
    assert torch.equal(change_colour(image), image)
    assert torch.equal(change_colour(image, hue=1.0), image)  # a whole turn


def test_all_at_once_is_one_after_the_other_in_any_order(image):
    changes = [{"brightness": 1.1}, {"contrast": 0.8}, {"saturation": 1.2}, {"hue": 0.03}]
    together = change_colour(image, **{k: v for change in changes for k, v in change.items()}).int()
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        one = image
        for i in order:
            one = change_colour(one, **changes[i])
        assert (one.int() - together).abs().max() <= 3  # three more roundings


def test_hue_leaves_greys_and_luma_alone_and_turns_back():
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    assert torch.equal(change_colour(grey, hue=0.3, saturation=0.2), grey)
    luma = torch.tensor(LUMA)
    for hue in (0.1, 0.25, 0.5, -0.4):
        matrix = chroma_matrix(1.0, hue)
        torch.testing.assert_close(luma @ matrix, luma, atol=1e-6, rtol=0)
        torch.testing.assert_close(matrix @ chroma_matrix(1.0, -hue), torch.eye(3), atol=1e-6, rtol=0)
        assert (matrix - torch.eye(3)).abs().max() > 0.1
    torch.testing.assert_close(chroma_matrix(0.0, 0.2), luma.expand(3, 3), atol=1e-6, rtol=0)


def test_values_are_cut_and_never_wrap():
    image = torch.tensor([0, 100, 250], dtype=torch.uint8).reshape(3, 1, 1)
    assert change_colour(image, brightness=2.0).flatten().tolist() == [0, 200, 255]
    assert change_colour(image, saturation=3.0).flatten()[0] == 0
