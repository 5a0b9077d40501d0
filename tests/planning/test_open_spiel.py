"""OpenSpiel's games as models: the same game as ours, dice, whose turn it is, and games that are refused."""

import importlib.util
import sys

import numpy as np
import pytest

from sightline.envs.in_a_row import CONNECT_FOUR, TIC_TAC_TOE
from sightline.planning.game import Game
from sightline.planning.lookahead import look_ahead
from sightline.planning.model import Model
from sightline.planning.open_spiel import OpenSpiel

needs_open_spiel = pytest.mark.skipif(
    importlib.util.find_spec("pyspiel") is None, reason="OpenSpiel is not installed (extra games)"
)


@needs_open_spiel
@pytest.mark.parametrize(("name", "rules"), [("tic_tac_toe", TIC_TAC_TOE), ("connect_four", CONNECT_FOUR)])
def test_the_same_game_as_ours(name: str, rules: tuple[int, ...]) -> None:
    theirs, ours, rng = OpenSpiel(name), Game(rules), np.random.default_rng(0)  # type: ignore[arg-type]
    assert isinstance(theirs, Model)
    for _ in range(20):
        a, b = theirs.root([theirs.new()]), ours.root(ours.start(1))
        while b.discount[0] != 0:
            for one, other in zip(a[1:], b[1:], strict=True):
                np.testing.assert_array_equal(one, other)
            action = rng.choice(np.flatnonzero(b.logits[0] > -np.inf), 1)
            before = str(a.state[0])
            after = theirs.step(a.state, action)
            assert str(a.state[0]) == before, "a state is never changed"
            a, b = after, ours.step(b.state, action)
        for one, other in zip(a[1:], b[1:], strict=True):
            np.testing.assert_array_equal(one, other)


@needs_open_spiel
def test_values_of_the_same_game_are_the_same() -> None:
    theirs, ours = OpenSpiel("tic_tac_toe"), Game(TIC_TAC_TOE)
    moves = [4, 0, 8]
    found = look_ahead(theirs, theirs.root(theirs.played(moves)), 6)
    np.testing.assert_array_equal(found, look_ahead(ours, ours.root(ours.played(moves)), 6))


@needs_open_spiel
def test_dice_have_places_of_their_own() -> None:
    """Pig to one point and more: rolling wins on 2 to 6 only after stopping, a 1 loses the turn."""
    game = OpenSpiel("pig(winscore=2,horizon=50)")
    root = game.root([game.new()])
    assert root.discount.tolist() == [1]
    assert (game.chance(root.state) == 0).all()
    rolled = game.step(root.state, np.array([0]))
    assert (rolled.logits == -np.inf).all()
    assert rolled.discount.tolist() == [1]
    np.testing.assert_allclose(game.chance(rolled.state), [[1 / 6] * 6])
    lost, won = game.step(rolled.state, np.array([0])), game.step(rolled.state, np.array([5]))
    assert lost.discount.tolist() == [-1]
    assert won.discount.tolist() == [1]
    other_rolls = game.step(lost.state, np.array([0]))
    assert other_rolls.discount.tolist() == [-1], "that place counts as the first player's"
    his = game.step(other_rolls.state, np.array([5]))
    assert his.discount.tolist() == [-1]
    his_end = game.step(his.state, np.array([1]))
    assert (his_end.reward[0], his_end.discount[0]) == (1, 0)
    end = game.step(won.state, np.array([1]))
    assert (end.reward[0], end.discount[0]) == (1, 0)
    # Roll: 5/6 and then stop and win. With 1/6 the other one is to move, who wins by a roll and a stop with 5/6.
    assert look_ahead(game, root, 2)[0, 0] == pytest.approx(5 / 6)
    assert look_ahead(game, root, 3)[0, 0] == pytest.approx(5 / 6 - 1 / 6 * 5 / 6)
    assert look_ahead(game, root, 4)[0, 0] == pytest.approx(5 / 6 - 1 / 6 * (5 / 6 - 1 / 6 * 5 / 6))


@needs_open_spiel
def test_one_player_discounts_and_planes() -> None:
    game = OpenSpiel("catch", gamma=0.9)
    root = game.root([game.new()])
    assert root.discount[0] == np.float32(0.9)
    assert game.observation(root.state).shape[0] == 1
    four = OpenSpiel("connect_four")
    assert four.observation([four.new(), four.new()]).shape == (2, 3, 6, 7)
    assert "x" in four.show(four.played([3])[0])
    assert len(four.step([], np.zeros(0, np.int64)).reward) == 0


@needs_open_spiel
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("leduc_poker(players=3)", "leduc_poker has 3 players"),
        ("matrix_pd", "matrix_pd lets players move at the same time"),
        ("kuhn_poker", "kuhn_poker hides something from its players"),
        ("no_such_game", "OpenSpiel knows no game 'no_such_game'"),
        ("tic_tac_toe(nonsense=3)", "OpenSpiel cannot make the game"),
    ],
)
def test_games_that_are_refused(name: str, what: str) -> None:
    with pytest.raises(ValueError, match=what.replace("(", r"\(")):
        OpenSpiel(name)


@needs_open_spiel
def test_wrong_actions() -> None:
    game = OpenSpiel("tic_tac_toe")
    with pytest.raises(ValueError, match="action 4 in state 0 is illegal: there is 0, 1, 2, 3, 5"):
        game.step(game.played([4]), np.array([4]))
    with pytest.raises(ValueError, match="action 8 in state 0 is illegal: there is none, the game is over"):
        game.step(game.played([0, 3, 1, 4, 2]), np.array([8]))
    with pytest.raises(ValueError, match="gamma, the discount, lies in"):
        OpenSpiel("tic_tac_toe", gamma=0.0)


def test_without_open_spiel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ModuleNotFoundError, match=r"the game chess needs OpenSpiel.*pip install 'sightline\[games\]'"):
        OpenSpiel("chess")
