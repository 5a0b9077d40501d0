"""Games of stones in a row in loops that `jit.py` compiles: played to their end at random, or one move on many boards.

`won`, `winning_cells`, `legal_cells` and `reach` are the rules of `envs/in_a_row.py`, to be called from compiled
loops. A random action is thrown until it is legal, which needs no list and, in Connect Four, about one throw in most
positions.

Randomness is a linear congruential generator modulo 2^63, with Knuth's multiplier (MMIX) and its upper 32 bits: the
same numbers in compiled code, which wraps around, and in Python, which does not.

Left out: playouts that prefer some moves.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sightline.envs import in_a_row
from sightline.envs.in_a_row import Rules
from sightline.planning.jit import compiled

SEEDS = 2**63
MASK = SEEDS - 1
won = compiled(in_a_row.won)
legal_cells = compiled(in_a_row.legal_cells)
reach = compiled(in_a_row.reach)
winning_cells = compiled(in_a_row.winning_cells)


@compiled
def counted(bits: Any) -> Any:
    """How many bits are set."""
    count = 0
    while bits != 0:
        bits &= bits - 1
        count += 1
    return count


@compiled
def moved(
    rules: Any, state: Any, action: Any, actions: Any, after: Any, reward: Any, discount: Any, logits: Any
) -> Any:  # fmt: skip
    """What `Game.step` gives, written into the last four; the first board whose action is illegal, -1 for none."""
    for i in range(len(state)):
        mine, theirs, a = int(state[i, 0]), int(state[i, 1]), int(action[i])
        stone = 0
        if 0 <= a < actions and won(rules, theirs) == 0:
            stone = legal_cells(rules, mine | theirs) & reach(rules, a)
        if stone == 0:
            return i
        mine |= stone
        after[i, 0], after[i, 1] = theirs, mine
        free = legal_cells(rules, mine | theirs)
        if won(rules, mine) != 0:
            free, reward[i] = 0, 1.0
        discount[i] = 0.0 if free == 0 else -1.0
        for a in range(actions):
            logits[i, a] = -np.inf if free & reach(rules, a) == 0 else 0.0
    return -1


@compiled
def following(seed: Any) -> Any:
    """The next state of the generator."""
    return (seed * 6364136223846793005 + 1442695040888963407) & MASK


@compiled
def playout(rules: Any, mine: Any, theirs: Any, seed: Any) -> Any:
    """The result of one random game for the one to move, 1, 0 or -1, and the generator's state; not yet over."""
    result, columns = 1, rules.width * (1 if rules.drop else rules.height + 1)
    while True:
        cells = legal_cells(rules, mine | theirs)
        if cells == 0:
            return 0, seed
        stone = 0
        while stone == 0:
            seed = following(seed)
            thrown = ((seed >> 31) * columns) >> 32
            stone = cells & (reach(rules, thrown) if rules.drop else 1 << thrown)
        mine |= stone
        if won(rules, mine) != 0:
            return result, seed
        mine, theirs = theirs, mine
        result = -result


@compiled
def _play(rules: Any, state: Any, seeds: Any, count: Any, total: Any) -> None:
    for i in range(len(state)):
        mine, theirs, seed = int(state[i, 0]), int(state[i, 1]), int(seeds[i])
        if won(rules, theirs) != 0:
            total[i] = -count
        else:
            for _ in range(count):
                result, seed = playout(rules, mine, theirs, seed)
                total[i] += result


def playouts(
    rules: Rules, state: Int[np.ndarray, "b 2"], rng: np.random.Generator, count: int = 1
) -> Float[np.ndarray, " b"]:
    """The mean result of random games for the one to move; of a finished game its own."""
    total = np.zeros(len(state))
    _play(rules, state, rng.integers(SEEDS, size=len(state)), count, total)
    return (total / count).astype(np.float32)
