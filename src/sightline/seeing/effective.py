"""What does a neuron see in fact? The effective receptive field (Luo et al., 2016, https://arxiv.org/abs/1701.04128,
section 2): how strongly each pixel of the input moves one position of a layer, by the gradient, averaged over images.

    heat(p) = mean over images  of  sum over the input's channels i  of  | sum_o z_o d f_o(y, x) / d p_i |

The position has many channels o, and a map has one number per pixel, so the channels must be joined. Plain addition is
a trap: after a layer norm the channels' sum is a constant and its gradient rounding noise, after a softmax likewise.
So z_o is drawn from the normal distribution once for each image (and each of `draws`). As z . J is normal with the
Jacobian column's length as its deviation, E |z . J| = sqrt(2 / pi) |J|: the heat, with that factor taken out, estimates
without bias the mean length of the Jacobian's columns, whatever signs the weights have. Where all columns are
proportional, as for uniform kernels, the shape of the heat does not depend on z at all.

The other protocol is RepLKNet's (Ding et al., 2022, https://arxiv.org/abs/2203.06717, appendix; `erf/visualize_erf.py`
of its code), for numbers that can be put beside published ones.

A gradient says what moves the neuron *now*. An attention whose last layer starts at zero, as published non-local blocks
do, has no gradient yet: `possible` measures the field that the network has as soon as its weights are any others.

How large a heat is: `effective_size.py`. Left out: influence that a gradient cannot see, such as a large change that
the neuron answers to and a small one not; the exact set of pixels is for `receptive`.
"""

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from sightline.layers.modes import evaluated
from sightline.ops.arguments import choose
from sightline.seeing.maps import Layout, at, layout
from sightline.seeing.reach import SCALES, redraw_weights
from sightline.seeing.running import output_of, runs_of

Protocol = Literal["absolute", "replknet"]
Positions = Sequence[tuple[int, int]]


def heats(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str,
    positions: Positions,
    *,
    protocol: Protocol = "absolute",
    where: Layout | None = None,
    draws: int = 1,
    generator: Generator | None = None,
) -> Float[Tensor, "p h w"]:
    """How strongly each pixel moves each of the positions (y, x) of a layer's map: none is negative, 0 is unmoved.

    The protocols, in full. Each image runs alone, in evaluation mode, and only as far as the layer; an image whose heat
    is not finite is left out, and the mean over the others is taken.

    - "absolute": `mean_images mean_draws sum_i sqrt(pi / 2) | d (sum_o z_o f_o) / d p_i |`, z normal, drawn anew for
      each image and draw, the same for all positions. The unit is the layer's per the input's.
    - "replknet": `mean_images sum_i relu( d (sum_o relu(f_o)) / d p_i )`: what raises the channels that are positive.
      Published numbers are means over 50 images of 1024 x 1024 pixels, at position (Y // 2, X // 2). `draws` has no
      meaning here.

    Args:
        network: any module that takes `[b, c, h, w]`; it is left as it was, gradients and modes included.
        images: as the network takes them.
        layer: the name of a module; "" is the network itself. Of a module that runs several times, the last run.
        positions: (y, x) on the layer's map; one forward pass per image serves them all, then one backward pass each.
        protocol: see above.
        where: how the layer's output lies over the image; None: as `maps.layout` reads its shape.
        draws: the more, the smoother a heat of few images.
        generator: on the CPU; a fixed one where None, so that the same call gives the same heat.

    Raises:
        ValueError: the layer or a position does not exist, the image does not reach the layer by a gradient, or no
            image gives a finite heat.
    """
    choose("protocol", protocol, ("absolute", "replknet"))
    if len(images) < 1 or draws < 1:
        raise ValueError(f"a heat is a mean over images and draws, got {len(images)} images and draws={draws}")
    draw = torch.Generator().manual_seed(0) if generator is None else generator
    size = (images.shape[-2], images.shape[-1])
    with torch.inference_mode(False), torch.enable_grad(), evaluated(network):
        total = images.new_zeros(len(positions), *size, dtype=torch.promote_types(images.dtype, torch.float32))
        counted = total.new_zeros(len(positions))
        last = runs_of(network, layer, images[:1])
        for image in images:
            pixels = image.detach().clone()[None].requires_grad_()
            output = output_of(network, layer, pixels, stop=last)
            lies = layout(output.shape, size) if where is None else where
            units = [at(output, lies, position)[0] for position in positions]
            mixtures = [_normal(unit, draw) for unit in units[:1] for _ in range(draws)]
            for place, unit in enumerate(units):
                if protocol == "replknet":
                    seen = [_gradient(unit.relu().sum(), pixels, layer).relu()]
                else:
                    seen = [_gradient(mixture @ unit, pixels, layer).abs() for mixture in mixtures]
                heat = torch.stack(seen).sum((1, 2)).mean(0)
                if heat.isfinite().all():
                    total[place] += heat
                    counted[place] += 1
    for position, count in zip(positions, counted.tolist(), strict=True):
        if count == 0:
            raise ValueError(f"no image gives {layer!r} a finite gradient at {tuple(position)}: give other images")
    return total / counted[:, None, None]


def _normal(unit: Float[Tensor, "k"], draw: Generator) -> Float[Tensor, "k"]:
    normal = torch.randn(len(unit), generator=draw, dtype=torch.float64)
    return (normal * math.sqrt(math.pi / 2)).to(unit)


def _gradient(answer: Float[Tensor, ""], pixels: Float[Tensor, "1 c h w"], layer: str) -> Float[Tensor, "1 c h w"]:
    gradient = None
    if answer.requires_grad:
        (gradient,) = torch.autograd.grad(answer, pixels, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"no gradient leads from {layer!r} back to the image, which it does not read or reads through an operation "
            "without a derivative: choose another layer"
        )
    return gradient


def possible(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str,
    positions: Positions,
    *,
    protocol: Protocol = "absolute",
    where: Layout | None = None,
    redraws: int = 4,
    generator: Generator | None = None,
) -> Float[Tensor, "p h w"]:
    """The field that the architecture allows: the mean heat under weights drawn anew, zero-initialised ones included.

    Each drawing's heat is divided by its sum before the mean, as the drawings differ in magnitude; so each result sums
    to 1, and a pixel is above zero where any drawing sees it. The drawings go through the scales of weights and images
    that `reach.py` names, in float64, on a copy: the network itself is left as it was.

    Raises:
        ValueError: as `heats`; or no drawing moves a position at all.
    """
    if redraws < 1:
        raise ValueError(f"a possible field needs at least 1 redrawing of the weights, got {redraws}")
    draw = torch.Generator().manual_seed(0) if generator is None else generator
    with torch.inference_mode(False):
        twin = copy.deepcopy(network).double()
        total = images.new_zeros(len(positions), *images.shape[-2:], dtype=torch.float64)
        for turn in range(redraws):
            weights, brightness = SCALES[turn % len(SCALES)]
            redraw_weights(twin, draw, scale=weights)
            scaled = images.double() * brightness
            seen = heats(twin, scaled, layer, positions, protocol=protocol, where=where, generator=draw)
            total += seen / seen.sum((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    mass = total.sum((1, 2), keepdim=True)
    for position, one in zip(positions, mass.flatten().tolist(), strict=True):
        if one == 0:
            raise ValueError(f"no weights moved {layer!r} at {tuple(position)}: raise redraws, now {redraws}")
    return total / mass
