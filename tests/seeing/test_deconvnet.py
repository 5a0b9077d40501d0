"""The deconvnet equals one written by hand with transposed convolutions and unpooling, in whatever form it comes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.layers.modes import evaluated
from sightline.seeing.deconvnet import ReluRule, deconvnet, strongest
from sightline.seeing.running import output_of, runs_of

EXACT = {"rtol": 0, "atol": 1e-12}


class Modules(nn.Module):
    """conv, ReLU, pool, conv, ReLU, as modules; the one ReLU is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.pool(self.relu(self.first(x)))))


class Functional(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(F.max_pool2d(F.relu(self.first(x)), 2)))


class InPlace(Modules):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x), inplace=True)
        return torch.relu_(self.second(torch.max_pool2d(x, 2)))


class Methods(Modules):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.pool(self.first(x).relu())).relu_()


def network(kind: type[Modules] = Modules) -> Modules:
    torch.manual_seed(3)
    return kind().double()


def photo(h: int = 12, w: int = 10) -> Tensor:
    return torch.rand(3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def by_hand(net: Modules, image: Tensor, channel: int, place: tuple[int, int], rule: str = "deconvnet") -> Tensor:
    """Zeiler & Fergus, section 2.1, and guided backpropagation, layer by layer, without autograd."""
    with torch.no_grad():
        first = F.conv2d(image[None], net.first.weight, net.first.bias, padding=1)
        pooled, switches = F.max_pool2d(first.relu(), 2, return_indices=True)
        second = F.conv2d(pooled, net.second.weight, net.second.bias, padding=1)
        top = torch.zeros_like(second)
        top[0, channel, place[0], place[1]] = second.relu()[0, channel, place[0], place[1]]
        signal = top.relu()
        signal = F.conv_transpose2d(signal, net.second.weight, padding=1)
        torch.use_deterministic_algorithms(False)  # PyTorch's unpooling claims none; no windows overlap here
        signal = F.max_unpool2d(signal, switches, 2, output_size=first.shape[-2:])
        torch.use_deterministic_algorithms(True)
        signal = signal.relu()
        if rule == "guided":
            signal = signal * (first > 0)
        return F.conv_transpose2d(signal, net.first.weight, padding=1)[0]


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("kind", [Modules, Functional, InPlace, Methods])
def test_equals_the_one_by_hand(kind: type[Modules], rule: str) -> None:
    net, image = network(kind), photo()
    for channel in range(4):
        place = strongest(net(image[None])[0, channel])
        wanted = by_hand(net, image, channel, place, rule)
        assert wanted.abs().max() > 1e-4
        torch.testing.assert_close(deconvnet(net, image, "", channel, rule=rule), wanted, **EXACT)
    places = [(y, x) for y in range(6) for x in range(5)]
    for place in places[::7]:
        got = deconvnet(net, image, "", 2, position=place, rule=rule)
        torch.testing.assert_close(got, by_hand(net, image, 2, place, rule), **EXACT)


def test_the_rules_differ_and_gradient_is_the_gradient() -> None:
    net, image = network(Functional), photo().requires_grad_()
    unit = net(image[None])[0, 1].max()
    (gradient,) = torch.autograd.grad(unit, image, unit.detach())
    got = {r: deconvnet(net, image, "", 1, rule=r) for r in ("deconvnet", "guided", "redirected", "gradient")}
    torch.testing.assert_close(got["gradient"], gradient, **EXACT)
    names = list(got)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert (got[one] - got[other]).abs().max() > 1e-3, (one, other)


def test_a_relu_used_twice_in_a_sequence() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
    net = nn.Sequential(first, relu, second, relu).double()
    image = photo()
    with torch.no_grad():
        out = second(first(image[None]).relu()).relu()
        y, x = strongest(out[0, 1])
        top = torch.zeros_like(out)
        top[0, 1, y, x] = out[0, 1, y, x]
        wanted = F.conv_transpose2d(F.conv_transpose2d(top, second.weight).relu(), first.weight)[0]
    torch.testing.assert_close(deconvnet(net, image, "", 1), wanted, **EXACT)
    torch.testing.assert_close(deconvnet(net, image, "1", 1, position=(y, x)), wanted, **EXACT)  # its last run


def test_a_layer_before_a_relu_in_place_is_read_before_it() -> None:
    net, image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), photo().float()
    torch.testing.assert_close(output_of(net, "0", image[None]), net[0](image[None]))
    assert (output_of(net, "0", image[None]) < 0).any()


def test_relu6_follows_the_rule_and_other_thresholds_do_not() -> None:
    x = torch.tensor([-1.0, 3.0, 7.0, 3.0], requires_grad=True)
    signal = torch.tensor([2.0, 2.0, 2.0, -2.0])
    for rule, wanted in {
        "deconvnet": [2.0, 2, 2, 0],
        "guided": [0.0, 2, 0, 0],
        "redirected": [2.0, 2, 2, -2],
        "gradient": [0.0, 2, 0, -2],
    }.items():
        with ReluRule(rule):
            (got,) = torch.autograd.grad(F.relu6(x), x, signal)
        torch.testing.assert_close(got, torch.tensor(wanted))
    with ReluRule("deconvnet"):
        (got,) = torch.autograd.grad(F.hardtanh(x), x, signal)
        (other,) = torch.autograd.grad(F.threshold(x, 5.0, 0.0), x, signal)
    torch.testing.assert_close(got, torch.zeros(4))
    torch.testing.assert_close(other, torch.tensor([0.0, 0, 2, 0]))


def test_the_rule_ends_with_its_context() -> None:
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    signal = torch.tensor([1.0, -1.0])
    with pytest.raises(KeyError), ReluRule("deconvnet"):
        raise KeyError
    (after,) = torch.autograd.grad(F.relu(x), x, signal)
    torch.testing.assert_close(after, torch.tensor([0.0, -1.0]))


@pytest.mark.usefixtures("as_users_run_it")
def test_another_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="asked for the rule 'deconv' for ReLU: choose deconvnet, guided"):
        ReluRule("deconv")  # type: ignore[arg-type]


def test_several_channels_are_one_picture_each() -> None:
    net, image = network(), photo()
    together = deconvnet(net, image, "second", [3, 0], position=(2, 1))
    for got, channel in zip(together, (3, 0), strict=True):
        torch.testing.assert_close(got, deconvnet(net, image, "second", channel, position=(2, 1)), **EXACT)


def test_preparing_scales_the_way_back() -> None:
    net, image = network(), photo()
    halved = deconvnet(net, 2 * image, "", 1, prepare=lambda batch: batch / 2)
    torch.testing.assert_close(halved, deconvnet(net, image, "", 1) / 2, **EXACT)


class Writes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def test_the_network_and_the_image_are_left_as_they_were() -> None:
    net = nn.Sequential(Writes(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())
    net.train()
    net[2].eval()
    net[1].weight.requires_grad_(False)
    net[2].weight.grad = torch.full((4,), 7.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = photo().float()
    kept = image.clone()
    with torch.no_grad():
        got = deconvnet(net, image, "4", 0)
    assert not got.requires_grad
    assert [m.training for m in net] == [True, True, False, True, True]
    assert not net[1].weight.requires_grad
    assert net[1].weight.grad is None
    torch.testing.assert_close(net[2].weight.grad, torch.full((4,), 7.0))
    torch.testing.assert_close(image, kept, rtol=0, atol=0)
    assert not any(module._forward_hooks for module in net.modules())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_failing_network_keeps_no_hook_and_its_mode() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        deconvnet(net, photo().float(), "0", 0)
    assert net.training
    assert net[1].training
    assert not any(module._forward_hooks for module in net.modules())


def test_a_silent_unit_and_one_that_sees_no_image_give_zeros() -> None:
    conv = nn.Conv2d(3, 2, 1)
    nn.init.constant_(conv.bias, -100)
    got = deconvnet(nn.Sequential(conv, nn.ReLU()), photo().float(), "", 1)
    torch.testing.assert_close(got, torch.zeros(3, 12, 10))


def test_what_does_not_exist_is_said_in_a_sentence() -> None:
    net, image = network(), photo()
    with pytest.raises(ValueError, match=r"the network has no layer 'secnd': the nearest name is 'second'"):
        deconvnet(net, image, "secnd", 0)
    with pytest.raises(ValueError, match=r"channel 4 was asked of 'second', whose channels go from 0 to 3"):
        deconvnet(net, image, "second", 4)
    with pytest.raises(ValueError, match=r"position \(6, 0\) was asked of 'second', whose map is 6 x 5"):
        deconvnet(net, image, "second", 0, position=(6, 0))
    net.never = nn.ReLU()
    with pytest.raises(ValueError, match=r"the layer 'never' does not run on this image"):
        deconvnet(net, image, "never", 0)


class Patches(nn.Conv2d):
    """Tokens behind a class token, as a Vision Transformer has them."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x).flatten(2).transpose(1, 2)
        return torch.cat([tokens.sum(1, keepdim=True), tokens], 1)


def test_units_are_found_in_tokens_and_vectors() -> None:
    torch.manual_seed(1)
    net, image = Patches(3, 5, 4, stride=4), photo(12, 20).float()
    wanted = torch.zeros(3, 12, 20)
    with torch.no_grad():
        wanted[:, 4:8, 12:16] = net.weight[2] * net(image[None])[0, 1 + 1 * 5 + 3, 2].abs()
    torch.testing.assert_close(deconvnet(net, image, "", 2, position=(1, 3)), wanted)
    head = nn.Sequential(nn.Flatten(), nn.Linear(720, 4))
    response = head(image[None])[0, 3].detach().abs()
    torch.testing.assert_close(deconvnet(head, image, "1", 3), response * head[1].weight[3].detach().reshape(3, 12, 20))


class Nested(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"none": None, "states": (x + 1, x)}


def test_the_first_tensor_of_a_nest_counts_and_runs_are_counted() -> None:
    relu = nn.ReLU()
    x = torch.rand(1, 3, 4, 4) - 0.5
    torch.testing.assert_close(output_of(Nested(), "", x), x + 1)
    assert runs_of(nn.Sequential(relu, nn.Conv2d(3, 3, 1), relu), "0", x) == 2
    with evaluated(relu):
        torch.testing.assert_close(output_of(nn.Sequential(relu, nn.Linear(9, 9)), "0", x, stop=1), x.relu())
