"""Backups worked out by hand, for every case of sign, and what stops a search."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sightline.planning.model import Step
from sightline.planning.rules import PUCT, UCT, Gumbel, Noise, Widening
from sightline.planning.search import search


@dataclass
class Line:
    """One action, one way: what comes of each of its steps is written down."""

    rewards: tuple[float, ...]
    discounts: tuple[float, ...]
    values: tuple[float, ...]
    """Of the places, the root's first."""
    num_actions: int = 1

    def root(self, observation: np.ndarray) -> Step:
        return self.at(np.zeros(1, np.int64), 0.0, 1.0)

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        return self.at(state + 1, self.rewards[state[0]], self.discounts[state[0]])

    def at(self, state: np.ndarray, reward: float, discount: float) -> Step:
        one = np.float32
        logits = np.zeros((1, self.num_actions), one)
        return Step(
            state, np.array([reward], one), np.array([discount], one), logits, np.array([self.values[state[0]]], one)
        )


NAN = float("nan")
CASES = {
    # one player: q of the root's action is the mean of 1 + 2 and 1 + 3 + 4; the root's mean has its own 10 as well
    "one player": (Line((1, 3), (1, 1), (10, 2, 4)), 2, (10 + 3 + 8) / 3, 5.5, (2 + 7) / 2),
    # discounted: 1 + 0.5 * 2, and 1 + 0.5 * (3 + 0.5 * 4) = 3.5
    "discounted": (Line((1, 3), (0.5, 0.5), (10, 2, 4)), 2, (10 + 2 + 3.5) / 3, 2.75, (2 + 5) / 2),
    # two players: 1 - 2, and 1 - (3 - 4) = 2
    "two players": (Line((1, 3), (-1, -1), (10, 2, 4)), 2, (10 - 1 + 2) / 3, 0.5, (2 - 1) / 2),
    # two players, discounted: 1 - 0.5 * 2, and 1 - 0.5 * (3 - 0.5 * 4) = 0.5
    "two discounted": (Line((1, 3), (-0.5, -0.5), (10, 2, 4)), 2, (10 + 0 + 0.5) / 3, 0.25, (2 + 1) / 2),
    # the same player moves twice, then the other: 1 + 2, and 1 + (3 - 4) = 0
    "a double move": (Line((1, 3), (1, -1), (10, 2, 4)), 2, (10 + 3 + 0) / 3, 1.5, (2 - 1) / 2),
    # over after the first step, and then again and again: always 1, whatever the value of the end is
    "over": (Line((1,), (0,), (10, NAN)), 3, (10 + 3 * 1) / 4, 1.0, 0.0),
    # over after the second, won by the opponent: 1 - 2, then 1 - 3 twice
    "lost": (Line((1, 3), (-1, 0), (10, 2, NAN)), 3, (10 - 1 - 2 - 2) / 4, -5 / 3, (2 + 3 + 3) / 3),
}  # fmt: skip


@pytest.mark.parametrize("select", ["uct", "puct", "gumbel"])
@pytest.mark.parametrize("name", CASES)
def test_values_go_up_as_by_hand(name: str, select: Any) -> None:
    model, simulations, mean, q, below = CASES[name]
    found = search(model, model.root(np.zeros(1)), rng=0, simulations=simulations, select=select)
    np.testing.assert_allclose([found.value[0], found.action_values[0, 0]], [mean, q], rtol=1e-6)
    np.testing.assert_allclose(found.tree.arrays.nodes[0, 1]["mean"], below, rtol=1e-6)
    assert found.visits[0, 0] == simulations


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Line((1, 1), (1, 1), (0, NAN, 0)), r"after the actions \[0\] from root 0, and the value there is not finite"),
        (Line((1, NAN), (1, 1), (0, 0, 0)), r"after the actions \[0, 0\] from root 0, and the reward"),
        (Line((1, 1), (1, 1.5), (0, 0, 0)), r"after the actions \[0, 0\] from root 0, and the discount .* \[-1, 1\]"),
        (Line((1, 1), (1, NAN), (0, 0, 0)), "and the discount"),
        (Line((1, 1), (1, 1), (float("inf"), 0, 0)), "a state at root 0, and the value there is not finite"),
    ],
)
def test_what_is_no_number_is_said_with_its_place(model: Line, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        search(model, model.root(np.zeros(1)), rng=0, simulations=5)


@dataclass
class Odd(Line):
    """A logit that is wrong from the second place on."""

    logit: float = 0.0

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        step = Line.step(self, state, action, rng)
        return step._replace(logits=np.full_like(step.logits, self.logit))


@pytest.mark.parametrize(
    ("logit", "said"),
    [(NAN, "a logit there is nan"), (float("inf"), "a logit there is nan or inf"), (-float("inf"), "no legal action")],
)
def test_wrong_logits_are_said_with_their_place(logit: float, said: str) -> None:
    model = Odd((0, 0, 0), (1, 1, 1), (0, 0, 0, 0), logit=logit)
    with pytest.raises(ValueError, match=rf"after the actions \[0\] from root 0, and .*{said}"):
        search(model, model.root(np.zeros(1)), rng=0, simulations=5)


def test_a_root_without_a_legal_action_is_refused() -> None:
    model = Line((1,), (1,), (0, 0))
    root = model.root(np.zeros(1))
    with pytest.raises(ValueError, match="root 0 has no legal action"):
        search(model, root._replace(logits=np.full((1, 1), -np.inf, np.float32)), rng=0, simulations=5)
    with pytest.raises(ValueError, match="a logit there is nan"):
        search(model, root._replace(logits=np.full((1, 1), np.nan, np.float32)), rng=0, simulations=5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs a budget: give simulations"),
        ({"simulations": 0}, "budget above 0, got simulations=0"),
        ({"simulations": -3}, "budget above 0, got simulations=-3"),
        ({"seconds": 0.0}, "budget above 0, got simulations=None and seconds=0.0"),
        ({"seconds": 1.0, "select": "gumbel"}, "give simulations without seconds"),
        ({"simulations": 5, "noise": Noise(), "select": "uct"}, "only select='puct' weighs"),
        ({"simulations": 5, "noise": Noise(), "select": "gumbel"}, "only select='puct' weighs"),
        ({"simulations": 5, "temperature": -1.0}, "temperature is 0 or more"),
        ({"simulations": 5, "temperature": 1.0, "select": "gumbel"}, "temperature is 0 or more"),
        ({"simulations": 5, "leaves": 0}, "got leaves=0"),
        ({"simulations": 5, "outcomes": "many", "solver": True}, "proves nothing"),
        ({"simulations": 5, "select": UCT(-1.0)}, "constant of 0 or more"),
        ({"simulations": 5, "select": PUCT(base=0.0)}, "a base above 0"),
        ({"simulations": 5, "select": Gumbel(considered=0)}, "considers 1 action or more"),
    ],
)
def test_options_that_make_no_search_are_refused(options: dict[str, Any], said: str) -> None:
    model = Line((1,), (1,), (0, 0))
    with pytest.raises(ValueError, match=said):
        search(model, model.root(np.zeros(1)), rng=0, **options)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"select": "best"}, r"by one of \['uct', 'puct', 'gumbel'\], got 'best'"),
        ({"normalise": "yes"}, "normalised by one of"),
        ({"outcomes": "two"}, "'one' or 'many', got 'two'"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, Any], said: str) -> None:
    model = Line((1,), (1,), (0, 0))
    with pytest.raises(ValueError, match=said):
        search(model, model.root(np.zeros(1)), rng=0, simulations=5, **options)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha above 0 and a fraction in \[0, 1\], got 0.3 and 1.5"):
        Noise(0.3, 1.5)
    with pytest.raises(ValueError, match="alpha above 0"):
        Noise(0.0)
    with pytest.raises(ValueError, match=r"powers in \[0, 1\]"):
        Widening(outcome_power=1.5)
    with pytest.raises(ValueError, match="factors above 0"):
        Widening(action_factor=0.0)


@pytest.mark.usefixtures("as_users_run_it")
def test_an_unknown_first_play_is_refused() -> None:
    model = Line((1,), (1,), (0, 0))
    with pytest.raises(ValueError, match=r"first_play is one of \['zero', 'parent', 'lowest'\], got 'none'"):
        search(model, model.root(np.zeros(1)), rng=0, simulations=5, select=PUCT(first_play="none"))  # type: ignore[arg-type]
