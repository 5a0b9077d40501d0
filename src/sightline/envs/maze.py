"""Sutton & Barto's mazes (2018, chapter 8): walls to walk around, and walls that move in the middle of a life.

6 rows of 9 cells; up, down, right, left; into a wall or out of the maze is a step on the spot. The goal is worth 1 and
ends the episode, all else 0.

| maze     | start  | goal   | walls                                                 | changes                         |
|----------|--------|--------|-------------------------------------------------------|---------------------------------|
| dyna     | (2, 0) | (0, 8) | (1,2) (2,2) (3,2) (4,5) (0,7) (1,7) (2,7): figure 8.2 | never                           |
| blocking | (5, 3) | (0, 8) | row 3, columns 0 to 7: figure 8.4                     | the gap goes from column 8 to 0 |
| shortcut | (5, 3) | (0, 8) | row 3, columns 1 to 8: figure 8.5                     | a second gap opens at column 8  |

The walls move after step 1000 (blocking) and 3000 (shortcut) as in the figures, at that very step, in the middle of an
episode too; whoever stands where a wall appears walks out of it. Steps are counted over the whole life of an
environment, across episodes.

The best ways take 14 steps (Dyna), 10 then 16 (blocking), 16 then 10 (shortcut).

Left out: larger mazes of the same kind (the book's exercise 8.2 and its example of prioritized sweeping).
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8

from sightline.envs.environment import enlarge

UP, DOWN, RIGHT, LEFT = range(4)
MOVES = ((-1, 0), (1, 0), (0, 1), (0, -1))
ROWS, COLUMNS = 6, 9
PICTURE = 32  # pixels of a cell in a picture for people
FLOOR, WALL, WALKER, GOAL = (230, 230, 230), (60, 60, 60), (240, 130, 30), (60, 160, 80)
Cell = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """One maze."""

    start: Cell
    goal: Cell
    walls: frozenset[Cell]
    later: frozenset[Cell] = frozenset()
    """The walls after the change."""
    change: int | None = None
    """The step after which they stand."""


def _row(*columns: int) -> frozenset[Cell]:
    return frozenset((3, column) for column in columns)


PLANS = {
    "dyna": Plan((2, 0), (0, 8), frozenset({(1, 2), (2, 2), (3, 2), (4, 5), (0, 7), (1, 7), (2, 7)})),
    "blocking": Plan((5, 3), (0, 8), _row(*range(8)), _row(*range(1, 9)), 1000),
    "shortcut": Plan((5, 3), (0, 8), _row(*range(1, 9)), _row(*range(1, 8)), 3000),
}


class Maze(gymnasium.Env[int, int]):
    """One of the mazes; the observation is the number of the cell, row by row.

    Args:
        plan: "dyna", "blocking" or "shortcut".
        change: the step after which the walls move; None: the figure's own. The Dyna maze has no change.
        render_mode: None or "rgb_array".
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's own is no ClassVar
        "render_modes": ["rgb_array"],
        "render_fps": 8,
    }

    def __init__(self, plan: str = "dyna", *, change: int | None = None, render_mode: str | None = None) -> None:
        if plan not in PLANS:
            raise ValueError(f"unknown maze '{plan}': it is one of {', '.join(PLANS)}")
        self.plan = PLANS[plan]
        if change is not None and (self.plan.change is None or change < 0):
            raise ValueError(
                f"the {plan} maze changes {'never' if self.plan.change is None else 'after step 0 or later'}"
            )
        self.change = self.plan.change if change is None else change
        self.observation_space: spaces.Discrete = spaces.Discrete(ROWS * COLUMNS)  # type: ignore[assignment]
        self.action_space: spaces.Discrete = spaces.Discrete(4)  # type: ignore[assignment]
        self.render_mode = render_mode
        self.place, self.steps = self.plan.start, 0

    @property
    def walls(self) -> frozenset[Cell]:
        """As they stand for the next step."""
        return self.plan.walls if self.change is None or self.steps < self.change else self.plan.later

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Walk from the start; the steps of this life go on."""
        super().reset(seed=seed)
        self.place = self.plan.start
        return number(self.place), {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """One step."""
        self.place = after(self.place, int(action), self.walls)
        self.steps += 1
        over = self.place == self.plan.goal
        return number(self.place), float(over), over, False, {}

    def outcomes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Where every action leads as the walls stand, its reward, whether it is the end, `[54, 4]` each; the start."""
        walls = self.walls
        cells = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
        to = np.array([[number(after(cell, action, walls)) for action in range(4)] for cell in cells])
        over = to == number(self.plan.goal)
        return to, over.astype(float), over, number(self.plan.start)

    def render(self) -> UInt8[np.ndarray, "h w 3"]:
        """Walls dark, the goal green, the walker orange."""
        picture = np.full((1, ROWS, COLUMNS, 3), FLOOR, np.uint8)
        for cell in self.walls:
            picture[0][cell] = WALL
        picture[0][self.plan.goal] = GOAL
        picture[0][self.place] = WALKER
        return enlarge(picture, PICTURE)[0]


def number(cell: Cell) -> int:
    """Of a cell, row by row."""
    return cell[0] * COLUMNS + cell[1]


def after(cell: Cell, action: int, walls: frozenset[Cell]) -> Cell:
    """Where a step leads."""
    to = (cell[0] + MOVES[action][0], cell[1] + MOVES[action][1])
    inside = 0 <= to[0] < ROWS and 0 <= to[1] < COLUMNS
    return to if inside and to not in walls else cell
