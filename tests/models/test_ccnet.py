"""CCNet: names, number of parameters and formula of the published code, and weights of the passes inside the head."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.ccnet import CrissCrossHead, ccnet
from sightline.models.convnet import ConvNet
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.ops.patterns import criss_cross, everything, field
from sightline.ops.reference import attention

NORM = ("weight", "bias", "running_mean", "running_var")


def filled(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def test_the_published_network_has_its_names_and_its_size() -> None:
    with torch.device("meta"):
        encoder = ResNet(101, output_stride=8, stem="deep", dilate_first=True)
        network = ccnet(encoder, 19)
    assert isinstance(network, Segmenter)
    assert network.align_corners
    count = sum(p.numel() for p in network.parameters())
    assert round(count / 1e6, 2) == 71.29
    assert sum(p.numel() for p in network.head.parameters()) == 23_934_100
    assert sum(p.numel() for p in network.head.cca.parameters()) == 328_321
    state = {name for name in network.state_dict() if "num_batches" not in name}
    assert len(state) == 562  # as many as in the published files, where `auxiliary` is called `dsn`
    head = {"head.conva.0.weight", "head.convb.0.weight", "head.bottleneck.0.weight"}
    head |= {"auxiliary.0.weight", "auxiliary.0.bias"}
    head |= {f"{n}.1.{k}" for n in ("head.conva", "head.convb", "head.bottleneck", "auxiliary") for k in NORM}
    head |= {f"{n}.3.{k}" for n in ("head.bottleneck", "auxiliary") for k in ("weight", "bias")}
    head |= {f"head.cca.{n}_conv.{k}" for n in ("query", "key", "value") for k in ("weight", "bias")}
    head |= {"head.cca.gamma"}
    assert {k for k in state if not k.startswith("encoder.")} == head
    backbone = {k.removeprefix("encoder.") for k in state}
    assert {"conv1.weight", "bn3.running_var", "layer4.2.conv3.weight", "layer1.0.downsample.1.bias"} < backbone
    assert network.auxiliary.get_submodule("0").weight.shape == (512, 1024, 3, 3)
    assert network(torch.zeros(1, 3, 769, 769, device="meta")).shape == (1, 19, 769, 769)


@pytest.mark.parametrize("recurrence", [0, 1, 2, 3])
def test_the_head_is_the_published_formula(recurrence: int) -> None:
    head = filled(CrissCrossHead(16, 5, inner=8, recurrence=recurrence, norm="none"))
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)

    def leaky(t: Tensor) -> Tensor:
        return torch.where(t > 0, t, 0.01 * t)

    cca = head.cca
    y = leaky(F.conv2d(x, head.conva[0].weight, padding=1))
    assert (cca is None) == (recurrence == 0)  # no attention, no idle weights
    for _ in range(recurrence):
        q, k, v = (F.conv2d(y, c.weight, c.bias) for c in (cca.query_conv, cca.key_conv, cca.value_conv))
        y = cca.gamma * attention(q, k, v, pattern=criss_cross) + y
    torch.testing.assert_close(head.features(x), y)
    y = leaky(F.conv2d(y, head.convb[0].weight, padding=1))
    y = leaky(F.conv2d(torch.cat([x, y], 1), head.bottleneck[0].weight, padding=1))
    torch.testing.assert_close(head(x), F.conv2d(y, head.bottleneck[3].weight, head.bottleneck[3].bias))


def test_norm_and_activation_by_argument() -> None:
    head = CrissCrossHead(32, 5, norm="group", activation="relu")
    assert isinstance(head.conva[1], nn.GroupNorm)
    assert isinstance(head.conva[2], nn.ReLU)
    assert head.conva[0].out_channels == 8
    assert set(head.state_dict()) == {
        n for n in CrissCrossHead(32, 5).state_dict() if not n.endswith(("mean", "var", "tracked"))
    }


def test_the_attention_of_a_head_says_where_it_looks() -> None:
    head = filled(CrissCrossHead(16, 5, inner=8, recurrence=2))
    x = torch.randn(2, 16, 4, 5, dtype=torch.float64)
    assert head.pattern is everything
    assert CrissCrossHead(32, 5, recurrence=1).pattern is criss_cross
    assert CrissCrossHead(32, 5, recurrence=3).pattern is everything
    alone = field([CrissCrossHead(32, 5, recurrence=0).pattern], (1, 2), (3, 4))
    assert alone.nonzero().tolist() == [[1, 2]]
    nn.init.dirac_(head.cca.value_conv.weight)
    nn.init.zeros_(head.cca.value_conv.bias)
    entered = head.conva(x)
    out = head.cca(head.cca(entered))
    weights = head.weights(x, (2, 3), residual=True)
    torch.testing.assert_close(torch.einsum("byx,bcyx->bc", weights, entered), out[:, :, 2, 3])
    torch.testing.assert_close(head.weights(x, (2, 3)).sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_logits_grow_corners_on_corners() -> None:
    network = ccnet(ConvNet(width=32, dilations=(1,)), 3).eval()
    image = torch.randn(2, 3, 21, 30)
    small, out = network.head(network.encoder(image)), network(image)
    torch.testing.assert_close(out, F.interpolate(small, (21, 30), mode="bilinear", align_corners=True))


def test_the_auxiliary_head_reads_the_stage_before_the_last() -> None:
    encoder = ResNet(10, width=4, output_stride=8)
    network = ccnet(encoder, 3, inner=6, norm="group", activation="relu", recurrence=1).eval()
    assert network.head.recurrence == 1
    for head in (network.head, network.auxiliary):  # what is asked for holds for both
        kinds = {type(module) for module in head.modules()}
        assert nn.GroupNorm in kinds
        assert not {nn.BatchNorm2d, nn.LeakyReLU} & kinds
    assert network.auxiliary.get_submodule("3").weight.shape == (3, 6, 1, 1)
    image = torch.randn(1, 3, 33, 40)
    answers = network.answers(image)
    torch.testing.assert_close(answers.logits, network(image))
    torch.testing.assert_close(answers.features, network.head.features(encoder(image)))
    stage = network.auxiliary(encoder.maps(image)[2])
    grown = F.interpolate(stage, (33, 40), mode="bilinear", align_corners=True)
    torch.testing.assert_close(answers.auxiliary, grown)
    assert ccnet(encoder, 3, auxiliary=False).answers(image).auxiliary is None


def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="a number of passes, 0 for none, got recurrence=-1"):
        CrissCrossHead(16, 5, recurrence=-1)
    with pytest.raises(ValueError, match="built with recurrence=0: it has no attention that could look anywhere"):
        CrissCrossHead(16, 5, recurrence=0).weights(torch.zeros(1, 16, 3, 3), (0, 0))
    patches = nn.Conv2d(3, 16, 4, 4)
    patches.channels, patches.stride = 16, 4
    with pytest.raises(ValueError, match="before the last, and Conv2d has one map alone: leave it out"):
        ccnet(patches, 5)
    assert ccnet(patches, 5, auxiliary=False)(torch.zeros(2, 3, 16, 16)).shape == (2, 5, 16, 16)
    with pytest.raises(ValueError, match="unknown activation 'rellu': did you mean 'relu'"):
        CrissCrossHead(16, 5, activation="rellu")
    with pytest.raises(ValueError, match="unknown norm 'abn'"):
        CrissCrossHead(16, 5, norm="abn")
