"""Which outputs can a block of the input reach at all? Asked of any network: change the block and compare the outputs
bit for bit.

An output position that keeps every bit while a block changes did not see that block: no threshold, no gradient. One
drawing of weights and image can hide an influence (a ReLU at zero, a softmax that underflows, a gain initialised at
zero), never invent one; so the *structural* reach, a property of the architecture, is the union over several redrawings
of every weight, at several scales of weights and images. All arithmetic is float64 through copies of the network in
evaluation mode, where batch normalisation joins no positions.

The receptive field by rules (Araujo et al., 2019, https://distill.pub/2019/computing-receptive-fields/) is the bounding
box of what this finds; attention and holes (dilation) are seen here as they are. Left out: how *much* an input
counts (the effective receptive field), and influence smaller than one rounding in float64.
"""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

# Together these find what one drawing hides: large images lift faint paths through deep stacks above rounding, small
# ones keep a softmax soft enough that every key still counts.
SCALES = ((1.0, 1.0), (0.5, 0.1), (1.5, 1e3), (1.0, 1e-2))  # of the weights, of the image


def changed(
    network: Callable[[Tensor], Tensor], before: Float[Tensor, "b c h w"], after: Float[Tensor, "b c h w"]
) -> Bool[Tensor, "b y x"]:
    """Where the network's output differs in any bit of any channel between two batches of images.

    Image by image, both stand in the same place of equally shaped batches, so that the same instructions run and a bit
    that differs means that the information arrived.
    """
    with torch.no_grad():
        old, new = network(before), network(after)
    return ((old != new) & ~(old.isnan() & new.isnan())).any(1)


def reach(
    network: nn.Module,
    size: tuple[int, int],
    *,
    block: int = 8,
    channels: int = 3,
    redraws: int = 4,
    generator: Generator | None = None,
) -> Bool[Tensor, "blocks_y blocks_x y x"]:
    """Which output positions [y, x] change, in any bit, when one block of the input changes.

    `redraws` counts drawings of all weights, images of several scales each: the reach of the architecture. With 0 the
    network keeps its own weights: the reach of this trained network. The network itself is left as it was.

    Raises:
        ValueError: the size is not a multiple of the block, or the output is no map.
    """
    if size[0] % block or size[1] % block:
        raise ValueError(
            f"the image is {size[0]} x {size[1]}: a block of {block} does not divide it, choose one that does"
        )
    draw = generator if generator is not None else torch.Generator().manual_seed(0)
    twin = copy.deepcopy(network).cpu().double().eval()
    found = _reach_once(twin, size, block, channels, draw, 1.0) if redraws < 1 else None
    for turn in range(redraws):
        weights, pixels = SCALES[turn % len(SCALES)]
        redraw_weights(twin, draw, scale=weights)
        seen = _reach_once(twin, size, block, channels, draw, pixels)
        found = seen if found is None else found | seen
    assert found is not None
    return found


def _reach_once(
    network: nn.Module, size: tuple[int, int], block: int, channels: int, draw: Generator, pixels: float
) -> Bool[Tensor, "blocks_y blocks_x y x"]:
    rows, columns = size[0] // block, size[1] // block
    image = pixels * torch.rand(channels, *size, generator=draw, dtype=torch.float64)
    other = pixels * torch.rand(channels, *size, generator=draw, dtype=torch.float64)
    index = torch.arange(rows * columns)
    cells = (index[:, None] == index).reshape(rows * columns, 1, rows, columns)
    inside = cells.repeat_interleave(block, 2).repeat_interleave(block, 3)
    before = image.expand(rows * columns, *image.shape).contiguous()
    seen = changed(network, before, torch.where(inside, other, before))
    return seen.reshape(rows, columns, *seen.shape[1:])


def redraw_weights(network: nn.Module, generator: Generator, *, scale: float = 1.0) -> None:
    """Draw every parameter anew, zero-initialised ones included, as normal numbers of standard deviation
    scale / sqrt(fan-in); running means too, and running variances as positive numbers.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(noise * scale / max(fan_in, 1) ** 0.5)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype))
