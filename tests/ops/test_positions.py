"""Tables and channels, each against a loop that spells its formula out, one position and one channel at a time."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.positions import (
    bicubic_matrix,
    conditional_positions,
    coordinate_channels,
    grid,
    resize_bicubic,
    resize_table,
    sincos_big_vision,
    sincos_mae,
    sincos_moco_v3,
    sincos_timm,
    sinusoidal,
)

SIZES = [(1, 1), (4, 4), (3, 5), (7, 2), (1, 6)]
EXACT = {"atol": 1e-12, "rtol": 0}


def code(t: float, quarter: int, divisor: int) -> tuple[list[float], list[float]]:
    """Sines and cosines of one coordinate, from the formula."""
    angles = [t / 10000 ** (j / divisor) for j in range(quarter)]
    return [math.sin(a) for a in angles], [math.cos(a) for a in angles]


def spelled_out(convention: str, size: tuple[int, int], channels: int) -> Tensor:
    """The published loops in words: for token t, which coordinate goes first, and in what order the blocks come."""
    h, w = size
    quarter = channels // 4
    divisor = quarter - 1 if convention == "big_vision" else quarter
    rows = []
    for t in range(h * w):
        y, x = t // w, t % w  # where a row-major token stands
        if convention in ("mae", "big_vision"):
            first, second = x, y
        elif convention == "moco_v3":
            first, second = t // h, t % h  # meshgrid(w, h), 'ij': the w axis is the slow one
        elif convention.startswith("timm reverse"):
            first, second = t // h, t % h  # ndgrid over (w, h)
        else:
            first, second = y, x
        (s1, c1), (s2, c2) = code(first, quarter, divisor), code(second, quarter, divisor)
        rows.append(s1 + s2 + c1 + c2 if convention in ("timm", "timm reverse") else s1 + c1 + s2 + c2)
    return torch.tensor(rows, dtype=torch.float64)


TABLES = {
    "mae": sincos_mae,
    "moco_v3": sincos_moco_v3,
    "big_vision": sincos_big_vision,
    "timm": sincos_timm,
    "timm interleave": lambda *a, **k: sincos_timm(*a, interleave_sin_cos=True, **k),
    "timm reverse": lambda *a, **k: sincos_timm(*a, reverse_coord=True, **k),
    "timm reverse interleave": lambda *a, **k: sincos_timm(*a, interleave_sin_cos=True, reverse_coord=True, **k),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("convention", TABLES)
def test_each_convention_is_its_published_loop(convention: str, size: tuple[int, int]) -> None:
    for channels in (8, 12, 20):
        table = TABLES[convention](size, channels, dtype=torch.float64)
        torch.testing.assert_close(table, spelled_out(convention, size, channels), **EXACT)


@pytest.mark.parametrize("convention", TABLES)
def test_tables_are_float32_by_default_and_made_in_it_for_half_precision(convention: str) -> None:
    exact = TABLES[convention]((3, 300), 16, dtype=torch.float64)
    table = TABLES[convention]((3, 300), 16)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, exact.float(), atol=1e-4, rtol=0)
    # angles in bfloat16 would be wrong by whole radians here; rounding the finished sine costs half a unit of 2^-8
    torch.testing.assert_close(TABLES[convention]((3, 300), 16, dtype=torch.bfloat16), table.bfloat16(), atol=0, rtol=0)


def test_square_maps_moco_v3_is_mae_with_halves_swapped() -> None:
    mae, moco = (f((5, 5), 16, dtype=torch.float64) for f in (sincos_mae, sincos_moco_v3))
    torch.testing.assert_close(moco, mae.roll(8, dims=1), **EXACT)


def test_square_maps_timm_interleaved_is_moco_v3_and_reversing_does_nothing() -> None:
    timm = sincos_timm((5, 5), 16, interleave_sin_cos=True, dtype=torch.float64)
    torch.testing.assert_close(timm, sincos_moco_v3((5, 5), 16, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(sincos_timm((5, 5), 16, reverse_coord=True), sincos_timm((5, 5), 16), **EXACT)


def test_other_maps_moco_v3_lies_transposed_and_equals_timm_reversed() -> None:
    h, w, c = 3, 5, 16
    moco = sincos_moco_v3((h, w), c, dtype=torch.float64)
    mae = sincos_mae((h, w), c, dtype=torch.float64)
    torch.testing.assert_close(moco.reshape(w, h, c).transpose(0, 1), mae.reshape(h, w, c), **EXACT)
    assert (moco - mae).abs().max() > 0.5
    assert (moco - mae.roll(c // 2, dims=1)).abs().max() > 0.5
    timm = sincos_timm((h, w), c, interleave_sin_cos=True, reverse_coord=True, dtype=torch.float64)
    torch.testing.assert_close(timm, moco, **EXACT)


@pytest.mark.parametrize("convention", TABLES)
def test_every_position_has_its_own_code(convention: str) -> None:
    table = TABLES[convention]((7, 10), 16, dtype=torch.float64)
    apart = torch.cdist(table, table) + 9 * torch.eye(70, dtype=torch.float64)
    assert apart.min() > 0.1


def test_big_vision_reaches_the_lowest_frequency_and_mae_does_not() -> None:
    step = {f: f((1, 2), 16, dtype=torch.float64)[1, 3].asin() for f in (sincos_mae, sincos_big_vision)}
    torch.testing.assert_close(step[sincos_big_vision], torch.tensor(1e-4, dtype=torch.float64))
    torch.testing.assert_close(step[sincos_mae], torch.tensor(1e-3, dtype=torch.float64))


@pytest.mark.parametrize("length", [1, 2, 9])
def test_sinusoidal_is_the_formula(length: int) -> None:
    channels = 10
    want = torch.zeros(length, channels, dtype=torch.float64)
    for t in range(length):
        for i in range(channels // 2):
            want[t, 2 * i] = math.sin(t / 10000 ** (2 * i / channels))
            want[t, 2 * i + 1] = math.cos(t / 10000 ** (2 * i / channels))
    torch.testing.assert_close(sinusoidal(length, channels, dtype=torch.float64), want, **EXACT)


def test_sinusoidal_products_depend_on_the_offset_alone() -> None:
    table = sinusoidal(12, 16, dtype=torch.float64)
    products = table @ table.t()
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1], **EXACT)


def test_grid_runs_row_by_row() -> None:
    assert grid((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert grid((3,)).tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("new", [(4, 5), (9, 2), (1, 1), (3, 17), (7, 5)])
@pytest.mark.parametrize("old", [(4, 4), (1, 3), (7, 5)])
def test_resizing_is_pytorchs_interpolation(old: tuple[int, int], new: tuple[int, int], antialias: bool) -> None:
    table = torch.randn(1, 2 + old[0] * old[1], 3, dtype=torch.float64, requires_grad=True)
    resized = resize_table(table, old, new, prefix=2, antialias=antialias)
    image = table[:, 2:].unflatten(1, old).permute(0, 3, 1, 2)
    want = F.interpolate(image, size=new, mode="bicubic", antialias=antialias).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(resized[:, 2:], want, **EXACT)
    assert torch.equal(resized[:, :2], table[:, :2])
    up = torch.randn_like(want)
    (ours,) = torch.autograd.grad((resized[:, 2:] * up).sum(), table, retain_graph=True)
    (theirs,) = torch.autograd.grad((want * up).sum(), table)
    torch.testing.assert_close(ours, theirs, **EXACT)


def test_antialiasing_changes_growing_tables_too() -> None:
    table = torch.randn(1, 16, 3)
    grown = [resize_table(table, (4, 4), (7, 9), antialias=a) for a in (False, True)]
    assert (grown[0] - grown[1]).abs().max() > 0.01


def test_resizing_to_the_same_size_is_the_same_table_and_half_precision_goes_through_float32() -> None:
    table = torch.randn(1, 1 + 12, 3, dtype=torch.bfloat16)
    assert resize_table(table, (3, 4), (3, 4), prefix=1, antialias=True) is table
    resized = resize_table(table, (3, 4), (5, 6), prefix=1, antialias=True)
    assert resized.dtype == torch.bfloat16
    want = resize_table(table.float(), (3, 4), (5, 6), prefix=1, antialias=True)
    torch.testing.assert_close(resized, want.bfloat16(), atol=0, rtol=0)
    torch.testing.assert_close(bicubic_matrix(5, 9, antialias=True).sum(1), torch.ones(9))


def test_resizing_can_be_differentiated_twice() -> None:
    maps = torch.randn(2, 2, 3, 1, dtype=torch.float64, requires_grad=True)
    for antialias in (False, True):
        assert torch.autograd.gradcheck(lambda m, a=antialias: resize_bicubic(m, (3, 2), antialias=a).square(), maps)
        assert torch.autograd.gradgradcheck(
            lambda m, a=antialias: resize_bicubic(m, (3, 2), antialias=a).square(), maps
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_coordinates_run_from_minus_one_to_one(size: tuple[int, int], dtype: torch.dtype) -> None:
    h, w = size
    x = torch.randn(2, 3, h, w, dtype=dtype)
    out = coordinate_channels(x, radius=True)
    assert out.shape == (2, 6, h, w)
    assert out.dtype == dtype
    assert torch.equal(out[:, :3], x)
    for i in range(h):
        for j in range(w):
            y = 2 * i / (h - 1) - 1 if h > 1 else 0.0
            z = 2 * j / (w - 1) - 1 if w > 1 else 0.0
            want = torch.tensor([y, z, math.hypot(y, z)], dtype=torch.float64).to(dtype).expand(2, 3)
            torch.testing.assert_close(out[:, 3:, i, j], want)
    assert torch.equal(coordinate_channels(x), out[:, :5])


def test_conditional_positions_are_the_formula_and_their_gradients() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    out = conditional_positions(x, weight, bias)
    want = torch.zeros_like(out)
    for i in range(4):
        for j in range(5):
            want[:, :, i, j] = x[:, :, i, j] + bias
            for di in (-1, 0, 1):
                for dj in (-2, -1, 0, 1, 2):
                    if 0 <= i + di < 4 and 0 <= j + dj < 5:
                        want[:, :, i, j] = want[:, :, i, j] + weight[:, 0, di + 1, dj + 2] * x[:, :, i + di, j + dj]
    torch.testing.assert_close(out, want, **EXACT)
    up = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad((out * up).sum(), (x, weight, bias)),
        torch.autograd.grad((want * up).sum(), (x, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, **EXACT)


def test_conditional_positions_shift_with_the_map_inside_and_know_the_border() -> None:
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    wide = torch.randn(1, 2, 8, 9, dtype=torch.float64)
    here, there = (conditional_positions(wide[:, :, :, s : s + 7], weight) for s in (0, 1))
    torch.testing.assert_close(here[:, :, 1:-1, 2:-1], there[:, :, 1:-1, 1:-2], **EXACT)
    flat = conditional_positions(torch.ones(1, 2, 5, 5, dtype=torch.float64), weight)
    assert (flat[0, :, 0, 0] - flat[0, :, 2, 2]).abs().min() > 1e-3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sincos_mae((3, 3), 10), "multiple of 4 channels, got 10"),
        (lambda: sincos_timm((3, 3), 0), "multiple of 4 channels, got 0"),
        (lambda: sincos_moco_v3((3,), 8), r"need a size \(h, w\), got \(3,\)"),
        (lambda: sincos_big_vision((3, 3), 4), "take 8 channels or more, not 4"),
        (lambda: sincos_mae((3, 0), 8), r"at least 1 position, got size \(3, 0\)"),
        (lambda: sinusoidal(4, 7), "even number of channels, got 7"),
        (lambda: sinusoidal(0, 8), "at least 1 position"),
        (
            lambda: resize_table(torch.zeros(1, 10, 4), (3, 3), (2, 2), antialias=True),
            r"shape \[1, 9, c\], got \[1, 10",
        ),
        (lambda: resize_table(torch.zeros(1, 9, 4), (3, 3), (0, 2), antialias=True), r"got new size \(0, 2\)"),
        (lambda: resize_table(torch.zeros(1, 9, 4), (9,), (2, 2), antialias=True), r"got old size \(9,\)"),
        (
            lambda: inspect.unwrap(coordinate_channels)(torch.zeros(2, 3, 3)),
            r"a map \[b, c, h, w\], got .* \(2, 3, 3\)",
        ),
        (lambda: conditional_positions(torch.zeros(1, 2, 3, 3), torch.zeros(2, 1, 2, 3)), "odd kernel.* got 2 x 3"),
        (lambda: conditional_positions(torch.zeros(1, 2, 3, 3), torch.zeros(3, 1, 3, 3)), "3 for 2 channels"),
    ],
)
def test_bad_input_is_said_in_a_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
