"""How large is an effective field? Measures of a heat map (`effective.py`), of one position at a time.

- `areas`: the smallest set of pixels that holds a share of the mass, as a share of the image. It does not change when
  the heat is multiplied by a number, wherever the field lies and whatever its shape.
- `replknet_areas`: the contribution areas of RepLKNet (Ding et al., 2022, https://arxiv.org/abs/2203.06717, table 10;
  `erf/analyze_erf.py` of its code), for comparison with published numbers. **They move with the gradient's magnitude**,
  through a logarithm: one Gaussian heat counts as a fifth of the image or as a third at t = 50 %, as its gradients are
  multiplied. Two networks compared by them are compared in shape and magnitude at once.
- `gaussian`: centre and deviation, to which stacks of convolutions tend (Luo et al., 2016,
  https://arxiv.org/abs/1701.04128, section 2): n uniform k x k kernels of stride 1 give sqrt(n (k^2 - 1) / 12).
- `level`, `share`, `luo_size`: a contour, the part of the theoretical field that counts, the paper's own size.

Left out: a fit by least squares, which weighs the middle only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)  # of RepLKNet's table 10
TWO_SIGMA = 1 - 0.9545  # Luo's threshold as it is remembered; check it in the paper before quoting it
HALF, MOST = 0.5, 0.95


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian that has a heat's moments, in pixels."""

    centre: tuple[float, float]
    """(y, x), of pixel centres: 0 is the middle of the first pixel."""
    deviation: tuple[float, float]
    """Standard deviation along y and along x."""


def gaussian(heat: Float[Tensor, "h w"]) -> Gaussian:
    """Centre and standard deviation per axis, by the heat's moments; they count the far tails in full.

    Raises:
        ValueError: a heat that is zero everywhere, negative or not finite.
    """
    mass = _checked(heat)
    mass = mass / mass.sum()
    centre, deviation = [], []
    for along in (mass.sum(1), mass.sum(0)):
        places = torch.arange(len(along), dtype=along.dtype, device=along.device)
        mean = (along * places).sum()
        centre.append(float(mean))
        deviation.append(float((along * (places - mean) ** 2).sum().sqrt()))
    return Gaussian((centre[0], centre[1]), (deviation[0], deviation[1]))


def areas(heat: Float[Tensor, "h w"], thresholds: Sequence[float] = THRESHOLDS) -> dict[float, float]:
    """For each share t of the heat's sum, the smallest number of pixels that hold it, as a share of the image.

    Raises:
        ValueError: a heat that is zero everywhere, negative or not finite; a threshold outside (0, 1).
    """
    ranked = _ranked(heat)
    return {t: _count(ranked, t) / heat.numel() for t in thresholds}


def level(heat: Float[Tensor, "h w"], share: float = HALF) -> float:
    """The contour: pixels with at least this heat hold at least `share` of its sum, and no higher level does.

    Raises:
        ValueError: as `areas`.
    """
    ranked = _ranked(heat)
    return float(ranked[_count(ranked, share) - 1])


def share(heat: Float[Tensor, "h w"], field: Bool[Tensor, "h w"], mass: float = MOST) -> float:
    """How much of the theoretical field is effective: pixels that hold `mass` of the heat, over pixels of the field.

    At most 1 where the heat lies inside the field, as it does for one image and the field of the same layer.

    Raises:
        ValueError: as `areas`; or the field is empty.
    """
    inside = int(field.sum())
    if inside == 0:
        raise ValueError("the share of an empty field was asked for: choose a neuron that can see the image")
    return _count(_ranked(heat), mass) / inside


def luo_size(heat: Float[Tensor, "h w"], threshold: float = TWO_SIGMA) -> float:
    """Luo's size in pixels: the square root of the number of pixels above a share of the largest one.

    The largest is the central one in the paper's networks. The default share is 1 - 95.45 %, two standard deviations of
    a Gaussian's mass, as the paper is remembered here and not as it was read.

    Raises:
        ValueError: a heat that is zero everywhere, negative or not finite.
    """
    mass = _checked(heat)
    return float((mass > threshold * mass.max()).sum()) ** 0.5


def replknet_areas(heat: Float[Tensor, "h w"], thresholds: Sequence[float] = THRESHOLDS) -> dict[float, float | None]:
    """For each t, the area of the smallest centred odd square with more than t of log10(1 + heat), over the image.

    The square is centred on (h // 2, w // 2), its side is at least 3 and below the image's, as in the published code;
    None where no such square holds enough. Meant for the "replknet" heat of the central position, as it stands:
    multiplying the heat changes the result.

    Raises:
        ValueError: a heat that is zero everywhere, negative or not finite.
    """
    h, w = heat.shape
    shown = torch.log10(_checked(heat) + 1)
    shown = shown / shown.max()
    # Row and column 0 of the table are zero, so that every square's sum is four look-ups.
    table = torch.nn.functional.pad(shown, (1, 0, 1, 0)).cumsum(0).cumsum(1)
    reach = torch.arange(1, max(min(h, w) // 2, 1), device=heat.device)
    top, bottom, left, right = h // 2 - reach, h // 2 + reach + 1, w // 2 - reach, w // 2 + reach + 1
    held = (table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]) / shown.sum()
    found: dict[float, float | None] = {}
    for t in thresholds:
        enough = (held > t).nonzero()
        side = 2 * int(reach[enough[0, 0]]) + 1 if len(enough) else None
        found[t] = None if side is None else side / h * side / w
    return found


def _checked(heat: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    mass = heat.detach().double()
    if not bool(mass.isfinite().all()) or bool((mass < 0).any()):
        raise ValueError("a heat is finite and nowhere negative, this one is not: take one made by seeing.effective")
    if not bool((mass > 0).any()):
        raise ValueError("the heat is zero everywhere: no pixel moves this neuron; choose another, or other images")
    return mass


def _ranked(heat: Float[Tensor, "h w"]) -> Float[Tensor, "pixels"]:
    return _checked(heat).flatten().sort(descending=True).values


def _count(ranked: Float[Tensor, "pixels"], share: float) -> int:
    if not 0 < share < 1:
        raise ValueError(f"a share of the heat lies between 0 and 1, got {share}")
    held = ranked.cumsum(0)
    return min(int((held < share * held[-1]).sum()) + 1, len(ranked))
