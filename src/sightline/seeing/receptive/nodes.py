"""What the watcher remembers: one node for each version of each tensor that depends on the image.

A node holds the hulls of all elements (see `relations.py`) and, for the walk back, its sources. An operation that
writes in place gives its tensor a new node, and every other view of the same memory too, so that nothing is ever
changed under an older node.

Left out: the tensors themselves. Once the network has run, the nodes answer alone.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sightline.seeing.receptive.relations import Relation
from sightline.seeing.receptive.tables import ABSENT, MASKED, NOTHING, ZERO, collapsed


@dataclass(frozen=True, eq=False)
class Node:
    """One version of a tensor: its shape, the hull of every element along both axes of the image, and its sources."""

    number: int  # in the order of execution
    shape: tuple[int, ...]
    rows: Int[Tensor, "4 ..."]
    columns: Int[Tensor, "4 ..."]
    sources: tuple[tuple["Node", Relation], ...] = ()
    dense: frozenset[str] = field(default=frozenset())  # operations assumed dense on the way

    def empty(self) -> Bool[Tensor, "..."]:
        """The elements that depend on no pixel."""
        return (self.rows[0] >= NOTHING) | (self.columns[0] >= NOTHING)

    def masked(self) -> Bool[Tensor, "..."]:
        """The elements that are known to be -inf, or the lowest number there is, whatever the image."""
        return self.rows[0] == MASKED

    def zero(self) -> Bool[Tensor, "..."]:
        """The elements that are known to be zero, whatever the image."""
        return self.rows[0] == ZERO


def image_node(shape: Sequence[int]) -> Node:
    """The image itself, `[b, c, h, w]`: each pixel sees itself."""
    h, w = shape[-2:]
    rows, columns = torch.arange(h)[:, None], torch.arange(w)
    lead = [1] * (len(shape) - 2)
    return Node(
        0,
        tuple(shape),
        torch.stack([rows, -rows] * 2).reshape(4, *lead, h, 1),
        torch.stack([columns, -columns] * 2).reshape(4, *lead, 1, w),
    )


def derived(
    number: int,
    shape: Sequence[int],
    sources: Sequence[tuple[Node, Relation]],
    dense: frozenset[str] = frozenset(),
    *,
    moves: bool = False,
) -> Node:
    """The node of a tensor that depends on other nodes by these relations, or on none at all.

    `moves` says that elements are only moved, so that what is known of constants among them stays known.
    """
    tables = []
    for axis in ("rows", "columns"):
        table = torch.full((4, *[1] * len(shape)), ABSENT)
        for node, relation in sources:
            part: Tensor = getattr(node, axis)
            if not moves:
                part = part.clamp(max=NOTHING)
            for step in relation:
                part = step.lowest(part)
            table = torch.minimum(table, part)
        tables.append(collapsed(torch.where(table == ABSENT, NOTHING, table)))
    dense = dense.union(*(node.dense for node, _ in sources))
    return Node(number, tuple(shape), tables[0], tables[1], tuple(sources), dense)


def walk_back(node: Node, marked: Bool[Tensor, "..."], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The exact set of pixels, any channel, that the marked elements of a node depend on, in an image of this size.

    `marked` has the node's axes, each of full size or of size 1.
    """
    waiting = {node: marked}
    order = [(-node.number, id(node), node)]
    while order:
        _, _, here = heapq.heappop(order)
        marks = waiting.pop(here)
        if here.number == 0:
            return marks.expand(here.shape).flatten(0, -3).any(0)
        for source, relation in here.sources:
            part = marks
            for step in reversed(relation):
                part = step.sources(part)
            if not bool(part.any()):
                continue
            if source in waiting:
                waiting[source] = waiting[source] | part
            else:
                waiting[source] = part
                heapq.heappush(order, (-source.number, id(source), source))
    return torch.zeros(size, dtype=torch.bool)
