"""The cross-entropy method on a model whose best plan is known, and its sums against a loop."""

from typing import Any

import numpy as np
import pytest

from sightline.planning.cross_entropy import plan, worth_of
from sightline.planning.model import Model, Step

LOW, HIGH = np.array([-1.0]), np.array([2.0])


class Line:
    """A point on a line that an action moves; the reward is how near it is to 3. It ends at once beyond 10."""

    num_actions = 0

    def __init__(self, gamma: float = 0.9, value: float = 0.0) -> None:
        self.gamma, self.value = gamma, value

    def root(self, observation: Any) -> Step:
        n = len(observation)
        none = np.zeros(n, np.float32)
        return Step(observation, none, none + 1, np.zeros((n, 0), np.float32), none)

    def step(self, state: np.ndarray, action: np.ndarray, rng: np.random.Generator) -> Step:
        after = state + action
        reward = -np.abs(after[:, 0] - 3)
        discount = np.where(after[:, 0] > 10, 0.0, self.gamma)
        return Step(after, reward, discount, np.zeros((len(after), 0), np.float32), np.full(len(after), self.value))


def test_a_sequence_is_worth_its_discounted_rewards_and_the_last_value() -> None:
    model, rng = Line(value=7.0), np.random.default_rng(0)
    assert isinstance(model, Model)
    actions = rng.uniform(-1, 6, (50, 4, 1))
    found = worth_of(model, np.array([[1.0]]), actions, rng)
    ended = 0
    for i, sequence in enumerate(actions):
        x, total, weight = 1.0, 0.0, 1.0
        for action in sequence[:, 0]:
            x += np.float32(action)
            total += weight * -abs(x - 3)
            if x > 10:
                ended += weight > 0
                weight = 0.0
            weight *= 0.9
        assert found[i] == pytest.approx(total + weight * 7.0, rel=1e-6)
    assert ended > 5


@pytest.mark.parametrize(("start", "first", "second"), [(0.0, 2.0, 1.0), (3.5, -0.5, 0.0), (7.5, -1.0, -1.0)])
def test_the_plan_is_the_best_one(start: float, first: float, second: float) -> None:
    found = plan(Line(), np.array([[start]]), LOW, HIGH, np.random.default_rng(0), horizon=3, candidates=400, rounds=8)
    assert found.shape == (3, 1)
    assert found[:2, 0] == pytest.approx([first, second], abs=0.1)
    assert (found >= LOW).all()
    assert (found <= HIGH).all()


def test_it_begins_where_it_is_told_and_draws_from_the_generator() -> None:
    def once(seed: int, **options: Any) -> np.ndarray:
        return plan(Line(), np.array([[0.0]]), LOW, HIGH, np.random.default_rng(seed), rounds=1, horizon=2, **options)

    np.testing.assert_array_equal(once(1), once(1))
    assert (once(1) != once(2)).any()
    assert once(1, begin=np.full((2, 1), 2.0)).mean() > once(1, begin=np.full((2, 1), -1.0)).mean()


@pytest.mark.parametrize("name", ["horizon", "candidates", "rounds"])
def test_numbers_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"a plan has a {name} of 1 or more, got 0"):
        plan(Line(), np.array([[0.0]]), LOW, HIGH, np.random.default_rng(0), **{name: 0})
