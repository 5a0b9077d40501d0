"""Criss-cross layers: the published formula and names, the identity at first, and weights pinned to what comes out."""

import pytest
import torch
from torch import Tensor, nn

from sightline.layers.attention import AttentionLayer, look_up
from sightline.layers.criss_cross import CrissCross, RecurrentCrissCross
from sightline.ops.patterns import criss_cross, everything
from sightline.ops.reference import attention, attention_table

SIZES = [(5, 7), (1, 4), (4, 1), (1, 1)]


def filled(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def make_map(h: int, w: int) -> Tensor:
    return torch.randn(2, 8, h, w, dtype=torch.float64)


def make_mask(h: int, w: int) -> Tensor:
    mask = torch.rand(2, h, w) > 0.3
    mask[1] = False
    return mask


def table(layer: CrissCross, x: Tensor, mask: Tensor | None = None) -> Tensor:
    return attention_table(layer.query_conv(x), layer.key_conv(x), pattern=criss_cross, mask=mask)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [False, True])
def test_the_layer_is_its_formula(size: tuple[int, int], masked: bool) -> None:
    layer = filled(CrissCross(8, 4))
    x, mask = make_map(*size), make_mask(*size) if masked else None
    q, k, v = layer.query_conv(x), layer.key_conv(x), layer.value_conv(x)
    expected = layer.gamma * attention(q, k, v, pattern=criss_cross, mask=mask) + x
    torch.testing.assert_close(layer(x, mask), expected)
    torch.testing.assert_close(layer.gamma * layer.attend(x, mask), expected - x)


def test_a_new_layer_returns_its_input_and_still_learns() -> None:
    x = torch.randn(2, 16, 5, 7)
    for layer in (CrissCross(16), RecurrentCrissCross(16, 3), RecurrentCrissCross(16, 2, shared=False)):
        assert torch.equal(layer(x), x)
        layer(x).square().sum().backward()
        gammas = [p for name, p in layer.named_parameters() if name.endswith("gamma")]
        assert all(g.shape == (1,) and g.grad.abs() > 0 for g in gammas)
    assert not torch.equal(CrissCross(16, gamma=0.5)(x), x)


def test_names_are_the_published_ones() -> None:
    published = {"gamma", *(f"{n}_conv.{k}" for n in ("query", "key", "value") for k in ("weight", "bias"))}
    assert set(CrissCross(16).state_dict()) == published
    assert {k: tuple(v.shape) for k, v in CrissCross(16).state_dict().items() if "conv.weight" in k} == {
        "query_conv.weight": (2, 16, 1, 1), "key_conv.weight": (2, 16, 1, 1), "value_conv.weight": (16, 16, 1, 1),
    }  # fmt: skip
    assert set(RecurrentCrissCross(16).state_dict()) == {f"cca.{name}" for name in published}
    unshared = RecurrentCrissCross(16, 2, shared=False).state_dict()
    assert set(unshared) == {f"cca.{i}.{name}" for i in (0, 1) for name in published}


def test_parameters_are_as_many_as_published() -> None:
    for layer in (CrissCross(512), RecurrentCrissCross(512, 3)):
        assert sum(p.numel() for p in layer.parameters()) == 328_321


@pytest.mark.parametrize("shared", [True, False])
def test_passes_follow_each_other(shared: bool) -> None:
    layer = filled(RecurrentCrissCross(8, 3, 4, shared))
    x, mask = make_map(5, 4), make_mask(5, 4)
    expected = x
    for i in range(3):
        expected = (layer.cca if shared else layer.cca[i])(expected, mask)
    torch.testing.assert_close(layer(x, mask), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_those_of_forward(size: tuple[int, int], masked: bool) -> None:
    layer = filled(CrissCross(8, 4))
    x, mask = make_map(*size), make_mask(*size) if masked else None
    out, value = layer(x, mask), layer.value_conv(x)
    for query in {(0, 0), (size[0] - 1, size[1] // 2)}:
        weights = layer.weights(x, query, mask=mask)
        at = (..., *query)
        torch.testing.assert_close(layer.gamma * look_up(weights, value) + x[at], out[at])
        off = ~layer.pattern.visible(query, size)
        assert (weights[:, off] == 0).all()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("recurrence", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_of_passes_are_a_product_of_tables(shared: bool, recurrence: int, masked: bool) -> None:
    layer = filled(RecurrentCrissCross(8, recurrence, 4, shared))
    x, mask = make_map(4, 5), make_mask(4, 5) if masked else None
    plain, residual = (torch.eye(20, dtype=torch.float64).expand(2, 20, 20) for _ in range(2))
    here = x
    for each in layer.passes:
        rows = table(each, here, mask)
        plain = rows @ plain
        residual = (each.gamma * rows + torch.eye(20, dtype=torch.float64)) @ residual
        here = each(here, mask)
    for query in [(0, 0), (2, 4)]:
        row = query[0] * 5 + query[1]
        weights = layer.weights(x, query, mask=mask)
        torch.testing.assert_close(weights.flatten(1), plain[:, row])
        weights = layer.weights(x, query, mask=mask, residual=True)
        torch.testing.assert_close(weights.flatten(1), residual[:, row])


@pytest.mark.parametrize("shared", [True, False])
def test_with_values_left_as_they_are_the_weights_make_the_output(shared: bool) -> None:
    layer = filled(RecurrentCrissCross(8, 3, 4, shared))
    for each in layer.passes:
        nn.init.dirac_(each.value_conv.weight)
        nn.init.zeros_(each.value_conv.bias)
    x = make_map(4, 5)
    out = layer(x)
    for query in [(0, 0), (3, 2)]:
        made = look_up(layer.weights(x, query, residual=True), x)
        torch.testing.assert_close(made, out[..., query[0], query[1]])


def test_two_passes_see_everything() -> None:
    assert RecurrentCrissCross(8, 1).pattern is criss_cross
    assert RecurrentCrissCross(8, 2).pattern is everything
    assert isinstance(CrissCross(8), AttentionLayer)
    assert isinstance(RecurrentCrissCross(8), AttentionLayer)
    x = make_map(5, 6)
    once, twice = (filled(RecurrentCrissCross(8, r, 4)).weights(x, (2, 3)) for r in (1, 2))
    assert torch.equal(once[0] > 0, criss_cross.visible((2, 3), (5, 6)))
    assert (twice > 0).all()
    torch.testing.assert_close(twice.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_half_precision_and_autocast() -> None:
    layer = filled(CrissCross(8, 4)).bfloat16()
    x = make_map(5, 7).bfloat16()
    assert layer(x).dtype == layer.weights(x, (0, 0)).dtype == torch.bfloat16
    layer, x = layer.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, layer(x), atol=0.1, rtol=0.1)


def test_channels_last_is_kept() -> None:
    layer = filled(RecurrentCrissCross(8, 2, 4))
    x = make_map(5, 7).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="reduction must lie between 1 and 4, got 8"):
        CrissCross(4)
    with pytest.raises(ValueError, match="at least one pass, got recurrence=0"):
        RecurrentCrissCross(8, 0)
    with pytest.raises(ValueError, match="unknown backend 'torhc': did you mean 'torch'"):
        CrissCross(8, backend="torhc")(torch.zeros(1, 8, 2, 2))
    layer = RecurrentCrissCross(8)
    with pytest.raises(ValueError, match=r"CrissCross takes a map \[b, c, h, w\], got a tensor of shape \(8, 3, 3\)"):
        layer(torch.zeros(8, 3, 3))
    with pytest.raises(ValueError, match="built for 8 channels, got 5: give channels=5"):
        layer.weights(torch.zeros(1, 5, 3, 3), (0, 0))
    with pytest.raises(ValueError, match=r"\(0, 3\) does not lie on a map of size \(3, 3\)"):
        layer.weights(torch.zeros(1, 8, 3, 3), (0, 3))
    for each in (layer, CrissCross(8)):
        with pytest.raises(ValueError, match=r"mask must be \[b, h, w\] = \(2, 3, 4\), got \(2, 4, 3\)"):
            each(torch.zeros(2, 8, 3, 4), torch.ones(2, 4, 3, dtype=torch.bool))
        for mask in (torch.ones(2, 4, 3, dtype=torch.bool), torch.ones(1, 3, 4, dtype=torch.bool), torch.ones(2, 3, 4)):
            with pytest.raises(ValueError, match="mask must be"):
                each.weights(torch.zeros(2, 8, 3, 4), (0, 0), mask=mask)


@pytest.mark.compile
def test_it_compiles_whole_with_changing_sizes() -> None:
    layer = filled(RecurrentCrissCross(8, 2, 4))
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in [(3, 5), (4, 7)]:
        x = make_map(*size)
        torch.testing.assert_close(compiled(x), layer(x))
