"""Look-ahead: hand-worked signs, two ways to the same values, and tic-tac-toe's published counts."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.trees import random_tree
from tests.planning.worlds import random_world

from sightline.envs.in_a_row import CONNECT_FOUR, TIC_TAC_TOE, in_a_row
from sightline.planning.game import Game
from sightline.planning.lookahead import Perfect, look_ahead, perfect_play, table_values
from sightline.planning.model import Step
from sightline.planning.outcomes import Explicit, Outcomes, Sampled, outcomes_of
from sightline.planning.tabular import value_iteration

ROOT = np.array([0])


def chain(*steps: tuple[float, float], value: float) -> Outcomes:
    """One action after the other, of these rewards and discounts, to a state of that value."""
    states = len(steps) + 1
    reward, discount = np.zeros((2, states, 1, 1))
    reward[:-1, 0, 0], discount[:-1, 0, 0] = zip(*steps, strict=True)
    to = np.minimum(np.arange(states) + 1, states - 1)[:, None, None]
    return Outcomes(np.ones((states, 1, 1)), to, reward, discount, np.ones((states, 1), bool), np.full(states, value))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (((1.0, 0.0),), 1.0),
        (((1.0, 1.0),), 1 + 4),
        (((1.0, -1.0),), 1 - 4),
        (((1.0, -0.5),), 1 - 0.5 * 4),
        (((1.0, -1.0), (2.0, -1.0)), 1 - (2 - 4)),
        (((1.0, 0.5), (2.0, -0.5)), 1 + 0.5 * (2 - 0.5 * 4)),
        (((1.0, -0.5), (2.0, 0.5), (3.0, 0.0)), 1 - 0.5 * (2 + 0.5 * 3)),
    ],
)
def test_signs_and_discounts_by_hand(steps: tuple[tuple[float, float], ...], expected: float) -> None:
    tree = chain(*steps, value=4.0)
    assert table_values(tree, len(steps))[0, 0] == expected
    for model in (Sampled(tree), Explicit(tree)):
        assert look_ahead(model, model.root(ROOT), len(steps)).tolist() == [[expected]]


def test_dice_by_hand() -> None:
    """Left is 1 for sure. Right: a quarter for 4 and the end, else the other player has his choice of 2 and 3."""
    tree = Outcomes(
        probability=np.array([[[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.0], [1.0, 0.0]]]),
        next_state=np.array([[[0, 0], [0, 1]], [[0, 0], [0, 0]]]),
        reward=np.array([[[1.0, 0.0], [4.0, 0.0]], [[2.0, 0.0], [3.0, 0.0]]]),
        discount=np.array([[[0.0, 0.0], [0.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        legal=np.ones((2, 2), bool),
        value=np.array([0.0, 8.0]),
    )
    model = Explicit(tree)
    assert table_values(tree, 1)[0].tolist() == [1.0, 1 - 0.75 * 8]
    assert table_values(tree, 2)[0].tolist() == [1.0, 1 - 0.75 * 3]
    assert look_ahead(model, model.root(ROOT), 1)[0].tolist() == [1.0, 1 - 0.75 * 8], "an outcome is no move"
    assert look_ahead(model, model.root(ROOT), 2)[0].tolist() == [1.0, 1 - 0.75 * 3]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), players=st.integers(1, 2), outcomes=st.integers(1, 3),
    gamma=st.sampled_from([1.0, 0.9, 0.5]), depth=st.integers(1, 3), moves=st.integers(1, 4),
)  # fmt: skip
def test_trying_everything_gives_the_values_of_the_table(
    seed: int, players: int, outcomes: int, gamma: float, depth: int, moves: int
) -> None:
    tree = random_tree(seed, players=players, outcomes=outcomes, gamma=gamma, depth=depth)
    expected = table_values(tree, moves)
    roots = np.flatnonzero(tree.legal.any(1))[:5]
    model = Explicit(tree)
    np.testing.assert_allclose(look_ahead(model, model.root(roots), moves), expected[roots], atol=1e-5)
    if outcomes == 1:
        drawn = Sampled(tree)
        np.testing.assert_allclose(look_ahead(drawn, drawn.root(roots), moves), expected[roots], atol=1e-5)


def test_a_table_of_one_player_has_the_values_of_value_iteration() -> None:
    world = random_world(0)
    expected = value_iteration(world, 0.5)
    np.testing.assert_allclose(table_values(outcomes_of(world, 0.5), 60), expected, atol=1e-9)


@cache
def perfect() -> tuple[Game, Perfect]:
    game = Game(TIC_TAC_TOE)
    return game, perfect_play(game, game.root(game.start(1)))


def test_tic_tac_toe_played_perfectly() -> None:
    """4520 positions that are not over, 3191 of them with a wrong move; the game is a draw."""
    game, play = perfect()
    assert len(play.state) == 4520
    assert play.mistakes.any(1).sum() == 3191
    assert play.value[0] == 0
    assert play.q[0].tolist() == [0.0] * 9
    corner = play.find(game.played([0]))
    np.testing.assert_array_equal(play.best[corner], [[False] * 4 + [True] + [False] * 4])
    assert (play.best | play.mistakes | (play.q == -np.inf)).all()
    assert not (play.best & play.mistakes).any()
    with pytest.raises(ValueError, match="a state is over or no position of this game"):
        play.find(game.played([0, 3, 1, 4, 2]))


def test_perfect_play_is_what_look_ahead_finds() -> None:
    game, play = perfect()
    late = np.flatnonzero((play.q > -np.inf).sum(1) <= 5)
    some = np.random.default_rng(0).choice(late, 40, replace=False)
    np.testing.assert_array_equal(look_ahead(game, game.root(play.state[some]), 9), play.q[some])
    np.testing.assert_array_equal(play.find(play.state[some]), some)
    assert play.find(play.state[:0]).shape == (0,)


def test_equal_positions_are_worth_the_same_whichever_way_round() -> None:
    game, play = perfect()
    seen = game.observation(play.state)
    boards, values = game.symmetric(seen, play.q)
    weights = np.zeros((2, 2, 3, 3), np.int64)
    for side in range(2):
        weights[side, side] = np.array([[4, 64, 1024], [2, 32, 512], [1, 16, 256]])
    for board, q in zip(boards.astype(np.int64), values, strict=True):
        row = play.find((board[:, None] * weights).sum((2, 3, 4)))
        np.testing.assert_array_equal(play.q[row], q)


def test_who_is_before_the_end_sees_it_and_no_further() -> None:
    game = Game(CONNECT_FOUR)
    root = game.root(game.played([0, 1, 0, 1, 0, 1]))
    assert look_ahead(game, root, 1)[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert look_ahead(game, root, 2)[0].tolist() == [1, 0, -1, -1, -1, -1, -1]
    over = game.root(game.played([0, 1, 0, 1, 0, 1, 0]))
    assert (look_ahead(game, over, 3) == -np.inf).all()
    assert look_ahead(game, game.root(game.start(0)), 3).shape == (0, 7)


class Careless(Game):
    """At the end its value is none."""

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator | None = None) -> Step:
        step = super().step(state, action)
        return step._replace(value=np.where(step.discount == 0, np.float32(np.nan), step.value))


def test_nobody_looks_at_the_value_of_an_end() -> None:
    game = Careless(TIC_TAC_TOE)
    assert look_ahead(game, game.root(game.played([0, 3, 1, 4])), 3)[0, 2] == 1
    play = perfect_play(game, game.root(game.played([4, 0, 8])))
    assert play.value[0] == 0


class Stuck:
    """Not over, and nothing to do."""

    num_actions = 2

    def root(self, observation: np.ndarray) -> Step:
        one = np.ones(len(observation), np.float32)
        return Step(observation, one, one, np.full((len(one), 2), -np.inf, np.float32), one)

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        return self.root(state)


def test_wrong_input() -> None:
    game = Game(TIC_TAC_TOE)
    root = game.root(game.start(1))
    with pytest.raises(ValueError, match="of one move or more, got depth=0"):
        look_ahead(game, root, 0)
    with pytest.raises(ValueError, match="of one move or more, got depth=0"):
        table_values(random_tree(0), 0)
    with pytest.raises(ValueError, match=r"of 5 moves tries .* places and more, above most=1000: take fewer"):
        look_ahead(game, root, 5, most=1000)
    with pytest.raises(ValueError, match="more than most=100 positions"):
        perfect_play(game, root, most=100)
    with pytest.raises(ValueError, match="1 places are not over and have no legal action: give them a discount of 0"):
        look_ahead(Stuck(), Stuck().root(ROOT), 1)
    small = Game(in_a_row(1, 1, 2, drop=True))
    assert look_ahead(small, small.root(small.start(1)), 1).tolist() == [[0.0]]
