"""Windows, sizes and mirror images: each against a loop that follows the definition, or a network that cannot tell."""

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sightline.models.vit import Size, VisionTransformer
from sightline.vision.prediction.predict import class_probabilities, probabilities, starts


def near(kernel: int = 1, channels: int = 3, classes: int = 4) -> nn.Module:
    return nn.Conv2d(channels, classes, kernel, padding=kernel // 2, dtype=torch.float64).eval()


def image(h: int = 13, w: int = 17, b: int = 1) -> torch.Tensor:
    return torch.randn(b, 3, h, w, dtype=torch.float64)


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0, 0.95))
def test_windows_cover_every_pixel_and_the_last_is_flush(window, more, overlap):
    at = starts(window + more, window, overlap)
    assert at[0] == 0
    assert at[-1] == more
    assert at == sorted(set(at))
    assert all(b - a <= window for a, b in itertools.pairwise(at))
    assert all(window - (b - a) >= overlap * window - 1 for a, b in itertools.pairwise(at))


def test_the_overlap_is_the_published_one():
    assert starts(2048, 769) == [0, 513, 1026, 1279]  # CCNet's evaluation: a step of ceil(769 x 2/3)
    assert starts(27, 9) == [0, 6, 12, 18]  # 9 x (1 - 1/3) is a hair more than 6 in floating point


@pytest.mark.parametrize("window", [1, 4, (5, 3), 13, (13, 17), 40])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_network_that_sees_one_pixel_cannot_tell_windows_from_the_whole(window, batch):
    network, x = near(), image(b=2)
    whole = network(x).softmax(1).detach()
    found = probabilities(network, x, window=window, batch=batch)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)


def by_hand(network, x, window, overlap, flip):
    """Every pixel's mean over the windows that hold it, one pixel at a time."""
    h, w = x.shape[2:]
    padded = torch.zeros(1, 3, max(h, window[0]), max(w, window[1]), dtype=x.dtype)
    padded[..., :h, :w] = x
    votes = {}
    for top in starts(padded.shape[2], window[0], overlap):
        for left in starts(padded.shape[3], window[1], overlap):
            crop = padded[:, :, top : top + window[0], left : left + window[1]]
            said = [network(crop).softmax(1)]
            if flip:
                said.append(network(crop.flip(3)).softmax(1).flip(3))
            for one in said:
                for y, z in itertools.product(range(window[0]), range(window[1])):
                    votes.setdefault((top + y, left + z), []).append(one[0, :, y, z])
    rows = [torch.stack([torch.stack(votes[y, z]).mean(0) for z in range(w)], 1) for y in range(h)]
    return torch.stack(rows, 1)[None].detach()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("window", "overlap"), [((6, 5), 1 / 3), ((4, 9), 0.0), ((20, 5), 0.5)])
def test_windows_average_as_a_loop_over_pixels_does(window, overlap, flip):
    network, x = near(5), image(9, 11)
    found = probabilities(network, x, window=window, overlap=overlap, flip=flip, batch=2)
    torch.testing.assert_close(found, by_hand(network, x, window, overlap, flip), rtol=0, atol=1e-12)
    assert found.shape == (1, 4, 9, 11)


def test_one_window_as_large_as_the_image_is_the_plain_forward():
    network, x = near(5), image()
    plain = network(x).softmax(1).detach()
    for window in (None, (13, 17)):
        assert torch.equal(probabilities(network, x, window=window), plain)


def test_mirrors_change_nothing_for_a_network_that_treats_them_alike_and_average_otherwise():
    network, x = near(3), image()
    turned = network(x.flip(-1)).softmax(1).flip(-1).detach()
    plain = network(x).softmax(1).detach()
    torch.testing.assert_close(probabilities(network, x, flip=True), (plain + turned) / 2, rtol=0, atol=1e-12)
    assert not torch.allclose(plain, turned)
    with torch.no_grad():
        network.weight.copy_((network.weight + network.weight.flip(-1)) / 2)
    plain = network(x).softmax(1).detach()
    torch.testing.assert_close(probabilities(network, x, flip=True), plain, rtol=0, atol=1e-12)


def test_sizes_average_as_probabilities_and_sum_to_one():
    network, x = near(3), image()
    expected = []
    for size in ((6, 8), (13, 17), (20, 26)):  # 0.5 x 13 is 6.5, rounded to even
        shown = F.interpolate(x, size, mode="bilinear", antialias=True)
        expected.append(F.interpolate(network(shown).softmax(1), (13, 17), mode="bilinear", antialias=True).detach())
    found = probabilities(network, x, scales=(0.5, 1.0, 1.5))
    torch.testing.assert_close(found, sum(expected) / 3, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 13, 17, dtype=torch.float64))
    assert (found >= 0).all()


def test_patches_are_filled_up_and_cut_back():
    size = Size(channels=8, depth=1, heads=2)
    encoder = VisionTransformer(size, image_size=(16, 16), patch=4)
    network = nn.Sequential(encoder, nn.Conv2d(8, 3, 1), nn.Upsample(scale_factor=4)).double().eval()
    x = image(13, 18)
    expected = network(F.pad(x, (0, 2, 0, 3))).softmax(1)[..., :13, :18].detach()
    torch.testing.assert_close(probabilities(network, x), expected, rtol=0, atol=1e-12)
    assert probabilities(network, x, window=10, scales=(0.7, 1.0), flip=True).shape == (1, 3, 13, 18)


def test_half_precision_answers_are_averaged_in_single_precision():
    network = nn.Conv2d(3, 4, 1).bfloat16().eval()
    found = probabilities(network, image().bfloat16(), window=5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 13, 17))


def test_the_image_is_left_as_it_was_and_no_gradient_is_kept():
    network, x = near(3), image().requires_grad_()
    before = x.detach().clone()
    found = probabilities(network, x, window=6, scales=(1.0, 0.5), flip=True, keep_on="cpu")
    assert torch.equal(x, before)
    assert not found.requires_grad


def test_classes_of_whole_images():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    x = image(b=3)
    plain, turned = network(x).softmax(1).detach(), network(x.flip(-1)).softmax(1).detach()
    assert torch.equal(class_probabilities(network, x), plain)
    torch.testing.assert_close(class_probabilities(network, x, flip=True), (plain + turned) / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 1.0}, "windows overlap by a share in [0, 1), got 1.0"),
        ({"scales": ()}, "scales are one or more positive numbers"),
        ({"scales": (1.0, float("nan"))}, "scales are one or more positive numbers"),
        ({"window": 0}, "a window is one or more pixels high and wide, got 0"),
        ({"window": (3, -1)}, "got (3, -1)"),
        ({"batch": 0}, "got batch=0"),
    ],
)
def test_options_out_of_range_are_one_sentence(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        probabilities(near(), image(), **options)


@pytest.mark.usefixtures("as_users_run_it")
def test_a_network_of_the_other_task_is_one_sentence():
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="the network answers \\(1, 3\\): is it one that classifies"):
        probabilities(classifier, image())
    with pytest.raises(ValueError, match="is it one that segments"):
        class_probabilities(near(), image())
    with pytest.raises(ValueError, match="takes images \\[b, c, h, w\\], got a tensor of shape \\(3, 4\\)"):
        probabilities(near(), torch.zeros(3, 4))
