"""What does the first layer look for? Its filters as they lie on the image, with the orientation and frequency of each;
of deeper layers one unit's slices, of Transformers the table of positions as similarity maps (after Krizhevsky et al.,
2012, figure 3, and Dosovitskiy et al., 2021, https://arxiv.org/abs/2010.11929, figure 7).

The first layer is found by running the network and watching the operations: the first 2-D convolution, module or
function, or the first linear layer whose inputs are the pixels of one patch, in whatever order the network lays them
out. That order is read off two derivatives: with ones, and with numbers 1, 2, ... as the inputs' weights, each pixel
receives its input's number, up to the factor by which a normalisation before it scaled the pixel.

A filter's wave is the peak of its power spectrum, summed over its channels, after each channel's mean is taken off: how
it answers to contrast, not to brightness.

Untrained filters are noise and show nothing: no function here can tell. Pictures: `kernel_pictures.py`. Left out: what
deeper units respond to (`features.py`), transposed and three-dimensional first layers, a layer norm before the patches'
linear layer, which mixes the pixels.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sightline.layers.modes import evaluated

PADDED = 128  # samples of the spectrum along each axis, at least; the peak is then found between them
EMPTY = 1e-20  # of a filter's energy: less than that is rounding, not a wave


@dataclass(frozen=True)
class Kernels:
    """Filters of a layer that reads the image."""

    layer: str
    """The module that was running; "" is the network itself."""
    kind: str
    """ "convolution" or "linear over patches"."""
    filters: Float[Tensor, "k c h w"]


@dataclass(frozen=True)
class Waves:
    """The wave in each filter."""

    degrees: Float[Tensor, "k"]
    """The direction in which the wave runs, across its stripes: 0 is along a row (the stripes stand upright), 45 up and
    to the right as one sees the picture; in [0, 180)."""
    cycles: Float[Tensor, "k"]
    """Cycles per pixel along that direction; 0 for a filter without contrast, 0.5 for stripes of one pixel each."""
    oriented: Float[Tensor, "k"]
    """In [0, 1]: 1 if all of the filter's power runs in one direction, 0 if it runs equally in all or two at a right
    angle."""


@dataclass(frozen=True)
class Slices:
    """The strongest input channels of one unit, strongest first."""

    channels: tuple[int, ...]
    kernels: Float[Tensor, "n 1 h w"]
    scale: float
    """The largest magnitude among all slices of the unit."""
    share: float
    """Of the unit's energy, the sum of its squared weights, that these slices hold; in [0, 1]."""


class _Found(BaseException):
    """Leaves the forward pass; not an Exception, which a network may catch."""


class _Watch(TorchFunctionMode):
    """Stops at the first operation that reads the image through filters."""

    def __init__(self, pixels: Float[Tensor, "1 c h w"]) -> None:
        super().__init__()
        self.pixels = pixels
        self.kind, self.filters = "", torch.empty(0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, unless it is the one."""
        if func in (F.conv2d, F.linear):
            given = dict(zip(("input", "weight"), args, strict=False)) | (kwargs or {})
            source, weight = given["input"], given["weight"]
            if func is F.conv2d:
                self.kind, self.filters = "convolution", weight.detach().clone()
                raise _Found
            with torch._C.DisableTorchFunction():
                layout = patch_layout(source, self.pixels)
                if layout is not None:
                    self.kind, self.filters = "linear over patches", weight.detach()[:, layout]
                    raise _Found
        return func(*args, **(kwargs or {}))


def first_kernels(network: nn.Module, image: Float[Tensor, "b c h w"]) -> Kernels:
    """The filters of the first layer that reads the image, in the order of execution, as they are at that moment.

    A weight that is computed (weight norm, weight standardisation) is taken as computed. The network is left as it was.

    Raises:
        ValueError: the network runs no such layer.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluated(network), _running(network) as inside:
        pixels = image[:1].detach().clone().requires_grad_()
        watch = _Watch(pixels)
        try:
            with watch:
                network(pixels)
        except _Found:
            return Kernels(inside[-1], watch.kind, watch.filters)
    raise ValueError(
        "the network runs no 2-D convolution and no linear layer over patches of pixels: name a layer to kernels_of"
    )


@contextmanager
def _running(network: nn.Module) -> Iterator[list[str]]:
    """Names of the modules that are running, outermost first."""
    inside = [""]
    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: inside.append(name)))
        hooks.append(module.register_forward_hook(lambda *_: [inside.pop(), None][1]))
    try:
        yield inside
    finally:
        for hook in hooks:
            hook.remove()


def patch_layout(source: Tensor, pixels: Float[Tensor, "1 c h w"]) -> Int[Tensor, "c p q"] | None:
    """Which input of a linear layer is which pixel of a patch; None where its inputs are not one patch's pixels.

    Asked of the rows in the middle, where no padding takes part.
    """
    rows = source.reshape(-1, source.shape[-1])
    count = rows.shape[1]
    if not source.requires_grad or not 0 < count <= pixels.numel():
        return None
    numbers = torch.arange(1, count + 1, dtype=rows.dtype, device=rows.device)
    for row in rows[len(rows) // 2 :][:2]:
        (scale,) = torch.autograd.grad(row.sum(), pixels, retain_graph=True, allow_unused=True)
        (marked,) = torch.autograd.grad((row * numbers).sum(), pixels, retain_graph=True, allow_unused=True)
        if scale is None or marked is None:
            return None
        _, channels, ys, xs = scale.nonzero(as_tuple=True)
        if len(ys) == 0:
            continue
        box = [slice(int(axis.min()), int(axis.max()) + 1) for axis in (channels, ys, xs)]
        found = (marked / scale)[0][tuple(box)]
        places = found.round()
        if places.numel() == count and bool(((found - places).abs() < 0.01).all()):
            order = places.long() - 1
            if torch.equal(order.flatten().sort().values, torch.arange(count, device=order.device)):
                return order
    return None


def kernels_of(network: nn.Module, layer: str) -> Float[Tensor, "k c h w"]:
    """The kernels of a named convolution: by output unit, then by input channel of its group.

    Raises:
        ValueError: there is no 2-D convolution of that name.
    """
    modules = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    if layer not in modules:
        nearest = difflib.get_close_matches(layer, modules, 1, 0.0)
        hint = f"the nearest name is {nearest[0]!r}" if nearest else "the network has none"
        raise ValueError(f"kernels of {layer!r} were asked for, which is no 2-D convolution: {hint}")
    return modules[layer].weight.detach()


def slices(kernels: Float[Tensor, "k c h w"], unit: int, *, groups: int = 1, most: int = 64) -> Slices:
    """What one output unit takes from its input channels, the strongest `most` of them by energy.

    Channels are counted over all groups, so that a number is a channel of the layer before.

    Raises:
        ValueError: there is no such unit, or the groups do not divide the units.
    """
    if not 0 <= unit < len(kernels):
        raise ValueError(f"unit {unit} was asked of a layer whose units go from 0 to {len(kernels) - 1}")
    if groups < 1 or len(kernels) % groups:
        raise ValueError(f"{len(kernels)} units do not divide into groups={groups}: give those of the layer")
    own = kernels[unit].double()
    energy = own.square().sum((1, 2))
    strongest = energy.argsort(descending=True, stable=True)[:most]
    first = unit // (len(kernels) // groups) * len(own)
    share = float(energy[strongest].sum() / energy.sum()) if bool(energy.sum() > 0) else 1.0
    channels = tuple((first + strongest).tolist())
    return Slices(channels, kernels[unit][strongest][:, None], float(own.abs().max()), share)


def waves(filters: Float[Tensor, "k c h w"]) -> Waves:
    """Orientation and spatial frequency of each filter, and how oriented it is, by its Fourier transform.

    A blob has no wave: it gets the broad, low peak of its rim and is not oriented.
    """
    found = [_wave(one.detach().cpu().double()) for one in filters]
    table = torch.tensor(found, dtype=torch.float64).reshape(-1, 3)
    return Waves(table[:, 0], table[:, 1], table[:, 2])


def _wave(channels: Float[Tensor, "c h w"]) -> tuple[float, float, float]:
    contrast = channels - channels.mean((1, 2), keepdim=True)
    if contrast.square().sum() <= EMPTY * channels.square().sum():
        return 0.0, 0.0, 0.0
    side = max(PADDED, *(4 * extent for extent in channels.shape[1:]))
    power = torch.fft.fft2(contrast, s=(side, side)).abs().square().sum(0)
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    y, x = divmod(int(power.argmax()), side)
    down = float(frequency[y]) + _vertex(power[:, x], y) / side
    right = float(frequency[x]) + _vertex(power[y], x) / side
    turn = 2 * torch.atan2(-frequency[:, None], frequency[None])  # twice the angle: a wave and its reverse are one
    resultant = torch.complex((power * turn.cos()).sum(), (power * turn.sin()).sum()).abs() / power.sum()
    degrees = float(torch.rad2deg(torch.atan2(torch.tensor(-down), torch.tensor(right)))) % 180
    return degrees % 180, (down**2 + right**2) ** 0.5, float(resultant)


def _vertex(power: Float[Tensor, "n"], peak: int) -> float:
    """Where between the samples the parabola through the peak's logarithm and its neighbours' has its top."""
    low, top, high = (max(float(power[(peak + step) % len(power)]), 1e-300) for step in (-1, 0, 1))
    below, above = torch.tensor([low, high]).double().div(top).log().tolist()
    bend = below + above
    return 0.5 * (below - above) / bend if bend < 0 else 0.0
