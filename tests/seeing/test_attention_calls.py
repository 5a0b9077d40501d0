"""Every attention call is met and named, and its rows equal the whole table in float64; nothing is left behind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.layers.multi_head import MultiHeadAttention
from sightline.seeing.attention_calls import Call, watch_attention
from sightline.seeing.attention_places import Place


class Tokens(nn.Module):
    """Patches of 4 pixels as tokens, prefix tokens before them, then whatever attention is given."""

    def __init__(self, attend: Callable[[Tensor], Tensor] | nn.Module, channels: int = 8, prefix: int = 0) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, 4)
        self.prefix = nn.Parameter(torch.randn(1, prefix, channels)) if prefix else None
        self.attend = attend

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).mT
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.expand(image.shape[0], -1, -1), tokens], 1)
        return self.attend(tokens)


def split(tokens: Tensor, heads: int = 2) -> Tensor:
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def calls(network: nn.Module, image: Tensor, **options: int) -> list[Call]:
    found: list[Call] = []
    watch_attention(network, image, found.append, **options)
    return found


def whole(call: Call) -> Tensor:
    """All rows, made in two blocks and once one by one, which must agree."""
    n = call.queries.count
    blocks = torch.cat([call.rows(0, n // 3), call.rows(n // 3, n)], 1)
    torch.testing.assert_close(torch.stack([call.row(i) for i in range(n)], 1), blocks, rtol=1e-5, atol=1e-6)
    return blocks


def table(query: Tensor, key: Tensor, scale: float | None = None, bias: Tensor | float = 0.0) -> Tensor:
    """The oracle: the whole N x N table in float64."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.einsum("...nd,...md->...nm", query.double(), key.double()) * scale + bias
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


BIAS = torch.randn(2, 13, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
HIDDEN = torch.where(torch.rand(13, 13, generator=torch.Generator().manual_seed(4)) < 0.4, -torch.inf, 0.0).double()
HIDDEN.fill_diagonal_(0.0)
CAUSAL = torch.full((13, 13), -torch.inf, dtype=torch.float64).triu(1)


@pytest.mark.parametrize(
    ("options", "scale", "bias"),
    [
        ({}, None, 0.0),
        ({"scale": 0.3}, 0.3, 0.0),
        ({"is_causal": True}, None, CAUSAL),
        ({"attn_mask": BIAS}, None, BIAS),
        ({"attn_mask": BIAS[:1, None]}, None, BIAS[0]),
        ({"attn_mask": HIDDEN == 0}, None, HIDDEN),
        ({"attn_mask": (HIDDEN == 0)[3:4]}, None, HIDDEN[3]),
    ],
)
@pytest.mark.parametrize("function", [F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention])
def test_scaled_dot_product_with_every_argument(
    function: Any, options: dict[str, Any], scale: float | None, bias: Tensor | float
) -> None:
    kept: list[Tensor] = []

    def attend(tokens: Tensor) -> Tensor:
        kept.extend([split(tokens), split(tokens).sin() * 3])
        return function(*kept, split(tokens), **options)

    network = Tokens(attend, prefix=1).double()
    image = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    (call,) = calls(network, image)
    assert (call.layer, call.kind, call.number, call.groups) == ("", "scaled dot product", 1, 1)
    assert call.queries == call.keys == Place(13, (3, 4), 1)
    torch.testing.assert_close(whole(call), table(kept[0][0], kept[1][0], scale, bias), rtol=1e-12, atol=1e-14)


def test_grouped_heads_and_a_row_that_sees_nothing() -> None:
    mask = torch.ones(12, 12, dtype=torch.bool)
    mask[5] = False
    kept: list[Tensor] = []

    def attend(tokens: Tensor) -> Tensor:
        kept.extend([split(tokens, 4), split(tokens, 4)[:, ::2].cos()])
        return F.scaled_dot_product_attention(kept[0], kept[1], kept[1], attn_mask=mask, enable_gqa=True)

    (call,) = calls(Tokens(attend).double(), torch.randn(1, 3, 12, 16, dtype=torch.float64))
    rows = whole(call)
    expected = table(kept[0][0], kept[1][0][[0, 0, 1, 1]])
    expected[:, 5] = 0
    torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize("merged", [True, False])
def test_three_axes_are_heads_where_the_grid_is_whole_and_windows_where_it_is_not(merged: bool) -> None:
    def attend(tokens: Tensor) -> Tensor:
        x = split(tokens).flatten(0, 1) if merged else tokens.unflatten(1, (2, 6)).flatten(0, 1)
        return F.scaled_dot_product_attention(x, x, x)

    network = Tokens(attend).double()
    image = torch.randn(1, 3, 12, 16, dtype=torch.float64)
    (call,) = calls(network, image)
    tokens = network.patches(image).flatten(2).mT[0]
    if merged:
        assert call.groups == 1
        assert call.queries.grid == (3, 4)
        torch.testing.assert_close(whole(call), table(split(tokens[None])[0], split(tokens[None])[0]))
    else:
        assert call.groups == 2
        assert call.queries.grid is None
        torch.testing.assert_close(whole(call), table(tokens[None, :6], tokens[None, :6]))


@pytest.mark.parametrize("written", [True, False])
def test_windows_as_large_as_a_map_that_was_made_are_no_map(written: bool) -> None:
    """Two windows of 12 tokens, heads merged with them, in a network that has a map of 3 x 4 as well."""

    class Windowed(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            x = split(windows).flatten(0, 1)
            return (x @ x.mT).softmax(-1) @ x if written else F.scaled_dot_product_attention(x, x, x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.windowed = nn.Conv2d(3, 8, 4, 4), Windowed()

        def forward(self, image: Tensor) -> Tensor:
            fine = self.patches(image)
            F.max_pool2d(fine, 2)
            self.windowed(fine.flatten(2).mT.reshape(4, 12, 8))
            x = fine.flatten(2).mT.reshape(1, 1, 4, 12, 8)  # one head, the windows beside it
            return (x @ x.mT).softmax(-1) @ x if written else F.scaled_dot_product_attention(x, x, x)

    merged, beside = calls(Network(), torch.randn(1, 3, 24, 32))
    assert (merged.queries, merged.keys, merged.groups) == (Place(12, None), Place(12, None), 8)
    assert (beside.queries, beside.keys, beside.groups) == (Place(12, None), Place(12, None), 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "write", ["matmul", "bmm", "transposed", "einsum", "einsum other way", "dropout and dtype", "module"]
)
def test_softmax_written_out_is_known_by_its_values(write: str, dtype: torch.dtype) -> None:
    def attend(tokens: Tensor) -> Tensor:
        x = split(tokens)
        scores = torch.matmul(x, x.transpose(2, 3)) * 0.5
        scores.softmax(-1).argmax(-1)  # no values: no attention
        if write == "matmul":
            return scores.softmax(-1) @ x
        if write == "bmm":
            return torch.bmm(torch.softmax(scores, dim=3).flatten(0, 1), x.flatten(0, 1))
        if write == "transposed":
            return torch.matmul(x.mT, scores.softmax(-1).permute(0, 1, 3, 2))
        if write == "einsum":
            return torch.einsum("b h i j, b h j d -> b h i d", scores.softmax(-1), x)
        if write == "einsum other way":
            return torch.einsum("bhjd,bhij->bhid", x, scores.softmax(-1))
        if write == "module":
            return nn.Softmax(dim=-1)(scores) @ x
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(x.dtype)
        return torch.matmul(F.dropout(weights, 0.5, training=False).contiguous(), x)

    network = Tokens(attend, prefix=1).to(dtype)
    image = torch.randn(1, 3, 12, 16).to(dtype)
    (call,) = calls(network, image)
    assert call.kind == "softmax written out"
    assert call.queries == Place(13, (3, 4), 1)
    with torch.no_grad():
        tokens = torch.cat([network.prefix, network.patches(image).flatten(2).mT], 1)
    bound = 2e-2 if dtype == torch.bfloat16 else 1e-6  # of a softmax that itself was in bfloat16, or in float32
    expected = table(split(tokens)[0], split(tokens)[0], 0.5)
    torch.testing.assert_close(whole(call).double(), expected, rtol=bound, atol=bound)


def test_a_product_after_a_softmax_that_is_no_attention_is_not_told() -> None:
    def channels(tokens: Tensor) -> Tensor:
        x = tokens.mT  # [b, c, n]: who is mixed are the channels
        return torch.bmm((x @ x.mT).softmax(-1), x)

    def over_queries(tokens: Tensor) -> Tensor:
        return (tokens @ tokens.mT).softmax(1) @ tokens

    def over_the_other_axis(tokens: Tensor) -> Tensor:
        return torch.einsum("bij,bid->bjd", (tokens @ tokens.mT).softmax(-1), tokens)

    def channels_of_heads(tokens: Tensor) -> Tensor:
        x = split(tokens).mT
        return torch.einsum("bhcd,bhdn->bhcn", (x @ x.mT).softmax(-1), x)

    def codebook(tokens: Tensor) -> Tensor:
        return (tokens @ torch.ones(8, 5)).softmax(-1) @ torch.ones(5, 8)

    for attend in (channels, over_queries, over_the_other_axis, channels_of_heads, codebook):
        assert calls(Tokens(attend), torch.randn(1, 3, 12, 16)) == []


def test_written_out_attention_off_the_grid_is_told_without_a_place() -> None:
    def decoder(tokens: Tensor) -> Tensor:
        queries = tokens[:, :5].cos()
        (queries @ tokens.mT).softmax(-1) @ tokens  # five queries that stand nowhere, over the grid
        few = split(tokens[:, ::2])
        (few @ few.mT).softmax(-1) @ few  # what is left of the grid
        windows = split(tokens.unflatten(1, (2, 6)).flatten(0, 1))
        return (windows @ windows.mT).softmax(-1) @ windows

    cross, few, windows = calls(Tokens(decoder), torch.randn(1, 3, 12, 16))
    assert (cross.queries, cross.keys) == (Place(5, None), Place(12, (3, 4)))
    assert (few.queries, few.keys, few.groups) == (Place(6, None), Place(6, None), 1)
    assert (windows.queries, windows.keys, windows.groups) == (Place(6, None), Place(6, None), 2)


def test_multi_head_attention_with_every_option() -> None:
    """PyTorch's own weights, for each head, are the oracle."""
    torch.manual_seed(1)
    padding = torch.zeros(1, 12, dtype=torch.bool)
    padding[0, 9:] = True
    options: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"batch_first": True}, {}),
        ({"batch_first": True, "bias": False}, {"attn_mask": torch.randn(12, 12)}),
        ({"batch_first": True}, {"key_padding_mask": padding}),
        ({"batch_first": True}, {"attn_mask": torch.ones(12, 12, dtype=torch.bool).triu(1), "is_causal": True}),
        ({"batch_first": True}, {"attn_mask": torch.randn(2, 12, 12), "key_padding_mask": torch.randn(1, 12)}),
        ({"batch_first": True, "add_bias_kv": True}, {"key_padding_mask": padding}),
        ({"batch_first": True, "add_zero_attn": True, "add_bias_kv": True}, {}),
        ({"batch_first": True, "kdim": 8, "vdim": 4}, {}),
        ({"batch_first": False}, {"key_padding_mask": padding}),
    ]
    for made, given in options:
        layer = nn.MultiheadAttention(8, 2, **made)
        for parameter in layer.parameters():  # biases of keys start at zero
            nn.init.normal_(parameter)
        answers: list[Tensor] = []

        def attend(tokens: Tensor, layer: nn.Module = layer, given: dict = given, answers: list = answers) -> Tensor:
            x = tokens if layer.batch_first else tokens.transpose(0, 1)
            value = x[..., :4] if layer.vdim == 4 else x
            out, weights = layer(x, x, value, average_attn_weights=False, **given)
            answers.append(weights)
            layer(x, x, value, need_weights=False, **given)
            return out

        network = Tokens(attend)
        network.layer = layer
        first, second = calls(network, torch.randn(2, 3, 12, 16))
        assert (first.layer, first.kind, first.number, second.number) == ("layer", "multi-head", 1, 2)
        assert first.keys.grid == (3, 4)
        assert first.keys.suffix == made.get("add_bias_kv", 0) + made.get("add_zero_attn", 0)
        for call in (first, second):
            torch.testing.assert_close(whole(call), answers[0][0], rtol=1e-5, atol=1e-6)


def test_bool_masks_that_come_straight_to_the_function_say_who_is_hidden() -> None:
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    mask, padding = torch.rand(12, 12) < 0.4, torch.zeros(1, 12, dtype=torch.bool)
    padding[0, 7] = True
    answers: list[Tensor] = []

    def attend(tokens: Tensor) -> Tensor:
        x = tokens.transpose(0, 1)
        of_layer = (layer.in_proj_weight, layer.in_proj_bias, layer.bias_k, layer.bias_v, False, 0.0)
        out, weights = F.multi_head_attention_forward(
            *(x, x, x, 8, 2, *of_layer, layer.out_proj.weight, layer.out_proj.bias),
            attn_mask=mask,
            key_padding_mask=padding,
            average_attn_weights=False,
        )
        answers.append(weights)
        return out

    (call,) = calls(Tokens(attend), torch.randn(1, 3, 12, 16))
    torch.testing.assert_close(whole(call), answers[0][0], rtol=1e-5, atol=1e-6)
    assert (call.keys.grid, call.keys.suffix) == ((3, 4), 1)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_transformer_encoder_where_pytorch_fuses(norm_first: bool, nested: bool) -> None:
    made = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(made, 2, enable_nested_tensor=nested and not norm_first).eval()
    padding = torch.zeros(1, 12, dtype=torch.bool)
    padding[0, 10:] = True
    network = Tokens(lambda tokens: encoder(tokens, src_key_padding_mask=padding)).eval()
    network.encoder = encoder
    image = torch.randn(1, 3, 12, 16)
    first, second = calls(network, image)
    assert [c.layer for c in (first, second)] == ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    with torch.no_grad():
        x = network.patches(image).flatten(2).mT
        for call, layer in zip((first, second), encoder.layers, strict=True):
            inner = layer.norm1(x) if norm_first else x
            expected = layer.self_attn(inner, inner, inner, key_padding_mask=padding, average_attn_weights=False)[1]
            torch.testing.assert_close(whole(call), expected[0], rtol=1e-5, atol=1e-6)
            x = layer(x, src_key_padding_mask=padding)
    assert not first.rows(0, 12)[:, :, 10:].any()


def test_the_network_is_left_as_it_was_also_after_an_exception() -> None:
    network = Tokens(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True))
    network.norm = nn.BatchNorm2d(3)
    attend = network.attend
    network.attend = nn.Sequential(attend, nn.Dropout(0.5))
    network.attend[1].eval()  # modes differ between modules
    network.train()
    network.norm.eval()
    network.patches.weight.requires_grad_(False)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    image = torch.randn(2, 3, 12, 16, requires_grad=True)
    torch.manual_seed(7)
    before = network(image)
    torch.manual_seed(7)
    modes = [m.training for m in network.modules()]
    assert len(calls(network, image)) == 1
    assert [m.training for m in network.modules()] == modes
    after = network(image)  # the same random numbers: none was drawn meanwhile
    assert torch.equal(before, after)

    class BrokenError(Exception):
        pass

    def break_it(call: Call) -> None:
        raise BrokenError

    wrong = nn.Linear(5, 5)
    random = torch.random.get_rng_state()
    with pytest.raises(BrokenError):
        watch_attention(network, image, break_it)
    assert hooks(network) == 0
    network.attend.append(wrong)  # does not fit: the network itself raises
    modes = [m.training for m in network.modules()]
    assert len(set(modes)) == 2
    with pytest.raises(RuntimeError):
        calls(network, image)
    assert hooks(network) == 0
    assert [m.training for m in network.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in state.items())
    assert all(p.grad is None for p in network.parameters())
    assert torch.overrides._get_current_function_mode() is None


def test_random_numbers_that_a_network_draws_in_evaluation_are_given_back() -> None:
    def attend(tokens: Tensor) -> Tensor:
        x = tokens + torch.rand_like(tokens)
        return F.scaled_dot_product_attention(x, x, x)

    random = torch.random.get_rng_state()
    network = Tokens(attend)
    random = torch.random.get_rng_state()
    calls(network, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.random.get_rng_state(), random)


def test_an_exception_that_the_network_catches_does_not_mix_up_names() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    class Catching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.failing, self.attention = Failing(), MultiHeadAttention(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                self.failing(x)
            except ValueError:
                x = F.scaled_dot_product_attention(x, x, x)
            return self.attention(x)

    found = calls(Tokens(Catching()), torch.randn(1, 3, 12, 16))
    assert [(c.layer, c.kind) for c in found] == [
        ("attend", "scaled dot product"),
        ("attend.attention", "multi-head"),
    ]
