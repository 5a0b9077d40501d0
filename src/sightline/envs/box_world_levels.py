"""Levels of Box-World: a loose key, the boxes on the way to the gem, and branches that lead astray.

Zambaldi et al., 2018, https://arxiv.org/abs/1806.01830. Each box of the way is locked by the colour that the thing
before it holds: the loose key opens the first box, its content the second, and so on to the gem. A distractor branch
starts at a box that is locked by a colour of the way: who opens it has spent the key.

No two things touch, not even at corners, and a box is one cell high and two wide. So the floor around each of them is
one connected ring, every lock can be reached, and every level can be solved.

Left out: backward distractors (boxes that hold a key of the way and are locked by a colour that does not exist).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int8, UInt8

COLOURS = 20
GEM = COLOURS + 1
TRIES = 1000


@dataclass(frozen=True)
class Level:
    """One level as it begins."""

    cells: UInt8[np.ndarray, "n n"]
    """0: floor; 1 to 20: a key or a lock of that colour; 21: the gem."""
    locks: Int8[np.ndarray, "n n"]
    """0: no lock; 1: the lock of a box on the way to the gem; -1: of a distractor. The content is left of the lock."""
    agent: Int[np.ndarray, " 2"]
    """Row and column."""


@dataclass(frozen=True)
class Box:
    """Colours of a thing that lies about."""

    content: int
    lock: int
    """0: none, a loose key."""
    sign: int
    """As in `Level.locks`."""


def choose_boxes(
    goal_length: Sequence[int], distractors: Sequence[int], branch_length: int, rng: np.random.Generator
) -> list[Box]:
    """What a level holds: the loose key first, then the boxes of the way, then the branches."""
    length, branches = (int(options[int(rng.integers(len(options)))]) for options in (goal_length, distractors))
    colours = [int(colour) + 1 for colour in rng.permutation(COLOURS)]
    way, unused = colours[:length], iter(colours[length:])
    boxes = [Box(way[0], 0, 0)]
    boxes += [Box(content, lock, 1) for lock, content in zip(way, [*way[1:], GEM], strict=True)]
    for _ in range(branches):
        lock = way[rng.integers(length)]
        for _ in range(branch_length):
            content = next(unused)
            boxes.append(Box(content, lock, -1))
            lock = content
    return boxes


def make_level(
    size: int, goal_length: Sequence[int], distractors: Sequence[int], branch_length: int, rng: np.random.Generator
) -> Level:
    """A random level.

    Raises:
        ValueError: so many boxes find no place.
    """
    for _ in range(TRIES):
        boxes = choose_boxes(goal_length, distractors, branch_length, rng)
        level = _place(boxes, size, rng)
        if level is not None:
            return level
    raise ValueError(
        f"{len(boxes) - 1} boxes and a key found no place on {size} x {size} cells in {TRIES} tries: "
        "ask for a larger size or for fewer boxes"
    )


def _place(boxes: Sequence[Box], size: int, rng: np.random.Generator) -> Level | None:
    """Put things at random places, one after the other, all equally likely; None when one finds none."""
    cells, locks = np.zeros((size, size), dtype=np.uint8), np.zeros((size, size), dtype=np.int8)
    free = np.ones((size, size), dtype=bool)  # neither taken nor next to what is
    for box in boxes:
        width = 2 if box.lock else 1
        places = np.flatnonzero(free if width == 1 else free[:, :-1] & free[:, 1:])
        if not len(places):
            return None
        y, x = divmod(int(places[rng.integers(len(places))]), size - width + 1)
        cells[y, x] = box.content
        if box.lock:
            cells[y, x + 1], locks[y, x + 1] = box.lock, box.sign
        free[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + width + 1] = False
    floor = np.flatnonzero(cells == 0)
    return Level(cells, locks, np.array(divmod(int(floor[rng.integers(len(floor))]), size)))
