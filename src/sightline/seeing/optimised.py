"""What would a channel like to see? An image is changed, step by step, until the channel responds as much as it can.

Gradient ascent on an image in the parametrisation of Olah, Mordvintsev & Schubert (2017, "Feature visualization",
https://distill.pub/2017/feature-visualization): the variables are the image's Fourier coefficients divided by the
spectrum of natural images, which falls with the frequency f as 1/f, in colour axes in which such images vary
independently:

    image = sigmoid(colour axes . inverse DFT(coefficients / max(f, 1 / longest side))),

so that a step favours no frequency and no colour, and fine noise does not win. Jitter (the network sees a window of a
larger canvas, at another place each step) and blur (a Gaussian through which it sees, sharpening until the end) keep
out patterns that hold at one pixel only.

Left out: scaling and rotation, a prior learned from images, diversity (several images for one channel).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from sightline.layers.modes import evaluated
from sightline.seeing.deconvnet import Prepare, ReluRule
from sightline.seeing.running import check_unit, responses_of, runs_of

# Axes of colour in natural images: brightness, red against blue, green against both (Ruderman, Cronin & Chiao, 1998,
# https://doi.org/10.1364/JOSAA.15.002036), and how much scikit-learn's photographs vary along each.
COLOUR_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
COLOUR_SPREAD = (1.0, 0.32, 0.11)
START = 0.01  # standard deviation of the first variables
CONTRAST = 0.25  # of the canvas that unit variables give; more saturates early


def optimised_input(
    network: nn.Module,
    layer: str,
    channel: int | Sequence[int],
    *,
    size: tuple[int, int],
    position: tuple[int, int] | None = None,
    inputs: int = 3,
    steps: int = 128,
    learning_rate: float = 0.05,
    jitter: int | None = None,
    blur: float = 0.0,
    frequency: bool = True,
    colour: bool = True,
    seed: int = 0,
    prepare: Prepare | None = None,
) -> Float[Tensor, "*k {inputs} {size[0]} {size[1]}"]:
    """The image in [0, 1] to which a channel, or one unit of it, responds most; the same for the same seed.

    Args:
        network: any module that takes `[b, inputs, h, w]`; it runs in evaluation mode and is left as it was.
        layer: the name of a module of the network, whose output is a map, tokens or a vector.
        channel: one, or several, which are found at once and give one image each; all start from the same noise.
        size: of the image, (h, w).
        position: the unit's place (y, x) on the layer's map; None: the mean of the whole channel, which
            for a layer before its ReLU is mostly a matter of colour.
        inputs: channels of the image.
        steps: of Adam.
        learning_rate: of Adam.
        jitter: pixels by which the image moves each way; None: 4, but for a unit no more than half its stride, since
            it must be able to answer for the same place.
        blur: standard deviation of the first Gaussian, in pixels.
        frequency: Fourier coefficients as variables; otherwise plain pixels.
        colour: variables along the axes of natural colours; images of other than three channels have none.
        seed: of the first noise and the jitter; PyTorch's global generator is not used.
        prepare: applied to the batch before the network, such as its normalisation; must be differentiable.

    Raises:
        ValueError: the layer, the channel or the position does not exist, or the layer does not depend on the image.
    """
    channels = [channel] if isinstance(channel, int) else list(channel)
    draw = torch.Generator().manual_seed(seed)
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
    rows = torch.arange(len(channels), device=like.device)

    with torch.inference_mode(False), torch.enable_grad(), evaluated(network):
        grey = torch.full((1, inputs, *size), 0.5, dtype=like.dtype, device=like.device)
        seen = grey if prepare is None else prepare(grey)
        runs = runs_of(network, layer, seen)
        with torch.no_grad():
            shape = responses_of(network, layer, seen, stop=runs)[0].shape
        check_unit(layer, shape, channels, position)
        if jitter is None:
            stride = min(s // max(1, m) for s, m in zip(size, shape[1:], strict=True))
            jitter = 4 if position is None else min(4, stride // 2)

        canvas = (size[0] + 2 * jitter, size[1] + 2 * jitter)
        start = first_variables(canvas, inputs, frequency, draw).to(like)
        variables = start.repeat(len(channels), *[1] * (start.dim() - 1)).requires_grad_()
        adam = torch.optim.Adam([variables], lr=learning_rate)
        for step in range(steps):
            image = paint(variables, canvas, frequency=frequency, colour=colour)
            image = blurred(image, blur * (1 - step / steps))
            top, left = torch.randint(2 * jitter + 1, (2,), generator=draw).tolist()
            window = image[:, :, top : top + size[0], left : left + size[1]]
            window = window if prepare is None else prepare(window)
            responses = responses_of(network, layer, window, stop=runs)[rows, channels]
            y, x = position or _following((top - jitter, left - jitter), shape[1:], size)
            wanted = responses.mean((1, 2)) if position is None else responses[:, y, x]
            variables.grad = -_uphill(wanted, responses[:, y, x], variables, layer)
            adam.step()
        with torch.no_grad():
            image = paint(variables, canvas, frequency=frequency, colour=colour)
            found = image[:, :, jitter : jitter + size[0], jitter : jitter + size[1]].clone()
    return found[0] if isinstance(channel, int) else found


def _following(moved: tuple[int, int], grid: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    """The unit that has the middle of the canvas before it, where the window has moved by so many pixels."""
    y, x = (min(max(g // 2 - round(pixels * g / s), 0), g - 1) for pixels, g, s in zip(moved, grid, size, strict=True))
    return y, x


def _uphill(wanted: Float[Tensor, "k"], unit: Float[Tensor, "k"], variables: Tensor, layer: str) -> Tensor:
    """The gradient; where it is zero because ReLUs are silent, one of the `unit` that wakes those on its way.

    One unit, since the same call to all of a channel's units asks for no pattern, only for a colour. The network's own
    gradients are not touched.
    """
    if wanted.requires_grad:
        (gradient,) = torch.autograd.grad(wanted.sum(), variables, retain_graph=True, allow_unused=True)
        if gradient is not None:
            silent = (gradient == 0).flatten(1).all(1)
            if silent.any():
                with ReluRule("redirected"):
                    gradient[silent] = torch.autograd.grad(unit.sum(), variables)[0][silent]
            return gradient
    raise ValueError(f"the layer {layer!r} does not depend on the image by a gradient: choose another")


def first_variables(
    size: tuple[int, int], channels: int, frequency: bool, generator: Generator
) -> Float[Tensor, "1 {channels} ..."]:
    """Faint noise: pixels, or real and imaginary Fourier coefficients `[1, c, h, w // 2 + 1, 2]`."""
    shape = (size[0], size[1] // 2 + 1, 2) if frequency else size
    return START * torch.randn(1, channels, *shape, generator=generator)


def paint(
    variables: Float[Tensor, "b c ..."], size: tuple[int, int], *, frequency: bool = True, colour: bool = True
) -> Float[Tensor, "b c {size[0]} {size[1]}"]:
    """The image in [0, 1] that the variables stand for."""
    canvas = CONTRAST * from_frequencies(variables, size) if frequency else variables
    if colour and canvas.shape[1] == 3:
        canvas = torch.einsum("rc,bchw->brhw", colour_axes().to(canvas), canvas)
    return torch.sigmoid(canvas)


def from_frequencies(
    coefficients: Float[Tensor, "b c h f 2"], size: tuple[int, int]
) -> Float[Tensor, "b c {size[0]} {size[1]}"]:
    """The inverse DFT of coefficients that are divided by their frequency first.

    image[y, x] = 1 / sqrt(h w) sum over v, u of C[v, u] / f(v, u) exp(2 pi i (v y / h + u x / w)), real part, where the
    u that are not stored count by their mirror images; f is in cycles a pixel, and that of the mean that of the
    longest wave.
    """
    down, across = frequencies(size, coefficients)
    scale = (down**2 + across**2).sqrt().clamp(min=1 / max(size))
    return torch.fft.irfft2(torch.view_as_complex(coefficients.contiguous()) / scale, s=size, norm="ortho")


def frequencies(size: tuple[int, int], like: Tensor) -> tuple[Float[Tensor, "h 1"], Float[Tensor, "1 f"]]:
    """Cycles a pixel of every stored coefficient, down and across."""
    down = torch.fft.fftfreq(size[0], dtype=like.dtype, device=like.device)
    return down[:, None], torch.fft.rfftfreq(size[1], dtype=like.dtype, device=like.device)[None]


def colour_axes() -> Float[Tensor, "3 3"]:
    """Red, green and blue (rows) of the three axes (columns), as long as natural images vary along them."""
    axes = torch.tensor(COLOUR_AXES, dtype=torch.float64)
    return (axes / axes.norm(dim=1, keepdim=True) * torch.tensor(COLOUR_SPREAD, dtype=torch.float64)[:, None]).T


def blurred(image: Float[Tensor, "b c h w"], deviation: float) -> Float[Tensor, "b c h w"]:
    """The image through a Gaussian of this standard deviation in pixels; its edges meet, as on a torus."""
    if deviation <= 0:
        return image
    size = (image.shape[-2], image.shape[-1])
    down, across = frequencies(size, image)
    passed = torch.exp(-2 * (math.pi * deviation) ** 2 * (down**2 + across**2))
    return torch.fft.irfft2(torch.fft.rfft2(image) * passed, s=size)
