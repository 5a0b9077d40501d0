"""Catch: a ball falls, a paddle on the bottom row must be under it; pixels in, the simplest delayed reward there is.

Mnih et al., 2014, "Recurrent models of visual attention" (https://arxiv.org/abs/1406.6247, section 4.2), in the form of
bsuite (Osband et al., 2020, https://arxiv.org/abs/1908.03568): ten rows of five columns, the paddle starts in the
middle, the ball in a random column of the top row and falls straight by one row a step. The paddle moves first. +1 for
a catch and -1 for a miss end the episode after `rows - 1` steps; there is no other reward.

Left out: balls that fall aslant, and bsuite's noise and scaled rewards.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sightline.envs.environment import Randomness, draw

LEFT, STAY, RIGHT = range(3)
BALL = np.array([255, 160, 40], dtype=np.uint8)
PADDLE = np.array([70, 150, 255], dtype=np.uint8)
PICTURE = 16  # pixels of a cell in a picture for people


@dataclass(frozen=True)
class CatchState:
    """Where things are, in cells from the top left corner."""

    ball_row: Int[np.ndarray, " b"]
    ball_column: Int[np.ndarray, " b"]
    paddle: Int[np.ndarray, " b"]


@dataclass(frozen=True)
class Catch:
    """The options of Catch."""

    rows: int = 10
    columns: int = 5
    scale: int = 1
    """Pixels along each side of a cell."""
    channels: int = 1
    """1: ball and paddle are both white, as in bsuite; 3: in colour."""

    def __post_init__(self) -> None:
        if self.columns < 1 or self.rows < 2 or self.rows - 1 < self.columns // 2:
            raise ValueError(
                f"from the middle of {self.columns} columns the paddle cannot reach every ball in {self.rows} rows: "
                f"Catch needs a column and at least {max(2, self.columns // 2 + 1)} rows"
            )
        if self.scale < 1 or self.channels not in (1, 3):
            raise ValueError(
                f"Catch needs a scale of at least 1 and 1 or 3 channels, got scale {self.scale}, "
                f"channels {self.channels}"
            )

    @property
    def num_actions(self) -> int:
        """Left, stay, right."""
        return 3

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.rows * self.scale, self.columns * self.scale, self.channels

    @property
    def observation_dtype(self) -> type[np.uint8]:
        """Pixels."""
        return np.uint8

    def reset(self, rng: Randomness, b: int) -> tuple[CatchState, UInt8[np.ndarray, "b h w c"]]:
        """Balls in random columns of the top row, paddles in the middle."""
        state = CatchState(
            ball_row=np.zeros(b, dtype=np.int64),
            ball_column=draw(rng, self.columns, b),
            paddle=np.full(b, self.columns // 2, dtype=np.int64),
        )
        return state, self.observe(state)

    def step(
        self, state: CatchState, action: Int[np.ndarray, " b"], rng: Randomness
    ) -> tuple[CatchState, UInt8[np.ndarray, "b h w c"], Float[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
        """Move the paddle, drop the ball by a row; nothing is random."""
        paddle = np.minimum(np.maximum(state.paddle + (action - STAY), 0), self.columns - 1)
        row = np.minimum(state.ball_row + 1, self.rows - 1)
        terminated = row == self.rows - 1
        reward = np.where(terminated, np.where(paddle == state.ball_column, 1.0, -1.0), 0.0)
        after = CatchState(row, state.ball_column, paddle)
        return after, self.observe(after), reward, terminated

    def observe(self, state: CatchState) -> UInt8[np.ndarray, "b h w c"]:
        """The board; the paddle covers a ball that it has caught."""
        white = np.uint8(255)
        return self._paint(state, self.scale, *((white, white) if self.channels == 1 else (BALL, PADDLE)))

    def picture(self, state: CatchState) -> UInt8[np.ndarray, "b h w 3"]:
        """The board in colour."""
        return self._paint(state, PICTURE, BALL, PADDLE)

    def _paint(
        self, state: CatchState, scale: int, ball: np.ndarray | np.uint8, paddle: np.ndarray | np.uint8
    ) -> UInt8[np.ndarray, "b h w c"]:
        b, channels = len(state.paddle), np.size(ball)
        # A cell is a block of its own axes, so that one assignment paints it at any scale.
        board = np.zeros((b, self.rows, scale, self.columns, scale, channels), dtype=np.uint8)
        each = np.arange(b)
        board[each, state.ball_row, :, state.ball_column] = ball
        board[each, self.rows - 1, :, state.paddle] = paddle
        return board.reshape(b, self.rows * scale, self.columns * scale, channels)
