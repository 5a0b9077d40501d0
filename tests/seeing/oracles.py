"""Which pixels a neuron depends on, found without the rules that are to be judged: two oracles.

`perturbed_set` changes one pixel after another, all channels of it, in float64, and compares the neuron bit for bit. It
never finds a pixel that is not there. It can miss one (a ReLU at zero, a maximum elsewhere, a softmax that saturates),
so it takes the union over several drawings of weights and sizes of change.

`nan_hull` writes NaN into a row or a column and looks whether it arrives: the hull, in height + width passes.
It is right where every operation hands NaN on from what it depends on, and only from that. Where it breaks:
- too large: what is multiplied by zero or masked (NaN * 0 and NaN + -inf are NaN): masked attention, masked weights,
  a causal mask, a tap of a resize whose weight is zero; and x - x, which is too large under every rule that does not
  know algebra;
- too small: what compares or indexes swallows NaN: `grid_sample` with sampled positions, top-k, `argmax`, a branch on a
  value, `clamp` and `maximum` on some devices;
- normalisation in training mode and softmax hand NaN to everything, which is what they depend on: right.

Left out: how much a pixel counts.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from sightline.seeing.reach import SCALES, redraw_weights

Read = Callable[[nn.Module, Tensor], Tensor]  # (network, images [b, c, h, w]) -> features of neurons, [b, neurons, c]
CHANGES = (1.0, 1e-3, 1e2, 1e3)  # how far a pixel moves: past a ReLU or a maximum, or not out of a soft softmax


def reader(*positions: tuple[int, int], layer: str = "") -> Read:
    """Reads neurons at these (y, x) of a layer whose output is a map [b, c, y, x]; "" is the network's own output."""

    def read(network: nn.Module, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b neurons k"]:
        seen: list[Tensor] = []
        hook = network.get_submodule(layer).register_forward_hook(lambda _module, _inputs, out: seen.append(out))
        try:
            network(images)
        finally:
            hook.remove()
        return torch.stack([seen[-1][:, :, y, x] for y, x in positions], 1)

    return read


def perturbed_set(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    read: Read,
    *,
    redrawn: bool,
    draws: int = 12,
    batch: int = 64,
    generator: Generator | None = None,
) -> Bool[Tensor, "neurons h w"]:
    """The pixels that change each neuron. `redrawn`: under any weights of this architecture (all weights drawn anew, at
    several scales of weights and of images); otherwise under its own weights, at this very image.

    The modes of the layers are kept. `batch` pixels share a pass: 1 where the network joins the images of a batch.
    """
    draw = generator if generator is not None else torch.Generator().manual_seed(0)
    twin = copy.deepcopy(network).double()
    image = image.double()
    found = torch.zeros(0)
    for turn in range(draws):
        before, change = image, CHANGES[turn % len(CHANGES)]
        if redrawn:
            weights, change = SCALES[turn % len(SCALES)]
            redraw_weights(twin, draw, scale=weights)
            before = change * torch.randn(image.shape, generator=draw, dtype=torch.float64)
        after = before + change * torch.randn(image.shape, generator=draw, dtype=torch.float64)
        once = _changed_pixels(twin, before, after, read, batch)
        found = once if turn == 0 else found | once
    return found


def _changed_pixels(
    network: nn.Module, before: Tensor, after: Tensor, read: Read, batch: int
) -> Bool[Tensor, "neurons h w"]:
    """One pixel after another taken from `after`; both images compared stand in the same place of their batch."""
    h, w = before.shape[-2:]
    batch = min(batch, h * w)
    with torch.no_grad():
        old = read(network, before.expand(batch, *before.shape[1:]).contiguous())
        found = []
        for start in range(0, h * w, batch):
            index = torch.arange(start, start + batch).clamp(max=h * w - 1)
            images = before.repeat(batch, 1, 1, 1).flatten(2)
            item = torch.arange(batch)
            images[item, :, index] = after.flatten(2)[0][:, index].T
            new = read(network, images.reshape(batch, *before.shape[1:]))
            differs = (old != new) & ~(old.isnan() & new.isnan())
            found.append(differs.any(-1)[: h * w - start])
    return torch.cat(found).T.reshape(-1, h, w)


def nan_hull(network: nn.Module, image: Float[Tensor, "1 c h w"], read: Read) -> list[tuple[int, int, int, int] | None]:
    """The hull (top, bottom, left, right), both ends included, of each neuron; None where no pixel arrives."""
    network = copy.deepcopy(network).double()
    image = image.double()
    ends: list[list[Sequence[int]]] = []
    for axis in (2, 3):
        seen = []
        for line in range(image.shape[axis]):
            spoilt = image.clone()
            spoilt.select(axis, line).fill_(torch.nan)
            with torch.no_grad():
                seen.append(read(network, spoilt)[0].isnan().any(-1))
        arrived = torch.stack(seen, 1)  # [neurons, lines]
        ends.append([torch.nonzero(one).flatten().tolist() for one in arrived])
    return [(y[0], y[-1], x[0], x[-1]) if y and x else None for y, x in zip(*ends, strict=True)]
