"""The position modules: equal to their functions, any size, published names, prefix tokens left alone, bad input."""

import functools

import pytest
import torch
from torch import Tensor, nn

from sightline.layers.positions import (
    AlibiBias,
    BiasesPositions,
    ConditionalPositions,
    CoordinateChannels,
    LearnedPositions,
    RelativeBias1d,
    RelativeBias2d,
    RelativeBiasT5,
    RotaryAxial,
    RotaryMixed,
    RotatesPositions,
    SinCosPositions,
)
from sightline.ops import positions, relative, rotary

SIZES = [(1, 1), (3, 5), (4, 4), (7, 2)]
ADDING = {
    "learned": lambda: LearnedPositions((4, 4), 8),
    "sincos": lambda: SinCosPositions("moco_v3"),
    "coordinates": lambda: CoordinateChannels(radius=True),
    "conditional": lambda: ConditionalPositions(8),
}
BIASES = {
    "relative": lambda: RelativeBias2d(3, (7, 5)),
    "alibi": lambda: AlibiBias(3),
    "alibi manhattan": lambda: AlibiBias(3, distance="manhattan"),
}
ROTATIONS = {
    "axial": lambda: RotaryAxial(8),
    "axial half": lambda: RotaryAxial(8, first="y", pairing="half"),
    "mixed": lambda: RotaryMixed(3, 8),
    "mixed half": lambda: RotaryMixed(3, 8, pairing="half"),
}


@pytest.mark.parametrize("size", SIZES)
def test_learned_positions_add_their_resized_table(size: tuple[int, int]) -> None:
    layer = LearnedPositions((3, 5), 6, prefix=2, antialias=False)
    x = torch.randn(2, 6, *size)
    rows = positions.resize_table(layer.pos_embed, (3, 5), size, prefix=2, antialias=False)
    torch.testing.assert_close(layer.table(size), rows)
    torch.testing.assert_close(layer(x).flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2) + rows[:, 2:])
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {"pos_embed": (1, 17, 6)}
    layer(x).sum().backward()
    torch.testing.assert_close(layer.pos_embed.grad[:, 2:].sum(), torch.tensor(2.0 * 6 * size[0] * size[1]))
    assert layer.pos_embed.grad[:, :2].abs().sum() == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("convention", ["mae", "moco_v3", "big_vision", "timm"])
def test_sincos_positions_add_row_t_to_token_t(convention: str, size: tuple[int, int]) -> None:
    layer = SinCosPositions(convention, prefix=1)
    x = torch.randn(2, 8, *size)
    rows = getattr(positions, f"sincos_{convention}")(size, 8)
    torch.testing.assert_close(layer(x).flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2) + rows)
    table = layer.table(size, 8)
    assert torch.equal(table[0, :1], torch.zeros(1, 8))
    assert torch.equal(table[0, 1:], rows)
    assert not layer.state_dict()


def test_any_function_may_be_the_convention() -> None:
    timm = functools.partial(positions.sincos_timm, interleave_sin_cos=True)
    x = torch.zeros(1, 8, 4, 4)
    torch.testing.assert_close(SinCosPositions(timm)(x), SinCosPositions("moco_v3")(x))


def test_coordinates_and_conditional_positions_equal_their_functions() -> None:
    x = torch.randn(2, 4, 3, 5)
    layer = CoordinateChannels(radius=True)
    assert torch.equal(layer(x), positions.coordinate_channels(x, radius=True))
    assert layer(x).shape[1] == 4 + layer.added
    assert CoordinateChannels()(x).shape[1] == 4 + CoordinateChannels().added
    peg = ConditionalPositions(4, kernel=5)
    assert {k: tuple(v.shape) for k, v in peg.state_dict().items()} == {
        "proj.0.weight": (4, 1, 5, 5),
        "proj.0.bias": (4,),
    }
    weight, bias = peg.state_dict().values()
    torch.testing.assert_close(peg(x), positions.conditional_positions(x, weight, bias))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ADDING)
def test_maps_keep_their_layout_and_dtype(name: str, layout: torch.memory_format) -> None:
    layer = ADDING[name]()
    for size in SIZES[1:]:
        x = torch.randn(2, 8, *size).to(memory_format=layout)
        assert layer(x).is_contiguous(memory_format=layout)
        assert layer.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
        layer.float()


@pytest.mark.parametrize("name", BIASES)
def test_biases_depend_on_the_offset_alone(name: str) -> None:
    layer = BIASES[name]()
    assert isinstance(layer, BiasesPositions)
    assert not isinstance(layer, RotatesPositions)
    for h, w in ((1, 1), (3, 5), (7, 2)):
        bias = layer.bias((h, w))
        assert bias.shape == (3, h * w, h * w)
        grid = bias.reshape(3, h, w, h, w)
        assert torch.equal(grid[:, 1:, :, 1:, :], grid[:, :-1, :, :-1, :])
        assert torch.equal(grid[:, :, 1:, :, 1:], grid[:, :, :-1, :, :-1])


def test_biases_equal_their_functions_and_carry_published_names() -> None:
    swin = RelativeBias2d(2, (3, 4))
    assert {k: tuple(v.shape) for k, v in swin.state_dict().items()} == {"relative_position_bias_table": (35, 2)}
    want = relative.relative_bias(swin.relative_position_bias_table, (2, 4), (3, 4))
    assert torch.equal(swin.bias((2, 4)), want)
    line = RelativeBias1d(2, 6)
    assert torch.equal(line.bias((4,)), relative.relative_bias(line.relative_position_bias_table, (4,), (6,)))
    t5 = RelativeBiasT5(2, buckets=8, furthest=20)
    assert list(t5.state_dict()) == ["relative_attention_bias.weight"]
    assert torch.equal(t5.bias((30,)), relative.t5_bias(t5.relative_attention_bias.weight, 30, furthest=20))
    alibi = AlibiBias(3)
    assert not alibi.state_dict()
    assert torch.equal(alibi.bias((2, 3)), relative.alibi_bias(relative.alibi_slopes(3), (2, 3)))
    assert alibi.bias((7,)).shape == (3, 7, 7)
    blocks = relative.alibi_bias(relative.alibi_slopes(3), (2, 3), distance="manhattan")
    assert torch.equal(AlibiBias(3, distance="manhattan").bias((2, 3)), blocks)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("name", ROTATIONS)
def test_rotating_leaves_prefix_tokens_alone(name: str, prefix: int) -> None:
    layer = ROTATIONS[name]()
    assert isinstance(layer, RotatesPositions)
    assert not isinstance(layer, BiasesPositions)
    query, key = (torch.randn(2, 3, prefix + 15, 8) for _ in range(2))
    angles = layer.angles((3, 5))
    for before, after in zip((query, key), layer.rotate(query, key, (3, 5)), strict=True):
        assert torch.equal(after[:, :, :prefix], before[:, :, :prefix])
        want = rotary.apply_rotary(before[:, :, prefix:], angles, pairing=layer.pairing)
        assert torch.equal(after[:, :, prefix:], want)
        assert (after - before)[:, :, prefix + 1 :].abs().max() > 0.1


def test_rotating_keeps_double_and_half_precision() -> None:
    x = torch.randn(1, 3, 15, 8, dtype=torch.float64)
    turned, _ = RotaryAxial(8).rotate(x, x, (3, 5))
    exact = rotary.axial_angles((3, 5), 8, dtype=torch.float64)
    torch.testing.assert_close(turned, rotary.apply_rotary(x, exact, pairing="interleaved"), atol=0, rtol=0)
    for layer in (RotaryAxial(8), RotaryMixed(3, 8).bfloat16()):
        assert layer.rotate(x.bfloat16(), x.bfloat16(), (3, 5))[1].dtype == torch.bfloat16


def test_mixed_frequencies_are_learned_from_the_scores() -> None:
    layer = RotaryMixed(3, 8)
    assert {k: tuple(v.shape) for k, v in layer.state_dict().items()} == {"freqs": (2, 3, 4)}
    query, key = layer.rotate(torch.randn(2, 3, 12, 8), torch.randn(2, 3, 12, 8), (3, 4))
    (query @ key.transpose(-1, -2)).square().sum().backward()
    assert (layer.freqs.grad.abs() > 0).all()


def test_axial_options_reach_the_angles() -> None:
    layer = RotaryAxial(8, theta=50.0, first="y")
    assert torch.equal(layer.angles((3, 5)), rotary.axial_angles((3, 5), 8, theta=50.0, first="y"))
    assert torch.equal(RotaryAxial(8).angles((3, 5)), rotary.axial_angles((3, 5), 8, theta=100.0, first="x"))


def test_a_sequence_and_a_volume_rotate_too() -> None:
    x = torch.randn(1, 2, 24, 12)
    for layer, size in ((RotaryAxial(12, axes=1, theta=10000.0), (24,)), (RotaryAxial(12, axes=3), (2, 3, 4))):
        torch.testing.assert_close(layer.rotate(x, x, size)[0].norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LearnedPositions((4,), 8), r"a size \(h, w\) and a prefix of 0 or more, got \(4,\), 0"),
        (
            lambda: LearnedPositions((4, 4), 8)(torch.zeros(1, 6, 4, 4)),
            "these positions have 8 channels, the map has 6",
        ),
        (lambda: SinCosPositions("moco"), "did you mean 'moco_v3'"),
        (lambda: SinCosPositions(prefix=-1), "cannot be negative, got -1"),
        (lambda: SinCosPositions()(torch.zeros(1, 6, 4, 4)), "multiple of 4 channels, got 6"),
        (lambda: ConditionalPositions(4)(torch.zeros(1, 6, 4, 4)), "built for 4 channels, got 6"),
        (lambda: ConditionalPositions(4)(torch.zeros(4, 4, 4)), r"takes a map \[b, c, h, w\], got .* \(4, 4, 4\)"),
        (lambda: ConditionalPositions(4, kernel=4), "odd kernel.*got 4"),
        (lambda: RelativeBias1d(2, 4).bias((5,)), r"made for size \(4,\) cannot serve size \(5,\)"),
        (lambda: RelativeBias2d(2, (4, 4)).bias((3, 5)), r"cannot serve size \(3, 5\): resize it first"),
        (lambda: RelativeBias2d(2, (4,)), r"needs a size \(h, w\), got \(4,\)"),
        (lambda: RelativeBias2d(0, (4, 4)), "at least one head and one position"),
        (lambda: RelativeBiasT5(2).bias((3, 3)), "take RelativeBias2d"),
        (lambda: RelativeBiasT5(2, buckets=5), "got 5 buckets"),
        (lambda: AlibiBias(2, distance="manhatan"), "did you mean 'manhattan'"),
        (lambda: RotaryAxial(6), "divisible by 4, got 6"),
        (lambda: RotaryAxial(8, pairing="halves"), "did you mean 'half'"),
        (lambda: RotaryAxial(8).angles((3,)), r"made for 2 axes, got size \(3,\)"),
        (lambda: RotaryAxial(8).rotate(*[torch.zeros(1, 1, 5, 8)] * 2, (3, 3)), "9 positions, but there are 5 tokens"),
        (lambda: RotaryMixed(2, 8).rotate(*[torch.zeros(1, 3, 9, 8)] * 2, (3, 3)), "3 heads of 9 tokens"),
        (lambda: RotaryMixed(2, 6), "divisible by 4, got 2 heads of 6"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_bad_input_is_said_in_a_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]


class Attend(nn.Module):
    """Scores with a scheme, as an attention layer would take it."""

    def __init__(self, scheme: nn.Module) -> None:
        super().__init__()
        self.scheme = scheme

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if isinstance(self.scheme, RotatesPositions):
            query, key = self.scheme.rotate(x, x, size)
            return query @ key.transpose(-1, -2)
        assert isinstance(self.scheme, BiasesPositions)
        return x @ x.transpose(-1, -2) + self.scheme.bias(size)


@pytest.mark.compile
@pytest.mark.parametrize("name", ADDING)
def test_maps_compile_whole_for_sizes_that_vary(name: str) -> None:
    layer = ADDING[name]()
    fast = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((3, 5), (6, 4), (9, 7)):
        x = torch.randn(2, 8, *size, requires_grad=True)
        torch.testing.assert_close(fast(x), layer(x))
        up = torch.randn_like(layer(x))
        ours, theirs = (torch.autograd.grad((f(x) * up).sum(), [x, *layer.parameters()]) for f in (fast, layer))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.compile
@pytest.mark.parametrize("name", [*BIASES, *ROTATIONS])
def test_schemes_compile_whole_for_sizes_that_vary(name: str) -> None:
    layer = Attend({**BIASES, **ROTATIONS}[name]())
    fast = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((3, 5), (6, 4), (2, 3)):
        x = torch.randn(2, 3, size[0] * size[1], 8, requires_grad=True)
        torch.testing.assert_close(fast(x, size), layer(x, size))
        ours, theirs = (torch.autograd.grad(f(x, size).square().sum(), [x, *layer.parameters()]) for f in (fast, layer))
        torch.testing.assert_close(ours, theirs)
