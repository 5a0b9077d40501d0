"""Size, stride and padding of every end-point of the published tables, on the meta device."""

import pytest
import torch
from tests.seeing import published
from torch import nn

from sightline.models.resnet import ResNet
from sightline.seeing.receptive import Fields, receptive_fields


def fields_of(network: nn.Module, side: int) -> Fields:
    return receptive_fields(network.to("meta").eval(), torch.empty(1, 3, side, side, device="meta"))


def check(fields: Fields, rows: list[published.Row], more: int = 0) -> None:
    got, want = {}, {}
    for name, size, stride, padding in rows:
        field = fields.layers[name]
        got[name] = (field.size, field.stride, field.padding)
        want[name] = ((size, size), (stride, stride), (padding + more, padding + more))
    assert got == want


@pytest.mark.parametrize("side", [224, 321])
def test_alexnet(side: int) -> None:
    check(fields_of(published.alexnet(), side), published.ALEXNET)


@pytest.mark.parametrize("side", [224, 321])
@pytest.mark.parametrize(
    ("counts", "rows"), [((1, 1, 2, 2, 2), published.VGG_A), ((2, 2, 3, 3, 3), published.VGG_16)], ids=["a", "16"]
)
def test_vgg(counts: tuple[int, ...], rows: list[published.Row], side: int) -> None:
    check(fields_of(published.vgg(counts), side), rows)


@pytest.mark.parametrize("side", [224, 321])
@pytest.mark.parametrize("depth", published.SLIM_RESNETS)
def test_resnet_that_strides_in_the_last_unit(depth: int, side: int) -> None:
    check(fields_of(published.slim_resnet(depth), side), published.SLIM_RESNETS[depth], 2 if side == 321 else 0)


@pytest.mark.parametrize("side", [224, 321])
def test_mobilenet_whose_padding_depends_on_the_image(side: int) -> None:
    check(fields_of(published.mobilenet(), side), published.mobilenet_rows(side))


@pytest.mark.parametrize("depth", published.TORCHVISION_SIZES)
def test_resnet_as_torchvision_lays_it_out(depth: int) -> None:
    network = ResNet(depth, width=2)
    last = {f"layer{n}": f"layer{n}.{len(network.get_submodule(f'layer{n}')) - 1}" for n in (1, 2, 3, 4)}
    fields = fields_of(network, 224)
    sizes = tuple(fields.layers[name].size for name in last.values())
    assert sizes == tuple((size, size) for size in published.TORCHVISION_SIZES[depth])
    check(fields, [(last[name], *rest) for name, *rest in published.TORCHVISION_ROWS.get(depth, [])])


def test_the_formula_in_the_tables_readme() -> None:
    """A feature's first pixel is -padding + position * stride, its last size - 1 further, both cut at the border."""
    fields = fields_of(published.vgg((2, 2, 3, 3, 3)), 224)
    assert fields.layers["pool5"].grid == (7, 7)
    for position in ((0, 0), (2, 3), (6, 6)):
        first = [-90 + 32 * at for at in position]
        top, bottom, left, right = fields.hull("pool5", position) or (-1, -1, -1, -1)
        assert (top, left) == tuple(max(0, at) for at in first)
        assert (bottom, right) == tuple(min(223, at + 211) for at in first)
