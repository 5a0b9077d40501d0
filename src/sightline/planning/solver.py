"""Exact results of games of stones in a row: the judge of search and of trained networks.

Negamax with alpha-beta (Knuth & Moore, 1975) and what is long known to help it in Connect Four (Allis, 1988; Tromp,
1995):

- a window of width one, moved until the value is enclosed: every visit only asks "better than this, or not?";
- a table of bounds already found, under one key for a board and its mirror image;
- a move that loses at once is no move, and one that must be answered is the only one;
- first the moves that make most cells to win at, then those nearest the middle.

The score of a win is how many own stones are left and the winning one, so that it is larger the sooner; a draw is 0
and a defeat the opponent's score with a minus. Values, 1, 0 or -1, are its sign and found several times as fast.

Compiled, it takes moments for a Connect Four board of 16 stones and grows about tenfold with every two stones fewer; in
plain Python only boards near their end are within reach. Left out: opening books, and stopping in the middle.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sightline.envs import in_a_row
from sightline.envs.in_a_row import CONNECT_FOUR, Rules
from sightline.planning.jit import compiled
from sightline.planning.playouts import MASK, counted, legal_cells, winning_cells, won

UPPER, LOWER = 32, 95  # what is added to a bound so that it fits a byte and 0 is an empty entry
LEAST, MOST = 10, 28  # of the table, as powers of two


@compiled
def mirrored(rules: Any, stones: Any) -> Any:
    """The board seen from behind."""
    across, found = rules.height + 1, 0
    column = (1 << across) - 1
    for i in range(rules.width):
        found |= (stones >> i * across & column) << (rules.width - 1 - i) * across
    return found


@compiled
def place_of(mine: Any, theirs: Any, entries: Any) -> Any:
    """Where the table keeps a position: upper bits of a product, lower ones look alike."""
    mixed = (mine * 6364136223846793005 + theirs * 3935559000370003845) & MASK
    return ((mixed ^ mixed >> 29) >> 7) & (entries - 1)


@compiled
def negamax(
    rules: Any, mine: Any, theirs: Any, left: Any, alpha: Any, beta: Any,
    masks: Any, keys: Any, bounds: Any, moves: Any, counts: Any,
) -> Any:  # fmt: skip
    """A bound of the score for the one to move, who cannot win at once; exact between alpha and beta."""
    counts[0] += 1
    free = legal_cells(rules, mine | theirs)
    danger = winning_cells(rules, theirs) & rules.board
    forced = free & danger
    if forced != 0:
        if forced & (forced - 1) != 0:
            return -(left // 2)
        free = forced
    if rules.drop:
        free &= ~(danger >> 1)
        if free == 0:
            return -(left // 2)
    if left <= 2:
        return 0
    alpha, beta = max(alpha, -((left - 2) // 2)), min(beta, (left - 1) // 2)
    if alpha >= beta:
        return alpha

    first, second = mine, theirs
    if left > 10:
        other, another = mirrored(rules, mine), mirrored(rules, theirs)
        if other < first or (other == first and another < second):
            first, second = other, another
    place = place_of(first, second, len(bounds))
    if keys[place, 0] == first and keys[place, 1] == second:
        known = int(bounds[place])
        if known >= LOWER - 31:
            alpha = max(alpha, known - LOWER)
        elif known != 0:
            beta = min(beta, known - UPPER)
        if alpha >= beta:
            return alpha if known >= LOWER - 31 else beta

    # Insertion sort by the cells to win at, in the order of `masks` where those are equal.
    count = 0
    for i in range(len(masks)):
        stone = free & masks[i]
        if stone != 0:
            promise = counted(winning_cells(rules, mine | stone) & ~(mine | theirs) & rules.board)
            at = count
            while at > 0 and moves[left, at - 1, 1] < promise:
                moves[left, at, 0], moves[left, at, 1] = moves[left, at - 1, 0], moves[left, at - 1, 1]
                at -= 1
            moves[left, at, 0], moves[left, at, 1] = stone, promise
            count += 1
    best = -left
    for i in range(count):
        stone = int(moves[left, i, 0])
        score = -negamax(
            rules, theirs, mine | stone, left - 1, -beta, -alpha, masks, keys, bounds, moves, counts
        )  # fmt: skip
        best = max(best, score)
        if score >= beta:
            break
        alpha = max(alpha, score)
    keys[place, 0], keys[place, 1] = first, second
    bounds[place] = best + LOWER if best >= beta else best + UPPER
    return best


@compiled
def enclosed(
    rules: Any, mine: Any, theirs: Any, low: Any, high: Any, masks: Any, keys: Any, bounds: Any, moves: Any, counts: Any
) -> Any:
    """The score of a board that is not over, as far as it lies between low and high."""
    left = counted(rules.board & ~(mine | theirs))
    if winning_cells(rules, mine) & legal_cells(rules, mine | theirs) != 0:
        return (left + 1) // 2
    low, high = max(low, -(left // 2)), min(high, (left - 1) // 2)
    while low < high:
        middle = low + (high - low) // 2
        found = negamax(rules, mine, theirs, left, middle, middle + 1, masks, keys, bounds, moves, counts)
        if found <= middle:
            high = found
        else:
            low = found
    return low


@compiled
def _solve(
    rules: Any, state: Any, widest: Any, masks: Any, keys: Any, bounds: Any, moves: Any, counts: Any, scores: Any
) -> None:
    for i in range(len(state)):
        mine, theirs = int(state[i, 0]), int(state[i, 1])
        if won(rules, theirs) != 0:
            scores[i] = -(counted(rules.board & ~(mine | theirs)) // 2 + 1)
        elif mine | theirs != rules.board:
            scores[i] = enclosed(rules, mine, theirs, -widest, widest, masks, keys, bounds, moves, counts)


class Solver:
    """Knows the exact result of every board; what it has found it keeps for the next.

    Args:
        rules: the game.
        entries: of the table, as a power of two; each takes 17 bytes.
    """

    def __init__(self, rules: Rules = CONNECT_FOUR, *, entries: int = 22) -> None:
        if not LEAST <= entries <= MOST:
            raise ValueError(f"a table has 2^{LEAST} to 2^{MOST} entries, got entries={entries}, the power of two")
        self.rules = rules
        self.actions = in_a_row.reaches(rules)
        middle = np.abs(np.arange(len(self.actions)) % rules.width - (rules.width - 1) / 2)
        if not rules.drop:
            middle += np.abs(np.arange(len(self.actions)) // rules.width - (rules.height - 1) / 2)
        self._masks = self.actions[np.argsort(middle, kind="stable")]
        self._keys = np.zeros((2**entries, 2), np.int64)
        self._bounds = np.zeros(2**entries, np.int8)
        self._moves = np.zeros((rules.width * rules.height + 1, len(self.actions), 2), np.int64)
        self._counts = np.zeros(1, np.int64)

    @property
    def positions(self) -> int:
        """How many were looked at so far."""
        return int(self._counts[0])

    def scores(self, state: Int[np.ndarray, "b 2"]) -> Int[np.ndarray, " b"]:
        """For the one to move: 0 for a draw, and the sooner the win or defeat, the further from it."""
        return self._solved(state, 64)

    def values(self, state: Int[np.ndarray, "b 2"]) -> Int[np.ndarray, " b"]:
        """1, 0 or -1 for the one to move."""
        return np.sign(self._solved(state, 1))

    def action_values(self, state: Int[np.ndarray, "b 2"]) -> Float[np.ndarray, "b a"]:
        """1, 0 or -1 for every action, -inf for those that are illegal."""
        legal = in_a_row.legal(self.rules, state)
        row, action = np.nonzero(legal)
        found = np.full(legal.shape, -np.inf)
        found[row, action] = -self.values(in_a_row.step(self.rules, state[row], action))
        return found

    def _solved(self, state: Int[np.ndarray, "b 2"], widest: int) -> Int[np.ndarray, " b"]:
        in_a_row.check(self.rules, state)
        scores = np.zeros(len(state), np.int64)
        _solve(
            self.rules, state, widest, self._masks, self._keys, self._bounds, self._moves, self._counts, scores
        )  # fmt: skip
        return scores
