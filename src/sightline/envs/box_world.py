"""Box-World: keys open locks far away, in an order that must be seen as a whole: the relational task.

Zambaldi et al., 2018, "Relational deep reinforcement learning", https://arxiv.org/abs/1806.01830. The agent (dark
grey) walks on a floor of `size` x `size` cells inside a black wall. A key is one coloured cell, and one that is not
next to another coloured cell is loose: walking over it picks it up. A box is two cells: the right one is the lock, and
its colour says which key opens it; the left one is the content, out of reach while the lock is there. Walking over a
lock with its key in hand spends the key and opens the box. The key in hand is shown in the top left corner of the wall.
+1 for a box on the way to the gem (white), +10 for the gem, which ends the episode, as does a wrong box, at -1.

Colours and rewards are those of the authors' code, https://github.com/google-deepmind/pycolab (box_world). Levels:
`envs/box_world_levels.py`.

Left out: backward distractors, and the authors' action that does nothing.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8

from sightline.envs.box_world_levels import COLOURS, GEM, make_level
from sightline.envs.environment import Randomness, enlarge, own

UP, DOWN, LEFT, RIGHT = range(4)
MOVES = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
AGENT, WALL = GEM + 1, GEM + 2
PALETTE = np.array(
    [
        (0.8, 0.8, 0.8),  # floor
        *(colorsys.hsv_to_rgb(k / COLOURS, 0.5, 0.7) for k in range(COLOURS)),
        (1.0, 1.0, 1.0),  # gem
        (0.5, 0.5, 0.5),  # agent
        (0.0, 0.0, 0.0),  # wall
    ]
)
PALETTE = (255 * PALETTE).round().astype(np.uint8)
GEM_REWARD = 10.0
PICTURE = 16  # pixels of a cell in a picture for people


@dataclass(frozen=True)
class BoxWorldState:
    """What lies where, and what the agent holds."""

    cells: UInt8[np.ndarray, "b n n"]
    """As in `Level`: 0 floor, 1 to 20 keys and locks, 21 the gem."""
    locks: Int8[np.ndarray, "b n n"]
    """As in `Level`: 1 on the way to the gem, -1 a distractor, 0 no lock."""
    agent: Int[np.ndarray, "b 2"]
    """Row and column."""
    held: UInt8[np.ndarray, " b"]
    """Colour of the key in hand, 0 for none."""


@dataclass(frozen=True)
class BoxWorld:
    """The options of Box-World; numbers to choose from are drawn anew for every level. The defaults are the paper's."""

    size: int = 12
    """Cells along each side, without the wall."""
    goal_length: Sequence[int] = (1, 2, 3, 4)
    """Boxes on the way to the gem, the gem's own among them."""
    distractors: Sequence[int] = (0, 1, 2, 3, 4)
    """Branches that lead astray."""
    branch_length: int = 1
    """Boxes of a branch."""
    scale: int = 1
    """Pixels along each side of a cell."""

    def __post_init__(self) -> None:
        if self.size < 4 or self.scale < 1 or self.branch_length < 1:
            raise ValueError(
                "Box-World needs a size of at least 4, a scale and a branch_length of at least 1, got "
                f"size {self.size}, scale {self.scale}, branch_length {self.branch_length}"
            )
        for name, least in (("goal_length", 1), ("distractors", 0)):
            options = getattr(self, name)
            if not isinstance(options, Sequence) or not options or min(options) < least:
                raise ValueError(f"{name} lists the numbers to choose from, each at least {least}, got {options!r}")
        colours = max(self.goal_length) + max(self.distractors) * self.branch_length
        if colours > COLOURS:
            raise ValueError(
                f"there are {COLOURS} colours of keys, these levels may need {colours}: ask for fewer boxes"
            )

    @property
    def num_actions(self) -> int:
        """Up, down, left, right."""
        return 4

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """Height and width with the wall, channels."""
        return (self.size + 2) * self.scale, (self.size + 2) * self.scale, 3

    @property
    def observation_dtype(self) -> type[np.uint8]:
        """Pixels."""
        return np.uint8

    def reset(self, rng: Randomness, b: int) -> tuple[BoxWorldState, UInt8[np.ndarray, "b h w 3"]]:
        """New levels."""
        levels = [
            make_level(self.size, self.goal_length, self.distractors, self.branch_length, own(rng, i)) for i in range(b)
        ]
        state = BoxWorldState(
            cells=np.stack([level.cells for level in levels]),
            locks=np.stack([level.locks for level in levels]),
            agent=np.stack([level.agent for level in levels]),
            held=np.zeros(b, dtype=np.uint8),
        )
        return state, self.observe(state)

    def step(
        self, state: BoxWorldState, action: Int[np.ndarray, " b"], rng: Randomness
    ) -> tuple[BoxWorldState, UInt8[np.ndarray, "b h w 3"], Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Walk, pick up, open; nothing is random."""
        each, last = np.arange(len(action)), self.size - 1
        wanted = state.agent + MOVES[action]
        y, x = np.clip(wanted, 0, last).T
        inside = ((wanted >= 0) & (wanted <= last)).all(1)
        colour, lock = state.cells[each, y, x], state.locks[each, y, x]
        shut = (
            state.locks[each, y, np.minimum(x + 1, last)] != 0
        )  # the content of a box; what is right of a lock is free
        opens = inside & (lock != 0) & (colour == state.held)
        takes = inside & (colour != 0) & (lock == 0) & ~shut
        moves = opens | takes | (inside & (colour == 0))

        cells, locks = state.cells.copy(), state.locks.copy()
        gone = np.flatnonzero(opens | takes)
        cells[gone, y[gone], x[gone]] = 0
        locks[gone, y[gone], x[gone]] = 0
        after = BoxWorldState(
            cells=cells,
            locks=locks,
            agent=np.where(moves[:, None], wanted, state.agent),
            held=np.where(opens, np.uint8(0), np.where(takes, colour, state.held)),
        )
        gem = takes & (colour == GEM)
        return after, self.observe(after), GEM_REWARD * gem + opens * lock, gem | (opens & (lock < 0))

    def observe(self, state: BoxWorldState) -> UInt8[np.ndarray, "b h w 3"]:
        """The room with its wall, the agent, and the key in hand."""
        return enlarge(self._paint(state), self.scale)

    def picture(self, state: BoxWorldState) -> UInt8[np.ndarray, "b h w 3"]:
        """The same, larger."""
        return enlarge(self._paint(state), PICTURE)

    def _paint(self, state: BoxWorldState) -> UInt8[np.ndarray, "b y x 3"]:
        b, side = len(state.held), self.size + 2
        room = np.full((b, side, side), WALL, dtype=np.uint8)
        room[:, 1:-1, 1:-1] = state.cells
        room[np.arange(b), state.agent[:, 0] + 1, state.agent[:, 1] + 1] = AGENT
        room[:, 0, 0] = np.where(state.held == 0, np.uint8(WALL), state.held)
        return PALETTE[room]
