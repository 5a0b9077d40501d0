"""CCNet: names, number of parameters and formula of the published code, and weights of the passes inside the head."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.models.ccnet import CCNet, CrissCrossHead, from_published
from sightline.models.convnet import ConvNet
from sightline.models.resnet import ResNet
from sightline.ops.patterns import criss_cross, everything
from sightline.ops.reference import attention

NORM = ("weight", "bias", "running_mean", "running_var")


def published_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict as the published code would have written it."""
    state = {k.removeprefix("encoder."): v for k, v in network.state_dict().items() if "num_batches" not in k}
    return state


def filled(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def test_the_published_network_has_its_names_and_its_size() -> None:
    with torch.device("meta"):
        encoder = ResNet(101, output_stride=8, stem="deep", dilate_first=True)
        network = CCNet(encoder, 19, auxiliary_channels=1024)
    count = sum(p.numel() for p in network.parameters())
    assert round(count / 1e6, 2) == 71.29
    assert sum(p.numel() for p in network.head.parameters()) == 23_934_100
    assert sum(p.numel() for p in network.head.cca.parameters()) == 328_321
    state = published_state(network)
    assert len(state) == 562
    head = {"head.conva.0.weight", "head.convb.0.weight", "head.bottleneck.0.weight", "dsn.0.weight", "dsn.0.bias"}
    head |= {f"{n}.1.{k}" for n in ("head.conva", "head.convb", "head.bottleneck", "dsn") for k in NORM}
    head |= {f"{n}.3.{k}" for n in ("head.bottleneck", "dsn") for k in ("weight", "bias")}
    head |= {f"head.cca.{n}_conv.{k}" for n in ("query", "key", "value") for k in ("weight", "bias")}
    head |= {"head.cca.gamma"}
    assert {k for k in state if k.startswith(("head.", "dsn."))} == head
    assert {"conv1.weight", "bn3.running_var", "layer4.2.conv3.weight", "layer1.0.downsample.1.bias"} < set(state)
    assert network(torch.zeros(1, 3, 769, 769, device="meta")).shape == (1, 19, 769, 769)


def test_a_published_state_dict_loads_with_its_norms_made_positive() -> None:
    network = CCNet(ResNet(10, width=8, output_stride=8, stem="deep"), 5, auxiliary_channels=32, inner=16)
    other = CCNet(ResNet(10, width=8, output_stride=8, stem="deep"), 5, auxiliary_channels=32, inner=16)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    state = {f"module.{name}": tensor.clone() for name, tensor in published_state(network).items()}
    other.load_state_dict(from_published(state))  # strict: nothing missing, nothing left over
    for (name, here), there in zip(network.named_parameters(), other.parameters(), strict=True):
        norm = name.endswith("weight") and here.dim() == 1
        torch.testing.assert_close(there, here.abs() + 1e-5 if norm else here, atol=0, rtol=0)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert (
        sum(t.dim() == 1 and bool((t > 0).all()) for n, t in from_published(state).items() if n.endswith("weight"))
        == norms
    )


@pytest.mark.parametrize("recurrence", [1, 2, 3])
def test_the_head_is_the_published_formula(recurrence: int) -> None:
    head = filled(CrissCrossHead(16, 5, inner=8, recurrence=recurrence, norm="none"))
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)

    def leaky(t: Tensor) -> Tensor:
        return torch.where(t > 0, t, 0.01 * t)

    cca = head.cca
    y = leaky(F.conv2d(x, head.conva[0].weight, padding=1))
    for _ in range(recurrence):
        q, k, v = (F.conv2d(y, c.weight, c.bias) for c in (cca.query_conv, cca.key_conv, cca.value_conv))
        y = cca.gamma * attention(q, k, v, pattern=criss_cross) + y
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
    nn.init.dirac_(head.cca.value_conv.weight)
    nn.init.zeros_(head.cca.value_conv.bias)
    entered = head.conva(x)
    out = head.cca(head.cca(entered))
    weights = head.weights(x, (2, 3), residual=True)
    torch.testing.assert_close(torch.einsum("byx,bcyx->bc", weights, entered), out[:, :, 2, 3])
    torch.testing.assert_close(head.weights(x, (2, 3)).sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_logits_grow_corners_on_corners() -> None:
    network = CCNet(ConvNet(width=32), 3).eval()
    image = torch.randn(2, 3, 21, 30)
    small, out = network.head(network.encoder(image)), network(image)
    assert out.shape == (2, 3, 21, 30)
    torch.testing.assert_close(out[:, :, -1, -1], small[:, :, -1, -1])
    with pytest.raises(ValueError, match="no auxiliary head: build it with auxiliary_channels="):
        network.with_auxiliary(image)


def test_the_auxiliary_head_reads_the_stage_before_the_last() -> None:
    network = CCNet(ResNet(10, width=4, output_stride=8), 3, auxiliary_channels=16).eval()
    image = torch.randn(1, 3, 33, 40)
    main, auxiliary = network.with_auxiliary(image)
    torch.testing.assert_close(main, network(image))
    stage = network.dsn(network.encoder.maps(image)[2])
    torch.testing.assert_close(auxiliary, F.interpolate(stage, (33, 40), mode="bilinear", align_corners=True))


def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least one pass, got recurrence=0"):
        CrissCrossHead(16, 5, recurrence=0)
    with pytest.raises(ValueError, match="unknown activation 'rellu': did you mean 'relu'"):
        CrissCrossHead(16, 5, activation="rellu")
    with pytest.raises(ValueError, match="unknown norm 'abn'"):
        CrissCrossHead(16, 5, norm="abn")
