"""Every encoder keeps the contract at oblong and odd sizes, and has the published number of parameters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sightline.models.check import check_encoder
from sightline.models.convnet import AlexNet, ConvNet, make_stem
from sightline.models.encoder import Encoder, maps_of, summary_of
from sightline.models.resnet import ResNet
from sightline.models.unet import UNet
from sightline.models.vit import SIZES, Size, VisionTransformer, vit_base, vit_huge, vit_large, vit_small, vit_tiny


def parameters(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: ConvNet(width=8, dilations=(1,)),
        lambda: ConvNet(width=8, dilations=(1, 2, 4), kernel=5, norm="group"),
        lambda: ConvNet(width=8, stride=1, dilations=()),
        lambda: ConvNet(width=8, norm="none", stride=2),
        AlexNet,
        lambda: ResNet(18, width=8),
        lambda: ResNet(10, width=8, output_stride=8, norm="group"),
        lambda: ResNet(50, width=4, output_stride=16, stem="deep", dilate_first=True),
        lambda: ResNet(10, width=8, output_stride=4, stem="small"),
        lambda: UNet(width=8, levels=3, stride=4),
        lambda: UNet(width=8, levels=2, growth=2, norm="group"),
        lambda: VisionTransformer(Size(16, 3, 2), image_size=(32, 64), patch=8),
        lambda: VisionTransformer(Size(16, 5, 4), image_size=(64, 64), patch=16, registers=3, class_token=False),
        lambda: VisionTransformer(Size(16, 1, 4), patch=16, table="none", layer_scale=1e-4),
    ],
)
def test_encoders_keep_the_contract(encoder: Callable[[], nn.Module]) -> None:
    built = encoder()
    assert isinstance(built, Encoder)
    check_encoder(built, sizes=[(64, 80), (97, 65)] if encoder is AlexNet else [(32, 48), (33, 17)])


def test_grey_images_and_other_sizes() -> None:
    check_encoder(ConvNet(1, 8), image_channels=1, sizes=[(5, 9), (48, 48), (8, 4)])
    check_encoder(UNet(1, 8, levels=2), image_channels=1, sizes=[(1, 1), (5, 9)])


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: AlexNet(classes=1000), 61_100_840),
        (lambda: ResNet(18, classes=1000), 11_689_512),
        (lambda: ResNet(34, classes=1000), 21_797_672),
        (lambda: ResNet(50, classes=1000), 25_557_032),
        (lambda: ResNet(101, classes=1000), 44_549_160),
        (lambda: ResNet(152, classes=1000), 60_192_808),
        (lambda: ResNet(50, classes=1000, output_stride=8), 25_557_032),
    ],
)
def test_parameters_are_as_many_as_in_torchvision(build: Callable[[], nn.Module], published: int) -> None:
    assert parameters(build) == published


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (lambda: vit_tiny(classes=1000), 5.72),
        (lambda: vit_small(classes=1000), 22.05),
        (lambda: vit_small(classes=1000, patch=32), 22.88),
        (lambda: vit_base(classes=1000), 86.57),
        (lambda: vit_base(classes=1000, patch=32), 88.22),
        (lambda: vit_large(classes=1000), 304.33),
        (vit_huge, 630.76),  # listed without a classifier
    ],
)
def test_parameters_are_as_many_as_in_timm(build: Callable[[], nn.Module], published: float) -> None:
    assert round(parameters(build) / 1e6, 2) == published


def test_base_has_the_count_of_the_released_weights() -> None:
    assert parameters(lambda: vit_base(classes=1000)) == 86_567_656
    assert SIZES["base"] == Size(768, 12, 12)


def test_alexnet_has_the_names_and_sizes_of_torchvision() -> None:
    with torch.device("meta"):
        network = AlexNet(classes=10)
    convolutions = {f"features.{i}.{kind}" for i in (0, 3, 6, 8, 10) for kind in ("weight", "bias")}
    linears = {f"classifier.{i}.{kind}" for i in (1, 4, 6) for kind in ("weight", "bias")}
    assert set(network.state_dict()) == convolutions | linears
    image = torch.zeros(1, 3, 224, 224, device="meta")
    assert [tuple(m.shape[1:]) for m in network.maps(image)] == [(64, 55, 55), (192, 27, 27), (256, 13, 13)]
    assert network(image).shape == (1, 256, 13, 13)
    assert network.classify(image).shape == (1, 10)


def test_resnet_has_the_names_of_torchvision() -> None:
    with torch.device("meta"):
        names = set(ResNet(50, classes=10).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{kind}" for kind in norm)}
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            for i in (1, 2, 3):
                expected |= {f"layer{stage}.{block}.conv{i}.weight"}
                expected |= {f"layer{stage}.{block}.bn{i}.{kind}" for kind in norm}
        expected |= {f"layer{stage}.0.downsample.0.weight"}
        expected |= {f"layer{stage}.0.downsample.1.{kind}" for kind in norm}
    assert names == expected


@pytest.mark.parametrize(("depth", "output_stride"), [(10, 4), (10, 8), (10, 16), (50, 8)])
def test_a_dilated_resnet_holds_the_strided_ones_numbers(depth: int, output_stride: int) -> None:
    strided = ResNet(depth, width=4).double().eval()
    dilated = ResNet(depth, width=4, output_stride=output_stride).double().eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 33, 50, dtype=torch.float64)
    step = 32 // output_stride
    torch.testing.assert_close(dilated(image)[:, :, ::step, ::step], strided(image))
    other = ResNet(depth, width=4, output_stride=output_stride, dilate_first=True).double().eval()
    other.load_state_dict(strided.state_dict())
    assert (other(image)[:, :, ::step, ::step] - strided(image)).abs().max() > 1e-3


def test_dilations_are_those_of_ccnet() -> None:
    network = ResNet(50, width=4, output_stride=8, stem="deep", dilate_first=True)
    dilations = [{block.conv2.dilation for block in stage} for stage in network.stages]
    assert dilations == [{(1, 1)}, {(1, 1)}, {(2, 2)}, {(4, 4)}]
    assert network(torch.zeros(1, 3, 769, 1)).shape[2:] == (97, 1)


@pytest.mark.parametrize(
    ("depth", "options", "expected"),
    [
        (50, {"output_stride": 16, "multi_grid": (1, 2, 4)}, [1, 4, 8]),  # Chen et al., 2017: rates 2 x (1, 2, 4)
        (50, {"output_stride": 16, "multi_grid": (1, 2, 4), "dilate_first": True}, [2, 4, 8]),
        (50, {"output_stride": 8, "multi_grid": (2, 1), "dilate_first": True}, [8, 4, 8]),
        (101, {"output_stride": 8, "multi_grid": (1, 1, 1), "dilate_first": True}, [4, 4, 4]),  # CCNet
        (50, {"multi_grid": (1, 2, 1)}, [1, 2, 1]),
        (18, {"output_stride": 16, "multi_grid": (3, 2)}, [3, 4]),
    ],
)
def test_a_multi_grid_multiplies_the_last_stages_dilations(
    depth: int, options: dict[str, Any], expected: list[int]
) -> None:
    network = ResNet(depth, width=4, **options)
    first = "conv2" if depth >= 50 else "conv1"  # the convolution that may stride
    assert [block.get_submodule(first).dilation[0] for block in network.layer4] == expected
    plain = ResNet(depth, width=4, **{**options, "multi_grid": (1,)})
    for here, there in zip(network.stages[:3], plain.stages[:3], strict=True):
        assert str(here) == str(there)
    image = torch.zeros(1, 3, 65, 97)
    assert [m.shape for m in network.eval().maps(image)] == [m.shape for m in plain.eval().maps(image)]
    with pytest.raises(ValueError, match=r"one or more positive factors of the dilation, got \(1, 0\)"):
        ResNet(depth, width=4, multi_grid=(1, 0))


def test_a_stack_sees_exactly_as_far_as_its_kernels_reach() -> None:
    network = ConvNet(3, 8, dilations=(1, 2, 3), stride=1, norm="none").double()
    image = torch.randn(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # so that no ReLU blocks a path
    network(image.abs())[0, :, 15, 15].sum().backward()
    seen = image.grad[0].abs().sum(0) > 0
    reach = 1 + 1 + 2 + 3  # the stem's one convolution and the stack's three
    expected = torch.zeros(31, 31, dtype=torch.bool)
    expected[15 - reach : 16 + reach, 15 - reach : 16 + reach] = True
    assert torch.equal(seen, expected)


def test_a_unet_joins_what_it_kept() -> None:
    network = UNet(2, 4, levels=2, stride=1).eval()
    image = torch.randn(1, 2, 5, 7)
    fine = network.stem(image)
    middle = network.down[0](fine)
    coarse = network.down[1](middle)
    assert coarse.shape[2:] == (2, 2)
    up = network.up[0](torch.cat([F.interpolate(coarse, size=(3, 4)), middle], 1))
    up = network.up[1](torch.cat([F.interpolate(up, size=(5, 7)), fine], 1))
    torch.testing.assert_close(network(image), up)
    assert [m.shape[2:] for m in network.maps(image)] == [(5, 7), (3, 4), (2, 2)]


def test_what_an_encoder_leaves_out_is_stood_in_for() -> None:
    network = ConvNet(width=8)
    image = torch.randn(2, 3, 16, 20)
    torch.testing.assert_close(summary_of(network, image), network(image).mean((2, 3)))
    assert [tuple(m.shape[2:]) for m in maps_of(network, image)] == [(8, 10), (4, 5), (4, 5)]
    stem = make_stem(3, 8, 4)
    stem.channels, stem.stride = 8, 4
    assert len(maps_of(stem, image)) == 1


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="its stride is a power of two, got 3"):
        ConvNet(stride=3)
    with pytest.raises(ValueError, match=r"ConvNet takes images \[b, c, h, w\], got a tensor of shape \(3, 8, 8\)"):
        ConvNet()(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="built for images of 3 channels, got 1: give image_channels=1"):
        ResNet(10)(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match="there is no ResNet of depth 20: it is one of 10, 18, 34, 50, 101, 152"):
        ResNet(20)
    with pytest.raises(ValueError, match="output_stride is one of 1, 2, 4, 8, got 32"):
        ResNet(10, stem="small")
    with pytest.raises(ValueError, match="unknown stem 'deap': did you mean 'deep'"):
        ResNet(10, stem="deap")
    with pytest.raises(ValueError, match="no classifier: build it with classes="):
        ResNet(10, width=4).classify(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="at least one level, got levels=0"):
        UNet(levels=0)
    with pytest.raises(ValueError, match="pools 40 x 80 pixels to nothing: give 63 or more"):
        AlexNet()(torch.zeros(1, 3, 40, 80))
    with pytest.raises(ValueError, match="no classifier"):
        AlexNet().classify(torch.zeros(1, 3, 64, 64))
