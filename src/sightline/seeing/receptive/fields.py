"""The theoretical receptive field of every layer of any network, and the exact set of pixels that one neuron can see.

`receptive_fields(network, (224, 224))` runs the network once under a watcher (`watch.py`), with shapes only, and keeps
for each module's output the hull of every neuron: size, stride and padding as in Araujo, Norris & Sim, "Computing
receptive fields of convolutional neural networks" (Distill 2019): along one axis, neuron u sees the pixels from
u0 = -padding + stride u to u0 + size - 1. A box is not enough for attention and dilation: `set` gives the pixels one
by one.

Two answers, never mixed. *Structural*: what the architecture lets through, whatever the weights and the image; masks,
indices and constant factors that the code makes are part of it. *Value-aware* (`values=True`): these weights and this
image, so a tap that is zero, a score that this image masks and a branch that was not taken do not count. An operation
that no rule describes counts as dense and is named.

Left out: how much a pixel counts (`seeing/effective.py`).
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_flatten

from sightline.layers.modes import evaluated
from sightline.seeing.maps import Layout, layout
from sightline.seeing.receptive.nodes import Node, image_node, walk_back
from sightline.seeing.receptive.rules import rule_of
from sightline.seeing.receptive.tables import NOTHING
from sightline.seeing.receptive.watch import Watcher

SHIFTS = 4099  # how far apart the windows of the pool of any weights may start


@dataclass(frozen=True)
class LayerField:
    """What the neurons of one layer see of the image, in pixels, along (height, width)."""

    name: str  # the module's name; "" is the network itself, "layer #2" a second call of the same module
    type: str
    shape: tuple[int, ...]  # of the output
    layout: Layout
    size: tuple[int, int]  # of the central neuron's hull, the image's border left aside; 0 where it sees nothing
    stride: tuple[
        float | None, float | None
    ]  # pixels from one neuron to the next; None: one neuron, or all see the same
    padding: tuple[float, float]  # pixels that the first neuron's hull reaches over the border
    clipped: tuple[int, int]  # size of the central neuron's hull inside the image
    share: float  # of the image, in the central neuron's hull
    dense: tuple[str, ...]  # operations assumed dense on the way: with any, the field is an upper bound

    @property
    def grid(self) -> tuple[int, int]:
        """Positions along the image's height and width."""
        return self.layout.grid


class Fields:
    """The receptive fields of one network for images of one size."""

    def __init__(
        self,
        kind: str,
        image: tuple[int, int],
        nodes: dict[str, tuple[str, Node]],
        warnings: Sequence[str],
        batch: int = 1,
    ) -> None:
        self.kind = kind  # "structural" or "value-aware"
        self.image = image
        self.warnings = tuple(warnings)
        self._nodes = {name: node for name, (_, node) in nodes.items()}
        self.layers = {name: _describe(name, type_, node, image, batch) for name, (type_, node) in nodes.items()}

    def layer(self, name: str) -> LayerField:
        """One layer's field.

        Raises:
            ValueError: no layer of that name depends on the image.
        """
        if name not in self.layers:
            near = difflib.get_close_matches(name, self.layers, 1, 0.3) or list(self.layers)[-1:]
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"no layer named {name!r} depends on the image{hint}")
        return self.layers[name]

    def set(self, layer: str, position: Sequence[int]) -> Bool[Tensor, "h w"]:
        """The exact set of pixels that the neurons at one position of a layer's map see, all channels together.

        Raises:
            ValueError: there is no such layer, or the position lies outside its map.
        """
        marks = self.layer(layer).layout.marked(position)
        return walk_back(self._nodes[layer], marks, self.image)

    def set_of(self, layer: str, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "h w"]:
        """The exact set of pixels of any chosen neurons: a mask of the layer's shape, size 1 where nothing changes."""
        self.layer(layer)
        return walk_back(self._nodes[layer], marked, self.image)

    def hull(self, layer: str, position: Sequence[int]) -> tuple[int, int, int, int] | None:
        """Top, bottom, left and right of the box around that set, inclusive; None where nothing is seen.

        Raises:
            ValueError: there is no such layer, or the position lies outside its map.
        """
        where = self.layer(layer).layout
        y, x = where.check(position)
        node = self._nodes[layer]
        rows, columns = (_on_grid(t, where)[:2, y, x].tolist() for t in (node.rows, node.columns))
        if max(rows + columns) >= NOTHING:
            return None
        return rows[0], -rows[1], columns[0], -columns[1]


def receptive_fields(
    network: nn.Module,
    image: Float[Tensor, "b c h w"] | tuple[int, int],
    *,
    values: bool = False,
    training: bool = False,
) -> Fields:
    """What every layer of a network can see.

    `image` is an image, or its size (three channels are then assumed). The network is left as it was: it may be on the
    meta device (structural only), and runs in evaluation mode unless `training` says otherwise.

    Raises:
        ValueError: the network does not take the image, or no output depends on it.
    """
    given = image if isinstance(image, Tensor) else None
    shape = (1, 3, *image) if isinstance(image, tuple) else tuple(image.shape)
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"an image is [b, c, h, w] or a size (h, w), got {shape[2:] if given is None else shape}")
    parameters = [*network.parameters(), *network.buffers()]
    floats = [p for p in parameters if p.is_floating_point()]
    dtype = floats[0].dtype if floats else torch.get_default_dtype()
    device = next((p.device for p in parameters), torch.device("cpu"))
    if values and (device.type == "meta" or given is None):
        lacks = "weights" if device.type == "meta" else "an image"
        raise ValueError(f"a value-aware field needs {lacks}: give real ones, or ask for the structural field")
    if given is None:
        given = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    with evaluated(network, training), _statistics_kept(network, training):
        nodes, warnings = _watched(network, given, dtype, device, values)
    if not nodes:
        raise ValueError("no output of the network depends on the image: does its forward use its argument?")
    return Fields("value-aware" if values else "structural", (shape[2], shape[3]), nodes, warnings, shape[0])


def _watched(
    network: nn.Module, image: Tensor, dtype: torch.dtype, device: torch.device, values: bool
) -> tuple[dict[str, tuple[str, Node]], list[str]]:
    """Watch one run: structural on shapes alone, and with real numbers where the network asks for some."""
    size = " x ".join(str(s) for s in image.shape[1:])
    why = ""
    if not values:
        try:
            return _run(network, image, dtype, device, values=False, fake=True)
        except Exception as error:  # it asks for values, or does not take the image, which a real run will tell
            why = _first_line(error)
            if device.type == "meta":
                raise ValueError(f"the network does not take an image of {size} on the meta device: {why}") from error
    try:
        nodes, warnings = _run(network, image, dtype, device, values=values, fake=False)
    except Exception as error:
        raise ValueError(f"the network does not take an image of {size}: {_first_line(error)}") from error
    if not values and not warnings:
        warnings = [f"the network does not run on shapes alone ({why}): masks that its code makes count as open"]
    return nodes, warnings


def _run(
    network: nn.Module, image: Tensor, dtype: torch.dtype, device: torch.device, *, values: bool, fake: bool
) -> tuple[dict[str, tuple[str, Node]], list[str]]:
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None
    state: dict[str, Tensor] = {}
    if mode is not None:
        with mode:
            x = torch.empty(image.shape, dtype=dtype, device="cpu" if device.type == "meta" else device)
            if device.type == "meta":  # fake weights on a device that has kernels, for the operations between them
                named = [*network.named_parameters(), *network.named_buffers()]
                state = {n: torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device="cpu") for n, p in named}
        if device.type != "meta":
            state = _any_weights(network)
    else:
        x = image.detach().to(device=device, dtype=dtype)
    # What does not depend on the image is known where it is no weight: value-aware, or with weights drawn anew.
    watcher = Watcher(rule_of, values=values, constants=values or mode is not None, fake=mode)
    watcher.start(x, image_node(x.shape))
    found: dict[str, tuple[str, Node]] = {}
    with _recording(network, watcher, found), _without_fast_path(), torch.no_grad(), watcher:
        if state:
            torch.func.functional_call(network, state, (x,))
        else:
            network(x)
    return found, list(watcher.warnings)


def _any_weights(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter as other numbers, none of them zero: windows of one pool of random ones, which costs no memory.

    So a constant that the code makes from weights is what it is for any weights: zero only where a mask makes it so.
    """
    named = {n: p for n, p in network.named_parameters() if p.is_floating_point() or p.is_complex()}
    pools: dict[tuple[torch.dtype, torch.device], Tensor] = {}
    state: dict[str, Tensor] = {}
    shifts = itertools.cycle(range(0, SHIFTS, 7))
    for name, parameter in named.items():
        kind = (parameter.dtype, parameter.device)
        if kind not in pools:
            size = SHIFTS + max(p.numel() for p in named.values() if (p.dtype, p.device) == kind)
            generator = torch.Generator().manual_seed(0)
            pools[kind] = (0.1 + torch.rand(size, generator=generator)).to(dtype=kind[0], device=kind[1])
        start = next(shifts)
        window = pools[kind][start : start + parameter.numel()].view(parameter.shape)
        state[name] = nn.Parameter(window, requires_grad=False)  # networks may ask whether it is one
    return state


@contextmanager
def _recording(network: nn.Module, watcher: Watcher, found: dict[str, tuple[str, Node]]) -> Iterator[None]:
    """Keep the node of every module's output, in the order in which they finish."""
    handles = []

    def begin(name: str) -> Any:
        return lambda module, args: watcher.layer.append(name)

    def end(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            watcher.layer.pop()
            node = next((n for t in _tensors(output) if (n := watcher.node(t)) is not None), None)
            if node is not None:
                calls = sum(1 for key in found if key == name or key.startswith(f"{name} #"))
                found[name if calls == 0 else f"{name} #{calls + 1}"] = (type(module).__name__, node)

        return hook

    try:
        for name, module in network.named_modules():
            if not isinstance(module, torch.jit.ScriptModule) or name == "":
                handles.append(module.register_forward_pre_hook(begin(name)))
                handles.append(module.register_forward_hook(end(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> list[Tensor]:
    flat: list[Any] = []
    for value in tree_flatten(output)[0]:
        if isinstance(value, Mapping):
            flat += tree_flatten(list(value.values()))[0]
        elif hasattr(value, "to_tuple"):
            flat += tree_flatten(value.to_tuple())[0]
        else:
            flat.append(value)
    return [t for t in flat if isinstance(t, Tensor)]


@contextmanager
def _statistics_kept(network: nn.Module, training: bool) -> Iterator[None]:
    """What norms count in training is as it was afterwards."""
    statistics = {n: b.clone() for n, b in network.named_buffers()} if training else {}
    try:
        yield
    finally:
        for name, buffer in network.named_buffers():
            if name in statistics:
                buffer.data.copy_(statistics[name])


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """PyTorch would run a transformer layer as one operation that shows nothing of its inside."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _describe(name: str, type_: str, node: Node, image: tuple[int, int], batch: int) -> LayerField:
    varies = [tuple(a for a in range(1, t.dim() - 1) if t.shape[a + 1] > 1) for t in (node.rows, node.columns)]
    last = None
    if len(node.shape) == 4 and any(varies):
        last = {1} <= {*varies[0], *varies[1]} <= {1, 2}
    where = layout(node.shape, image, batch=batch, channels_last=last)
    size, stride, padding, clipped = [], [], [], []
    centre = (where.grid[0] // 2, where.grid[1] // 2)
    for axis, table in enumerate((node.rows, node.columns)):
        lines = _on_grid(table, where)
        line = lines[:, :, centre[1]] if axis == 0 else lines[:, centre[0]]  # [4, positions along the axis]
        low, high = line[2], -line[3]
        middle = centre[axis]
        nothing = bool(line[2, middle] >= NOTHING)
        size.append(0 if nothing else int(high[middle] - low[middle]) + 1)
        clipped.append(0 if line[0, middle] >= NOTHING else int(-line[1, middle] - line[0, middle]) + 1)
        stride.append(_stride(low, high))
        padding.append(0.0 if nothing else float(middle * (stride[-1] or 0) - low[middle]))
    share = clipped[0] * clipped[1] / (image[0] * image[1])
    return LayerField(
        name,
        type_,
        node.shape,
        where,
        (size[0], size[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        (clipped[0], clipped[1]),
        share,
        tuple(sorted(node.dense)),
    )


def _stride(low: Int[Tensor, "n"], high: Int[Tensor, "n"]) -> float | None:
    """Pixels between neighbours, of the middles of their hulls; None where all see the same or there is one alone."""
    middles = (low + high)[low < NOTHING].double() / 2
    if len(middles) < 2 or bool((middles == middles[0]).all()):
        return None
    return float(middles[-1] - middles[0]) / (len(middles) - 1)


def _on_grid(table: Int[Tensor, "4 ..."], where: Layout) -> Int[Tensor, "4 y x"]:
    """The hull of each position of the map: of all its channels, of batch item 0."""
    table = table[:, : where.items]
    if where.kind == "map":
        return table[:, 0].amin(1).expand(4, *where.grid)
    if where.kind == "channels last":
        return table[:, 0].amin(-1).expand(4, *where.grid)
    if where.kind == "tokens":
        lines = table[:, 0].amin(-1).expand(4, where.shape[1])
        return lines[:, where.prefix :].reshape(4, *where.grid)
    return table.flatten(1).amin(1)[:, None, None]


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
