"""An opponent that looks a few moves ahead: minimax with alpha-beta to a fixed depth, for games of stones in a row.

Where the moves end without a result it counts the rows that one player may still fill: 10^(n - line) for one with n
stones of one player and none of the other. Depth 1 takes a win, depth 2 also stops one, depth 5 beats most people.

Wins are worth `WIN` and more, the sooner the more. `solver.py` knows the exact results instead.

Left out: a table of positions, and deepening until a time is over.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sightline.envs import in_a_row
from sightline.envs.in_a_row import Rules
from sightline.planning.jit import compiled
from sightline.planning.playouts import counted, legal_cells, winning_cells

WIN = 1000.0


@lru_cache
def rows(rules: Rules) -> Int[np.ndarray, " n"]:
    """The cells of every row that wins, as bits."""
    cells, found = in_a_row.cells(rules), []
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        for y in range(rules.height):
            for x in range(rules.width):
                last_y, last_x = y + down * (rules.line - 1), x + right * (rules.line - 1)
                if 0 <= last_y < rules.height and 0 <= last_x < rules.width:
                    found.append(sum(int(cells[y + down * i, x + right * i]) for i in range(rules.line)))
    return np.array(found, np.int64)


@compiled
def promise(rules: Any, mine: Any, theirs: Any, every: Any, weights: Any) -> Any:
    """The rows that are still open to one player, less those to the other."""
    total = 0.0
    for row in every:
        own, other = row & mine, row & theirs
        if (own == 0) != (other == 0):
            weight = weights[counted(own | other)]
            total += weight if other == 0 else -weight
    return total


@compiled
def best_value(
    rules: Any, mine: Any, theirs: Any, depth: Any, alpha: Any, beta: Any, masks: Any, every: Any, weights: Any
) -> Any:
    """For the one to move, on a board that the last stone has not won."""
    free = legal_cells(rules, mine | theirs)
    if free == 0:
        return 0.0
    if depth == 0:
        return promise(rules, mine, theirs, every, weights)
    if free & winning_cells(rules, mine) != 0:
        return WIN + depth
    best = -2 * WIN
    for mask in masks:
        stone = int(free & mask)
        if stone != 0:
            value = -best_value(rules, theirs, mine | stone, depth - 1, -beta, -alpha, masks, every, weights)
            best, alpha = max(best, value), max(alpha, value)
            if alpha >= beta:
                break
    return best


@compiled
def _all_values(rules: Any, state: Any, depth: Any, masks: Any, every: Any, weights: Any, found: Any) -> None:
    for i in range(len(state)):
        mine, theirs = int(state[i, 0]), int(state[i, 1])
        free = legal_cells(rules, mine | theirs)
        for a in range(len(masks)):
            stone = int(free & masks[a])
            if stone != 0 and stone & winning_cells(rules, mine) != 0:
                found[i, a] = WIN + depth
            elif stone != 0:
                found[i, a] = -best_value(
                    rules, theirs, mine | stone, depth - 1, -2 * WIN, 2 * WIN, masks, every, weights
                )  # fmt: skip


def minimax_values(rules: Rules, state: Int[np.ndarray, "b 2"], depth: int) -> Float[np.ndarray, "b a"]:
    """What every action is worth `depth` moves ahead, its own counted; -inf: illegal.

    Raises:
        ValueError: no move ahead, or a game is over.
    """
    if depth < 1:
        raise ValueError(f"minimax looks one move ahead or more, got depth={depth}")
    in_a_row.check(rules, state)
    if (over := in_a_row.over(rules, state)).any():
        raise ValueError(f"the game on board {int(np.flatnonzero(over)[0])} is over, nobody moves: begin a new one")
    weights = np.array([0.0] + [10.0 ** (n - rules.line) for n in range(1, rules.line + 1)])
    found = np.full((len(state), len(in_a_row.reaches(rules))), -np.inf)
    _all_values(rules, state, depth, in_a_row.reaches(rules), rows(rules), weights, found)
    return found


def minimax_actions(
    rules: Rules, state: Int[np.ndarray, "b 2"], depth: int, rng: np.random.Generator
) -> Int[np.ndarray, " b"]:
    """The best action of each board, a random one of equals."""
    q = minimax_values(rules, state, depth)
    best = q >= q.max(1, keepdims=True) - 1e-9
    return np.where(best, rng.random(q.shape), -1.0).argmax(1)
