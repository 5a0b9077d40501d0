"""Any encoder goes under any head: shapes, gradients, the auxiliary head, at odd sizes where the encoder takes them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sightline.layers.positions import RotaryAxial
from sightline.models.ccnet import CrissCrossHead
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.encoder import map_and_maps, map_widths, maps_of
from sightline.models.heads import ConvolutionHead, FeatureHead, LinearHead
from sightline.models.non_local_head import NonLocalHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.pyramid_head import PyramidHead
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.unet import UNet
from sightline.models.vgg import VGG
from sightline.models.vit import Size, VisionTransformer

CLASSES = 5
ENCODERS: dict[
    str, tuple[Callable[[], nn.Module], tuple[int, int], list[int]]
] = {  # an image's size, the stages' widths
    "ConvNet": (lambda: ConvNet(width=8, dilations=(1, 2)), (33, 46), [8, 8, 8]),
    "AlexNet": (AlexNet, (71, 85), [64, 192, 256]),
    "VGG": (lambda: VGG(11, width=2), (50, 67), [2, 4, 8, 16, 16]),
    "VGG with norms": (lambda: VGG(13, width=2, norm="batch"), (35, 64), [2, 4, 8, 16, 16]),
    "ResNet": (lambda: ResNet(18, width=4, output_stride=8), (41, 58), [4, 8, 16, 32]),
    "ResNet, bottlenecks": (lambda: ResNet(50, width=2, stem="deep"), (65, 97), [8, 16, 32, 64]),
    "ResNet, run again": (lambda: ResNet(10, width=4, recompute=True, multi_grid=(1, 2)), (65, 33), [4, 8, 16, 32]),
    "NonLocalNet": (lambda: NonLocalNet(ResNet(10, width=4), [(2, 0)]), (49, 50), [4, 8, 16, 32]),
    "UNet": (lambda: UNet(width=8, levels=2, growth=2, norm="group"), (21, 31), [8, 16, 32]),
    "ViT": (lambda: VisionTransformer(Size(8, 5, 2), patch=8), (40, 56), [8] * 4),
    "ViT, registers": (
        lambda: VisionTransformer(Size(8, 2, 2), patch=8, registers=2, position=RotaryAxial(4), table="none"),
        (24, 40),
        [8] * 2,
    ),
    "ViT, mean": (lambda: VisionTransformer(Size(8, 1, 2), patch=14, pool="mean", table="mae"), (42, 28), [8]),
}
HEADS: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda channels: LinearHead(channels, CLASSES),
    "convolution": lambda channels: ConvolutionHead(channels, CLASSES),
    "RCCA, no pass": lambda channels: CrissCrossHead(channels, CLASSES, recurrence=0),
    "RCCA, one pass": lambda channels: CrissCrossHead(channels, CLASSES, recurrence=1, norm="group"),
    "RCCA": lambda channels: CrissCrossHead(channels, CLASSES),
    "non-local": lambda channels: NonLocalHead(channels, CLASSES, zero_initialised=False),
    "non-local, concatenation": lambda channels: NonLocalHead(
        channels, CLASSES, pairwise="concatenation", norm="group", activation="leaky_relu"
    ),
    "pyramid": lambda channels: PyramidHead(channels, CLASSES),
    "pyramid, one level": lambda channels: PyramidHead(channels, CLASSES, bins=(2,), norm="none", inner=3),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_encoder_under_any_head(encoder: str, head: str) -> None:
    build, size, _ = ENCODERS[encoder]
    body = build()
    top = HEADS[head](body.channels)
    assert (top.channels, top.classes) == (body.channels, CLASSES)
    network = Segmenter(body, top).train()
    image = torch.randn(2, 3, *size, requires_grad=True)
    out = network(image)
    assert out.shape == (2, CLASSES, *size)
    assert out.isfinite().all()
    (out * torch.randn_like(out)).sum().backward()
    assert image.grad is not None
    assert (image.grad.abs().sum((1, 2, 3)) > 0).all()
    assert all(p.grad is not None for p in top.parameters())  # nothing in the head is idle
    network.eval()
    with torch.no_grad():
        x = network.encoder(image)
        on_the_map = top(x)
        assert on_the_map.shape == (2, CLASSES, *x.shape[2:])
        torch.testing.assert_close(network(image[:1]), network(image)[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_widths_of_the_stages_and_the_auxiliary_head(encoder: str) -> None:
    build, size, widths = ENCODERS[encoder]
    body = build().train()
    state, random = {k: v.clone() for k, v in body.state_dict().items()}, torch.get_rng_state()
    assert map_widths(body) == widths
    assert body.training
    assert all(torch.equal(v, state[k]) for k, v in body.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    if len(widths) < 2:
        return
    network = Segmenter(body, HEADS["RCCA"](body.channels), auxiliary=ConvolutionHead(widths[-2], 7)).eval()
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        answers = network.answers(image)
        torch.testing.assert_close(answers.logits, network(image))  # in training the same path as afterwards
        assert answers.auxiliary.shape == (2, 7, *size)
        stage = network.auxiliary(maps_of(body, image)[-2])
        grown = nn.functional.interpolate(stage, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(answers.auxiliary, grown)
        x, maps = map_and_maps(body, image)
        torch.testing.assert_close(x, body(image))
        assert [m.shape[1] for m in maps] == widths


@pytest.mark.parametrize("name", HEADS)
def test_features_are_what_the_answer_is_made_of(name: str) -> None:
    head = HEADS[name](16).eval()
    x = torch.randn(2, 16, 5, 7)
    assert isinstance(head, FeatureHead) == ("RCCA" in name or "non-local" in name)
    if isinstance(head, FeatureHead):
        features = head.features(x)
        assert features.shape[0] == 2
        assert features.shape[2:] == x.shape[2:]
        torch.testing.assert_close(head(x), head.classify(x, features))
        other = features + torch.randn_like(features)
        assert not torch.allclose(head.classify(x, other), head(x))


def test_widths_of_grey_images_and_of_an_encoder_that_takes_nothing() -> None:
    assert map_widths(ConvNet(1, 8, stride=2), image_channels=1) == [8, 8]
    with torch.device("meta"):
        assert map_widths(ResNet(50)) == [256, 512, 1024, 2048]

    class Stubborn(ConvNet):
        def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
            raise ValueError("only on Sundays")

    with pytest.raises(ValueError, match="the encoder takes none of the images tried: only on Sundays"):
        map_widths(Stubborn(width=8))
