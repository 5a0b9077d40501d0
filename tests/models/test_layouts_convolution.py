"""ResNets, VGG, AlexNet and non-local blocks: random tensors under the published names, and what must come out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.non_local import NonLocal
from sightline.models.convnet import AlexNet
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.vgg import VGG
from sightline.models.weights import load_published

Names = dict[str, Tensor]
CHANNELS, INNER = 6, 4


def filled(model: nn.Module) -> nn.Module:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.2)
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
    return model.double().eval()


def test_torchvisions_resnet_by_its_names() -> None:
    """The names of torchvision's ResNet-18, from its first release on."""
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{e}" for e in entries)}
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            at = f"layer{stage}.{block}."
            names |= {f"{at}conv{n}.weight" for n in (1, 2)} | {f"{at}bn{n}.{e}" for n in (1, 2) for e in entries}
        if stage > 1:
            at = f"layer{stage}.0.downsample."
            names |= {f"{at}0.weight"} | {f"{at}1.{e}" for e in entries}
    there = filled(ResNet(18, width=4, classes=5))
    assert set(there.state_dict()) == names
    old = {name: t for name, t in there.state_dict().items() if "num_batches" not in name}  # files before PyTorch 0.4
    image = torch.randn(2, 3, 40, 56, dtype=torch.float64)
    for file in (there.state_dict(), old):
        network = ResNet(18, width=4, classes=5).double().eval()
        report = load_published(network, file)
        assert report.layout == "torchvision ResNet"
        assert set(report.left_in_model) == names - set(file)
        torch.testing.assert_close(network.classify(image), there.classify(image), atol=0, rtol=0)
    encoder = ResNet(18, width=4, output_stride=8)
    assert load_published(encoder, old).left_in_file == dict.fromkeys(
        ("fc.weight", "fc.bias"), "the network has no such part"
    )
    net = NonLocalNet(ResNet(18, width=4))
    report = load_published(net, old, allow_missing=("non_local.*",))
    assert "resnet.conv1.weight" in report.matched
    assert any(name.startswith("non_local.layer3_0.") for name in report.left_in_model)
    with pytest.raises(ValueError, match=r"of blocks \[2, 2, 2, 2\] where the network has \[3, 4, 6, 3\]"):
        load_published(ResNet(34, width=4), old)


def test_timms_deep_stem_is_one_sequence() -> None:
    there = filled(ResNet(18, width=4, stem="narrow", classes=5))
    places = {
        "conv1": "conv1.0",
        "bn1": "conv1.1",
        "conv2": "conv1.3",
        "bn2": "conv1.4",
        "conv3": "conv1.6",
        "bn3": "bn1",
    }
    file = {}
    for name, tensor in there.state_dict().items():
        top, _, rest = name.partition(".")
        file[f"{places.get(top, top)}.{rest}"] = tensor
    assert {"conv1.0.weight", "conv1.6.weight", "bn1.weight", "layer1.0.bn1.weight"} < set(file)
    network = ResNet(18, width=4, stem="narrow", classes=5).double().eval()
    assert load_published(network, file).layout == "timm ResNet with a deep stem"
    image = torch.randn(1, 3, 40, 56, dtype=torch.float64)
    torch.testing.assert_close(network.classify(image), there.classify(image), atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"of stem 3 x 3 three times, \[2, 2, 4\] wide where the network has 7 x 7, 4"):
        load_published(ResNet(18, width=4, classes=5), file)
    averaged = file | {"layer2.0.downsample.2.weight": torch.zeros(8)}
    with pytest.raises(ValueError, match="shortcuts average before their convolution"):
        load_published(network, averaged)


@pytest.mark.parametrize("normed", [False, True])
def test_torchvisions_vgg(normed: bool) -> None:
    """VGG-11: the numbers of its convolutions among `features`, with and without norms, and its classifier."""
    norm = "batch" if normed else "none"
    convolutions = [0, 4, 8, 11, 15, 18, 22, 25] if normed else [0, 3, 6, 8, 11, 13, 16, 18]
    with torch.device("meta"):
        network: nn.Module = VGG(11, norm=norm, classes=10)
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    expected = {f"features.{n}.{k}" for n in convolutions for k in ("weight", "bias")}
    entries = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected |= {f"features.{n + 1}.{k}" for n in convolutions for k in entries if normed}
    expected |= {f"classifier.{n}.{k}" for n in (0, 3, 6) for k in ("weight", "bias")}
    assert set(shapes) == expected
    assert shapes["classifier.0.weight"] == (4096, 25088)
    file = {
        name: torch.randn(shape) if shape else torch.tensor(3)
        for name, shape in shapes.items()
        if "classifier" not in name
    }
    file |= {"classifier.6.bias": torch.zeros(10)}
    encoder = VGG(11, norm=norm)
    report = load_published(encoder, file)
    assert report.layout == "torchvision VGG"
    assert set(report.left_in_file) == {"classifier.6.bias"}
    assert torch.equal(
        encoder.state_dict()[f"features.{convolutions[-1]}.weight"], file[f"features.{convolutions[-1]}.weight"]
    )
    with pytest.raises(ValueError, match="does not fit: it is of convolutions"):
        load_published(VGG(13, norm=norm), file)


def test_torchvisions_alexnet() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "features.0": (64, 3, 11, 11), "features.3": (192, 64, 5, 5), "features.6": (384, 192, 3, 3),
        "features.8": (256, 384, 3, 3), "features.10": (256, 256, 3, 3),
    }  # fmt: skip
    file = {f"{name}.weight": 0.05 * torch.randn(shape) for name, shape in shapes.items()}
    file |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    network = AlexNet().eval()
    assert load_published(network, file).layout == "torchvision AlexNet"
    x = image = torch.randn(1, 3, 80, 96)
    for number, (name, stride, padding) in enumerate(zip(shapes, (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), strict=True)):
        x = F.relu(F.conv2d(x, file[f"{name}.weight"], file[f"{name}.bias"], stride, padding))
        x = F.max_pool2d(x, 3, 2) if number < 2 else x
    torch.testing.assert_close(network(image), x, atol=1e-4, rtol=1e-4)


def block_file(pairwise: str, *, norm: bool, subsampled: bool) -> Names:
    """AlexHex7's names."""

    def convolution(name: str, outputs: int, inputs: int) -> Names:
        return {f"{name}.weight": torch.randn(outputs, inputs, 1, 1), f"{name}.bias": torch.randn(outputs)}

    inside = ".0" if subsampled else ""
    file = convolution("g" + inside, INNER, CHANNELS)
    if pairwise != "gaussian":
        file |= convolution("theta", INNER, CHANNELS) | convolution("phi" + inside, INNER, CHANNELS)
    if pairwise == "concatenation":
        file |= {"concat_project.0.weight": torch.randn(1, 2 * INNER, 1, 1)}
    file |= convolution("W.0" if norm else "W", CHANNELS, INNER)
    if norm:
        file |= {f"W.1.{kind}": torch.randn(CHANNELS) for kind in ("weight", "bias", "running_mean")}
        file |= {"W.1.running_var": torch.rand(CHANNELS) + 0.5, "W.1.num_batches_tracked": torch.tensor(7)}
    return {name: t.double() if t.is_floating_point() else t for name, t in file.items()}


def block_answer(x: Tensor, file: Names, pairwise: str, *, subsampled: bool, scaled: bool) -> Tensor:
    """The published forward pass, with its N x N table."""
    inside = ".0" if subsampled else ""

    def project(name: str) -> Tensor:
        return F.conv2d(x, file[f"{name}.weight"], file[f"{name}.bias"])

    def pooled(y: Tensor) -> Tensor:
        return (F.max_pool2d(y, 2) if subsampled else y).flatten(2)

    g = pooled(project("g" + inside)).transpose(1, 2)
    theta = (x if pairwise == "gaussian" else project("theta")).flatten(2)
    phi = pooled(x if pairwise == "gaussian" else project("phi" + inside))
    if pairwise == "concatenation":
        first, second = file["concat_project.0.weight"].flatten().split(INNER)
        scores = F.relu((first @ theta)[:, :, None] + (second @ phi)[:, None])
    else:
        scores = theta.transpose(1, 2) @ phi / (INNER**0.5 if scaled else 1.0)
    table = scores.softmax(-1) if "gaussian" in pairwise else scores / scores.shape[-1]
    y = (table @ g).transpose(1, 2).reshape(len(x), INNER, *x.shape[2:])
    if "W.weight" in file:
        return x + F.conv2d(y, file["W.weight"], file["W.bias"])
    entries = (file[f"W.1.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
    return x + F.batch_norm(F.conv2d(y, file["W.0.weight"], file["W.0.bias"]), *entries)


PAIRWISE = ["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize(("norm", "subsampled"), [(True, False), (True, True), (False, False), (False, True)])
def test_alexhex7s_block(pairwise: str, norm: bool, subsampled: bool) -> None:
    file = block_file(pairwise, norm=norm, subsampled=subsampled)
    options: dict[str, Any] = {"inner": INNER, "subsample": 1 + subsampled, "norm": "batch" if norm else "none"}
    block = NonLocal(CHANNELS, pairwise, **options).double().eval()
    report = load_published(block, file)
    assert report.layout == "AlexHex7's non-local block"
    assert report.left_in_file == report.converted == {}
    assert report.left_in_model == ()
    x = torch.randn(2, CHANNELS, 4, 6, dtype=torch.float64)
    expected = block_answer(x, file, pairwise, subsampled=subsampled, scaled=False)
    torch.testing.assert_close(block(x), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize(("norm", "subsampled"), [(True, True), (False, False)])
def test_mmcvs_block(pairwise: str, norm: bool, subsampled: bool) -> None:
    file = block_file(pairwise, norm=norm, subsampled=subsampled)
    if norm:
        file["W.0.bias"] = torch.zeros(CHANNELS, dtype=torch.float64)  # mmcv has none before a norm
    theirs = {}
    for name, tensor in file.items():
        stem, _, kind = name.rpartition(".")
        place = {
            "W.0": "conv_out.conv",
            "W.1": "conv_out.bn",
            "W": "conv_out.conv",
            "concat_project.0": "concat_project.conv",
        }
        if not (norm and name == "W.0.bias"):
            theirs[f"{place.get(stem, stem + '.conv')}.{kind}"] = tensor
    scale = "inverse_sqrt" if pairwise == "embedded_gaussian" else "none"
    options: dict[str, Any] = {"inner": INNER, "subsample": 1 + subsampled, "norm": "batch" if norm else "none"}
    block = NonLocal(CHANNELS, pairwise, scale=scale, **options).double().eval()
    report = load_published(block, theirs)
    assert report.layout == "mmcv's non-local block"
    assert set(report.converted) == ({"W.0.bias"} if norm else set())
    x = torch.randn(2, CHANNELS, 4, 6, dtype=torch.float64)
    expected = block_answer(x, file, pairwise, subsampled=subsampled, scaled=scale != "none")
    torch.testing.assert_close(block(x), expected, atol=1e-9, rtol=1e-9)
    if pairwise == "embedded_gaussian":
        plain = NonLocal(CHANNELS, pairwise, **options)
        with pytest.raises(ValueError, match="made for scale='inverse_sqrt' and this network has scale='none'"):
            load_published(plain, theirs)
        load_published(plain, theirs, accept=("scale",))  # its config may say use_scale=False


def test_a_block_built_otherwise_is_refused() -> None:
    file = block_file("gaussian", norm=True, subsampled=True)
    with pytest.raises(ValueError, match=r"for pairwise='gaussian', subsample=2 and .* subsample=1: build it"):
        load_published(NonLocal(CHANNELS, inner=INNER), file)
    file = block_file("dot_product", norm=False, subsampled=False)
    with pytest.raises(ValueError, match=r"for pairwise='embedded_gaussian' or 'dot_product'.* pairwise='gaussian'"):
        load_published(NonLocal(CHANNELS, "gaussian", inner=INNER, norm="none"), file)
    net = NonLocalNet(ResNet(50, width=4), 5)
    with pytest.raises(ValueError, match=r"fits one NonLocal, this model has 5 \(non_local\.layer2_1, .*: pass one of"):
        load_published(net, file)
