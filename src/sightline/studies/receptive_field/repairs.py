"""Stride, pooling, dilation and depth as repairs of a small field: what each network can see, and sees in effect.

Networks of equally many 3 x 3 layers, on one image; the deep one has more. In theory: the side of the central neuron's
box, the image's border left aside, and how many pixels of the image it really reads (`seeing/receptive`). In effect:
the heat of the same neuron (`seeing/effective`) under random weights, over crops of photographs; its side is that of
the square with as many pixels as hold 95 % of the heat.

Beside them stands the closed form of Luo et al., 2016 (https://arxiv.org/abs/1701.04128, section 2.2): n layers of
uniform kernels have a Gaussian heat of deviation sqrt(n (K^2 - 1) / 12), and so sqrt(n) against a theory that grows as
n. For random kernels the *square* of the gradient has that law in the mean; its magnitude, which a heat is, is sqrt(2)
wider.

Left out: networks that were trained, whose effective fields are larger (the paper's section 3), and skips.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sightline.seeing.effective import heats
from sightline.seeing.effective_size import HALF, MOST, areas, gaussian
from sightline.seeing.receptive import Fields, receptive_fields
from sightline.studies.receptive_field.growth import Step

KERNEL = 3
SIDE = 81  # of the image in pixels: odd, so that a neuron stands in its middle
DEPTH = 12  # layers of every network but the deep one
PIECES = 8  # the seed of the crops: the first is of the pagoda, bright and dark
DEEPEST = 40  # layers after which a plain network's theory covers the image
DOWN = (2, 5, 8)  # the layers that stride, or that a pooling follows
CYCLE = (1, 2, 4, 8)  # dilations in turn, of Yu and Koltun
EVEN = 4  # the dilation of the network with holes
PLAIN, STRIDED, POOLED, DILATED, HOLES, DEEP = NAMES = (
    *("plain", "strided", "pooled", "dilated", "dilated, with holes"),
    "deep",
)
SQRT = (1, 2, 3, 4, 6, 8, 12, 16, 20, 28, 40)  # numbers of layers at which the law is asked for


@dataclass(frozen=True)
class Measure:
    """How the effective fields are measured."""

    seeds: int = 5
    width: int = 24
    images: int = 4
    draws: int = 4
    side: int = SIDE
    depth: int = DEPTH
    deepest: int = DEEPEST


def layers_of(name: str, measure: Measure) -> list[Step]:
    """The layers of a network; a pooling counts as none."""
    found: list[Step] = []
    for place in range(1, (measure.deepest if name == DEEP else measure.depth) + 1):
        dilation = {DILATED: CYCLE[(place - 1) % len(CYCLE)], HOLES: EVEN}.get(name, 1)
        stride = 2 if name == STRIDED and place in DOWN else 1
        found.append(Step(KERNEL, stride, dilation, padding=dilation))
        if name == POOLED and place in DOWN:
            found.append(Step(2, 2, pools=True))
    return found


class Stack(nn.Module):
    """Convolutions with a ReLU each, or without, and poolings; `ends` names what comes out of the n-th convolution."""

    def __init__(self, steps: Sequence[Step], width: int, *, image_channels: int = 3, relu: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[str] = []
        inputs = image_channels
        for step in steps:
            if step.pools:
                layers.append(nn.MaxPool2d(step.kernel, step.stride))
                self.ends[-1] = f"layers.{len(layers) - 1}"  # the pooling belongs to the layer that it follows
                continue
            place = (step.kernel, step.stride, step.padding, step.dilation)
            layers.append(nn.Conv2d(inputs, width, *place, bias=False))
            inputs = width
            if relu:
                layers.append(nn.ReLU())
            self.ends.append(f"layers.{len(layers) - 1}")
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        """The map after the last layer."""
        return self.layers(image)


def random_stack(steps: Sequence[Step], width: int, seed: int, *, relu: bool = True) -> Stack:
    """With normal kernels whose scale keeps that of the maps (He et al., 2015, https://arxiv.org/abs/1502.01852)."""
    generator = torch.Generator().manual_seed(seed)
    network = Stack(steps, width, relu=relu)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan = layer.weight[0].numel()
            nn.init.normal_(layer.weight, std=math.sqrt((2 if relu else 1) / fan), generator=generator)
    return network


def uniform_stack(steps: Sequence[Step]) -> Stack:
    """One channel, no ReLU, every weight 1 / K^2: the network of the closed form."""
    network = Stack(steps, 1, image_channels=1, relu=False).double()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return network


def closed_form(layers: int, kernel: int = KERNEL) -> float:
    """The deviation, in pixels, of the heat of so many layers of uniform kernels."""
    return math.sqrt(layers * (kernel**2 - 1) / 12)


def crops(count: int, side: int) -> Float[Tensor, "n 3 h w"]:
    """Pieces of scikit-learn's two photographs, of mean 0 and deviation 1, in turn, always the same."""
    from sklearn.datasets import load_sample_images

    photographs = [np.asarray(photograph) for photograph in load_sample_images().images]
    draw = np.random.default_rng(PIECES)
    found = []
    for place in range(count):
        photograph = photographs[place % len(photographs)]
        top, left = (int(draw.integers(0, extent - side + 1)) for extent in photograph.shape[:2])
        piece = torch.from_numpy(photograph[top : top + side, left : left + side].copy()).float().permute(2, 0, 1)
        found.append((piece - piece.mean()) / piece.std().clamp_min(1.0))
    return torch.stack(found)


@dataclass(frozen=True)
class Sight:
    """What the central neuron of one network's last layer can see and sees."""

    name: str
    field: Bool[np.ndarray, "h w"]
    heat: Float[np.ndarray, "h w"]  # sums to 1; the mean over the seeds

    @property
    def has_holes(self) -> bool:
        """Whether the field leaves out pixels of its own box."""
        rows, columns = np.nonzero(self.field.any(1))[0], np.nonzero(self.field.any(0))[0]
        return not self.field[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def centre_of(fields: Fields, layer: str) -> tuple[int, int]:
    """The middle position of a layer's map."""
    rows, columns = fields.layer(layer).grid
    return rows // 2, columns // 2


def side_of(heat: Float[Tensor, "h w"], mass: float = MOST) -> float:
    """The side of the square with as many pixels as hold 95 % of the heat, or another share of it."""
    return math.sqrt(areas(heat, (mass,))[mass] * heat.numel())


def measure_repairs(measure: Measure) -> Iterator[tuple[list[dict[str, Any]], Sight]]:
    """One network after the other: a row for every layer that is asked for, and its last neuron's sight."""
    images = crops(measure.images, measure.side)
    for name in NAMES:
        steps = layers_of(name, measure)
        size = (measure.side, measure.side)
        network = Stack(steps, 1)
        fields = receptive_fields(network, size)
        rows, heat, position, end = [], torch.zeros(size), (0, 0), ""
        asked = range(1, len(network.ends) + 1)
        if name == DEEP:
            asked = [n for n in asked if n in SQRT or n == len(network.ends)]  # type: ignore[assignment]
        for layer in asked:
            end = network.ends[layer - 1]
            position, field = centre_of(fields, end), fields.layer(end)
            seen = [
                _heat(random_stack(steps, measure.width, seed), images, end, position, measure, seed)
                for seed in range(measure.seeds)
            ]
            rows.append(
                {
                    "network": name,
                    "layers": layer,
                    "size": field.size[0],
                    "stride": field.stride[0],
                    "pixels": int(fields.set(end, position).sum()),
                    "share_of_image": float(fields.set(end, position).double().mean()),
                    **_spread("effective", [side_of(one) for one in seen]),
                    "half": float(np.mean([side_of(one, HALF) for one in seen])),
                    **_spread("deviation", [_deviation(one) for one in seen]),
                    "deviation_of_squares": float(np.mean([_deviation(one.square()) for one in seen])),
                }
            )
            heat = torch.stack(seen).mean(0)
        yield rows, Sight(name, fields.set(end, position).numpy(), heat.numpy())


def measure_law(measure: Measure, deep: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Plain stacks of n layers: the closed form, the heat of uniform kernels, and that of random ones, by seed.

    `deep` are the rows of the deep network: its n-th layer is such a stack, with ReLUs.
    """
    images = crops(measure.images, measure.side)
    steps = layers_of(DEEP, measure)
    uniform = uniform_stack(steps)
    grey = torch.zeros(1, 1, measure.side, measure.side, dtype=torch.float64)
    middle = (measure.side // 2, measure.side // 2)
    found = []
    for with_relu in deep:
        layers = with_relu["layers"]
        exact = heats(uniform, grey, uniform.ends[layers - 1], [middle])[0]
        linear = []
        for seed in range(measure.seeds):
            network = random_stack(steps[:layers], measure.width, seed, relu=False)
            linear.append(_heat(network, images[:1], network.ends[-1], middle, measure, seed))
        found.append(
            {
                "layers": layers,
                "size": with_relu["size"],
                "closed_form": closed_form(layers),
                "uniform": _deviation(exact),
                "uniform_side": side_of(exact),
                **_spread("linear", [_deviation(one) for one in linear]),
                "linear_of_squares": float(np.mean([_deviation(one.square()) for one in linear])),
                **{name.replace("deviation", "relu"): with_relu[name] for name in with_relu if "deviation" in name},
                "relu_side": with_relu["effective"],
            }
        )
    return found


def _heat(
    network: Stack, images: Tensor, layer: str, position: tuple[int, int], measure: Measure, seed: int
) -> Float[Tensor, "h w"]:
    generator = torch.Generator().manual_seed(seed)
    heat = heats(network, images, layer, [position], draws=measure.draws, generator=generator)[0]
    return heat / heat.sum()


def _deviation(heat: Float[Tensor, "h w"]) -> float:
    return sum(gaussian(heat).deviation) / 2


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.mean(values)), f"{name}_low": min(values), f"{name}_high": max(values)}
