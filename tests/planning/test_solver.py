"""The solver against trying everything without pruning, mirror images and published results."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.boards import random_states

from sightline.envs.in_a_row import (
    CONNECT_FOUR,
    TIC_TAC_TOE,
    Rules,
    cells,
    in_a_row,
    legal_cells,
    over,
    played,
    start,
    won,
)
from sightline.planning import jit
from sightline.planning.game import Game
from sightline.planning.lookahead import perfect_play
from sightline.planning.solver import Solver, mirrored

needs_numba = pytest.mark.skipif(not jit.COMPILED, reason="Numba is not installed, and plain Python takes minutes")


@cache
def score_of(rules: Rules, mine: int, theirs: int) -> int:
    """Every move tried, nothing cut off: how many own stones are left at a win, and the one that wins."""
    left = (rules.board & ~(mine | theirs)).bit_count()
    if won(rules, theirs):
        return -(left // 2 + 1)
    free = legal_cells(rules, mine | theirs)
    stones = [int(bit) for bit in cells(rules).reshape(-1) if int(bit) & free]
    return max((-score_of(rules, theirs, mine | stone) for stone in stones), default=0)


def brute(rules: Rules, states: np.ndarray) -> list[int]:
    return [score_of(rules, int(mine), int(theirs)) for mine, theirs in states]


@pytest.mark.parametrize("stones", [41, 40, 38, 36, 34, 32])
def test_scores_near_the_end_are_those_of_trying_everything(stones: int) -> None:
    solver, states = Solver(), random_states(CONNECT_FOUR, stones, 25, stones)
    expected = brute(CONNECT_FOUR, states)
    assert solver.scores(states).tolist() == expected
    assert Solver().values(states).tolist() == np.sign(expected).tolist()
    assert len(set(expected)) > (1 if stones > 38 else 2), "the boards differ"


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 4), height=st.integers(1, 4), line=st.integers(2, 4), drop=st.booleans(),
    seed=st.integers(0, 2**32 - 1), stones=st.integers(0, 16),
)  # fmt: skip
def test_small_games_of_any_shape(width: int, height: int, line: int, drop: bool, seed: int, stones: int) -> None:
    rules = in_a_row(width, height, line, drop=drop)
    stones = max(0, min(stones, width * height - 1), width * height - 9)
    try:
        states = next_states(rules, seed, stones)
    except LookupError:
        return
    solver = Solver(rules, entries=10)  # so small that entries are lost
    for _ in range(2):  # the second time from the table
        assert solver.scores(states).tolist() == brute(rules, states)
    assert solver.values(states).tolist() == np.sign(brute(rules, states)).tolist()


def next_states(rules: Rules, seed: int, stones: int) -> np.ndarray:
    """Some boards of so many stones or fewer, for games that may all be over before."""
    game, rng, state = Game(rules), np.random.default_rng(seed), start(4)
    for _ in range(stones):
        open_ = ~over(rules, state)
        if not open_.all():
            break
        allowed = game.root(state).logits > -np.inf
        state = game.step(state, np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1)).state
    if len(state) == 0 or (rules.board & ~int(state[0].sum())).bit_count() > 12:
        raise LookupError("too much would have to be tried")
    return state


def test_tic_tac_toe_is_solved_as_by_perfect_play() -> None:
    game = Game(TIC_TAC_TOE)
    play = perfect_play(game, game.root(game.start(1)))
    some = play.state if jit.COMPILED else play.state[::40]
    rows = play.find(some)
    np.testing.assert_array_equal(Solver(TIC_TAC_TOE).action_values(some), play.q[rows])


def mirror(states: np.ndarray) -> np.ndarray:
    bits = (states[:, :, None, None] & cells(CONNECT_FOUR) != 0)[:, :, :, ::-1]
    return (bits * cells(CONNECT_FOUR)).sum((2, 3))


def test_a_board_from_behind() -> None:
    states = random_states(CONNECT_FOUR, 2, 20, 20)
    found = [[mirrored(CONNECT_FOUR, int(stones)) for stones in state] for state in states]
    assert found == mirror(states).tolist()


@needs_numba
def test_mirror_images_are_worth_the_same() -> None:
    states = random_states(CONNECT_FOUR, 5, 30, 18)
    q = Solver().action_values(states)
    np.testing.assert_array_equal(Solver().action_values(mirror(states)), q[:, ::-1])


@needs_numba
def test_values_follow_from_those_of_the_moves() -> None:
    states = random_states(CONNECT_FOUR, 6, 60, 16)
    solver = Solver()
    q = solver.action_values(states)
    np.testing.assert_array_equal(solver.values(states), q.max(1))
    np.testing.assert_array_equal(np.sign(solver.scores(states)), q.max(1))
    assert {-1, 0, 1} <= set(q.reshape(-1).tolist())
    assert solver.positions > len(states)


@needs_numba
@pytest.mark.parametrize("height", [2, 4])
def test_who_begins_does_not_win_on_even_boards_but_by_the_middle(height: int) -> None:
    """Allis (1988): on 7 x 2n boards the other can draw unless the first stone is in the middle, on 6 x 2n always."""
    seven = Solver(in_a_row(7, height, 4, drop=True)).action_values(start(1))[0]
    assert (np.delete(seven, 3) <= 0).all()
    assert (Solver(in_a_row(6, height, 4, drop=True)).action_values(start(1)) <= 0).all()


@needs_numba
@pytest.mark.slow
def test_connect_four_is_won_by_the_first_stone_in_the_middle() -> None:
    """Allen (1988), Allis (1988). Minutes, and 600 MB of table."""
    solver = Solver(entries=25)
    assert solver.values(played(CONNECT_FOUR, [3])).tolist() == [-1]
    assert solver.values(start(1)).tolist() == [1]


@needs_numba
def test_four_by_four_is_solved_as_by_perfect_play() -> None:
    game = Game(in_a_row(4, 4, 4, drop=True))
    play = perfect_play(game, game.root(game.start(1)))
    assert play.value[0] == 0
    some = np.random.default_rng(0).choice(len(play.state), 3000, replace=False)
    np.testing.assert_array_equal(Solver(game.rules).action_values(play.state[some]), play.q[some])


def test_finished_boards_and_none() -> None:
    solver = Solver()
    lost = played(CONNECT_FOUR, [0, 1, 0, 1, 0, 1, 0])
    assert solver.values(lost).tolist() == [-1]
    assert solver.scores(lost).tolist() == [-(35 // 2 + 1)]
    assert (solver.action_values(lost) == -np.inf).all()
    assert solver.scores(played(CONNECT_FOUR, [0, 1, 0, 1, 0, 1])).tolist() == [36 // 2]
    assert solver.values(start(0)).shape == (0,)
    assert solver.action_values(start(0)).shape == (0, 7)
    full = played(TIC_TAC_TOE, [0, 1, 2, 4, 3, 5, 7, 6, 8])
    assert Solver(TIC_TAC_TOE).values(full).tolist() == [0]


ALONE = """
import numpy as np
from sightline.envs.in_a_row import CONNECT_FOUR
from sightline.planning.solver import Solver, mirrored
from tests.planning.boards import random_states
solver = Solver(entries=12)
print(solver.scores(random_states(CONNECT_FOUR, 3, 12, 30)).tolist(), solver.positions)
print(solver.action_values(random_states(CONNECT_FOUR, 4, 12, 32)).tolist(), solver.positions)
"""


def test_without_numba_the_same_positions_are_looked_at() -> None:
    if not jit.COMPILED:
        pytest.skip("Numba is not installed: there is nothing to compare with")
    found = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", ALONE], check=True, capture_output=True, text=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.getcwd()},
        ).stdout
        for disabled in ("0", "1")
    ]  # fmt: skip
    assert found[0] == found[1]


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match=r"2\^10 to 2\^28 entries, got entries=4000000, the power of two"):
        Solver(entries=4_000_000)
    with pytest.raises(ValueError, match="board 0 has a stone on nothing"):
        Solver().values(np.array([[0, 2]]))
