"""A search's tree as arrays: b roots, n places of each, a slots of each place.

A slot is an action where somebody moves, an outcome where nobody does (`Model.chance`), and the number of a proposal
where actions are real numbers. A place knows where it came from, so that a value finds its way up without a stack, and
children have larger numbers than their parents, so that one pass over the numbers sees parents first.

An edge that keeps several sampled outcomes leads to a place of the kind OUTCOMES, whose `child[:, :, 0]` is the newest
of them and `sibling` the one before; it has reward 0 and discount 1, and so the rule of signs holds there as well.

Left out: places that several ways lead to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sightline.planning.jit import compiled
from sightline.planning.select import CHANCE, OUTCOMES, OVER
from sightline.planning.states import alike, parts, put, room_for, taken

EDGE = np.dtype(
    [
        ("prior", np.float64),  # 0: illegal
        ("q", np.float64),  # mean of reward + discount * return, for the one to move
        ("visits", np.int32),
        ("pending", np.int32),  # simulations that wait for an evaluation
        ("child", np.int32),  # the place it leads to, -1: none yet
    ],
    align=True,
)
NODE = np.dtype(
    [
        ("mean", np.float64),  # of its evaluation and all returns, for the one to move
        ("value", np.float64),  # its evaluation
        ("reward", np.float64),  # on the way here, to the one who moved
        ("discount", np.float64),  # on the way here
        ("exact", np.float64),  # its value, if it is proven
        ("offset", np.float64),  # where the drawing of outcomes begins
        ("key", np.int64),  # of a sampled outcome: the same for the same one
        ("arrivals", np.int32),  # visits, the place's own evaluation among them
        ("parent", np.int32),  # -1: none
        ("slot", np.int32),  # of the parent, that leads here
        ("kind", np.int32),  # as in `select.py`
        ("sibling", np.int32),  # the outcome sampled before, -1: none
        ("outcomes", np.int32),  # sampled so far, where an edge keeps several
        ("weight", np.int32),  # how often this one was sampled
        ("solved", np.bool_),  # whether it is proven
    ],
    align=True,
)
ROOT = np.dtype(
    [
        ("low", np.float64),  # of all q so far
        ("high", np.float64),
        ("used", np.int32),  # places so far
    ],
    align=True,
)


class Arrays(NamedTuple):
    """Everything but the states: records, so that what a simulation reads together lies together."""

    edges: np.ndarray
    """[b, n, a] of EDGE."""
    nodes: np.ndarray
    """[b, n] of NODE."""
    roots: np.ndarray
    """[b] of ROOT."""


@dataclass(frozen=True)
class Tree:
    """What a search knows."""

    arrays: Arrays
    states: Any = None
    """[b * n, ...] as `states.py` keeps them; None: a tree that was loaded."""
    actions: np.ndarray | None = None
    """[b * n, a, d]: what the slots stand for, where actions are proposed."""

    @property
    def roots(self) -> int:
        """How many."""
        return len(self.arrays.roots)

    @property
    def capacity(self) -> int:
        """Places that there is room for, of every root."""
        return self.arrays.nodes.shape[1]

    @property
    def width(self) -> int:
        """Slots of a place."""
        return self.arrays.edges.shape[2]

    def widened(self, capacity: int) -> "Tree":
        """A copy with room for so many places."""
        old, new = self.arrays, empty(self.roots, capacity, self.width)
        new.edges[:, : self.capacity], new.nodes[:, : self.capacity] = old.edges, old.nodes
        new.roots[:] = old.roots
        at = (np.arange(self.roots)[:, None] * capacity + np.arange(self.capacity)).ravel()
        return Tree(new, *(self._moved(one, np.arange(len(at)), at, capacity) for one in (self.states, self.actions)))

    def advance(self, action: Int[np.ndarray, " b"], keep: Bool[np.ndarray, " b"] | None = None) -> "Tree":
        """The trees below one action of every root, with all that is known there.

        A root whose action was never tried begins anew in the next search, and so does one of sampled outcomes, of
        which the tree cannot know which one came true. Where an action leads to a place at which nobody moves, advance
        once more, by the outcome.

        Args:
            action: that was played, the number of its slot.
            keep: False where the tree is to be forgotten, as when another game begins.

        Raises:
            ValueError: there is no such slot.
        """
        a, rows = self.arrays, np.arange(self.roots)
        if ((action < 0) | (action >= self.width)).any():
            raise ValueError(
                f"a tree with {self.width} slots at each place advances by numbers from 0 to {self.width - 1}, got "
                f"{action.min()} to {action.max()}: give the action of every root"
            )
        start = np.where(a.roots["used"] > 0, a.edges[rows, 0, action]["child"], -1)
        start = np.where((start >= 0) & (a.nodes[rows, start]["kind"] != OUTCOMES), start, -1)
        if keep is not None:
            start = np.where(keep, start, -1)
        places = np.full((self.roots, self.capacity), -1, np.int32)
        count = _below(a.nodes, a.roots, start, places)
        r, old = np.nonzero(places >= 0)
        new, capacity = places[r, old], max(1, int(count.max(initial=0)))
        kept = empty(self.roots, capacity, self.width)
        edges, nodes = a.edges[r, old], a.nodes[r, old]
        edges["child"] = np.where(edges["child"] >= 0, places[r[:, None], edges["child"]], -1)
        for link in ("parent", "sibling"):
            nodes[link] = np.where(nodes[link] >= 0, places[r, nodes[link]], -1)
        kept.edges[r, new], kept.nodes[r, new], kept.roots["used"] = edges, nodes, count
        for name, first in (("parent", -1), ("slot", -1), ("sibling", -1), ("reward", 0.0), ("discount", 1.0)):
            kept.nodes[name][:, 0] = first
        seen = (kept.edges["visits"] > 0) & (kept.nodes["kind"] != CHANCE)[..., None]
        kept.roots["low"] = np.where(seen, kept.edges["q"], np.inf).min((1, 2))
        kept.roots["high"] = np.where(seen, kept.edges["q"], -np.inf).max((1, 2))
        source, target = r * self.capacity + old, r * capacity + new
        return Tree(kept, *(self._moved(one, source, target, capacity) for one in (self.states, self.actions)))

    def _moved(self, state: Any, source: np.ndarray, target: np.ndarray, capacity: int) -> Any:
        if state is None:
            return None
        room = room_for(state, self.roots * capacity)
        put(room, target, taken(state, source))
        return room

    def line(self, first: Int[np.ndarray, " b"] | None = None) -> Int[np.ndarray, "b depth"]:
        """The most visited way down from every root, actions and outcomes, -1 after its end.

        Args:
            first: the slot at the root; the most visited one if None.
        """
        edges, nodes, rows = self.arrays.edges, self.arrays.nodes, np.arange(self.roots)
        node, found = np.where(self.arrays.roots["used"] > 0, 0, -1), []
        for depth in range(self.capacity):
            best = edges["visits"][rows, node].argmax(1)
            if depth == 0 and first is not None:
                best = first
            going = (node >= 0) & (edges["visits"][rows, node, best] > 0)
            if not going.any():
                break
            found.append(np.where(going, best, -1))
            node = np.where(going, edges["child"][rows, node, best], -1)
            one = np.where((node >= 0) & (nodes["kind"][rows, node] == OUTCOMES), edges["child"][rows, node, 0], -1)
            node = np.where(one >= 0, one, node)
            while (one >= 0).any():  # of sampled outcomes the one seen most
                more = (one >= 0) & (nodes["arrivals"][rows, one] > nodes["arrivals"][rows, node])
                node, one = np.where(more, one, node), np.where(one >= 0, nodes["sibling"][rows, one], -1)
        return np.stack(found, 1) if found else np.zeros((self.roots, 0), np.int64)

    def show(self, root: int = 0, depth: int = 2, most: int = 5) -> str:
        """One root's tree as text, the most visited slots of every place first.

        Args:
            root: which.
            depth: how many moves deep.
            most: slots of each place.
        """
        edges, nodes = self.arrays.edges[root], self.arrays.nodes[root]
        if self.arrays.roots[root]["used"] == 0:
            return "nothing is known yet"
        lines = [f"root: {nodes[0]['arrivals']} visits, value {nodes[0]['mean']:+.3f}"]
        if nodes[0]["solved"]:
            lines[0] += f", proven {nodes[0]['exact']:+.3f}"
        left = [(0, 0)]
        while left:
            number, level = left.pop()
            node = nodes[number]
            if number:
                above, edge = nodes[node["parent"]]["kind"], edges[node["parent"], node["slot"] % self.width]
                word = "outcome" if above in (CHANCE, OUTCOMES) else "action"
                text = f"{'  ' * level}{word} {node['slot']}: {node['arrivals']} visits"
                if above != OUTCOMES:
                    text += f", q {edge['q']:+.3f}, prior {edge['prior']:.3f}"
                text += ", over" if node["kind"] == OVER else ", proven" if node["solved"] else ""
                lines.append(text)
            if level >= depth:
                continue
            below = [int(one) for one in edges[number]["child"] if one >= 0]
            if node["kind"] == OUTCOMES:
                while nodes[below[-1]]["sibling"] >= 0:
                    below.append(int(nodes[below[-1]]["sibling"]))
            below.sort(key=lambda one: (-int(nodes[one]["arrivals"]), one))
            left += [(one, level + 1) for one in reversed(below[:most])]
        return "\n".join(lines)

    def save(self, file: str | Path) -> None:
        """Everything as plain arrays (.npz); states only where they are arrays."""
        extra: dict[str, Any] = {} if self.actions is None else {"actions": self.actions}
        found = [] if self.states is None else parts(self.states)
        if not any(isinstance(part, list) for part in found):
            extra |= {
                f"state{i}": np.asarray(part.cpu() if hasattr(part, "cpu") else part) for i, part in enumerate(found)
            }
        with Path(file).open("wb") as out:
            np.savez_compressed(out, **(self.arrays._asdict() | extra))

    @staticmethod
    def load(file: str | Path, like: Any = None) -> "Tree":
        """What `save` wrote.

        Args:
            file: to read.
            like: any state of the model, which says how the saved arrays belong together; without it the tree can be
                looked at and not searched on.

        Raises:
            ValueError: no states were saved, or not as many arrays as `like` has.
        """
        with np.load(file, allow_pickle=False) as found:
            arrays = Arrays(**{name: found[name] for name in Arrays._fields})
            saved = [found[f"state{i}"] for i in range(sum(name.startswith("state") for name in found.files))]
            if like is None:
                return Tree(arrays, None, found.get("actions"))
            if len(saved) != len(parts(like)):
                raise ValueError(
                    f"{file} holds {len(saved)} arrays of states and the state given has {len(parts(like))}: only "
                    "states of arrays are saved, so load it without `like` to look at it"
                )
            states = room_for(like, arrays.nodes.size)
            put(states, np.arange(arrays.nodes.size), alike(like, saved))
            return Tree(arrays, states, found.get("actions"))


def empty(roots: int, capacity: int, width: int) -> Arrays:
    """Room for trees of which nothing is known."""
    made = Arrays(np.zeros((roots, capacity, width), EDGE), np.zeros((roots, capacity), NODE), np.zeros(roots, ROOT))
    made.edges["child"] = made.nodes["parent"] = made.nodes["slot"] = made.nodes["sibling"] = -1
    made.roots["low"], made.roots["high"] = np.inf, -np.inf
    return made


@compiled
def _below(nodes: Any, roots: Any, start: Any, places: Any) -> Any:
    """New numbers of all places below `start`, [b, n], and how many there are."""
    count = np.zeros(len(roots), np.int32)
    for r in range(len(roots)):
        if start[r] >= 0:
            for node in range(start[r], roots[r]["used"]):
                parent = nodes[r, node]["parent"]
                if node == start[r] or (parent >= 0 and places[r, parent] >= 0):
                    places[r, node] = count[r]
                    count[r] += 1
    return count
