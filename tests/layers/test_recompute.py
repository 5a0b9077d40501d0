"""Gradient checkpointing: the same gradients and statistics bit for bit, fewer bytes kept."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.layers.recompute import recompute
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
    assert again[1].momentum == plain[1].momentum
    assert torch.equal(torch.rand(1), after)


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
