"""Tables as models: outcomes come as often as they are probable, both forms agree, and wrong tables are refused."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from tests.planning.trees import random_tree

from sightline.planning.model import Model
from sightline.planning.outcomes import Explicit, Sampled, outcomes_of
from sightline.planning.tabular import world_of

TREE = random_tree(3, outcomes=3, illegal=0.4)


def test_outcomes_come_as_often_as_they_are_probable() -> None:
    model, rng = Sampled(TREE), np.random.default_rng(0)
    assert isinstance(model, Model)
    assert isinstance(Explicit(TREE), Model)
    step = model.step(np.zeros(30_000, np.int64), np.zeros(30_000, np.int64), rng)
    shares = (step.state[:, None] == TREE.next_state[0, 0]).mean(0)
    np.testing.assert_allclose(shares, TREE.probability[0, 0], atol=4 * 0.5 / 30_000**0.5)
    for k in range(3):
        here = step.state == TREE.next_state[0, 0, k]
        np.testing.assert_allclose(step.reward[here], TREE.reward[0, 0, k], rtol=1e-6)
        np.testing.assert_allclose(step.discount[here], TREE.discount[0, 0, k])


def test_an_outcome_of_no_probability_never_comes() -> None:
    chance = np.zeros_like(TREE.probability)
    chance[..., 1] = 1
    tree = replace(TREE, probability=chance)

    class Edge(np.random.Generator):
        def random(self, n: int) -> np.ndarray:  # type: ignore[override]
            return np.array([0.0, np.nextafter(1, 0), 1.0])[:n]

    zeros = np.zeros(3, np.int64)
    step = Sampled(tree).step(zeros, zeros, Edge(np.random.PCG64(0)))
    assert step.state.tolist() == [TREE.next_state[0, 0, 1]] * 3
    with pytest.raises(ValueError, match=r"outcome 0 of place .* has the probability 0: take another"):
        Explicit(tree).step(np.array([len(tree.value)]), np.array([0]))


def test_a_place_where_nobody_moves_and_then_the_outcome() -> None:
    model = Explicit(TREE)
    root = model.root(np.array([0, 1]))
    assert (model.chance(root.state) == 0).all()
    assert (root.discount == 1).all()
    between = model.step(root.state, np.array([0, 0]))
    np.testing.assert_array_equal(model.chance(between.state), TREE.probability[[0, 1], 0])
    assert (between.reward == 0).all()
    assert (between.discount == 1).all()
    after = model.step(between.state, np.array([2, 1]))
    np.testing.assert_array_equal(after.state, [TREE.next_state[0, 0, 2], TREE.next_state[1, 0, 1]])
    np.testing.assert_allclose(after.reward, [TREE.reward[0, 0, 2], TREE.reward[1, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(after.discount, [TREE.discount[0, 0, 2], TREE.discount[1, 0, 1]])
    mixed = model.step(np.array([0, between.state[1]]), np.array([0, 1]))
    assert mixed.state.tolist() == [between.state[0], after.state[1]]
    for step in (root, between, after):
        assert {step.reward.dtype, step.discount.dtype, step.logits.dtype, step.value.dtype} == {np.dtype(np.float32)}


def test_illegal_actions_and_ends() -> None:
    state = int(np.flatnonzero(~TREE.legal[:13].all(1))[0])
    wrong = int(np.flatnonzero(~TREE.legal[state])[0])
    for model in (Sampled(TREE), Explicit(TREE)):
        logits = model.root(np.array([state])).logits[0]
        np.testing.assert_array_equal(logits > -np.inf, TREE.legal[state])
        for action in (wrong, -1, 3):
            with pytest.raises(ValueError, match=f"action {action} in state {state} is illegal: legal there is 0"):
                model.step(np.array([state]), np.array([action]), np.random.default_rng(0))
        with pytest.raises(ValueError, match="is illegal: legal there is none, all is over"):
            model.step(np.array([len(TREE.value) - 1]), np.array([0]), np.random.default_rng(0))
        assert len(model.step(np.zeros(0, np.int64), np.zeros(0, np.int64), np.random.default_rng(0)).value) == 0
    ends = np.argwhere((TREE.discount == 0).all(2) & TREE.legal)[:4]
    step = Sampled(TREE).step(ends[:, 0], ends[:, 1], np.random.default_rng(0))
    assert (step.logits == -np.inf).all()
    assert (step.value == 0).all()


def test_frozen_lake_can_be_searched() -> None:
    tree = outcomes_of(world_of(gymnasium.make("FrozenLake-v1")), 0.9)
    model = Explicit(tree)
    after = model.step(np.array([0]), np.array([2]))
    assert sorted(model.chance(after.state)[0]) == pytest.approx([1 / 3] * 3)


def test_wrong_tables() -> None:
    for change, sentence in (
        ({"probability": TREE.probability * 0.5}, "some legal action's outcomes are not all 0 or more with a sum of 1"),
        ({"next_state": TREE.next_state + 1}, "an outcome leads outside of the"),
        ({"discount": TREE.discount * 2}, r"a discount lies outside of \[-1, 1\]"),
    ):
        with pytest.raises(ValueError, match=sentence):
            replace(TREE, **change)  # type: ignore[arg-type]
