"""Games of stones in a row: tic-tac-toe, Connect Four and all between, as whole numbers whose bits are the cells.

Two players put stones on a board in turn, on any empty cell or, where stones drop, on the lowest one of a column. Who
has `line` of them in a row, upwards, across or diagonally, has won; a full board is a draw.

A state is two whole numbers: the stones of the one to move, and those of the other. The bits go up every column, and
one that is always empty tops it, so that no row runs over from a column to the next:

     6 13 20 27 34 41 48   always empty
     5 12 19 26 33 40 47
     ...                   Connect Four
     0  7 14 21 28 35 42

so that stones `s` have two in a row in direction d where `s & s >> d`, and two such pairs make the row. That is every
rule there is, written once: on Python's integers, on arrays `[b]`, and in compiled loops (`planning/jit.py`). Those
that take `rules` first and say `Bits` do all three; they call nothing, for a compiled loop could not follow.

An action is a column where stones drop, else a cell in reading order from the top left.

Left out: rows longer than four; an environment for one player against a given opponent, whose illegal actions have no
natural outcome (search and self-play take `planning/game.py`).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Int

Bits: TypeAlias = Any  # a whole number, or an array of them
MOST_BITS = 63  # of a whole number that is not negative
SIGNS = "X", "O"


class Rules(NamedTuple):
    """One game; numbers alone, so that compiled loops take it. `in_a_row` makes it."""

    width: int
    height: int
    line: int
    """How many in a row win."""
    drop: bool
    """Whether stones fall to the lowest empty cell of their column."""
    bottom: int
    """The cells of the lowest row."""
    board: int
    """All cells."""


def in_a_row(width: int, height: int, line: int, *, drop: bool) -> Rules:
    """The rules of one game.

    Raises:
        ValueError: there is no such board, or its bits are more than a whole number has.
    """
    if width < 1 or height < 1 or not 2 <= line <= 4:
        raise ValueError(f"a board has cells and rows of 2 to 4 win, got {width} x {height} cells and rows of {line}")
    if width * (height + 1) > MOST_BITS:
        raise ValueError(
            f"{width} columns of {height} cells need {width * (height + 1)} bits, one more than cells to a column, and "
            f"a whole number has {MOST_BITS}: take a smaller board"
        )
    bottom = sum(1 << column * (height + 1) for column in range(width))
    return Rules(width, height, line, drop, bottom, bottom * ((1 << height) - 1))


TIC_TAC_TOE = in_a_row(3, 3, 3, drop=False)
CONNECT_FOUR = in_a_row(7, 6, 4, drop=True)


def won(rules: Rules, stones: Bits) -> Bits:
    """Whether these have a row, as bits: 0 where not."""
    up, across = rules.line - 2, rules.height + 1
    rising, falling = rules.height + 2, rules.height
    a, b, c, d = stones & stones >> 1, stones & stones >> across, stones & stones >> rising, stones & stones >> falling
    return a & a >> up | b & b >> up * across | c & c >> up * rising | d & d >> up * falling


def winning_cells(rules: Rules, stones: Bits) -> Bits:
    """Where one more stone makes a row; cells that are occupied, or none, are among them."""
    found = stones & 0
    for d in (1, rules.height + 1, rules.height + 2, rules.height):
        before, after = stones << d, stones >> d
        if rules.line == 2:
            found |= before | after
            continue
        two_before, two_after = before & stones << 2 * d, after & stones >> 2 * d
        if rules.line == 3:
            found |= two_before | two_after | before & after
        else:
            found |= two_before & (stones << 3 * d | after) | two_after & (stones >> 3 * d | before)
    return found


def legal_cells(rules: Rules, occupied: Bits) -> Bits:
    """Where a stone may come to lie."""
    if rules.drop:
        return (occupied + rules.bottom) & rules.board
    return ~occupied & rules.board


def reach(rules: Rules, action: Bits) -> Bits:
    """The cells that an action may fill: a whole column where stones drop, else one."""
    if rules.drop:
        return ((1 << rules.height) - 1) << action * (rules.height + 1)
    return 1 << (action % rules.width * (rules.height + 1) + rules.height - 1 - action // rules.width)


@lru_cache
def reaches(rules: Rules) -> Int[np.ndarray, " a"]:
    """Of all actions."""
    count = rules.width if rules.drop else rules.width * rules.height
    found = reach(rules, np.arange(count, dtype=np.int64))
    found.setflags(write=False)
    return found


@lru_cache
def cells(rules: Rules) -> Int[np.ndarray, "h w"]:
    """The bit of every cell, the top row first."""
    column, row = np.arange(rules.width), np.arange(rules.height)[::-1, None]
    found = np.left_shift(np.int64(1), column * (rules.height + 1) + row)
    found.setflags(write=False)
    return found


def start(b: int) -> Int[np.ndarray, "b 2"]:
    """Empty boards."""
    return np.zeros((b, 2), np.int64)


def over(rules: Rules, state: Int[np.ndarray, "b 2"]) -> Bool[np.ndarray, " b"]:
    """Whether the last stone has won, or the board is full."""
    return (won(rules, state[:, 1]) != 0) | ((state[:, 0] | state[:, 1]) == rules.board)


def legal(rules: Rules, state: Int[np.ndarray, "b 2"]) -> Bool[np.ndarray, "b a"]:
    """Which actions there are; none when the game is over."""
    free = legal_cells(rules, state[:, 0] | state[:, 1])
    return (free[:, None] & reaches(rules) != 0) & (won(rules, state[:, 1]) == 0)[:, None]


def step(rules: Rules, state: Int[np.ndarray, "b 2"], action: Int[np.ndarray, " b"]) -> Int[np.ndarray, "b 2"]:
    """Put one stone on every board.

    Raises:
        ValueError: an action is illegal.
    """
    known = reaches(rules)
    occupied = state[:, 0] | state[:, 1]
    stone = legal_cells(rules, occupied) & known[action % len(known)]
    wrong = (stone == 0) | (action < 0) | (action >= len(known)) | (won(rules, state[:, 1]) != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        some = np.flatnonzero(legal(rules, state[row : row + 1])[0]).tolist()
        raise ValueError(
            f"action {int(action[row])} on board {row} is illegal: "
            + (f"legal there is {', '.join(map(str, some))}" if some else "its game is over, begin a new one")
        )
    return np.stack((state[:, 1], state[:, 0] | stone), 1)


def planes(rules: Rules, state: Int[np.ndarray, "b 2"]) -> Float32[np.ndarray, "b 2 h w"]:
    """The board as the one to move sees it: own stones, the other's."""
    return (state[:, :, None, None] & cells(rules) != 0).astype(np.float32)


def played(rules: Rules, moves: Iterable[int]) -> Int[np.ndarray, "1 2"]:
    """The board after these actions, from the empty one.

    Raises:
        ValueError: one of them is illegal.
    """
    state, moves = start(1), list(moves)
    for count, move in enumerate(moves, 1):
        try:
            state = step(rules, state, np.array([move], np.int64))
        except ValueError as error:
            raise ValueError(f"move {count} of {moves}: {error}") from None
    return state


def show(rules: Rules, state: Int[np.ndarray, "2"]) -> str:
    """One board for people: X began, and a last line says who is next or who has won."""
    mine, theirs = (int(stones) for stones in state)
    first = mine.bit_count() == theirs.bit_count()
    x, o = (mine, theirs) if first else (theirs, mine)
    rows = [" ".join("X" if x & bit else "O" if o & bit else "." for bit in row) for row in cells(rules).tolist()]
    if rules.drop:
        rows.append(" ".join(str(column % 10) for column in range(rules.width)))
    if won(rules, theirs):
        return "\n".join([*rows, f"{SIGNS[first]} has won"])
    return "\n".join([*rows, "a draw" if mine | theirs == rules.board else f"{SIGNS[not first]} to move"])


def parse(rules: Rules, text: str) -> Int[np.ndarray, "1 2"]:
    """The board that `show` writes; lines other than of X, O and full stops are passed over.

    Raises:
        ValueError: it is no board of this game, or no game comes to it.
    """
    rows = [line for line in (line.replace(" ", "").upper() for line in text.splitlines()) if line.strip("XO.") == ""]
    rows = [line for line in rows if line]
    if len(rows) != rules.height or {len(row) for row in rows} != {rules.width}:
        raise ValueError(
            f"a board here is {rules.height} lines of {rules.width} signs X, O or full stop, got {len(rows)} lines of "
            f"{sorted({len(row) for row in rows})} signs"
        )
    signs = np.array([list(row) for row in rows])
    x, o = (int(cells(rules)[signs == sign].sum()) for sign in SIGNS)
    first = x.bit_count() == o.bit_count()
    state = np.array([[x, o] if first else [o, x]], np.int64)
    check(rules, state)
    return state


def check(rules: Rules, state: Int[np.ndarray, "b 2"]) -> None:
    """Say why a state is none.

    Raises:
        ValueError: stones lie outside of the board, on each other or on nothing; nobody can be to move; the one to
            move has a row already.
    """
    mine, theirs = state[:, 0], state[:, 1]
    occupied = mine | theirs
    ahead = np.bitwise_count(theirs).astype(np.int64) - np.bitwise_count(mine)
    for wrong, what in (
        ((occupied & ~np.int64(rules.board)) != 0, "has stones outside of the board"),
        ((mine & theirs) != 0, "has two stones on one cell"),
        ((ahead < 0) | (ahead > 1), "has too many stones of one player, who take turns"),
        (won(rules, mine) != 0, "was over a move before"),
        (rules.drop & ((occupied & occupied + rules.bottom) != 0), "has a stone on nothing"),
    ):
        if wrong.any():
            raise ValueError(f"board {int(np.flatnonzero(wrong)[0])} {what}: correct it, or play the moves instead")
