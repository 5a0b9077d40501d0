"""Games as models: whose turn and reward it is, symmetries that play on, and random playouts of the right mean."""

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
    legal,
    legal_cells,
    won,
)
from sightline.planning import jit
from sightline.planning.game import Game
from sightline.planning.model import Model

GAMES = {"tic_tac_toe": TIC_TAC_TOE, "connect_four": CONNECT_FOUR, "oblong": in_a_row(4, 3, 3, drop=False)}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_a_model(name: str) -> None:
    game = Game(GAMES[name])
    assert isinstance(game, Model)
    root = game.root(game.start(3))
    assert root.reward.tolist() == [0] * 3
    assert root.discount.tolist() == [1] * 3
    assert root.logits.tolist() == [[0] * game.num_actions] * 3
    assert root.value.tolist() == [0] * 3
    after = game.step(root.state, np.arange(3), np.random.default_rng(0))
    for part in (*root[1:], *after[1:]):
        assert part.dtype == np.float32
    assert after.discount.tolist() == [-1] * 3
    assert root.state.sum() == 0, "nothing is changed in place"
    assert game.step(game.start(0), np.zeros(0, np.int64)).logits.shape == (0, game.num_actions)


def test_a_win_a_draw_and_a_full_column() -> None:
    game = Game(CONNECT_FOUR)
    state = np.concatenate([game.played(moves) for moves in ([0, 1, 0, 1, 0, 1], [5, 0, 1, 0, 1, 0], [3] * 5)])
    step_ = game.step(state, np.array([0, 1, 3]))
    assert step_.reward.tolist() == [1, 0, 0]
    assert step_.discount.tolist() == [0, -1, -1]
    assert (step_.logits[0] == -np.inf).all()
    assert (step_.logits[1] == 0).all()
    assert step_.logits[2].tolist() == [0, 0, 0, -np.inf, 0, 0, 0]
    assert (step_.value == 0).all()
    small = Game(TIC_TAC_TOE)
    draw = small.step(small.played([0, 1, 2, 4, 3, 5, 7, 6]), np.array([8]))
    assert (draw.reward[0], draw.discount[0]) == (0, 0)
    last = small.step(small.played([0, 3, 1, 4, 5, 7, 6, 8]), np.array([2]))
    assert (last.reward[0], last.discount[0]) == (1, 0), "won with the last stone"
    ended = small.root(last.state)
    assert (ended.reward[0], ended.discount[0]) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(GAMES)), seed=st.integers(0, 2**32 - 1), b=st.integers(0, 3))
def test_the_compiled_step_is_that_of_arrays(name: str, seed: int, b: int) -> None:
    game, rng = Game(GAMES[name]), np.random.default_rng(seed)
    state = game.start(b)
    for _ in range(42):
        action = rng.integers(-1, game.num_actions + 1, b)
        try:
            slow = game._by_arrays(state, action)
        except ValueError:
            assert game._moved(state, action) is None
            allowed = game.root(state).logits > -np.inf
            action = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(1)
            slow = game._by_arrays(state, action)
        fast = game._moved(state, action)
        assert fast is not None
        for one, other in zip(fast, slow, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
        state = slow.state[slow.discount != 0]
        b = len(state)


def test_planes_are_seen_by_the_one_to_move() -> None:
    game = Game(CONNECT_FOUR)
    seen = game.observation(game.played([3, 3, 0]))
    assert seen.shape == (1, 2, 6, 7)
    assert np.argwhere(seen[0, 0]).tolist() == [[4, 3]], "O is to move and has one stone, on that of X"
    assert np.argwhere(seen[0, 1]).tolist() == [[5, 0], [5, 3]]


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(list(GAMES)), seed=st.integers(0, 2**32 - 1), stones=st.integers(0, 6))
def test_a_turned_board_plays_on_as_the_board_does(name: str, seed: int, stones: int) -> None:
    rules = GAMES[name]
    game = Game(rules)
    count = {"tic_tac_toe": 8, "connect_four": 2, "oblong": 4}[name]
    state = random_states(rules, seed, 4, min(stones, 4) if name != "connect_four" else stones)
    allowed = legal(rules, state)
    action = np.where(allowed, np.random.default_rng(seed).random(allowed.shape), -1).argmax(1)
    chosen = np.eye(game.num_actions)[action]
    boards, policies = game.symmetric(game.observation(state), chosen)
    assert boards.shape == (count, 4, 2, rules.height, rules.width)
    assert len({board.tobytes() for board in np.arange(rules.width * rules.height)[game.symmetries.cells]}) == count
    np.testing.assert_array_equal(boards[0], game.observation(state))
    np.testing.assert_array_equal(policies[0], chosen)
    after = game.step(state, action)
    later, _ = game.symmetric(game.observation(after.state), chosen)
    for board, policy, expected in zip(boards, policies, later, strict=True):
        turned = (board.astype(np.int64) * cells(rules)).sum((2, 3))
        turned_after = game.step(turned, policy.argmax(1))
        np.testing.assert_array_equal(game.observation(turned_after.state), expected)
        np.testing.assert_array_equal(turned_after.reward, after.reward)
        np.testing.assert_array_equal(turned_after.discount, after.discount)


def test_text_and_moves() -> None:
    game = Game(CONNECT_FOUR)
    state = game.played([3, 3, 2])
    assert game.show(state[0]).splitlines()[-3:] == [". . X X . . .", "0 1 2 3 4 5 6", "O to move"]
    np.testing.assert_array_equal(game.parse(game.show(state[0])), state)


@cache
def mean_of_all_games(rules: Rules, mine: int, theirs: int) -> float:
    """The exact expectation when both play at random."""
    if won(rules, theirs):
        return -1.0
    free = legal_cells(rules, mine | theirs)
    stones = [int(bit) for bit in cells(rules).reshape(-1) if int(bit) & free]
    return float(np.mean([-mean_of_all_games(rules, theirs, mine | stone) for stone in stones])) if stones else 0.0


@pytest.mark.parametrize(("rules", "stones"), [(TIC_TAC_TOE, 0), (TIC_TAC_TOE, 3), (CONNECT_FOUR, 34)])
def test_playouts_have_the_mean_of_all_random_games(rules: Rules, stones: int) -> None:
    count = 20_000 if jit.COMPILED else 1_000
    states = random_states(rules, 1, 1 if stones == 0 else 6, stones)
    expected = [mean_of_all_games(rules, int(a), int(b)) for a, b in states]
    found = Game(rules).playouts(states, np.random.default_rng(0), count)
    np.testing.assert_allclose(found, expected, atol=4 / count**0.5)
    if stones == 0:
        assert expected == pytest.approx([0.2968], abs=1e-4)


def test_playouts_of_finished_games_and_of_none() -> None:
    game, rng = Game(TIC_TAC_TOE), np.random.default_rng(0)
    ended = np.concatenate((game.played([0, 3, 1, 4, 2]), game.played([0, 1, 2, 4, 3, 5, 7, 6, 8])))
    assert game.playouts(ended, rng, 3).tolist() == [-1, 0]
    assert game.playouts(game.start(0), rng).shape == (0,)


ALONE = """
import numpy as np
from sightline.envs.in_a_row import CONNECT_FOUR, TIC_TAC_TOE
from sightline.planning.game import Game
for rules in (CONNECT_FOUR, TIC_TAC_TOE):
    game, rng = Game(rules), np.random.default_rng(7)
    for moves in ([], [3, 3, 2], [0, 1, 2]):
        if rules is CONNECT_FOUR or moves != [3, 3, 2]:
            print(game.playouts(np.repeat(game.played(moves), 40, 0), rng, 3).tobytes().hex())
"""


def test_without_numba_the_same_games_are_played() -> None:
    if not jit.COMPILED:
        pytest.skip("Numba is not installed: there is nothing to compare with")
    found = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", ALONE], check=True, capture_output=True, text=True,
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
        ).stdout
        for disabled in ("0", "1")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) > 1000


def test_wrong_input() -> None:
    game = Game(TIC_TAC_TOE)
    with pytest.raises(ValueError, match="action 4 on board 1 is illegal: legal there is 0, 1"):
        game.step(np.concatenate((game.start(1), game.played([4]))), np.array([4, 4]))
    with pytest.raises(ValueError, match="board 0 has too many stones of one player"):
        game.root(np.array([[3, 0]]))
