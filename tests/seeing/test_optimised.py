"""Optimised inputs reach the closed-form optimum of a linear unit; the Fourier variables are a plain inverse DFT."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.seeing.optimised import blurred, colour_axes, from_frequencies, optimised_input, paint


def linear(seed: int = 1) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(3, 4, 5, padding=2)


def small() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()
    )


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (4, 5), (7, 6)])
def test_the_variables_are_a_plain_inverse_dft(size: tuple[int, int]) -> None:
    h, w = size
    coefficients = torch.randn(2, 3, h, w // 2 + 1, 2, dtype=torch.float64)
    wanted = torch.zeros(2, 3, h, w, dtype=torch.float64)
    y, x = torch.arange(h, dtype=torch.float64)[:, None], torch.arange(w, dtype=torch.float64)[None]
    for v in range(h):
        for u in range(w // 2 + 1):
            frequency = max(math.hypot(min(v, h - v) / h, u / w), 1 / max(h, w))
            times = 1 if u == 0 or 2 * u == w else 2  # the mirror image of the others is not stored
            angle = 2 * math.pi * (v * y / h + u * x / w)
            real, imaginary = coefficients[:, :, v, u, 0, None, None], coefficients[:, :, v, u, 1, None, None]
            wanted += times / frequency / math.sqrt(h * w) * (real * angle.cos() - imaginary * angle.sin())
    torch.testing.assert_close(from_frequencies(coefficients, size), wanted)


def test_plain_pixels_reach_the_closed_form() -> None:
    """A linear unit's best image in [0, 1] is 1 where its kernel is positive and 0 where it is negative."""
    net = linear()
    got = optimised_input(
        net, "", [0, 3], size=(11, 9), position=(5, 4), steps=80, learning_rate=0.3,
        jitter=0, frequency=False, colour=False,
    )  # fmt: skip
    for image, channel in zip(got, (0, 3), strict=True):
        kernel = net.weight[channel]
        field = image[:, 3:8, 2:7]
        torch.testing.assert_close(field, (kernel > 0).float(), rtol=0, atol=0.01)
        best = kernel.clamp(min=0).sum() + net.bias[channel]
        torch.testing.assert_close(net(image[None])[0, channel, 5, 4], best, rtol=0, atol=0.01)
        outside = image.clone()
        outside[:, 3:8, 2:7] = 0.5
        torch.testing.assert_close(outside, torch.full_like(outside, 0.5), rtol=0, atol=0.02)  # the first noise


def test_first_steps_go_along_the_kernel() -> None:
    """While the sigmoid is straight, one step of steepest ascent is the kernel; Adam's keeps its signs."""
    net = linear()
    step = {"size": (9, 9), "position": (4, 4), "jitter": 0, "frequency": False, "colour": False}
    before = optimised_input(net, "", 1, steps=0, **step)
    after = optimised_input(net, "", 1, steps=1, learning_rate=0.01, **step)
    torch.testing.assert_close((after - before)[:, 2:7, 2:7].sign(), net.weight[1].sign().detach())


def cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten(), other.flatten(), 0))


def test_natural_variables_find_the_kernel_too() -> None:
    net = linear()
    got = optimised_input(net, "", [0, 1, 2, 3], size=(11, 9), position=(5, 4), steps=100)
    for channel, image in enumerate(got):
        kernel = net.weight[channel].detach()
        assert cosine(image[:, 3:8, 2:7] - 0.5, kernel) > 0.7
        low, high = kernel.clamp(max=0).sum(), kernel.clamp(min=0).sum()
        reached = net(image[None])[0, channel, 5, 4] - net.bias[channel]
        assert (reached - low) / (high - low) > 0.85  # of the whole range that images in [0, 1] can give


@pytest.mark.parametrize("position", [None, (4, 5)])
def test_it_beats_the_best_of_200_random_images(position: tuple[int, int] | None) -> None:
    net = small()
    got = optimised_input(net, "3", list(range(6)), size=(18, 20), position=position, steps=60, blur=0.5)
    assert got.shape == (6, 3, 18, 20)
    assert 0 <= got.min() < 0.2
    assert 0.8 < got.max() <= 1
    with torch.no_grad():
        reached = net[:4](got)[range(6), range(6)]
        by_chance = net[:4](torch.rand(200, 3, 18, 20))
    if position is None:
        assert (reached.mean((1, 2)) > by_chance.mean((2, 3)).amax(0)).all()
    else:
        assert (reached[:, 4, 5] > by_chance[:, :, 4, 5].amax(0)).all()


@pytest.mark.parametrize("position", [None, (5, 3)])
def test_silent_units_are_woken(position: tuple[int, int] | None) -> None:
    first, second = linear(), nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        kernel = first.weight.flatten(1)
        first.bias.copy_(-(0.4 * kernel.clamp(max=0) + 0.6 * kernel.clamp(min=0)).sum(1))  # a tenth above grey
        second.weight.abs_()
        second.bias.fill_(-0.05)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    assert net(torch.full((1, 3, 16, 16), 0.5)).max() == 0
    got = optimised_input(net, "", [0, 1, 2], size=(16, 16), steps=60, position=position)
    response = net(got)[range(3), range(3)]
    assert (response.amax((1, 2)) > 0.2).all()
    if position is not None:
        assert (response[:, 5, 3] > 0.2).all()


def test_the_same_for_a_seed_alone_or_in_a_batch() -> None:
    net = small().double()
    settings = {"size": (12, 14), "steps": 12, "jitter": 2}
    both = optimised_input(net, "3", [1, 4], **settings)
    torch.manual_seed(99)
    torch.testing.assert_close(both, optimised_input(net, "3", [1, 4], **settings), rtol=0, atol=0)
    torch.testing.assert_close(both[1], optimised_input(net, "3", 4, **settings), rtol=0, atol=1e-9)
    assert (both - optimised_input(net, "3", [1, 4], seed=1, **settings)).abs().max() > 0.01


def test_the_global_generator_is_not_used() -> None:
    net = small()
    before = torch.random.get_rng_state()
    optimised_input(net, "3", 1, size=(12, 14), steps=3, jitter=3, blur=1.0)
    assert torch.equal(torch.random.get_rng_state(), before)


def seen_with(jitter: int, steps: int, blur: float = 0.0) -> tuple[Tensor, Tensor]:
    """The windows that a network sees of a canvas that does not change, and the result."""
    seen: list[Tensor] = []

    def spy(batch: Tensor) -> Tensor:
        seen.append(batch.detach()[0])
        return batch

    net = nn.Conv2d(3, 1, 1)
    result = optimised_input(
        net, "", 0, size=(10, 12), steps=steps, learning_rate=0.0, jitter=jitter, blur=blur, prepare=spy
    )
    return torch.stack(seen[1:]), result  # the first is grey, to learn the shape of the map


def test_jitter_moves_a_window_each_way() -> None:
    windows, result = seen_with(jitter=2, steps=150)
    found = set()
    for window in windows:
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                mine = result[:, max(0, dy) : 10 + min(0, dy), max(0, dx) : 12 + min(0, dx)]
                theirs = window[:, max(0, -dy) : 10 + min(0, -dy), max(0, -dx) : 12 + min(0, -dx)]
                if torch.equal(mine, theirs):
                    found.add((dy, dx))
    assert found == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}
    still, result = seen_with(jitter=0, steps=3)
    torch.testing.assert_close(still, result.expand(3, -1, -1, -1), rtol=0, atol=0)


def test_blur_sharpens_until_the_end() -> None:
    windows, result = seen_with(jitter=0, steps=5, blur=3.0)
    for step, window in enumerate(windows):
        torch.testing.assert_close(window, blurred(result[None], 3.0 * (1 - step / 5))[0])
    spread = windows.flatten(1).std(1)
    assert (spread.diff() > 0).all()


def test_blur_is_a_gaussian() -> None:
    image = torch.rand(1, 2, 24, 30, dtype=torch.float64)
    deviation = 1.7
    kernel = [torch.exp(-((torch.arange(-60, 61, dtype=torch.float64) / deviation) ** 2) / 2) for _ in range(2)]
    wanted = image
    for axis in (2, 3):
        weights = kernel[0] / kernel[0].sum()
        wanted = sum(weight * wanted.roll(shift, axis) for shift, weight in zip(range(-60, 61), weights, strict=True))
    torch.testing.assert_close(blurred(image, deviation), wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(blurred(image, 0.0), image, rtol=0, atol=0)


def test_colours_are_those_of_photographs() -> None:
    axes = colour_axes()
    lengths = axes.norm(dim=0)
    torch.testing.assert_close(axes.T @ axes, (lengths**2).diag())
    pixels = np.concatenate([image.reshape(-1, 3) for image in load_sample_images().images]) / 255
    spread = torch.from_numpy((pixels @ (axes / lengths).numpy()).std(0))
    torch.testing.assert_close(lengths / lengths[0], spread / spread[0], rtol=0.05, atol=0)
    noise = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    canvas = torch.logit(paint(noise, (40, 40), frequency=False))
    torch.testing.assert_close(canvas[0, :, 3, 4], axes @ noise[0, :, 3, 4])
    torch.testing.assert_close(paint(noise[:, :2], (40, 40), frequency=False), torch.sigmoid(noise[:, :2]))


def test_a_unit_with_stride_one_is_not_smeared_by_the_jitter() -> None:
    net = linear()
    torch.testing.assert_close(
        optimised_input(net, "", 0, size=(9, 9), position=(4, 4), steps=4),
        optimised_input(net, "", 0, size=(9, 9), position=(4, 4), steps=4, jitter=0),
    )


class Tokens(nn.Module):
    """A class token and one token for each patch of 4 x 4 pixels of a grey image; a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 6, 4, stride=4)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        return self.head(tokens[:, 0])


def test_tokens_vectors_and_other_channels() -> None:
    torch.manual_seed(4)
    net = Tokens()
    got = optimised_input(net, "norm", 2, size=(12, 16), position=(1, 3), inputs=1, steps=40)
    assert got.shape == (1, 12, 16)
    tokens = net.patches(got[None]).flatten(2).transpose(1, 2)
    grid = net.norm(tokens)[0].unflatten(0, (3, 4))
    assert grid[1, 3, 2] > 1.2  # of at most sqrt(6 - 1) = 2.24
    assert grid[1, 3, 2] == grid[..., 2].max()
    with torch.no_grad():
        by_chance = net(torch.rand(200, 1, 12, 16)).amax(0)
        images = optimised_input(net, "", [0, 1, 2], size=(12, 16), inputs=1, steps=100, jitter=0)
        assert (net(images).diagonal() > by_chance).all()


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[1].weight.grad = torch.full((4,), 7.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        got = optimised_input(net, "3", 0, size=(8, 8), steps=3, jitter=1)
    assert not got.requires_grad
    assert [m.training for m in net] == [True, False, True, True]
    assert not net[0].weight.requires_grad
    assert net[0].bias.requires_grad
    assert net[0].weight.grad is None
    torch.testing.assert_close(net[1].weight.grad, torch.full((4,), 7.0))
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not any(module._forward_hooks for module in net.modules())


class Deaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(torch.ones(1, 3, 4, 4))


def test_what_cannot_be_done_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"the network has no layer '33': the nearest name is '3'"):
        optimised_input(small(), "33", 0, size=(8, 8))
    with pytest.raises(ValueError, match=r"channel 6 was asked of '3', whose channels go from 0 to 5"):
        optimised_input(small(), "3", [2, 6], size=(8, 8))
    with pytest.raises(ValueError, match=r"position \(4, 0\) was asked of '3', whose map is 4 x 4"):
        optimised_input(small(), "3", 0, size=(8, 8), position=(4, 0))
    with pytest.raises(ValueError, match=r"the layer 'table' does not depend on the image by a gradient"):
        optimised_input(Deaf(), "table", 0, size=(4, 4))
