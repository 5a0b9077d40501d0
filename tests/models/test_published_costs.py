"""Networks of full size have the published numbers of parameters and of operations, counted by PyTorch's own counter on
the meta device.

The counter counts matrix products and convolutions, two operations for a multiply-add; publications count one. Norms,
activations, softmaxes and sums count nothing in torchvision's numbers and here. timm's count five operations for every
number that a layer norm makes besides, which is said where it is added.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sightline.layers.criss_cross import RecurrentCrissCross
from sightline.models.ccnet import CrissCrossHead
from sightline.models.convnet import AlexNet
from sightline.models.resnet import ResNet
from sightline.models.vgg import VGG
from sightline.models.vit import SIZES, VisionTransformer
from sightline.ops import criss_cross_plain
from sightline.ops.flops import FORMULAS

META = torch.device("meta")


def operations(run: Callable[[], object]) -> float:
    """Of one forward pass, in units of 1e9; half as many multiply-adds."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # the fused kernel of a CPU is not counted
        run()
    return counter.get_total_flops() / 1e9


def image(side: int = 224) -> Tensor:
    return torch.zeros(1, 3, side, side, device=META)


def built(build: Callable[[], nn.Module]) -> nn.Module:
    with META:
        return build().eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "patch", "classes", "millions", "products", "timm"),
    [  # millions and timm: timm's tables of results; products: torchvision's `_ops`, of those that it has
        ("tiny", 16, 1000, 5.72, None, 1.26),
        ("small", 16, 1000, 22.05, None, 4.61),
        ("small", 32, 1000, 22.88, None, None),
        ("base", 16, 1000, 86.57, 17.564, 17.58),
        ("base", 32, 1000, 88.22, 4.409, 4.41),
        ("large", 16, 1000, 304.33, 61.555, 61.6),
        ("huge", 14, 0, 630.76, None, 167.4),  # published without a classifier
        ("huge", 14, 1000, 632.05, 167.295, None),
    ],
)
def test_vision_transformers(
    size: str, patch: int, classes: int, millions: float, products: float | None, timm: float | None
) -> None:
    network = built(lambda: VisionTransformer(SIZES[size], patch=patch, classes=classes))
    assert isinstance(network, VisionTransformer)
    assert round(parameters(network) / 1e6, 2) == millions
    normed = 0

    def count(_module: nn.Module, _given: object, out: Tensor) -> None:
        nonlocal normed
        normed += out.numel()

    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(count)
    measured = operations(lambda: network.classify(image()) if classes else network(image())) / 2
    if products is not None:
        assert round(measured, 3) == products
    if timm is not None:
        assert round(measured + 5 * normed / 1e9, len(str(timm).split(".")[1])) == timm


@pytest.mark.parametrize(
    ("build", "count", "products"),
    [  # torchvision's `num_params` and `_ops`
        (lambda: AlexNet(classes=1000), 61_100_840, 0.714),
        (lambda: VGG(11, classes=1000), 132_863_336, 7.609),
        (lambda: VGG(13, classes=1000), 133_047_848, 11.308),
        (lambda: VGG(16, classes=1000), 138_357_544, 15.47),
        (lambda: VGG(19, classes=1000), 143_667_240, 19.632),
        (lambda: VGG(11, norm="batch", classes=1000), 132_868_840, 7.609),
        (lambda: VGG(13, norm="batch", classes=1000), 133_053_736, 11.308),
        (lambda: VGG(16, norm="batch", classes=1000), 138_365_992, 15.47),
        (lambda: VGG(19, norm="batch", classes=1000), 143_678_248, 19.632),
        (lambda: ResNet(18, classes=1000), 11_689_512, 1.814),
        (lambda: ResNet(34, classes=1000), 21_797_672, 3.664),
        (lambda: ResNet(50, classes=1000), 25_557_032, 4.089),
        (lambda: ResNet(101, classes=1000), 44_549_160, 7.801),
        (lambda: ResNet(152, classes=1000), 60_192_808, 11.514),
    ],
)
def test_convolutional_networks(build: Callable[[], nn.Module], count: int, products: float) -> None:
    network = built(build)
    assert parameters(network) == count
    assert round(operations(lambda: network.classify(image())) / 2, 3) == products


@pytest.mark.parametrize(("recurrence", "published"), [(1, 8.27), (2, 16.54), (3, 24.81)])
def test_recurrent_criss_cross_attention(recurrence: int, published: float) -> None:
    # Published with two operations for a multiply-add: an image of 769 x 769 at stride 8, projections included.
    module = built(lambda: RecurrentCrissCross(512, recurrence))
    measured = operations(lambda: module(torch.zeros(1, 512, 97, 97, device=META)))
    # The published form scores every position with itself in its row and again in its column, and masks one of them:
    # H + W products for H + W - 1 keys. Ours counts the keys; with the masked products it is the published number.
    masked = 2 * 97 * 97 * (64 + 512) / 1e9
    assert round(measured + recurrence * masked, 2) == published
    query, key, value = (torch.zeros(1, d, 97, 97, device=META) for d in (64, 64, 512))
    convolutions = 2 * 97 * 97 * 512 * (64 + 64 + 512) / 1e9
    plain = operations(lambda: criss_cross_plain.attention(query, key, value))
    assert measured + recurrence * masked == pytest.approx(recurrence * (convolutions + plain), rel=1e-12)


def test_the_convolutions_of_ccnets_head() -> None:
    x = torch.zeros(1, 2048, 97, 97, device=META)
    head = built(lambda: CrissCrossHead(2048, 19, recurrence=0))
    parts = {
        name: operations(lambda name=name, c=c: head.get_submodule(name)(torch.zeros(1, c, 97, 97, device=META)))
        for name, c in (("conva", 2048), ("convb", 512), ("bottleneck.0", 2560))
    }
    assert {name: round(count, 1) for name, count in parts.items()} == {
        "conva": 177.6, "convb": 44.4, "bottleneck.0": 222.0,
    }  # fmt: skip
    assert round(sum(parts.values())) == round(operations(lambda: head(x))) == 444
    whole = built(lambda: CrissCrossHead(2048, 19))
    assert operations(lambda: whole(x)) == pytest.approx(
        operations(lambda: head(x)) + operations(lambda: whole.cca(whole.cca(x[:, :512]))), rel=1e-12
    )
