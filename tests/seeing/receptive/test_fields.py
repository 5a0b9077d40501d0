"""What `receptive_fields` answers around its numbers: bad input, networks left as found, the meta device, warnings."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sightline.seeing.receptive import receptive_fields


class Odd(nn.Module):
    """A network that asks NumPy, which knows no shapes without values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        made = self.conv(image)
        assert torch.from_numpy(made.detach().numpy()).shape == made.shape
        return made


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 3))


def test_bad_input_gets_one_sentence(as_users_run_it: None) -> None:
    network = small()
    with pytest.raises(ValueError, match=r"does not take an image of 1 x 20 x 20: .*3 channels"):
        receptive_fields(network, torch.zeros(1, 1, 20, 20))
    with pytest.raises(ValueError, match=r"does not take an image of 3 x 4 x 4"):
        receptive_fields(network, (4, 4))
    with pytest.raises(ValueError, match=r"an image is \[b, c, h, w\] or a size \(h, w\), got \(3, 20, 20\)"):
        receptive_fields(network, torch.zeros(3, 20, 20))
    with pytest.raises(ValueError, match=r"no output of the network depends on the image"):
        receptive_fields(nn.Threshold(0.0, 0.0).requires_grad_(False).apply(_deaf), (8, 8))
    with pytest.raises(ValueError, match="a value-aware field needs an image"):
        receptive_fields(network, (20, 20), values=True)
    fields = receptive_fields(network, (21, 20))
    with pytest.raises(ValueError, match="no layer named '44' depends on the image: did you mean '4'"):
        fields.set("44", (0, 0))
    with pytest.raises(ValueError, match=r"position \(8, 0\) lies outside a map of 8 x 7: rows go from 0 to 7"):
        fields.hull("4", (8, 0))


def _deaf(module: nn.Module) -> None:
    module.forward = lambda image: torch.zeros(1)  # type: ignore[method-assign]


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_as_it_was(values: bool, training: bool) -> None:
    network = small().train()
    network[3].eval()
    before = copy.deepcopy(network.state_dict())
    fast = torch.backends.mha.get_fastpath_enabled()
    state = torch.random.get_rng_state()
    receptive_fields(network, torch.rand(2, 3, 20, 20, generator=torch.Generator()), values=values, training=training)
    assert [m.training for m in network.modules()] == [True, True, True, True, False, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert values or torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(ValueError, match="does not take"):
        receptive_fields(network, torch.zeros(1, 5, 20, 20))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_the_meta_device_needs_no_weights() -> None:
    with torch.device("meta"):
        network = small()
    there, here = receptive_fields(network, (31, 40)), receptive_fields(small(), (31, 40))
    assert there.layers == here.layers
    assert torch.equal(there.set("4", (3, 5)), here.set("4", (3, 5)))
    with pytest.raises(ValueError, match="a value-aware field needs weights"):
        receptive_fields(network, torch.zeros(1, 3, 31, 40), values=True)


def test_what_shapes_alone_cannot_run_is_run_and_said() -> None:
    fields = receptive_fields(Odd(), (9, 9))
    assert fields.set("", (4, 4)).sum() == 9
    (said,) = fields.warnings
    assert said.startswith("the network does not run on shapes alone")


def test_weights_that_happen_to_be_zero_count_for_any_weights_only() -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1))
    with torch.no_grad():
        network[0].weight[..., 0] = 0
    image = torch.rand(1, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    assert receptive_fields(network, image).set("", (3, 3)).sum() == 9
    seen = receptive_fields(network, image, values=True).set("", (3, 3))
    assert seen.nonzero().tolist() == [[y, x] for y in (2, 3, 4) for x in (3, 4)]


def test_a_module_that_runs_twice_has_two_fields() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    fields = receptive_fields(nn.Sequential(conv, nn.ReLU(), conv), (9, 9))
    assert [fields.layers[name].size for name in ("0", "1", "0 #2", "")] == [(3, 3), (3, 3), (5, 5), (5, 5)]


def test_half_precision_and_batches() -> None:
    network = small().to(torch.bfloat16)
    fields = receptive_fields(network, torch.rand(3, 3, 20, 20, generator=torch.Generator()))
    assert fields.set("", (2, 3)).sum() == 49
    assert fields.layers[""].shape == (3, 2, 7, 7)


def test_windows_on_the_first_axis_are_one_whole() -> None:
    class Windows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            b, c, h, w = x.shape
            return x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)

    fields = receptive_fields(Windows(), torch.zeros(2, 3, 8, 12))
    assert fields.layers[""].grid == (1, 1)
    assert fields.layers[""].clipped == (8, 12)
    assert fields.set("", (0, 0)).all()


def test_a_row_repeated_down_the_map_is_still_a_row() -> None:
    class Repeats(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(2, keepdim=True).repeat(1, 2, x.shape[2], 3)

    fields = receptive_fields(Repeats(), (5, 4))
    seen = fields.set("", (3, 6))
    assert seen.nonzero().tolist() == [[y, 2] for y in range(5)]
