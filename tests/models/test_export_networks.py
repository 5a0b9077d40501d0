"""Every network leaves as an ONNX file and as a program for any size, and compiles whole for any size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.layers.positions import CONVENTIONS, AlibiBias, RelativeBias2d, RotaryAxial, RotaryMixed
from sightline.models.ccnet import CrissCrossHead, ccnet
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.export import export_onnx, export_program
from sightline.models.heads import Classifier, ConvolutionHead, LinearHead
from sightline.models.non_local_head import NonLocalHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.pyramid_head import PyramidHead
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.trace import By
from sightline.models.unet import UNet
from sightline.models.vgg import VGG
from sightline.models.vit import Size, VisionTransformer

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.compile


def resnet(**options: object) -> ResNet:
    return ResNet(10, width=4, **options)


def non_local(pairwise: str, **options: object) -> NonLocalNet:
    return NonLocalNet(resnet(), [(1, 0)], pairwise=pairwise, zero_initialised=False, **options)


def vit(**options: object) -> VisionTransformer:
    return VisionTransformer(Size(16, 2, 2), image_size=(24, 24), patch=8, **options)


def rcca(recurrence: int) -> Segmenter:
    return Segmenter(resnet(output_stride=8), CrissCrossHead(32, 5, recurrence=recurrence, norm="group"))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convnet": lambda: ConvNet(width=4, dilations=(1, 2)),
    "alexnet": AlexNet,
    "vgg": lambda: VGG(11, width=2),
    "vgg, batch norm": lambda: VGG(16, width=2, norm="batch"),
    "resnet, plain stem": lambda: resnet(multi_grid=(1, 2, 4), output_stride=16),
    "resnet, deep stem": lambda: resnet(stem="deep", output_stride=8, dilate_first=True),
    "resnet, narrow stem": lambda: resnet(stem="narrow"),
    "resnet, small stem": lambda: resnet(stem="small", output_stride=4, norm="group"),
    "bottlenecks": lambda: ResNet(50, width=2, recompute=True),
    "unet": lambda: UNet(width=4, levels=2),
    "embedded gaussian": lambda: non_local("embedded_gaussian"),
    "gaussian": lambda: non_local("gaussian", scale="inverse_sqrt"),
    "dot product": lambda: non_local("dot_product"),
    "concatenation": lambda: non_local("concatenation"),
    "sub-sampled": lambda: non_local("embedded_gaussian", subsample=2),
    "ccnet": lambda: ccnet(resnet(output_stride=8), 5),
    **{f"rcca, {r} passes": lambda r=r: rcca(r) for r in (0, 1, 3)},
    "linear head": lambda: Segmenter(vit(registers=1), LinearHead(16, 5)),
    "convolution head": lambda: Segmenter(resnet(), ConvolutionHead(32, 5)),
    "non-local head": lambda: Segmenter(resnet(output_stride=8), NonLocalHead(32, 5, pairwise="concatenation")),
    "pyramid head": lambda: Segmenter(resnet(output_stride=8), PyramidHead(32, 5)),
    "classifier": lambda: Classifier(vit(), 5),
    "alexnet classifies": lambda: By(AlexNet(classes=5), "classify"),
    "vgg classifies": lambda: By(VGG(11, width=2, classes=5), "classify"),
    "resnet classifies": lambda: By(resnet(classes=5), "classify"),
    "vit": vit,
    "vit, registers": lambda: vit(registers=2, table_prefix="class", layer_scale=0.5, recompute=True),
    "vit, no class token": lambda: vit(class_token=False, table="none", conditional=True),
    "vit, distilled": lambda: By(vit(distilled=True, classes=5, table_prefix="none"), "classify"),
    "vit, mean": lambda: By(vit(pool="mean", classes=5, table_resize="bicubic"), "classify"),
    "vit, offset": lambda: vit(table_resize="offset", coordinates=True),
    **{f"vit, {table}": lambda table=table: vit(table=table) for table in CONVENTIONS},
    "vit, axial rotary": lambda: vit(position=RotaryAxial(8)),
    "vit, mixed rotary": lambda: vit(position=RotaryMixed(2, 8)),
    "vit, relative": lambda: vit(registers=1, position=RelativeBias2d(2, (16, 16))),
    "vit, ALiBi": lambda: vit(position=AlibiBias(2)),
}


def names(*quick: str) -> list[object]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]


def build(name: str) -> nn.Module:
    """A network in which nothing is at its start: a gamma of zero would hide the attention behind it."""
    network = NETWORKS[name]()
    for parameter in network.parameters():
        if parameter.numel() == 1 or parameter.unique().numel() == 1:
            nn.init.normal_(parameter, 0.5, 0.2)
    return network.eval()


@pytest.mark.parametrize("name", names("ccnet", "vit, relative"))
def test_every_network_leaves(name: str, tmp_path: Path) -> None:
    network, size = build(name), (88, 104)
    if "vit" in name or name in ("classifier", "linear head"):
        size = (24, 32)
    if name == "alexnet classifies":
        size = (128, 104)  # below, its last map is a single position
    for write in (export_onnx, export_program):
        report = write(network, tmp_path / "network.pt2", size=size)
        assert report.difference < 1e-4
        assert len(report.checked) >= 5
        assert {b for b, _, _ in report.checked} >= {1, 3}
        assert sum(h != w for _, h, w in report.checked) >= 3
    program = torch.export.load(tmp_path / "network.pt2")
    assert not [node for node in program.graph.nodes if "sightline" in str(node.target)]


@pytest.mark.parametrize("name", names("ccnet"))
def test_every_network_compiles_whole(name: str) -> None:
    torch._dynamo.reset()
    network = build(name).double()
    compiled = torch.compile(network, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 72, 64), (3, 3, 64, 88)):
        image = torch.randn(shape, dtype=torch.float64)
        out = compiled(image)
        torch.testing.assert_close(out, network(image))
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad(network_(image).square().sum(), parameters, allow_unused=True)
        for network_ in (compiled, network)
    ]
    torch.testing.assert_close(*gradients)
