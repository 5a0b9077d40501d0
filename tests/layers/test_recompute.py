"""Gradient checkpointing: the same gradients and statistics bit for bit, fewer bytes kept."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.layers.recompute import recompute
from sightline.layers.synchronised_norm import SynchronisedNorm
from sightline.layers.transformer import DropPath
from sightline.models.non_local_net import NonLocalNet
from sightline.models.resnet import ResNet
from sightline.models.vit import Size, VisionTransformer


def block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 3)).double()


def kept_bytes(call) -> tuple[Tensor, int]:  # type: ignore[no-untyped-def]
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter):
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = call()
    return out, sum(storages.values())


def test_gradients_random_numbers_and_statistics_are_those_of_the_plain_run() -> None:
    plain = block().train()
    again = copy.deepcopy(plain)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    expected = torch.autograd.grad(plain(x).square().sum(), [x, *plain.parameters()])
    after = torch.rand(1)
    torch.manual_seed(1)
    found = torch.autograd.grad(recompute(again, x).square().sum(), [x, *again.parameters()])
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    torch.testing.assert_close(again.state_dict(), plain.state_dict(), atol=0, rtol=0)  # counted once
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, momentum=None),  # the mean over all batches, by their number
        nn.BatchNorm2d(4, track_running_stats=False),
        SynchronisedNorm(nn.BatchNorm2d(4)),
        nn.GroupNorm(2, 4),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_whatever_a_norm_keeps_is_kept_once(norm: nn.Module) -> None:
    def build() -> nn.Module:
        torch.manual_seed(2)
        return nn.Sequential(nn.Conv2d(3, 4, 3), copy.deepcopy(norm), nn.ReLU(), nn.Conv2d(4, 4, 1)).double().train()

    plain, again = build(), build()
    buffers = dict(again.named_buffers())
    for step in range(3):
        x = torch.randn(2, 3, 9, 8, dtype=torch.float64) + step
        expected = torch.autograd.grad(plain(x).square().sum(), list(plain.parameters()))
        found = torch.autograd.grad(recompute(again, x).square().sum(), list(again.parameters()))
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
        torch.testing.assert_close(again.state_dict(), plain.state_dict(), atol=0, rtol=0)
    assert all(buffer is buffers[name] for name, buffer in again.named_buffers())  # the tensors that others hold


def test_a_backward_pass_that_fails_leaves_the_buffers_in_place() -> None:
    class Once(nn.Module):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            if self.runs > 1:
                raise RuntimeError("out of memory")
            return x.sin()

    network = nn.Sequential(nn.BatchNorm1d(3), Once()).train()
    buffers = dict(network.named_buffers())
    with pytest.raises(RuntimeError, match="out of memory"):
        recompute(network, torch.randn(4, 3)).sum().backward()
    assert all(buffer is buffers[name] for name, buffer in network.named_buffers())


def test_without_a_gradient_nothing_is_run_again() -> None:
    network = block().train()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        assert not recompute(network, x).requires_grad
    assert int(network[1].num_batches_tracked) == 1


@pytest.mark.compile
@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_compiled_it_is_the_same_network(name: str) -> None:
    plain = NETWORKS[name](True).double().train()
    for module in plain.modules():
        if isinstance(module, DropPath):
            module.probability = 0.0
    again = copy.deepcopy(plain)
    compiled = torch.compile(again, fullgraph=True, dynamic=True, backend="aot_eager")
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = torch.autograd.grad(plain(image).square().sum(), list(plain.parameters()))
    found = torch.autograd.grad(compiled(image).square().sum(), list(again.parameters()))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again.state_dict(), plain.state_dict())


NETWORKS = {
    "resnet": lambda on: ResNet(34, width=4, recompute=on),
    "non-local": lambda on: NonLocalNet(ResNet(50, width=2, recompute=on), 5, zero_initialised=False),
    "vit": lambda on: VisionTransformer(Size(16, 3, 2), image_size=(32, 32), patch=8, drop_path=0.3, recompute=on),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_keep_less_and_learn_the_same(name: str) -> None:
    plain, again = (NETWORKS[name](on).double().train() for on in (False, True))
    again.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    results = []
    for network in (plain, again):
        torch.manual_seed(1)
        out, kept = kept_bytes(lambda network=network: network(image))
        results.append((torch.autograd.grad(out.square().sum(), list(network.parameters())), kept))
    torch.testing.assert_close(results[1][0], results[0][0], atol=0, rtol=0)
    torch.testing.assert_close(again.state_dict(), plain.state_dict(), atol=0, rtol=0)
    assert results[1][1] < 0.7 * results[0][1]


def test_a_graph_that_is_kept_can_be_walked_back_again() -> None:
    plain = block().eval()
    x = torch.randn(1, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    expected, found = plain(x), recompute(plain, x)
    for place in ((0, 0), (3, 2)):
        wanted = torch.autograd.grad(expected[0, :, *place].sum(), x, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(found[0, :, *place].sum(), x, retain_graph=True), wanted)
