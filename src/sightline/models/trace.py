"""A network as one graph for any number and any size of images: what `models/export.py` writes to a file.

Which sizes a network serves is found by trying, and by what the tracer had to suppose. The shapes to check the result
with are chosen so that height, width, batch and the size that was traced are all unlike.

Left out: networks with several inputs or outputs, and graphs for one size alone.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sightline.layers.modes import evaluated

AXES = {0: "batch", 2: "height", 3: "width"}  # of an image, those that are free
LARGEST_STEP = 64  # pixels by which sizes are tried: no patch is larger
Shape = tuple[int, int, int]  # images, height, width


@dataclass(frozen=True)
class Sizes:
    """Which images an exported network serves: height and width in pixels from `smallest` on in steps of `step`."""

    smallest: int
    largest: tuple[int | None, int | None]
    step: int

    def __str__(self) -> str:
        text = f"from {self.smallest} x {self.smallest}"
        if self.largest != (None, None):
            text += " to " + " x ".join("any" if end is None else str(end) for end in self.largest)
        return f"{text} pixels" + (f" in steps of {self.step}" if self.step > 1 else "")

    def hold(self, height: int, width: int) -> bool:
        """Whether an image of so many pixels is served."""
        return all(
            s >= self.smallest and s % self.step == 0 and (end is None or s <= end)
            for s, end in zip((height, width), self.largest, strict=True)
        )


@dataclass(frozen=True)
class Traced:
    """A network as a graph, the sizes that it serves, and images to check it with."""

    program: ExportedProgram
    sizes: Sizes
    images: list[Tensor]


class Normalised(nn.Module):
    """A network that takes images as files hold them, `[b, c, h, w]` from 0 to 255, and normalises them itself.

    Args:
        network: takes images from which `mean` is taken and which are divided by `std`.
        mean: one number per channel, in [0, 1].
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(tuple(mean))[:, None, None])
        self.register_buffer("std", torch.tensor(tuple(std))[:, None, None])

    def forward(self, image: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b ..."]:
        """The network's answer."""
        return self.network((image.to(self.mean.dtype) / 255 - self.mean) / self.std)


class By(nn.Module):
    """A network by another of its methods than `forward`: `By(vit, "classify")` leaves as a classifier."""

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self.network, self.method = network, method

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b ..."]:
        """What the method answers."""
        return getattr(self.network, self.method)(image)


def trace(network: nn.Module, size: tuple[int, int], image_channels: int) -> Traced:
    """Trace a network in evaluation mode near a size that it serves.

    Raises:
        ValueError: the network does not serve that size, or cannot be traced for sizes that vary.
    """
    with evaluated(network), torch.no_grad():
        step = _step(network, size, image_channels)
        first, *others = _shapes(size, step)
        free = (dict.fromkeys(AXES, Dim.AUTO),)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=FutureWarning)  # of PyTorch's own code
                program = torch.export.export(network, (_image(network, first, image_channels),), dynamic_shapes=free)
        except Exception as error:  # the tracer raises whatever it met
            raise ValueError(
                f"PyTorch cannot trace {title(network)} for sizes that vary: {first_line(error)}"
            ) from error
        sizes = _sizes(network, program, first, step, image_channels)
        graph = program.module()
        shapes = [(1, sizes.smallest, sizes.smallest)]
        for shape in (s for s in others if sizes.hold(*s[1:]) and _serves(network, s, image_channels)):
            if not _serves(network, shape, image_channels, graph):
                raise ValueError(
                    f"{title(network)} traced at {_says(first)} does not serve {_says(shape)} (images, height, width), "
                    "as where a map inside has a single position, which the tracer takes for fixed: give a larger size"
                )
            shapes.append(shape)
        return Traced(program, sizes, [_image(network, shape, image_channels) for shape in shapes])


def _says(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def title(network: nn.Module) -> str:
    """What to call a network in a sentence."""
    if isinstance(network, Normalised):
        return title(network.network)
    if isinstance(network, By):
        return f"{title(network.network)}.{network.method}"
    return type(network).__name__


def first_line(error: Exception) -> str:
    """The first line of an error, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _image(network: nn.Module, shape: Shape, channels: int) -> Tensor:
    """A random image such as the network takes, where the network is."""
    weights = next(network.parameters(), None)
    if weights is not None and weights.dtype != torch.float32:
        raise ValueError(f"networks leave in float32, this one has weights of {weights.dtype}: export network.float()")
    device = None if weights is None else weights.device
    b, h, w = shape
    image = torch.rand(b, channels, h, w, generator=torch.Generator().manual_seed(h * w))
    if isinstance(network, Normalised):
        return (image * 256).to(torch.uint8).to(device)
    return (4 * image - 2).to(device)


def _serves(network: nn.Module, shape: Shape, channels: int, graph: nn.Module | None = None) -> bool:
    image = _image(network, shape, channels)
    try:
        for one in (network,) if graph is None else (graph, network):
            one(image)
    except (ValueError, RuntimeError, AssertionError):  # our sentence, a convolution's where there is none, a graph's
        return False
    return True


def _step(network: nn.Module, size: tuple[int, int], channels: int) -> int:
    """By how many pixels sizes may grow; below zero, shrink."""
    h, w = size
    out = network(_image(network, (1, h, w), channels))  # a size that is not served says so itself
    if not isinstance(out, Tensor):
        raise ValueError(f"{title(network)} answers with a {type(out).__name__}: what leaves answers with one tensor")
    for step in (s for n in range(1, LARGEST_STEP + 1) for s in (n, -n)):
        shape = (1, h + 2 * step, w + 3 * step)
        if min(shape) > 0 and _serves(network, shape, channels):
            return step
    raise ValueError(
        f"{title(network)} serves no size near {h} x {w} but that one: what leaves has to serve sizes that vary"
    )


def _shapes(size: tuple[int, int], step: int) -> list[Shape]:
    """The shape to trace, height and width unlike so that none is taken for the other, and shapes to check."""
    h, w = size if size[0] != size[1] else (size[0], size[1] + step)
    return [(2, h, w), (1, h + step, w + 2 * step), (3, w + step, h), (1, h, h), (2, h - step, w - 3 * step), (1, h, w)]


def _sizes(network: nn.Module, program: ExportedProgram, traced: Shape, step: int, channels: int) -> Sizes:
    """What the tracer supposes of height and width, and where the network itself begins."""
    name = program.graph_signature.user_inputs[0]
    image: Any = next(node for node in program.graph.nodes if node.name == name).meta["val"]
    fixed = [f"{what} to {image.shape[axis]}" for axis, what in AXES.items() if str(image.shape[axis]).isdigit()]
    if fixed:
        raise ValueError(
            f"{title(network)} fixes {' and '.join(fixed)} when it is traced: its code must not turn sizes into "
            "numbers, as len(), int() and float() do"
        )
    step = abs(step)
    smallest, largest = [], []
    for axis in (2, 3):
        supposed = program.range_constraints.get(image.shape[axis].node.expr)
        least, most = ("1", "") if supposed is None else (str(supposed.lower), str(supposed.upper))
        smallest.append(-(-int(least) // step) * step)
        largest.append(int(most) // step * step if most.isdigit() else None)  # a symbol means that there is no end
    graph, low = program.module(), max(smallest)
    while low < min(traced[1:]) and not _serves(network, (1, low, low), channels, graph):
        low += step  # beside its ranges the graph has conditions, such as that no map is a single position
    return Sizes(low, (largest[0], largest[1]), step)
