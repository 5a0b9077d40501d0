"""CCNet as its authors and as mmsegmentation publish it: random tensors under the published names, and both published
formulas, which differ in norms, activations, dilations and growth, written out over those names."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.ccnet import CrissCrossHead, ccnet
from sightline.models.heads import ConvolutionHead
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.models.weights import load_published

WIDTH, INNER, CLASSES, COUNTS = 4, 8, 5, (3, 4, 6, 3)
Names = dict[str, Tensor]


def norm(name: str, channels: int) -> Names:
    """A batch norm's entries; the weights of the authors' norm have either sign."""
    return {
        f"{name}.weight": torch.randn(channels).double(),
        f"{name}.bias": torch.randn(channels).double(),
        f"{name}.running_mean": torch.randn(channels).double(),
        f"{name}.running_var": torch.rand(channels).double() + 0.5,
    }


def kernel(name: str, outputs: int, inputs: int, size: int, *, bias: bool = False) -> Names:
    spread = (inputs * size * size) ** -0.5
    entries = {f"{name}.weight": spread * torch.randn(outputs, inputs, size, size).double()}
    return entries | ({f"{name}.bias": torch.randn(outputs).double()} if bias else {})


def stages(inputs: int) -> Names:
    """layer1 to layer4 of a ResNet-50, narrow."""
    file: Names = {}
    for stage, count in enumerate(COUNTS):
        narrow = WIDTH * 2**stage
        for block in range(count):
            at = f"layer{stage + 1}.{block}."
            file |= kernel(at + "conv1", narrow, inputs, 1) | norm(at + "bn1", narrow)
            file |= kernel(at + "conv2", narrow, narrow, 3) | norm(at + "bn2", narrow)
            file |= kernel(at + "conv3", 4 * narrow, narrow, 1) | norm(at + "bn3", 4 * narrow)
            if block == 0:
                file |= kernel(at + "downsample.0", 4 * narrow, inputs, 1) | norm(at + "downsample.1", 4 * narrow)
            inputs = 4 * narrow
    return file


def attention(at: str) -> Names:
    file = kernel(f"{at}.query_conv", 1, INNER, 1, bias=True) | kernel(f"{at}.key_conv", 1, INNER, 1, bias=True)
    return file | kernel(f"{at}.value_conv", INNER, INNER, 1, bias=True)


def batch_norm(x: Tensor, file: Names, name: str) -> Tensor:
    entries = (file[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *entries, training=False, eps=1e-5)


def in_place_norm(x: Tensor, file: Names, name: str) -> Tensor:
    mean, var, weight, bias = (
        file[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * (weight.abs() + 1e-5) + bias


Norm = Callable[[Tensor, Names, str], Tensor]


def backbone(x: Tensor, file: Names, at: str, normed: Norm, *, contracted: bool) -> tuple[Tensor, Tensor]:
    """The maps of layer3 and layer4, at stride 8 by dilation."""
    maps = []
    for stage, count in enumerate(COUNTS):
        for block in range(count):
            name = f"{at}layer{stage + 1}.{block}."
            stride, dilation = (2 if stage == 1 and block == 0 else 1), (1, 1, 2, 4)[stage]
            if block == 0 and contracted:
                dilation = max(dilation // 2, 1)
            y = F.relu(normed(F.conv2d(x, file[name + "conv1.weight"]), file, name + "bn1"))
            y = F.conv2d(y, file[name + "conv2.weight"], None, stride, dilation, dilation)
            y = F.relu(normed(y, file, name + "bn2"))
            y = normed(F.conv2d(y, file[name + "conv3.weight"]), file, name + "bn3")
            if block == 0:
                x = normed(F.conv2d(x, file[name + "downsample.0.weight"], None, stride), file, name + "downsample.1")
            x = F.relu(x + y)
        maps.append(x)
    return maps[2], maps[3]


def criss_cross(x: Tensor, file: Names, at: str, gamma: Tensor) -> Tensor:
    names = (f"{at}.{name}_conv" for name in ("query", "key", "value"))
    q, k, v = (F.conv2d(x, file[f"{n}.weight"], file[f"{n}.bias"]).flatten(2) for n in names)
    h, w = x.shape[2:]
    row = torch.arange(h).repeat_interleave(w)
    column = torch.arange(w).repeat(h)
    seen = (row[:, None] == row) | (column[:, None] == column)
    weights = (q.transpose(1, 2) @ k).masked_fill(~seen, float("-inf")).softmax(-1)
    return gamma * (v @ weights.transpose(1, 2)).reshape(x.shape) + x


def authors_file() -> Names:
    file = kernel("conv1", WIDTH, 3, 3) | norm("bn1", WIDTH) | kernel("conv2", WIDTH, WIDTH, 3) | norm("bn2", WIDTH)
    file |= kernel("conv3", 2 * WIDTH, WIDTH, 3) | norm("bn3", 2 * WIDTH) | stages(2 * WIDTH)
    wide = 32 * WIDTH
    file |= kernel("head.conva.0", INNER, wide, 3) | norm("head.conva.1", INNER) | attention("head.cca")
    file |= {"head.cca.gamma": torch.tensor([0.7]).double()}
    file |= kernel("head.convb.0", INNER, INNER, 3) | norm("head.convb.1", INNER)
    file |= kernel("head.bottleneck.0", INNER, wide + INNER, 3) | norm("head.bottleneck.1", INNER)
    file |= kernel("head.bottleneck.3", CLASSES, INNER, 1, bias=True)
    file |= kernel("dsn.0", INNER, wide // 2, 3, bias=True) | norm("dsn.1", INNER)
    return file | kernel("dsn.3", CLASSES, INNER, 1, bias=True)


def authors_answer(image: Tensor, file: Names, passes: int) -> tuple[Tensor, Tensor]:
    def leaky(x: Tensor, name: str) -> Tensor:
        return F.leaky_relu(in_place_norm(x, file, name), 0.01)

    x = F.relu(in_place_norm(F.conv2d(image, file["conv1.weight"], None, 2, 1), file, "bn1"))
    x = F.relu(in_place_norm(F.conv2d(x, file["conv2.weight"], padding=1), file, "bn2"))
    x = F.relu(in_place_norm(F.conv2d(x, file["conv3.weight"], padding=1), file, "bn3"))
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    before, x = backbone(x, file, "", in_place_norm, contracted=False)
    y = leaky(F.conv2d(x, file["head.conva.0.weight"], padding=1), "head.conva.1")
    for _ in range(passes):
        y = criss_cross(y, file, "head.cca", file["head.cca.gamma"])
    y = leaky(F.conv2d(y, file["head.convb.0.weight"], padding=1), "head.convb.1")
    y = leaky(F.conv2d(torch.cat([x, y], 1), file["head.bottleneck.0.weight"], padding=1), "head.bottleneck.1")
    main = F.conv2d(y, file["head.bottleneck.3.weight"], file["head.bottleneck.3.bias"])
    y = leaky(F.conv2d(before, file["dsn.0.weight"], file["dsn.0.bias"], padding=1), "dsn.1")
    other = F.conv2d(y, file["dsn.3.weight"], file["dsn.3.bias"])
    grown = (F.interpolate(t, image.shape[2:], mode="bilinear", align_corners=True) for t in (main, other))
    return next(grown), next(grown)


def mmsegmentation_file() -> Names:
    half = WIDTH // 2
    file = kernel("stem.0", half, 3, 3) | norm("stem.1", half) | kernel("stem.3", half, half, 3) | norm("stem.4", half)
    file |= kernel("stem.6", WIDTH, half, 3) | norm("stem.7", WIDTH) | stages(WIDTH)
    file = {f"backbone.{name}": t for name, t in file.items()}
    wide, at = 32 * WIDTH, "decode_head."
    file |= kernel(at + "conv_seg", CLASSES, INNER, 1, bias=True) | attention(at + "cca")
    file |= {at + "cca.gamma.scale": torch.tensor(0.7).double()}
    for name, inputs in (("convs.0", wide), ("convs.1", INNER), ("conv_cat", wide + INNER)):
        file |= kernel(f"{at}{name}.conv", INNER, inputs, 3) | norm(f"{at}{name}.bn", INNER)
    file |= kernel("auxiliary_head.convs.0.conv", INNER // 2, wide // 2, 3) | norm(
        "auxiliary_head.convs.0.bn", INNER // 2
    )
    return file | kernel("auxiliary_head.conv_seg", CLASSES, INNER // 2, 1, bias=True)


def mmsegmentation_answer(image: Tensor, file: Names, passes: int) -> tuple[Tensor, Tensor]:
    def module(x: Tensor, name: str) -> Tensor:
        return F.relu(batch_norm(F.conv2d(x, file[f"{name}.conv.weight"], padding=1), file, f"{name}.bn"))

    x = image
    for conv, bn, stride in ((0, 1, 2), (3, 4, 1), (6, 7, 1)):
        x = F.conv2d(x, file[f"backbone.stem.{conv}.weight"], None, stride, 1)
        x = F.relu(batch_norm(x, file, f"backbone.stem.{bn}"))
    x = F.max_pool2d(x, 3, 2, 1)
    before, x = backbone(x, file, "backbone.", batch_norm, contracted=True)
    y = module(x, "decode_head.convs.0")
    for _ in range(passes):
        y = criss_cross(y, file, "decode_head.cca", file["decode_head.cca.gamma.scale"])
    y = module(torch.cat([x, module(y, "decode_head.convs.1")], 1), "decode_head.conv_cat")
    main = F.conv2d(y, file["decode_head.conv_seg.weight"], file["decode_head.conv_seg.bias"])
    y = module(before, "auxiliary_head.convs.0")
    other = F.conv2d(y, file["auxiliary_head.conv_seg.weight"], file["auxiliary_head.conv_seg.bias"])
    grown = (F.interpolate(t, image.shape[2:], mode="bilinear", align_corners=False) for t in (main, other))
    return next(grown), next(grown)


def authors_network(*, recurrence: int = 2, classes: int = CLASSES) -> Segmenter:
    encoder = ResNet(50, width=WIDTH, output_stride=8, stem="deep", dilate_first=True)
    return ccnet(encoder, classes, inner=INNER, recurrence=recurrence).double().eval()


def mmsegmentation_network(*, auxiliary: bool = True) -> Segmenter:
    encoder = ResNet(50, width=WIDTH, output_stride=8, stem="narrow")
    head = CrissCrossHead(encoder.channels, CLASSES, inner=INNER, activation="relu")
    other = ConvolutionHead(encoder.channels // 2, CLASSES, inner=INNER // 2) if auxiliary else None
    return Segmenter(encoder, head, auxiliary=other, align_corners=False).double().eval()


def assert_answers(network: Segmenter, image: Tensor, expected: tuple[Tensor, Tensor]) -> None:
    answers = network.answers(image)
    assert expected[0].std() > 0.1
    torch.testing.assert_close(answers.logits, expected[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(answers.auxiliary, expected[1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("recurrence", [1, 2])
def test_the_authors_file_gives_the_authors_formula(recurrence: int) -> None:
    file, network = authors_file(), authors_network(recurrence=recurrence)
    report = load_published(network, {"module." + name: t for name, t in file.items()})
    assert report.layout == "CCNet, the authors'"
    assert report.left_in_file == {}
    assert all(name.endswith("num_batches_tracked") for name in report.left_in_model)
    assert report.converted["encoder.layer1.0.bn1.weight"] == "in-place norm: |weight| + 1e-05"
    assert len(report.converted) == sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert any("'module.'" in note for note in report.notes)
    assert any("blue, green, red" in note for note in report.notes)
    image = torch.randn(1, 3, 40, 66, dtype=torch.float64)  # an even map before the pooling: ceil_mode shows
    assert_answers(network, image, authors_answer(image, file, recurrence))


def test_mmsegmentations_file_gives_mmsegmentations_formula() -> None:
    file, network = mmsegmentation_file(), mmsegmentation_network()
    report = load_published(network, {"meta": {"CLASSES": ("road",)}, "state_dict": file})
    assert report.layout == "mmsegmentation's CCNet"
    assert report.left_in_file == {}
    assert report.converted == {"head.cca.gamma": "a scalar made a vector of one"}
    image = torch.randn(1, 3, 40, 66, dtype=torch.float64)
    assert_answers(network, image, mmsegmentation_answer(image, file, 2))
    without = mmsegmentation_network(auxiliary=False)
    left = load_published(without, file).left_in_file
    assert len(left) == 7
    assert all(name.startswith("auxiliary_head.") for name in left)


def test_each_is_refused_by_the_others_network() -> None:
    before = {name: t.clone() for name, t in mmsegmentation_network().state_dict().items()}
    network = mmsegmentation_network()
    network.load_state_dict(before)
    with pytest.raises(ValueError, match=r"made for activation='leaky_relu', align_corners=True, dil") as caught:
        load_published(network, authors_file())
    assert "this network has activation='relu', align_corners=False" in str(caught.value)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    with pytest.raises(ValueError, match=r"was made for activation='relu', align_corners=False, dilate_first=False"):
        load_published(authors_network(), mmsegmentation_file())
    file = mmsegmentation_file()
    mixed = authors_network()
    mixed.auxiliary = ConvolutionHead(16 * WIDTH, CLASSES, inner=INNER, bias=True)  # its activation is no leaky one
    with pytest.raises(ValueError, match=r"for activation='leaky_relu' and this network has activation='both'"):
        load_published(mixed, authors_file())
    with pytest.raises(ValueError, match=r"is for a Segmenter, ResNet is none and has none"):
        load_published(ResNet(50, width=WIDTH, stem="narrow"), file)


def test_another_number_of_classes_keeps_the_networks_own() -> None:
    file, network = authors_file(), authors_network(classes=7)
    with pytest.raises(ValueError, match=r"has 5 classes, .* for 7: pass allow_missing=\('auxiliary\.3\.\*', 'head"):
        load_published(network, file)
    report = load_published(network, file, allow_missing=("head.bottleneck.3.*", "auxiliary.3.*"))
    assert set(report.left_in_file) == {f"{n}.3.{k}" for n in ("head.bottleneck", "dsn") for k in ("weight", "bias")}


def test_a_backbone_goes_into_whatever_stands_on_it() -> None:
    file = mmsegmentation_file()
    resnet = ResNet(50, width=WIDTH, stem="narrow").double().eval()
    networks = [resnet, NonLocalNet(resnet), Segmenter(NonLocalNet(resnet), nn.Conv2d(32 * WIDTH, 2, 1))]
    for network, new in zip(networks, [(), ("non_local.*",), ("encoder.non_local.*", "head.*")], strict=True):
        nn.init.zeros_(resnet.conv1.weight)
        if new:
            with pytest.raises(ValueError, match=r"it has nothing for .*pass allow_missing="):
                load_published(network, file, prefix="backbone.")
        report = load_published(network, file, prefix="backbone.", allow_missing=new)
        assert torch.equal(resnet.conv1.weight, file["backbone.stem.0.weight"])
        assert any("do not begin with 'backbone.'" in note for note in report.notes)
