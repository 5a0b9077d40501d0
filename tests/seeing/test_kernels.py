"""Filters are found as the network applies them; waves are those of Gabor filters whose wave is known."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.vit import Size, VisionTransformer
from sightline.seeing.kernels import first_kernels, kernels_of, slices, waves


def photograph(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class BackToFront(nn.Module):
    """Registered in the other order than run."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early = nn.Conv2d(4, 5, 3), nn.Conv2d(3, 4, (5, 3), stride=2)

    def forward(self, image: Tensor) -> Tensor:
        return self.late(self.early(image))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, image: Tensor) -> Tensor:
        return F.conv2d(image, weight=self.weight / self.weight.norm())


def test_the_first_convolution_is_the_first_that_runs() -> None:
    network = BackToFront()
    found = first_kernels(network, photograph(2, 3, 16, 16))
    assert (found.layer, found.kind) == ("early", "convolution")
    torch.testing.assert_close(found.filters, network.early.weight.detach(), rtol=0, atol=0)


def test_a_function_is_named_by_the_module_that_calls_it() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.weight = nn.ReLU(), nn.Parameter(torch.randn(2, 3, 3, 3))

        def forward(self, image: Tensor) -> Tensor:
            return F.conv2d(self.before(image), self.weight)

    assert first_kernels(nn.Sequential(Outer()), photograph(1, 3, 8, 8)).layer == "0"


def test_weights_are_taken_as_they_are_applied() -> None:
    network = nn.Sequential(nn.Identity(), Functional())
    found = first_kernels(network, photograph(1, 3, 8, 8))
    assert found.layer == "1"
    torch.testing.assert_close(found.filters, network[1].weight.detach() / network[1].weight.norm())
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 2, 3))
    torch.testing.assert_close(first_kernels(normed, photograph(1, 3, 8, 8)).filters, normed.weight.detach())


def test_a_patch_embedding_is_a_convolution() -> None:
    network = VisionTransformer(Size(16, 1, 2), image_size=(16, 8), patch=4)
    found = first_kernels(network, photograph(1, 3, 16, 8))
    assert found.layer == "patch_embed.proj"
    torch.testing.assert_close(found.filters, network.patch_embed.proj.weight.detach(), rtol=0, atol=0)


class Patches(nn.Module):
    """Patches laid out by a rule of their own, then one linear layer; after a normalisation, as some networks have."""

    def __init__(self, how: str, kernel: int = 4, stride: int = 4, padding: int = 0) -> None:
        super().__init__()
        self.how, self.options = how, {"kernel_size": kernel, "stride": stride, "padding": padding}
        self.embed = nn.Linear(3 * kernel**2, 6)

    def forward(self, image: Tensor) -> Tensor:
        if self.how == "normalised":
            image = (image - 0.4) / torch.tensor([0.2, 0.3, 0.5])[:, None, None]
        patches = F.unfold(image, **self.options).transpose(1, 2)  # (c p q), as a convolution has it
        if self.how == "channels last":
            k = self.options["kernel_size"]
            patches = patches.unflatten(2, (3, k, k)).permute(0, 1, 3, 4, 2).flatten(2)
        if self.how == "shuffled":
            patches = patches[..., torch.randperm(patches.shape[2], generator=torch.Generator().manual_seed(5))]
        if self.how == "layer norm":
            patches = F.layer_norm(patches, patches.shape[2:])
        return self.embed(patches)


@pytest.mark.parametrize("how", ["channels first", "channels last", "shuffled", "normalised"])
@pytest.mark.parametrize("shape", [(4, 4, 0), (3, 1, 1), (5, 2, 2)])
def test_a_linear_layer_over_patches_is_the_convolution_that_it_computes(how: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network, image = Patches(how, *shape), photograph(2, 3, 12, 16)
    found = first_kernels(network, image)
    assert (found.layer, found.kind) == ("embed", "linear over patches")
    seen = (image - 0.4) / torch.tensor([0.2, 0.3, 0.5])[:, None, None] if how == "normalised" else image
    _, stride, padding = shape
    convolved = F.conv2d(seen, found.filters, network.embed.bias, stride, padding)
    torch.testing.assert_close(convolved.flatten(2).transpose(1, 2), network(image))


def test_a_linear_layer_over_the_whole_image_has_filters_of_its_size() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 7, 4), nn.ReLU(), nn.Linear(4, 2))
    found = first_kernels(network, photograph(1, 2, 5, 7))
    assert found.layer == "1"
    torch.testing.assert_close(found.filters, network[1].weight.detach().reshape(4, 2, 5, 7), rtol=0, atol=0)


def test_a_linear_layer_that_does_not_read_pixels_is_passed_over() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.image = nn.Linear(1, 3), nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor) -> Tensor:
            mean = image.mean((1, 2, 3))[:, None]
            shift = self.mean(mean) + self.mean(0 * mean) + self.mean(torch.ones(1, 1))
            return self.image(image + shift[:, :, None, None])

    assert first_kernels(Both(), photograph(1, 3, 8, 8)).layer == "image"


@pytest.mark.parametrize("network", [Patches("layer norm"), nn.Sequential(nn.AvgPool2d(2)), nn.Conv1d(4, 2, 1)])
def test_a_network_without_filters_over_the_image_says_so(network: nn.Module) -> None:
    image = photograph(1, 3, 8, 8) if not isinstance(network, nn.Conv1d) else photograph(1, 3, 4, 8)
    if isinstance(network, nn.Conv1d):
        network = nn.Sequential(nn.Flatten(0, 1), network)
    with pytest.raises(ValueError, match=r"the network runs no 2-D convolution and no linear layer over patches"):
        first_kernels(network, image)


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    network[2].eval()
    state, image = copy.deepcopy(network.state_dict()), photograph(2, 3, 8, 8)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            first_kernels(network, image)
    torch.testing.assert_close(network.state_dict(), state, rtol=0, atol=0)
    assert network[0].training
    assert not network[2].training
    assert network[1].weight.grad is None
    assert not image.requires_grad
    with pytest.raises(RuntimeError):
        first_kernels(network, photograph(1, 5, 8, 8))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def gabor(size: tuple[int, int], degrees: float, frequency: float, phase: float = 0.0) -> Tensor:
    """Drawn with y upwards, so that its wave runs at `degrees` against the rows as one sees it."""
    (h, w), angle = size, math.radians(degrees)
    up = (h - 1) / 2 - torch.arange(h, dtype=torch.float64)[:, None]
    right = torch.arange(w, dtype=torch.float64) - (w - 1) / 2
    wave = torch.cos(2 * math.pi * frequency * (right * math.cos(angle) + up * math.sin(angle)) + phase)
    return wave * torch.exp(-((right / (w / 4)) ** 2 + (up / (h / 4)) ** 2) / 2)


def turn(one: float, other: float) -> float:
    """The angle between two directions, of which the reverse is the same."""
    return abs((one - other + 90) % 180 - 90)


@pytest.mark.parametrize("size", [(11, 11), (16, 16), (9, 15), (21, 11)])
@pytest.mark.parametrize("frequency", [0.2, 0.25, 0.31, 0.4])
def test_waves_of_gabor_filters_are_their_own(size: tuple[int, int], frequency: float) -> None:
    angles = [0, 17, 45, 60, 90, 101, 135, 170]
    for phase in (0.0, 1.0, math.pi / 2):
        found = waves(torch.stack([gabor(size, angle, frequency, phase) for angle in angles])[:, None])
        assert max(turn(float(d), a) for d, a in zip(found.degrees, angles, strict=True)) < 2
        torch.testing.assert_close(found.cycles, torch.full_like(found.cycles, frequency), rtol=0, atol=0.008)
        assert (found.oriented > 0.75).all()
        assert ((found.degrees >= 0) & (found.degrees < 180)).all()


@pytest.mark.parametrize("frequency", [0.0621, 0.203, 0.377])
def test_the_peak_is_found_between_the_samples(frequency: float) -> None:
    found = waves(gabor((32, 32), 33, frequency)[None, None])
    assert turn(float(found.degrees), 33) < 0.1
    assert float(found.cycles) == pytest.approx(frequency, abs=2e-4)


def test_directions_are_as_one_sees_them() -> None:
    upright = torch.tensor([1.0, -1.0] * 4).expand(8, 8)
    rising = torch.tensor([[float((y - x) % 4 < 2) for x in range(8)] for y in range(8)])  # stripes like \
    found = waves(torch.stack([upright, upright.T, rising])[:, None])
    assert turn(float(found.degrees[0]), 0) < 1e-6
    assert turn(float(found.degrees[1]), 90) < 1e-6
    assert turn(float(found.degrees[2]), 45) < 1  # across the stripes: up and to the right
    torch.testing.assert_close(found.cycles[:2], torch.full((2,), 0.5).double(), rtol=0, atol=0.01)


def test_colour_does_not_hide_a_wave() -> None:
    plain = gabor((11, 11), 30, 0.25)
    opponent = torch.stack([plain, -plain, 0 * plain])  # its channels' sum is nothing
    found = waves(torch.stack([opponent, opponent + torch.tensor([3.0, -2.0, 1.0])[:, None, None]]))
    assert max(turn(float(d), 30) for d in found.degrees) < 1
    torch.testing.assert_close(found.cycles, torch.full((2,), 0.25).double(), rtol=0, atol=0.003)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (3, 5)])
def test_a_filter_without_contrast_has_no_wave(shape: tuple[int, int]) -> None:
    found = waves(torch.stack([torch.full((3, *shape), 0.1), torch.zeros(3, *shape)]))
    for numbers in (found.degrees, found.cycles, found.oriented):
        torch.testing.assert_close(numbers, torch.zeros(2).double(), rtol=0, atol=0)


def test_a_blob_and_crossed_waves_are_not_oriented() -> None:
    crossed = gabor((16, 16), 20, 0.25) + gabor((16, 16), 110, 0.25)
    blob = gabor((16, 16), 0, 0.0)
    assert (waves(torch.stack([crossed, blob])[:, None]).oriented < 0.05).all()


def test_one_row_and_one_column_are_waves_too() -> None:
    line = torch.tensor([1.0, 0.0, -1.0, 0.0] * 3)
    row, column = waves(line.reshape(1, 1, 1, 12)), waves(line.reshape(1, 1, 12, 1))
    assert turn(float(row.degrees), 0) < 1e-6
    assert turn(float(column.degrees), 90) < 1e-6
    assert float(row.cycles) == pytest.approx(0.25, abs=0.01)
    assert float(column.cycles) == pytest.approx(float(row.cycles))


def test_slices_are_the_strongest_channels_of_the_unit() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(12, 6, (3, 1), groups=2))
    kernels = kernels_of(network, "1")
    found = slices(kernels, 4, groups=2, most=4)
    energies = {6 + c: float((kernels[4, c] ** 2).sum()) for c in range(6)}  # unit 4 is of the second group
    assert list(found.channels) == sorted(energies, key=lambda c: -energies[c])[:4]
    for channel, kernel in zip(found.channels, found.kernels, strict=True):
        torch.testing.assert_close(kernel[0], kernels[4, channel - 6], rtol=0, atol=0)
    assert found.scale == pytest.approx(float(kernels[4].abs().max()))
    assert found.share == pytest.approx(sum(energies[c] for c in found.channels) / sum(energies.values()))
    assert slices(kernels, 0).share == pytest.approx(1)


def test_bad_questions_are_answered_in_one_sentence() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(
        ValueError, match=r"kernels of '1' were asked for, which is no 2-D convolution: the nearest name"
    ):
        kernels_of(network, "1")
    with pytest.raises(ValueError, match=r"unit 4 was asked of a layer whose units go from 0 to 3"):
        slices(network[0].weight, 4)
    with pytest.raises(ValueError, match=r"4 units do not divide into groups=3"):
        slices(network[0].weight, 0, groups=3)
