"""Multi-head attention equals the textbook formula, and its weights are those that its output was made with."""

import pytest
import torch
from torch import Tensor, nn

from sightline.layers.attention import AttentionLayer
from sightline.layers.multi_head import MultiHeadAttention
from sightline.layers.positions import (
    AlibiBias,
    BiasesPositions,
    RelativeBias2d,
    RotaryAxial,
    RotaryMixed,
    RotatesPositions,
)
from sightline.ops.patterns import everything


class Turn(nn.Module):
    """A rotary scheme of the simplest kind: coordinate pairs turned by the token's place on the grid, prefix
    untouched."""

    def rotate(self, query: Tensor, key: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        places = torch.arange(int(torch.tensor(size).prod())).to(query.dtype)
        angles = torch.cat([torch.zeros(query.shape[2] - len(places)).to(query.dtype), places])[:, None]

        def turned(x: Tensor) -> Tensor:
            first, second = x.chunk(2, -1)
            return torch.cat(
                [first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], -1
            )

        return turned(query), turned(key)


class Slope(nn.Module):
    """A relative scheme of the simplest kind."""

    def bias(self, size: tuple[int, ...]) -> Tensor:
        places = torch.arange(int(torch.tensor(size).prod())).double()
        return torch.stack([-(places[:, None] - places).abs() * s for s in (0.1, 0.7)])


def textbook(layer: MultiHeadAttention, tokens: Tensor, size: tuple[int, ...], mask: Tensor | None = None) -> Tensor:
    """Loops over samples, heads and queries: softmax(q k / sqrt(d)) v, heads side by side, one projection."""
    b, n, c = tokens.shape
    d = c // layer.heads
    prefix = n - int(torch.tensor(size).prod())
    out = torch.zeros(b, n, c, dtype=tokens.dtype)
    for i in range(b):
        query, key, value = (tokens[i] @ layer.qkv.weight.T + layer.qkv.bias).split(c, -1)
        if isinstance(layer.position, RotatesPositions):
            split = (t.reshape(n, layer.heads, d).transpose(0, 1)[None] for t in (query, key))
            query, key = (t[0].transpose(0, 1).flatten(1) for t in layer.position.rotate(*split, size))
        for h in range(layer.heads):
            part = slice(h * d, (h + 1) * d)
            q, k, v = query[:, part], key[:, part], value[:, part]
            for j in range(n):
                scores = torch.stack([(q[j] * k[m]).sum() / d**0.5 for m in range(n)])
                if isinstance(layer.position, BiasesPositions) and j >= prefix:
                    scores[prefix:] += layer.position.bias(size)[h, j - prefix]
                seen = torch.ones(n, dtype=torch.bool) if mask is None else mask[i]
                if seen.any():
                    weights = torch.zeros(n, dtype=tokens.dtype)
                    weights[seen] = scores[seen].softmax(-1)
                    out[i, j, part] = weights @ v
    return out @ layer.proj.weight.T + layer.proj.bias


def make(position: nn.Module | None = None) -> MultiHeadAttention:
    return MultiHeadAttention(8, 2, position=position).double()


@pytest.mark.parametrize("position", [None, Turn(), Slope()], ids=["plain", "rotate", "bias"])
@pytest.mark.parametrize("masked", [False, True])
def test_tokens_with_a_prefix_equal_the_textbook(position: nn.Module | None, masked: bool) -> None:
    layer, size, prefix = make(position), (2, 3), 2
    tokens = torch.randn(3, prefix + 6, 8, dtype=torch.float64)
    mask = torch.rand(3, 8) > 0.4 if masked else None
    if mask is not None:
        mask[1] = False  # one sample with nothing to see
    out = layer(tokens, size=size, mask=mask)
    torch.testing.assert_close(out, textbook(layer, tokens, size, mask))


@pytest.mark.parametrize("position", [RotaryAxial(4), RotaryMixed(2, 4), AlibiBias(2), RelativeBias2d(2, (2, 3))])
def test_position_modules_of_the_house_fit(position: nn.Module) -> None:
    for parameter in position.parameters():
        nn.init.normal_(parameter)
    layer = make(position)
    tokens = torch.randn(2, 2 + 6, 8, dtype=torch.float64)
    out = layer(tokens, size=(2, 3))
    torch.testing.assert_close(out, textbook(layer, tokens, (2, 3)))
    value = layer.qkv(tokens)[..., 16:].reshape(2, 8, 2, 4)
    for query, index in ((0, 0), ((1, 1), 6)):
        mixed = torch.einsum("bhn,bnhd->bhd", layer.weights(tokens, query, size=(2, 3)), value).flatten(1)
        torch.testing.assert_close(layer.proj(mixed), out[:, index])
    assert (out - make()(tokens)).abs().max() > 1e-6


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (1, 4), (2, 3, 2)])
@pytest.mark.parametrize("position", [None, Turn()], ids=["plain", "rotate"])
def test_a_map_is_its_tokens_row_by_row(size: tuple[int, ...], position: nn.Module | None) -> None:
    layer = make(position)
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    out = layer(x)
    tokens = layer(x.flatten(2).transpose(1, 2), size=size)
    torch.testing.assert_close(out.flatten(2).transpose(1, 2), tokens)
    torch.testing.assert_close(tokens, textbook(layer, x.flatten(2).transpose(1, 2), size))


@pytest.mark.parametrize("position", [None, Turn(), Slope()], ids=["plain", "rotate", "bias"])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_those_of_forward(position: nn.Module | None, masked: bool) -> None:
    layer = make(position)
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    mask = torch.rand(2, 3, 4) > 0.4 if masked else None
    if mask is not None:
        mask[1] = False
    value = layer.qkv(x.flatten(2).transpose(1, 2))[..., 16:].reshape(2, 12, 2, 4)
    out = layer(x, mask=mask)
    for query in [(0, 0), (2, 1), (1, 3)]:
        weights = layer.weights(x, query, mask=mask)
        assert weights.shape == (2, 2, 3, 4)
        mixed = torch.einsum("bhn,bnhd->bhd", weights.flatten(2), value).flatten(1)
        torch.testing.assert_close(layer.proj(mixed), out[:, :, query[0], query[1]])
    if mask is not None:
        assert (weights[1] == 0).all()


def test_prefix_tokens_are_addressed_apart() -> None:
    layer, size = make(Turn()), (2, 3)
    tokens = torch.randn(2, 7, 8, dtype=torch.float64)
    by_place = layer.weights(tokens, (1, 2), size=size)
    assert by_place.shape == (2, 2, 7)
    torch.testing.assert_close(by_place, layer.weights(tokens, 6, size=size))
    of_class = layer.weights(tokens, 0, size=size)
    value = layer.qkv(tokens)[..., 16:].reshape(2, 7, 2, 4)
    mixed = torch.einsum("bhn,bnhd->bhd", of_class, value).flatten(1)
    torch.testing.assert_close(layer.proj(mixed), layer(tokens, size=size)[:, 0])
    torch.testing.assert_close(of_class.sum(-1), torch.ones(2, 2, dtype=torch.float64))


def test_it_is_an_attention_layer_with_published_names() -> None:
    layer = make()
    assert isinstance(layer, AttentionLayer)
    assert layer.pattern is everything
    assert set(layer.state_dict()) == {"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}


def test_half_precision_stays_half() -> None:
    layer = MultiHeadAttention(8, 2).bfloat16()
    x = torch.randn(1, 8, 3, 4).bfloat16()
    assert layer(x).dtype == layer.weights(x, (0, 0)).dtype == torch.bfloat16


@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"8 channels do not divide into 3 heads: give one of 1, 2, 4, 8"):
        MultiHeadAttention(8, 3)
    with pytest.raises(ValueError, match=r"has a method rotate.* or bias.*, Identity has neither"):
        MultiHeadAttention(8, 2, position=nn.Identity())
    layer = MultiHeadAttention(8, 2)
    with pytest.raises(ValueError, match=r"takes tokens \[b, n, c\] or a map \[b, c, h, w\]"):
        layer.attend(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"built for tokens \[b, n, 8\], got shape \(2, 5, 7\)"):
        layer(torch.zeros(2, 5, 7))
    with pytest.raises(ValueError, match="built for 8 channels, got 5"):
        layer(torch.zeros(2, 5, 7, 7))
    with pytest.raises(ValueError, match=r"a grid of size \(3, 3\) has more positions than there are tokens, 5"):
        layer(torch.zeros(2, 5, 8), size=(3, 3))
    with pytest.raises(ValueError, match="beside a map"):
        layer(torch.zeros(2, 8, 3, 3), size=(2, 3))
    with pytest.raises(ValueError, match="one entry for every key"):
        layer(torch.zeros(2, 8, 3, 3), mask=torch.ones(2, 3, 4, dtype=torch.bool))
    for call in (layer, lambda x, mask: layer.weights(x, (0, 0), mask=mask)):
        with pytest.raises(ValueError, match=r"bool, with one entry .* got torch.float32 \(2, 3, 3\): True marks"):
            call(torch.zeros(2, 8, 3, 3), mask=torch.ones(2, 3, 3))
    for heads in (1, 4):
        biased = MultiHeadAttention(8, 2, position=AlibiBias(heads))
        with pytest.raises(
            ValueError, match=rf"2 heads on 9 positions .* AlibiBias gave \({heads}, 9, 9\): make it for 2"
        ):
            biased(torch.zeros(2, 8, 3, 3))
    with pytest.raises(ValueError, match=r"\(3, 0\) does not lie on a map of size \(3, 3\)"):
        layer.weights(torch.zeros(2, 8, 3, 3), (3, 0))
    with pytest.raises(ValueError, match="token 9 was asked for, there are 5"):
        layer.weights(torch.zeros(2, 5, 8), 9)


@pytest.mark.compile
def test_it_compiles_whole_with_changing_sizes() -> None:
    layer = MultiHeadAttention(8, 2).double()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in [(3, 5), (4, 7)]:
        x = torch.randn(2, 8, *size, dtype=torch.float64)
        torch.testing.assert_close(compiled(x), layer(x))
