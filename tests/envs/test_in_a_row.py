"""Stones in a row: the rules against a referee on a plain board, published counts, text, and every wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.envs.in_a_row import (
    CONNECT_FOUR,
    TIC_TAC_TOE,
    Rules,
    cells,
    check,
    in_a_row,
    legal,
    legal_cells,
    over,
    parse,
    planes,
    played,
    reach,
    reaches,
    show,
    start,
    step,
    winning_cells,
    won,
)

games = st.builds(
    in_a_row, st.integers(1, 7), st.integers(1, 6), st.integers(2, 4), drop=st.booleans()
)  # any shape that fits


def has_row(board: np.ndarray, line: int) -> bool:
    height, width = board.shape
    return any(
        all(
            0 <= y + i * down < height and 0 <= x + i * right < width and board[y + i * down, x + i * right]
            for i in range(line)
        )
        for down, right in ((1, 0), (0, 1), (1, 1), (1, -1))
        for y in range(height)
        for x in range(width)
    )


def referee(rules: Rules, boards: list[np.ndarray]) -> list[int]:
    """The legal actions by looking at the cells, row 0 on top."""
    if has_row(boards[0], rules.line) or has_row(boards[1], rules.line):
        return []
    empty = ~(boards[0] | boards[1])
    return np.flatnonzero(empty.any(0) if rules.drop else empty.reshape(-1)).tolist()


@settings(max_examples=60, deadline=None)
@given(rules=games, seed=st.integers(0, 2**32 - 1))
def test_random_games_go_as_a_referee_says(rules: Rules, seed: int) -> None:
    rng, state = np.random.default_rng(seed), start(1)
    boards = [np.zeros((rules.height, rules.width), bool) for _ in range(2)]
    for turn in range(rules.width * rules.height + 1):
        actions = referee(rules, boards)
        assert np.flatnonzero(legal(rules, state)[0]).tolist() == actions
        assert bool(over(rules, state)[0]) == (not actions)
        np.testing.assert_array_equal(planes(rules, state)[0], [boards[turn % 2], boards[1 - turn % 2]])
        assert bool(won(rules, state[0, 1])) == has_row(boards[1 - turn % 2], rules.line)
        check(rules, state)
        if actions:
            assert legal_cells(rules, int(state[0].sum())).bit_count() == len(actions)
        np.testing.assert_array_equal(parse(rules, show(rules, state[0])), state)
        if not actions:
            return
        action = int(rng.choice(actions))
        state = step(rules, state, np.array([action]))
        y, x = divmod(action, rules.width)
        if rules.drop:
            x, y = action, int(np.flatnonzero(~(boards[0] | boards[1])[:, action])[-1])
        boards[turn % 2][y, x] = True
    raise AssertionError("a full board has no legal action")


@settings(max_examples=100, deadline=None)
@given(rules=games, data=st.data())
def test_rows_of_any_stones_and_the_cells_that_complete_them(rules: Rules, data: st.DataObject) -> None:
    bits = [int(bit) for bit in cells(rules).reshape(-1)]
    stones = sum(data.draw(st.sets(st.sampled_from(bits))))
    assert bool(won(rules, stones)) == has_row(cells(rules) & stones != 0, rules.line)
    if won(rules, stones):
        return
    assert winning_cells(rules, stones) & rules.board & ~stones == sum(
        bit for bit in bits if not bit & stones and won(rules, stones | bit)
    )


@settings(max_examples=30, deadline=None)
@given(rules=games, seed=st.integers(0, 2**32 - 1), b=st.integers(0, 3))
def test_whole_numbers_and_arrays_obey_the_same_rules(rules: Rules, seed: int, b: int) -> None:
    rng = np.random.default_rng(seed)
    stones = rng.integers(2**62, size=b) & rules.board
    for rule in (won, winning_cells, legal_cells):
        found = rule(rules, stones)
        assert found.dtype == np.int64
        masked = found & rules.board
        assert masked.tolist() == [rule(rules, one) & rules.board for one in stones.tolist()]
    assert reaches(rules).tolist() == [reach(rules, action) for action in range(len(reaches(rules)))]


def test_published_counts_of_connect_four_positions() -> None:
    """Tromp's, https://oeis.org/A212693: all positions after so many moves, finished ones among them."""
    state, counts = start(1), []
    for _ in range(8):
        counts.append(len(state))
        row, action = np.nonzero(legal(CONNECT_FOUR, state))
        state = np.unique(step(CONNECT_FOUR, state[row], action), axis=0)
    assert counts == [1, 7, 49, 238, 1120, 4263, 16422, 54859]


@pytest.mark.parametrize("b", [0, 1, 5])
def test_batches_of_any_size(b: int) -> None:
    for rules, shape in ((TIC_TAC_TOE, (3, 3)), (CONNECT_FOUR, (6, 7))):
        state = start(b)
        assert legal(rules, state).shape == (b, 9 if rules is TIC_TAC_TOE else 7)
        after = step(rules, state, np.full(b, 4))
        assert after.shape == (b, 2)
        assert state.sum() == 0, "nothing is changed in place"
        assert over(rules, after).shape == (b,)
        assert planes(rules, after).shape == (b, 2, *shape)


def test_the_ends_of_a_game() -> None:
    won_at_last = played(TIC_TAC_TOE, [0, 3, 1, 4, 5, 7, 6, 8, 2])
    assert won(TIC_TAC_TOE, won_at_last[0, 1])
    assert show(TIC_TAC_TOE, won_at_last[0]) == "X X X\nO O X\nX O O\nX has won"
    draw = played(TIC_TAC_TOE, [0, 1, 2, 4, 3, 5, 7, 6, 8])
    assert over(TIC_TAC_TOE, draw)[0]
    assert not won(TIC_TAC_TOE, draw[0]).any()
    assert show(TIC_TAC_TOE, draw[0]).endswith("a draw")
    second = played(CONNECT_FOUR, [0, 6, 0, 6, 0, 6, 1, 6])
    assert show(CONNECT_FOUR, second[0]).endswith("0 1 2 3 4 5 6\nO has won")
    assert not legal(CONNECT_FOUR, second).any()
    assert show(CONNECT_FOUR, start(1)[0]).endswith("X to move")
    assert show(CONNECT_FOUR, played(CONNECT_FOUR, [3])[0]).endswith(". . . X . . .\n0 1 2 3 4 5 6\nO to move")


@pytest.mark.parametrize(
    ("rules", "moves", "action", "sentence"),
    [
        (TIC_TAC_TOE, [4], 4, "action 4 on board 0 is illegal: legal there is 0, 1, 2, 3, 5, 6, 7, 8"),
        (TIC_TAC_TOE, [4], 9, "action 9 on board 0 is illegal"),
        (TIC_TAC_TOE, [4], -1, "action -1 on board 0 is illegal"),
        (CONNECT_FOUR, [2] * 6, 2, "action 2 on board 0 is illegal: legal there is 0, 1, 3, 4, 5, 6"),
        (CONNECT_FOUR, [0, 1, 0, 1, 0, 1, 0], 3, "action 3 on board 0 is illegal: its game is over, begin a new one"),
    ],
)
def test_illegal_actions(rules: Rules, moves: list[int], action: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        step(rules, played(rules, moves), np.array([action]))


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="rows of 2 to 4 win, got 3 x 3 cells and rows of 5"):
        in_a_row(3, 3, 5, drop=False)
    with pytest.raises(ValueError, match=r"8 columns of 8 cells need 72 bits, .* a whole number has 63"):
        in_a_row(8, 8, 4, drop=True)
    with pytest.raises(ValueError, match=r"move 2 of \[4, 4\]: action 4 on board 0 is illegal"):
        played(TIC_TAC_TOE, [4, 4])
    for text, sentence in (
        ("X..\n...", r"3 lines of 3 signs X, O or full stop, got 2 lines of \[3\] signs"),
        ("X..\n....\n...", r"got 3 lines of \[3, 4\] signs"),
        ("XX.\n...\n...", "board 0 has too many stones of one player"),
        ("OO.\nX..\n...", "board 0 has too many stones of one player"),
        ("XXX\nOOO\n...", "board 0 was over a move before"),
    ):
        with pytest.raises(ValueError, match=sentence):
            parse(TIC_TAC_TOE, text)
    with pytest.raises(ValueError, match="board 0 has a stone on nothing"):
        parse(CONNECT_FOUR, "\n".join(["." * 7] * 4 + ["...X...", "." * 7]))
    with pytest.raises(ValueError, match="board 1 has two stones on one cell"):
        check(TIC_TAC_TOE, np.array([[0, 0], [1, 1]]))
    with pytest.raises(ValueError, match="board 0 has stones outside of the board"):
        check(TIC_TAC_TOE, np.array([[0, 8]]))
