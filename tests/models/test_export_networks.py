"""Every network leaves as an ONNX file and as a program for any size, and compiles whole for any size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.layers.positions import AlibiBias, RelativeBias2d, RotaryAxial, RotaryMixed
from sightline.models.ccnet import ccnet
from sightline.models.convnet import AlexNet, ConvNet
from sightline.models.export import export_onnx, export_program
from sightline.models.heads import Classifier, LinearHead
from sightline.models.segmenter import Segmenter
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.unet import UNet
from sightline.models.vit import Size, VisionTransformer

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.compile


def resnet(**options: object) -> ResNet:
    return ResNet(10, width=4, **options)


def non_local(pairwise: str, **options: object) -> NonLocalNet:
    return NonLocalNet(resnet(), [(1, 0)], pairwise=pairwise, zero_initialised=False, **options)


def vit(**options: object) -> VisionTransformer:
    return VisionTransformer(Size(16, 2, 2), image_size=(32, 32), patch=8, **options)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convnet": lambda: ConvNet(width=4, dilations=(1, 2)),
    "alexnet": AlexNet,
    "resnet, plain stem": resnet,
    "resnet, deep stem": lambda: resnet(stem="deep", output_stride=8, dilate_first=True),
    "resnet, small stem": lambda: resnet(stem="small", output_stride=4, norm="group"),
    "bottlenecks": lambda: ResNet(50, width=2),
    "unet": lambda: UNet(width=4, levels=2),
    "embedded gaussian": lambda: non_local("embedded_gaussian"),
    "gaussian": lambda: non_local("gaussian", scale="inverse_sqrt"),
    "dot product": lambda: non_local("dot_product"),
    "concatenation": lambda: non_local("concatenation"),
    "sub-sampled": lambda: non_local("embedded_gaussian", subsample=2),
    "ccnet": lambda: ccnet(resnet(output_stride=8), 5),
    "vit": vit,
    "vit, registers": lambda: vit(registers=2, layer_scale=0.5),
    "vit, no class token": lambda: vit(class_token=False, table="none"),
    "vit, axial rotary": lambda: vit(position=RotaryAxial(8)),
    "vit, mixed rotary": lambda: vit(position=RotaryMixed(2, 8)),
    "vit, relative": lambda: vit(registers=1, position=RelativeBias2d(2, (16, 16))),
    "vit, ALiBi": lambda: vit(position=AlibiBias(2)),
    "classifier": lambda: Classifier(vit(), 5),
    "segmenter": lambda: Segmenter(vit(registers=1), LinearHead(16, 5)),
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
    network, size = build(name), (24, 32) if "vit" in name or name in ("classifier", "segmenter") else (88, 104)
    for write in (export_onnx, export_program):
        report = write(network, tmp_path / "network", size=size)
        assert report.difference < 1e-4
        assert len(report.checked) >= 5
        assert {b for b, _, _ in report.checked} >= {1, 3}
        assert sum(h != w for _, h, w in report.checked) >= 3
    program = torch.export.load(tmp_path / "network")
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
