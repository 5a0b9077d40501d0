"""The effective field is the whole Jacobian's, by brute force; uniform kernels give their closed form."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.layers.criss_cross import CrissCross
from sightline.layers.non_local import NonLocal
from sightline.models.vit import Size, VisionTransformer
from sightline.ops.patterns import criss_cross, field, window
from sightline.seeing.effective import heats, possible
from sightline.seeing.effective_size import gaussian
from sightline.seeing.maps import layout


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.Tanh()
    ).double()


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def columns(network: nn.Module, image: Tensor, position: tuple[int, int]) -> Tensor:
    """The Jacobian of one position, [channels, *image.shape]: what every heat is made of."""
    y, x = position
    return torch.autograd.functional.jacobian(lambda pixels: network(pixels[None])[0, :, y, x], image)


def uniform(kernel: int, layers: int, channels: int = 1) -> nn.Sequential:
    network = nn.Sequential(*(nn.Conv2d(channels, channels, kernel, bias=False) for _ in range(layers))).double()
    for layer in network:
        nn.init.constant_(layer.weight, 1 / (channels * kernel**2))
    return network


@pytest.mark.parametrize("protocol", ["absolute", "replknet"])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("layers", [5, 10, 20])
def test_uniform_kernels_have_the_closed_form(kernel: int, layers: int, protocol: str) -> None:
    side = layers * (kernel - 1) + 1
    (heat,) = heats(uniform(kernel, layers), torch.ones(1, 1, side, side).double(), "", [(0, 0)], protocol=protocol)
    found = gaussian(heat)
    expected = math.sqrt(layers * (kernel**2 - 1) / 12)
    assert found.centre == pytest.approx(((side - 1) / 2,) * 2, abs=1e-9)
    assert found.deviation == pytest.approx((expected, expected), abs=1e-6)
    line = np.ones(1)
    for _ in range(layers):
        line = np.convolve(line, np.ones(kernel) / kernel)
    torch.testing.assert_close(heat / heat.sum(), torch.from_numpy(np.outer(line, line)))


def test_the_joined_channels_do_not_change_the_shape_of_uniform_kernels() -> None:
    image = torch.ones(3, 4, 21, 21).double()
    (heat,) = heats(uniform(3, 10, channels=4), image, "", [(0, 0)], draws=2)
    assert gaussian(heat).deviation == pytest.approx((math.sqrt(80 / 12),) * 2, abs=1e-6)


def test_the_replknet_heat_is_its_definition() -> None:
    network, images, position = small(), pictures(3, 2, 9, 8), (2, 1)
    expected = torch.zeros(9, 8).double()
    for image in images:
        positive = network(image[None])[0, :, 2, 1] > 0
        expected += columns(network, image, position)[positive].sum(0).clamp(min=0).sum(0) / len(images)
    (heat,) = heats(network, images, "", [position], protocol="replknet")
    torch.testing.assert_close(heat, expected)


def test_the_absolute_heat_is_one_mixture_of_the_jacobian() -> None:
    network, image = small(), pictures(1, 2, 9, 8)
    z = torch.randn(5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = torch.einsum("o,oihw->ihw", z, columns(network, image[0], (1, 3))).abs().sum(0) * math.sqrt(math.pi / 2)
    (heat,) = heats(network, image, "", [(1, 3)], generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(heat, expected)


def test_the_absolute_heat_estimates_the_length_of_the_columns() -> None:
    network, images = small(), pictures(2, 2, 7, 7)
    expected = sum(columns(network, image, (1, 2)).norm(dim=0).sum(0) for image in images) / 2
    (heat,) = heats(network, images, "", [(1, 2)], draws=1000)
    torch.testing.assert_close(heat, expected, rtol=0.1, atol=1e-12)


@pytest.mark.parametrize("protocol", ["absolute", "replknet"])
def test_several_positions_are_those_one_by_one(protocol: str) -> None:
    network, images, places = small(), pictures(2, 2, 9, 8), [(0, 0), (4, 3), (2, 2)]
    together = heats(network, images, "2", places, protocol=protocol)
    assert together.shape == (3, 9, 8)
    for heat, place in zip(together, places, strict=True):
        torch.testing.assert_close(heat, heats(network, images, "2", [place], protocol=protocol)[0])


def test_a_layer_norm_does_not_hide_the_field() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)

        def forward(self, image: Tensor) -> Tensor:
            return self.norm(self.convolution(image).movedim(1, -1)).movedim(-1, 1)

    network, image = Normed().double(), pictures(1, 3, 7, 7)
    assert columns(network, image[0], (3, 3)).sum(0).abs().max() < 1e-12  # plain addition sees nothing
    (heat,) = heats(network, image, "", [(3, 3)])
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[2:5, 2:5] = True
    torch.testing.assert_close(heat > 1e-6, expected)


def test_tokens_are_positions_and_a_patch_sees_itself() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(Size(16, 1, 2), image_size=(12, 8), patch=4).double()
    image = pictures(1, 3, 12, 8)
    (heat,) = heats(network, image, "patch_embed", [(2, 1)])
    expected = torch.zeros(12, 8, dtype=torch.bool)
    expected[8:12, 4:8] = True
    torch.testing.assert_close(heat > 0, expected)
    (block,) = heats(network, image, "blocks.0", [(2, 1)])
    assert (block > 0).all()
    assert block[8:12, 4:8].mean() > block.mean()


def test_a_layout_that_is_told_is_taken() -> None:
    class Last(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.movedim(1, -1)

    image = pictures(1, 8, 8, 8)
    where = layout((1, 8, 8, 8), (8, 8), channels_last=True)
    (heat,) = heats(Last(), image, "", [(2, 5)], where=where)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2, 5] = True
    torch.testing.assert_close(heat > 0, expected)


def test_a_recomputed_block_gives_the_same_heat() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(Size(16, 2, 2), image_size=(8, 8), patch=4, recompute=True)
    image, places = pictures(1, 3, 8, 8).float(), [(1, 0), (0, 1)]
    found = heats(network, image, "", places)
    network.recompute = False
    torch.testing.assert_close(found, heats(network, image, "", places))


class Once(nn.Module):
    """Two halves; the second must not run."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)
        self.runs = 0

    def forward(self, image: Tensor) -> Tensor:
        found = self.first(image)
        self.runs += 1
        return self.second(found)


def test_the_rest_of_the_network_is_not_run_for_a_layer() -> None:
    network = Once()
    heats(network, torch.ones(5, 1, 6, 6), "first", [(0, 0)])
    assert network.runs == 1  # the run that counts how often the layer runs


def test_the_last_run_of_a_shared_layer_counts() -> None:
    shared = nn.Conv2d(1, 1, 3, padding=1).double()
    (heat,) = heats(nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh()), pictures(1, 1, 7, 7), "0", [(3, 3)])
    assert (heat > 0).sum() == 25


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.ReLU(inplace=True))
    network.train()
    network[3].eval()
    network[0].bias.requires_grad_(False)
    network[0].weight.grad = torch.ones_like(network[0].weight)
    state, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    image, random = torch.ones(2, 1, 6, 6), torch.random.get_rng_state()
    for context in (torch.no_grad, torch.inference_mode):
        for protocol in ("absolute", "replknet"):
            with context():
                heats(network, image.clone(), "2", [(0, 0)], protocol=protocol)
                possible(network, image.clone(), "", [(0, 0)], protocol=protocol)
    assert [module.training for module in network.modules()] == modes
    assert not network[0].bias.requires_grad
    assert network[0].weight.requires_grad
    assert network[1].weight.grad is None
    assert not image.requires_grad
    torch.testing.assert_close(network[0].weight.grad, torch.ones(3, 1, 3, 3), rtol=0, atol=0)
    torch.testing.assert_close(network.state_dict(), state, rtol=0, atol=0)
    torch.testing.assert_close(torch.random.get_rng_state(), random, rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_hooks_are_gone_after_an_error_too() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(2, 1, 3))
    with pytest.raises(RuntimeError):
        heats(network, torch.ones(1, 1, 9, 9), "1", [(0, 0)])
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


def test_an_image_without_a_finite_heat_is_left_out() -> None:
    network, images = small(), pictures(3, 2, 6, 6)
    spoilt = images.clone()
    spoilt[1] = torch.nan
    torch.testing.assert_close(
        heats(network, spoilt, "", [(1, 1)], protocol="replknet"),
        heats(network, images[[0, 2]], "", [(1, 1)], protocol="replknet"),
    )
    with pytest.raises(ValueError, match=r"no image gives '' a finite gradient at \(1, 1\): give other images"):
        heats(network, spoilt[1:2], "", [(1, 1)])


def look(zero_initialised: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), NonLocal(4, norm="none", zero_initialised=zero_initialised)
    ).double()


def test_attention_that_starts_at_zero_is_possible_and_not_effective() -> None:
    network, image = look(), pictures(1, 1, 8, 9)
    (now,) = heats(network, image, "", [(4, 4)])
    near = torch.zeros(8, 9, dtype=torch.bool)
    near[3:6, 3:6] = True
    torch.testing.assert_close(now > 0, near)
    (later,) = possible(network, image, "", [(4, 4)])
    assert (later > 0).all()
    assert float(later.sum()) == pytest.approx(1)
    torch.testing.assert_close(now, heats(network, image, "", [(4, 4)])[0], rtol=0, atol=0)


def test_a_possible_criss_cross_is_a_cross() -> None:
    network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), CrissCross(8)).double()
    size, images = (9, 11), pictures(1, 2, 9, 11)
    (now,) = heats(network, images, "", [(3, 6)])
    (later,) = possible(network, images, "", [(3, 6)])
    torch.testing.assert_close(now > 0, field([window(3)], (3, 6), size))
    torch.testing.assert_close(later > 0, field([window(3), criss_cross], (3, 6), size))


def test_what_no_weights_can_see_is_not_possible() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(3, 3, (1, 3)))
    (heat,) = possible(network, pictures(1, 1, 9, 9).float(), "", [(4, 3)])
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[2:7:2, 1:8] = True
    torch.testing.assert_close(heat > 0, expected)


def test_every_drawing_counts_alike() -> None:
    """Drawings at other scales do not outweigh each other: the mean of heats of sum 1."""
    found = possible(nn.Conv2d(1, 1, 3, bias=False), torch.ones(1, 1, 3, 3), "", [(0, 0)], redraws=2)[0]
    draw = torch.Generator().manual_seed(0)
    expected = torch.zeros(3, 3).double()
    for scale in (1.0, 0.5):
        weights = torch.randn(3, 3, generator=draw, dtype=torch.float64) * scale / 3
        torch.randn(1, generator=draw, dtype=torch.float64)  # the mixture's
        expected += weights.abs() / weights.abs().sum() / 2
    torch.testing.assert_close(found, expected)


class Blind(nn.Module):
    """Reads nothing of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(1, 2, 3, 3))

    def forward(self, image: Tensor) -> Tensor:
        return self.table * 2


@pytest.mark.parametrize(
    ("network", "layer", "position", "sentence"),
    [
        (small(), "3", (9, 0), r"position \(9, 0\) lies outside a map of 3 x 3"),
        (small(), "5", (0, 0), r"the network has no layer '5': the nearest name is"),
        (Blind(), "", (0, 0), r"no gradient leads from '' back to the image"),
        (nn.Flatten(), "", (0, 1), r"position \(0, 1\) lies outside a map of 1 x 1"),
    ],
)
def test_bad_questions_are_answered_in_one_sentence(
    network: nn.Module, layer: str, position: tuple[int, int], sentence: str
) -> None:
    image = torch.ones(1, 2, 6, 6, dtype=torch.float64)
    with pytest.raises(ValueError, match=sentence):
        heats(network, image, layer, [position])


def test_options_are_checked() -> None:
    image = torch.ones(1, 2, 6, 6).double()
    with pytest.raises(ValueError, match=r"a mean over images and draws, got 0 images and draws=1"):
        heats(small(), image[:0], "", [(0, 0)])
    with pytest.raises(ValueError, match=r"at least 1 redrawing of the weights, got 0"):
        possible(small(), image, "", [(0, 0)], redraws=0)
