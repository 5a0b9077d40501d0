"""Rotary positions against complex multiplication, the published loops, and the property that they exist for."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from sightline.ops.rotary import apply_rotary, axial_angles, mixed_angles, mixed_frequencies, rotary_angles

EXACT = {"atol": 1e-12, "rtol": 0}


def turned_by_hand(x: Tensor, angles: Tensor, pairing: str) -> Tensor:
    """Each pair as one complex number, multiplied by e^(i angle)."""
    b, heads, n, d = x.shape
    out = torch.zeros_like(x)
    for i in range(b):
        for head in range(heads):
            for t in range(n):
                for j in range(d // 2):
                    u, v = (2 * j, 2 * j + 1) if pairing == "interleaved" else (j, j + d // 2)
                    angle = float(angles[head, t, j] if angles.dim() == 3 else angles[t, j])
                    z = complex(x[i, head, t, u], x[i, head, t, v]) * cmath.exp(1j * angle)
                    out[i, head, t, u], out[i, head, t, v] = z.real, z.imag
    return out


@pytest.mark.parametrize("pairing", ["interleaved", "half"])
@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (5, 6), (3, 8)])
def test_turning_is_complex_multiplication(pairing: str, per_head: bool, n: int, d: int) -> None:
    x = torch.randn(2, 3, n, d, dtype=torch.float64)
    angles = torch.randn(*((3,) if per_head else ()), n, d // 2, dtype=torch.float64) * 4
    torch.testing.assert_close(apply_rotary(x, angles, pairing=pairing), turned_by_hand(x, angles, pairing), **EXACT)


@pytest.mark.parametrize("pairing", ["interleaved", "half"])
def test_turning_has_its_gradients_twice(pairing: str) -> None:
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a: apply_rotary(x, a, pairing=pairing), (x, angles))
    assert torch.autograd.gradgradcheck(lambda x, a: apply_rotary(x, a, pairing=pairing), (x, angles))


@pytest.mark.parametrize("pairing", ["interleaved", "half"])
@pytest.mark.parametrize("scheme", ["sequence", "axial", "mixed"])
def test_scores_depend_on_the_offset_alone(pairing: str, scheme: str) -> None:
    """The same query and key everywhere: <R_m q, R_n k> must be a function of m - n."""
    h, w, d = 4, 5, 8
    size: tuple[int, ...] = (h, w)
    if scheme == "sequence":
        size, angles = (h * w,), rotary_angles(h * w, d, dtype=torch.float64)
    elif scheme == "axial":
        angles = axial_angles(size, d, dtype=torch.float64)
    else:
        angles = mixed_angles(torch.randn(2, 3, d // 2, dtype=torch.float64), size)
    q, k = (torch.randn(1, 3, 1, d, dtype=torch.float64).expand(1, 3, h * w, d) for _ in range(2))
    q, k = (apply_rotary(x, angles, pairing=pairing) for x in (q, k))
    scores = (q @ k.transpose(-1, -2))[0].reshape(3, *size, *size)
    axes = len(size)
    for axis in range(axes):
        moved = scores.roll((1, 1), (1 + axis, 1 + axes + axis))  # both query and key one step on
        inside = [slice(None)] * scores.dim()
        inside[1 + axis] = inside[1 + axes + axis] = slice(1, None)
        torch.testing.assert_close(moved[tuple(inside)], scores[tuple(inside)], **EXACT)
    assert scores.std() > 1e-2


def test_lengths_are_kept_and_pairings_are_one_permutation_apart() -> None:
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    angles = rotary_angles(7, 10, dtype=torch.float64)
    turned = apply_rotary(x, angles, pairing="interleaved")
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), **EXACT)
    order = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    torch.testing.assert_close(apply_rotary(x[..., order], angles, pairing="half"), turned[..., order], **EXACT)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (6, 2)])
def test_axial_angles_are_the_published_loops(size: tuple[int, int]) -> None:
    d, theta = 12, 100.0
    rows = []
    for t in range(size[0] * size[1]):
        x, y = t % size[1], t // size[1]
        frequencies = [1 / theta ** (4 * j / d) for j in range(d // 4)]
        rows.append([x * f for f in frequencies] + [y * f for f in frequencies])
    want = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(axial_angles(size, d, dtype=torch.float64), want, **EXACT)
    y_first = axial_angles(size, d, first="y", dtype=torch.float64)
    torch.testing.assert_close(y_first, want.roll(d // 4, dims=1), **EXACT)


def test_one_axis_is_roformers_formula_and_three_axes_share_alike() -> None:
    want = torch.tensor([[t / 10000 ** (2 * j / 8) for j in range(4)] for t in range(5)], dtype=torch.float64)
    torch.testing.assert_close(rotary_angles(5, 8, dtype=torch.float64), want, **EXACT)
    volume = axial_angles((2, 3, 4), 12, first="y", dtype=torch.float64).reshape(2, 3, 4, 6)
    assert volume[1, 2, 3, ::2].tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_mixed_angles_are_the_published_loops(size: tuple[int, int]) -> None:
    frequencies = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    angles = mixed_angles(frequencies, size)
    assert angles.shape == (3, size[0] * size[1], 4)
    for head in range(3):
        for t in range(size[0] * size[1]):
            want = (t % size[1]) * frequencies[0, head] + (t // size[1]) * frequencies[1, head]
            torch.testing.assert_close(angles[head, t], want, **EXACT)
    assert torch.autograd.gradcheck(lambda f: mixed_angles(f, size), frequencies)


def test_mixed_frequencies_start_as_two_sets_at_right_angles() -> None:
    frequencies = mixed_frequencies(5, 16, generator=torch.Generator().manual_seed(3))
    assert frequencies.shape == (2, 5, 8)
    magnitude = torch.tensor([10 ** (-4 * j / 16) for j in range(4)])
    torch.testing.assert_close(frequencies.norm(dim=0), magnitude.repeat(2).expand(5, 8))
    one, other = frequencies[..., :4], frequencies[..., 4:]
    torch.testing.assert_close((one * other).sum(0), torch.zeros(5, 4), atol=1e-6, rtol=0)
    assert (one[0] * other[1] - one[1] * other[0] > 0).all()  # a quarter turn on, not back
    directions = torch.atan2(one[1], one[0])
    torch.testing.assert_close(directions, directions[:, :1].expand(5, 4))  # one direction per head
    assert directions[:, 0].std() > 0.1


def test_mixed_without_its_random_turn_is_axial() -> None:
    angles = mixed_angles(mixed_frequencies(2, 8, theta=10.0, turn=False), (3, 4))
    torch.testing.assert_close(angles, axial_angles((3, 4), 8, theta=10.0).expand(2, 12, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_turned_in_float32(dtype: torch.dtype) -> None:
    x = torch.randn(1, 2, 400, 8, dtype=dtype)
    angles = rotary_angles(400, 8)
    out = apply_rotary(x, angles, pairing="half")
    assert out.dtype == dtype
    torch.testing.assert_close(out, apply_rotary(x.float(), angles, pairing="half").to(dtype), atol=0, rtol=0)
    assert mixed_angles(mixed_frequencies(1, 8).to(dtype), (2, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: apply_rotary(torch.zeros(1, 2, 3, 4), torch.zeros(3, 2), pairing="halves"), "did you mean 'half'"),
        (lambda: apply_rotary(torch.zeros(1, 2, 3, 4), torch.zeros(3, 4), pairing="half"), r"angles \[3, 2\]"),
        (lambda: apply_rotary(torch.zeros(1, 2, 3, 4), torch.zeros(5, 2), pairing="half"), r"got \[5, 2\]"),
        (lambda: apply_rotary(torch.zeros(1, 2, 3, 5), torch.zeros(3, 2), pairing="half"), "even width"),
        (lambda: apply_rotary(torch.zeros(1, 2, 3, 4), torch.zeros(3, 3, 2), pairing="half"), "2 heads of 3 tokens"),
        (lambda: axial_angles((3, 3), 6), "head width divisible by 4, got 6"),
        (lambda: axial_angles((3, 3), 8, first="z"), "unknown first axis 'z'"),
        (lambda: rotary_angles(3, 7), "head width divisible by 2, got 7"),
        (lambda: mixed_frequencies(2, 6), "divisible by 4, got 2 heads of 6"),
        (lambda: mixed_angles(torch.zeros(2, 1, 4), (3,)), r"on a map \(h, w\), got size \(3,\)"),
    ],
)
def test_bad_input_is_said_in_a_sentence(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]


def test_frequencies_fall_from_one_towards_the_base() -> None:
    steps = rotary_angles(2, 6, dtype=torch.float64)[1]
    assert steps[0] == 1
    assert math.isclose(steps[2], 10000 ** (-2 / 3), rel_tol=1e-12)
