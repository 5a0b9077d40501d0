"""Bricks of the convolutional models: sizes, norms, residual blocks under torchvision's names, pooling."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sightline.layers.convolution import conv_norm, make_norm
from sightline.layers.pooling import GlobalContext
from sightline.layers.residual import BasicBlock, BottleneckBlock


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_keeps_the_size(kernel: int, dilation: int, stride: int) -> None:
    out = conv_norm(3, 5, kernel=kernel, dilation=dilation, stride=stride)(torch.randn(2, 3, 9, 14))
    assert out.shape == (2, 5, -(-9 // stride), -(-14 // stride))


def test_norms_by_name() -> None:
    assert isinstance(make_norm("batch", 6), nn.BatchNorm2d)
    group = make_norm("group", 6)
    assert isinstance(group, nn.GroupNorm)
    assert group.num_groups == 6
    assert isinstance(make_norm("none", 6), nn.Identity)
    with pytest.raises(ValueError, match="unknown norm 'bach': did you mean 'batch'"):
        make_norm("bach", 6)
    with pytest.raises(ValueError, match="an odd kernel keeps a map's size, got 4"):
        conv_norm(3, 5, kernel=4)


def test_a_convolution_without_a_norm_has_a_bias() -> None:
    assert conv_norm(3, 5, norm="none")[0].bias is not None
    assert conv_norm(3, 5)[0].bias is None


def plain(names: list[str]) -> set[str]:
    kinds = {"conv": ["weight"], "bn": ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]}
    return {f"{name}.{kind}" for name in names for kind in kinds["conv" if "conv" in name else "bn"]}


def test_residual_blocks_have_the_names_of_torchvision() -> None:
    assert set(BasicBlock(8, 8).state_dict()) == plain(["conv1", "bn1", "conv2", "bn2"])
    wide = set(BottleneckBlock(8, 8).state_dict())
    assert plain(["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]) < wide
    assert {"downsample.0.weight", "downsample.1.running_mean"} < wide


@pytest.mark.parametrize("block", [BasicBlock, BottleneckBlock])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_residual_blocks_are_their_formula(block: type, stride: int, dilation: int) -> None:
    layer = block(6, 4, stride=stride, dilation=dilation).eval()
    x = torch.randn(2, 6, 7, 10)
    if block is BasicBlock:
        out = F.relu(layer.bn1(F.conv2d(x, layer.conv1.weight, None, stride, dilation, dilation)))
        out = layer.bn2(F.conv2d(out, layer.conv2.weight, None, 1, dilation, dilation))
    else:
        out = F.relu(layer.bn1(F.conv2d(x, layer.conv1.weight)))
        out = F.relu(layer.bn2(F.conv2d(out, layer.conv2.weight, None, stride, dilation, dilation)))
        out = layer.bn3(F.conv2d(out, layer.conv3.weight))
    shortcut = layer.downsample[1](F.conv2d(x, layer.downsample[0].weight, None, stride))
    torch.testing.assert_close(layer(x), F.relu(out + shortcut))


def test_pooling_tells_every_position_the_same() -> None:
    layer = GlobalContext(8, norm="none").double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 0, 0] += 1.0
    moved = layer.join(torch.cat([x, torch.zeros_like(x)], 1))  # linear: the summary's share is what is left
    share = layer.join(torch.cat([x, F.relu(layer.before(x)).mean((2, 3), keepdim=True).expand_as(x)], 1)) - moved
    torch.testing.assert_close(share, share[:, :, :1, :1].expand_as(share))
    torch.testing.assert_close(layer(x), F.relu(moved + share))
    assert not torch.equal(layer(x)[:, :, 2, 4], layer(changed)[:, :, 2, 4])
    for b in (1, 2):
        assert layer(x[:b].to(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="GlobalContext was built for 8 channels, got 7"):
        layer(x[:, :7])
