"""Reach equals the exact fields of `ops.patterns` on stacks built by hand; what cannot arrive changes no bit."""

import pytest
import torch
from torch import Tensor, nn

from sightline.ops.patterns import Pattern, criss_cross, everything, field, window
from sightline.ops.reference import attention
from sightline.seeing.reach import changed, reach, redraw_weights


class Look(nn.Module):
    """Attention through the slow reference, whose gain starts at zero as published layers' gains do."""

    def __init__(self, channels: int, pattern: Pattern) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.gain = nn.Parameter(torch.zeros(1))
        self.pattern = pattern

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).chunk(3, 1)
        return x + self.gain * attention(query, key, value, pattern=self.pattern)


def convolution(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = kernel // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


STACKS = {
    "one convolution": (lambda: [convolution(3, 6)], [window(3)]),
    "convolutions with holes": (
        lambda: [convolution(3, 6), convolution(6, 6, 3, 3), convolution(6, 6, 5)],
        [window(3), window(3, 3), window(5)],
    ),
    "a deep stack, whose corners are seen through one faint path": (
        lambda: [convolution(3, 6), *(convolution(6, 6) for _ in range(7))],
        [window(3)] * 8,
    ),
    "criss-cross once": (lambda: [convolution(3, 6), Look(6, criss_cross)], [window(3), criss_cross]),
    "criss-cross twice": (lambda: [nn.Conv2d(3, 6, 1), Look(6, criss_cross), Look(6, criss_cross)], [criss_cross] * 2),
    "non-local": (lambda: [nn.Conv2d(3, 6, 1), Look(6, everything)], [everything]),
}


@pytest.mark.parametrize("name", STACKS)
def test_reach_is_the_exact_field(name: str) -> None:
    layers, patterns = STACKS[name]
    size = (7, 5)
    got = reach(nn.Sequential(*layers()), size, block=1, redraws=6)
    assert got.shape == (*size, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            torch.testing.assert_close(got[..., y, x], field(patterns, (y, x), size))


def test_a_block_reaches_what_any_of_its_pixels_reaches() -> None:
    network = nn.Sequential(convolution(3, 4), convolution(4, 4))
    by_pixel = reach(network, (8, 12), block=1)
    by_block = reach(network, (8, 12), block=4)
    torch.testing.assert_close(by_block, by_pixel.reshape(2, 4, 3, 4, 8, 12).any(3).any(1))


def test_without_redrawing_a_zero_gain_sees_nothing_else() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), Look(4, everything))
    assert reach(network, (4, 5), block=1).all()
    own = reach(network, (4, 5), block=1, redraws=0)
    torch.testing.assert_close(own.reshape(20, 20), torch.eye(20, dtype=torch.bool))


def test_the_network_is_left_as_it_was() -> None:
    network = convolution(3, 4).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    reach(network, (4, 4), block=2)
    assert network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_redrawing_moves_every_parameter_off_zero() -> None:
    network = nn.Sequential(convolution(3, 4), Look(4, everything))
    nn.init.zeros_(network[0][1].weight)
    redraw_weights(network, torch.Generator().manual_seed(1))
    for name, parameter in network.named_parameters():
        assert (parameter != 0).all(), name
    assert (network[0][1].running_var > 0).all()


def test_changed_tells_one_bit() -> None:
    before = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    after = before.clone()
    after[1, 2, 3, 4] = 5e-324
    got = changed(nn.Identity(), before, after)
    assert got.sum() == 1
    assert got[1, 3, 4]


def test_a_block_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the image is 9 x 8: a block of 8 does not divide it, choose one that does"):
        reach(nn.Identity(), (9, 8))
