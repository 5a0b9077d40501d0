"""How the elements of one tensor depend on the elements of another: the steps of which every rule is made.

A *relation* is a tuple of steps between an input tensor and an output tensor. Each step answers one question twice:

- `lowest(table)`: for every output element, the minimum over the input elements that it depends on. With coordinates
  in the table (and negated ones, for the maximum) this carries the hull of *all* neurons forward at once.
- `sources(marked)`: which input elements the marked output elements depend on. Walked backwards from one neuron, this
  gives the exact *set* of pixels, holes and crosses included.

So each operation is described once, and the two answers cannot disagree by a slip. Every axis is counted from the
right (-1 is the last), because tables carry one more axis on the left than masks do; an axis of size 1 stands for any
size along which nothing changes, so a convolutional network costs vectors, not maps.

Left out: how much an element counts. A relation says *whether* it can.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sightline.seeing.receptive.tables import ABSENT, NO_SOURCE, NOTHING, any_over, count, reshaped


@runtime_checkable
class Step(Protocol):
    """One step of a relation."""

    def lowest(self, table: Tensor) -> Tensor:
        """For each output element, the lowest entry among its sources."""
        ...

    def sources(self, marked: Tensor) -> Tensor:
        """The input elements that any marked output element depends on."""
        ...


Relation = tuple[Step, ...]


@dataclass(frozen=True)
class Same:
    """Element by element, with broadcasting: `a + b`."""

    shape: tuple[int, ...]  # of the input
    out: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The entry of the element itself."""
        return table.reshape(4, *[1] * (len(self.out) - len(self.shape)), *table.shape[1:])

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The marked elements, any of them where an input element was broadcast."""
        extra = len(self.out) - len(self.shape)
        if extra:
            marked = marked.flatten(0, extra - 1).any(0) if extra > 1 else marked.any(0)
        axes = [a - len(self.shape) for a, s in enumerate(self.shape) if s == 1 and marked.shape[a] > 1]
        return any_over(marked, axes)


@dataclass(frozen=True)
class Every:
    """Each output depends on all elements along some axes, which stay, with size 1: a sum, a norm, a softmax."""

    axes: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest along the axes."""
        axes = [a for a in self.axes if table.shape[a] > 1]
        return table.amin(axes, keepdim=True) if axes else table

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """All along the axes, where anything is marked."""
        return any_over(marked, self.axes)


@dataclass(frozen=True)
class Whole:
    """Everything depends on everything: the honest upper bound of an operation without a rule."""

    ndim: int  # of the input
    out: int

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest of all."""
        return table.flatten(1).amin(1).reshape(4, *[1] * self.out)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Everything, where anything is marked."""
        return marked.any().reshape([1] * self.ndim)


@dataclass(frozen=True)
class Windows:
    """Along one axis, output i depends on the inputs `index[i]`: convolution, pooling, padding, slices, rolls, resizes.

    An index off the axis is padding: it adds no pixel, but its coordinates go on beyond the border in the unclipped
    table. `NO_SOURCE` adds nothing anywhere.
    """

    axis: int
    index: Int[Tensor, "out taps"]
    size: int  # of the input along the axis

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest in each window."""
        inside = (self.index >= 0) & (self.index < self.size)
        real = self.index != NO_SOURCE
        if table.shape[self.axis] == 1:
            if self.size > 1 and bool(inside.any(1).all()):
                return table
            table = table.expand(*table.shape[: self.axis], self.size, *table.shape[self.axis :][1:])
        table = table.movedim(self.axis, -1)
        near = self.index.clamp(0, self.size - 1)
        clipped = torch.where(inside, table[:2][..., near], ABSENT).amin(-1)
        beyond = table[2:][..., near]
        if self.size > 1:
            first = (table[2:, ..., 1] - table[2:, ..., 0])[..., None, None]
            last = (table[2:, ..., -1] - table[2:, ..., -2])[..., None, None]
            past = torch.where(real, self.index - near, 0)
            beyond = torch.where(
                beyond >= NOTHING, beyond, beyond + past.clamp(max=0) * first + past.clamp(min=0) * last
            )
        beyond = torch.where(real, beyond, ABSENT).amin(-1)
        return torch.cat([clipped, beyond]).movedim(-1, self.axis)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The inputs in any marked output's window."""
        inside = (self.index >= 0) & (self.index < self.size)
        outputs = torch.arange(len(self.index))[:, None].expand_as(self.index)
        if marked.shape[self.axis] == 1:
            found = torch.zeros(self.size, dtype=torch.bool)
            found[self.index[inside]] = True
            return marked & found.reshape(-1, *[1] * (-self.axis - 1))
        joined = torch.zeros(len(self.index), self.size)
        joined[outputs[inside], self.index[inside]] = 1
        return (marked.movedim(self.axis, -1).float() @ joined > 0).movedim(-1, self.axis)


@dataclass(frozen=True)
class Reshape:
    """The same elements in the same order under another shape: view, flatten, squeeze, unsqueeze."""

    shape: tuple[int, ...]
    out: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The entry of the element itself."""
        return reshaped(table, (4, *self.shape), (4, *self.out))

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The marked elements themselves."""
        return reshaped(marked, self.out, self.shape)


@dataclass(frozen=True)
class Permute:
    """Axes in another order: output axis i is input axis `order[i]`."""

    order: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The entry of the element itself."""
        return table.permute(0, *(o + 1 for o in self.order))

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The marked elements themselves."""
        return marked.permute(*(self.order.index(a) for a in range(len(self.order))))


@dataclass(frozen=True)
class Pick:
    """Output element i is the input element `index[i]` of the flattened input, or none where it is negative."""

    index: Int[Tensor, "..."]  # of the output's shape
    shape: tuple[int, ...]  # of the input

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The entry of the element picked."""
        picked = table.expand(4, *self.shape).reshape(4, -1)[:, self.index.clamp(min=0).flatten()]
        return torch.where(self.index < 0, ABSENT, picked.reshape(4, *self.index.shape))

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The elements that a marked output element picked."""
        chosen = self.index[marked.expand(self.index.shape) & (self.index >= 0)]
        found = torch.zeros(count(self.shape), dtype=torch.bool)
        found[chosen] = True
        return found.reshape(self.shape)


@dataclass(frozen=True)
class Spread:
    """Input element i goes to the element `index[i]` of the flattened output, or nowhere where it is negative: fold."""

    index: Int[Tensor, "..."]  # of the input's shape
    out: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest of the elements that went there."""
        flat = table.expand(4, *self.index.shape).reshape(4, -1)
        goes = (self.index >= 0).flatten()
        found = torch.full((4, count(self.out)), ABSENT)
        target = self.index.flatten()[goes].expand(4, -1)
        return found.scatter_reduce(1, target, flat[:, goes], "amin").reshape(4, *self.out)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The elements that went to a marked place."""
        return marked.expand(self.out).reshape(-1)[self.index.clamp(min=0)] & (self.index >= 0)


@dataclass(frozen=True)
class Keep:
    """Element by element, but only where `kept`: elsewhere the input does not count, as where it is masked."""

    kept: Bool[Tensor, "..."]  # broadcastable to the elements
    else_: int = ABSENT  # what is known of the others: `NOTHING`, `MASKED`, `ZERO`

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The entry of the element itself where it is kept."""
        return torch.where(self.kept, table, self.else_)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The marked elements that are kept."""
        return marked & self.kept


@dataclass(frozen=True)
class Table:
    """Along one axis, output o depends on the inputs i with `allowed[..., o, i]`: masked attention, for one.

    The axis is -1 or -2; leading axes of `allowed` are batches, right-aligned with the axes before the last two.
    """

    axis: int
    allowed: Bool[Tensor, "... out in"]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest of the allowed inputs."""
        inputs = table if self.axis == -1 else table.movedim(-2, -1)  # [4, ..., rest, in]
        if inputs.shape[-1] == 1:
            out = torch.where(self.allowed.any(-1)[..., None, :], inputs, ABSENT)
        elif inputs.shape[-2] == 1:
            out = torch.where(self.allowed, inputs, ABSENT).amin(-1)[..., None, :]
        else:
            rows = inputs.unbind(-2)
            out = torch.stack([torch.where(self.allowed, row[..., None, :], ABSENT).amin(-1) for row in rows], -2)
        return out if self.axis == -1 else out.movedim(-1, -2)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The inputs that a marked output is allowed to see."""
        outputs = marked if self.axis == -1 else marked.movedim(-2, -1)  # [..., rest, out]
        outputs = outputs.expand(*outputs.shape[:-1], self.allowed.shape[-2])
        found = outputs.float() @ self.allowed.float() > 0
        return found if self.axis == -1 else found.movedim(-1, -2)


@dataclass(frozen=True)
class Taps:
    """A convolution whose taps are known: output channel o sees input channel i through tap k where `taps[o, i, k]`.

    The `windows` along the spatial axes say where the taps stand. Carried forward, all channels of a group are taken
    together (an upper bound of the hull where their taps differ); walked backwards the taps are exact.
    """

    taps: Bool[Tensor, "o i ..."]
    groups: int
    windows: tuple[Windows, ...]  # one for each spatial axis, the taps in the order of the kernel
    channels: Relation  # what the convolution does to the channels

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest among the taps that any channel uses."""
        for step in self.channels:
            table = step.lowest(table)
        used = self.taps.flatten(0, 1).any(0)
        found = torch.full((4, *[1] * (table.dim() - 1)), ABSENT)
        for tap in used.nonzero().tolist():
            part = table
            for window, t in zip(self.windows, tap, strict=True):
                part = Windows(window.axis, window.index[:, t : t + 1], window.size).lowest(part)
            found = torch.minimum(found, part)
        dead = ~self.taps.flatten(1).any(1).reshape(-1, *[1] * len(self.windows))
        return torch.where(dead, ABSENT, found)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """What the marked outputs see through the taps that are there."""
        outputs = [len(w.index) for w in self.windows]
        marked = marked.expand(marked.shape[0], len(self.taps), *outputs)
        by_group = marked.unflatten(1, (self.groups, -1)).float()  # [b, g, o, ...]
        taps = self.taps.unflatten(0, (self.groups, -1)).float()  # [g, o, i, ...]
        sizes = [w.size for w in self.windows]
        found = torch.zeros(marked.shape[0], self.groups, taps.shape[2], *sizes)
        for tap in self.taps.flatten(0, 1).any(0).nonzero().tolist():
            joined = taps[(..., *tap)]
            reached = torch.einsum("bgo...,goi->bgi...", by_group, joined) > 0
            for window, t in zip(self.windows, tap, strict=True):
                reached = Windows(window.axis, window.index[:, t : t + 1], window.size).sources(reached)
            found += reached
        return (found > 0).flatten(1, 2)


@dataclass(frozen=True)
class Prefix:
    """Along one axis, each output depends on the inputs up to itself: cumulative sums."""

    axis: int

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest so far."""
        return table.cummin(self.axis).values

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Everything before a marked output; needs the full axis, which the rule expands."""
        return marked.int().flip(self.axis).cummax(self.axis).values.flip(self.axis).bool()


@dataclass(frozen=True)
class Full:
    """Not a dependency: gives the axes their full size, for a step that counts along them."""

    shape: tuple[int, ...]

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The same table at full size."""
        return table.expand(4, *self.shape)

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The same marks at full size."""
        return marked.expand(self.shape)


@dataclass(frozen=True)
class Cross:
    """Criss-cross attention: each position of a map depends on its row and its column (Huang et al., 2019)."""

    def lowest(self, table: Int[Tensor, "4 ..."]) -> Int[Tensor, "4 ..."]:
        """The lowest in the row and in the column."""
        return torch.minimum(table.amin(-1, keepdim=True), table.amin(-2, keepdim=True))

    def sources(self, marked: Bool[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """The rows and columns of the marked positions."""
        return marked.any(-1, keepdim=True) | marked.any(-2, keepdim=True)
