"""Minimax of a fixed depth: against a slow one without pruning, what each depth sees, and beside the exact solver."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.boards import random_states

from sightline.envs.in_a_row import CONNECT_FOUR, TIC_TAC_TOE, Rules, cells, legal_cells, played, start, won
from sightline.planning import jit
from sightline.planning.minimax import WIN, minimax_actions, minimax_values, rows
from sightline.planning.solver import Solver


def slow(rules: Rules, mine: int, theirs: int, depth: int) -> float:
    if won(rules, theirs):
        return -(WIN + depth + 1)
    free = legal_cells(rules, mine | theirs)
    if free == 0:
        return 0.0
    if depth == 0:
        open_ = [(row & mine, row & theirs) for row in rows(rules).tolist() if not (row & mine and row & theirs)]
        return sum(10.0 ** (a.bit_count() - rules.line) for a, _ in open_ if a) - sum(
            10.0 ** (b.bit_count() - rules.line) for _, b in open_ if b
        )
    stones = [int(bit) for bit in cells(rules).reshape(-1) if int(bit) & free]
    return max(-slow(rules, theirs, mine | stone, depth - 1) for stone in stones)


def test_rows_are_all_that_win() -> None:
    assert len(rows(CONNECT_FOUR)) == 69
    bits = cells(TIC_TAC_TOE).reshape(-1).tolist()
    assert sorted(rows(TIC_TAC_TOE).tolist()) == sorted(
        sum(three) for three in combinations(bits, 3) if won(TIC_TAC_TOE, sum(three))
    )


@settings(max_examples=25, deadline=None)
@given(
    rules=st.sampled_from([TIC_TAC_TOE, CONNECT_FOUR]), seed=st.integers(0, 2**32 - 1), stones=st.integers(0, 5),
    depth=st.integers(1, 3),
)  # fmt: skip
def test_pruning_changes_no_value(rules: Rules, seed: int, stones: int, depth: int) -> None:
    state = random_states(rules, seed, 1, stones)
    found = minimax_values(rules, state, depth)[0]
    mine, theirs = (int(one) for one in state[0])
    free = legal_cells(rules, mine | theirs)
    columns = cells(rules).T if rules.drop else cells(rules).reshape(-1, 1)
    for value, column in zip(found, columns.tolist(), strict=True):
        stone = free & sum(column)
        assert value == pytest.approx(-slow(rules, theirs, mine | stone, depth - 1) if stone else -np.inf)


def test_what_each_depth_sees() -> None:
    rng = np.random.default_rng(0)
    wins = played(CONNECT_FOUR, [0, 1, 0, 1, 0, 1])
    assert minimax_actions(CONNECT_FOUR, wins, 1, rng).tolist() == [0]
    threatened = played(CONNECT_FOUR, [0, 6, 0, 6, 0])
    assert {int(minimax_actions(CONNECT_FOUR, threatened, 2, rng)[0]) for _ in range(20)} == {0}
    assert (np.delete(minimax_values(CONNECT_FOUR, threatened, 2)[0], 0) <= -WIN).all()
    assert (minimax_values(CONNECT_FOUR, threatened, 1)[0] > -WIN).all(), "one move ahead it is not seen"
    assert minimax_actions(CONNECT_FOUR, start(0), 2, rng).shape == (0,)


def test_equal_moves_are_drawn() -> None:
    state = np.repeat(start(1), 300, 0)
    found = minimax_actions(TIC_TAC_TOE, state, 9, np.random.default_rng(0)) if jit.COMPILED else None
    assert found is None or set(found.tolist()) == set(range(9)), "with perfect play all openings are draws"


@pytest.mark.skipif(not jit.COMPILED, reason="Numba is not installed, and plain Python takes minutes")
def test_to_the_end_it_is_the_solver() -> None:
    states = random_states(CONNECT_FOUR, 0, 20, 32)
    q = minimax_values(CONNECT_FOUR, states, 10)
    exact = Solver().action_values(states)
    legal = exact > -np.inf
    np.testing.assert_array_equal(np.where(np.abs(q) >= WIN, np.sign(q), 0)[legal], exact[legal])


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="one move ahead or more, got depth=0"):
        minimax_values(TIC_TAC_TOE, start(1), 0)
    with pytest.raises(ValueError, match="the game on board 1 is over, nobody moves: begin a new one"):
        minimax_values(TIC_TAC_TOE, np.concatenate((start(1), played(TIC_TAC_TOE, [0, 3, 1, 4, 2]))), 1)
