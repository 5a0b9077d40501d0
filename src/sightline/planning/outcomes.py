"""A model that is a table: what may follow every action, how probable it is, and whose turn it is then.

It is `tabular.World` with a turn: the sign of the discount says who moves next, and some actions may be illegal. Any
world with a table (`outcomes_of(world_of(env), gamma)`) can so be searched, and the values of small ones are known
exactly (`lookahead.table_values`).

What is random comes in two forms. `Sampled` draws one of the outcomes, and a planner sees no probabilities. In
`Explicit` an action leads to a place of its own where nobody moves; there `chance(state)` says how probable each
outcome is, and `step` takes its number: one more step, of reward 0 and discount 1.

Left out: observations that hide the state.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from sightline.planning.model import Step
from sightline.planning.tabular import World

Numbers = Int[np.ndarray, " b"]


@dataclass(frozen=True)
class Outcomes:
    """What may follow."""

    probability: Float[np.ndarray, "s a k"]
    """Of each outcome; 0 where there are fewer."""
    next_state: Int[np.ndarray, "s a k"]
    reward: Float[np.ndarray, "s a k"]
    """To the one who moved."""
    discount: Float[np.ndarray, "s a k"]
    """0: over; +gamma: the same player moves next; -gamma: the other does."""
    legal: Bool[np.ndarray, "s a"]
    value: Float[np.ndarray, " s"]
    """What a planner is told about a state without a search, for the one to move."""

    def __post_init__(self) -> None:
        if (self.probability < 0).any() or not np.allclose(self.probability.sum(2)[self.legal], 1, atol=1e-6):
            raise ValueError(
                "the probabilities of some legal action's outcomes are not all 0 or more with a sum of 1: correct them"
            )
        if self.next_state.min() < 0 or self.next_state.max() >= len(self.value):
            raise ValueError(f"an outcome leads outside of the {len(self.value)} states: number them from 0")
        if (np.abs(self.discount) > 1).any():
            raise ValueError("a discount lies outside of [-1, 1]: its sign is whose turn it is, its size gamma")


def outcomes_of(world: World, gamma: float) -> Outcomes:
    """Those of a world, which has one player."""
    return Outcomes(
        probability=world.probability,
        next_state=world.next_state,
        reward=world.reward,
        discount=np.where(world.over, 0.0, gamma),
        legal=np.ones((world.states, world.actions), bool),
        value=np.zeros(world.states),
    )


class Sampled:
    """A `Model` that draws what follows; a state is its number."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self.num_actions = outcomes.legal.shape[1]

    def root(self, observation: Numbers) -> Step:
        """These states, none of them over."""
        return _step(self.outcomes, observation, np.zeros(len(observation)), np.ones(len(observation)))

    def step(self, state: Numbers, action: Numbers, rng: np.random.Generator) -> Step:
        """One outcome of each, drawn.

        Raises:
            ValueError: an action is illegal.
        """
        _check_legal(self.outcomes, state, action)
        rising = self.outcomes.probability[state, action].cumsum(1)
        drawn = (rng.random(len(state))[:, None] * rising[:, -1:] >= rising).sum(1)
        drawn = np.minimum(drawn, (rising < rising[:, -1:]).sum(1))  # a product may be rounded up to the sum
        return _followed(self.outcomes, state, action, drawn)


class Explicit:
    """A `Model` that says how probable each outcome is; the places where nobody moves are numbered after the states."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        self.num_actions = outcomes.legal.shape[1]

    def root(self, observation: Numbers) -> Step:
        """These states, none of them over."""
        return _step(self.outcomes, observation, np.zeros(len(observation)), np.ones(len(observation)))

    def chance(self, state: Numbers) -> Float[np.ndarray, "b k"]:
        """How probable each outcome is; a row of zeros where a player moves."""
        pair = np.maximum(state - len(self.outcomes.value), 0)
        found = self.outcomes.probability[pair // self.num_actions, pair % self.num_actions]
        return np.where((state >= len(self.outcomes.value))[:, None], found, 0.0)

    def step(self, state: Numbers, action: Numbers, rng: np.random.Generator | None = None) -> Step:
        """Where an action leads, or the outcome of that number; nothing is drawn.

        Raises:
            ValueError: an action is illegal, or an outcome has no probability.
        """
        states = len(self.outcomes.value)
        nobody = state >= states
        pair = np.maximum(state - states, 0)
        found, action_there = pair // self.num_actions, pair % self.num_actions
        chance = self.chance(state)
        impossible = nobody & (action >= chance.shape[1])
        outcome = np.where(nobody & ~impossible, action, 0)
        impossible |= nobody & (chance[np.arange(len(state)), outcome] == 0)
        if impossible.any():
            row = int(np.flatnonzero(impossible)[0])
            raise ValueError(
                f"outcome {int(action[row])} of place {int(state[row])} has the probability 0: take another"
            )
        _check_legal(self.outcomes, state[~nobody], action[~nobody])
        after = _followed(self.outcomes, found, action_there, outcome)
        place = np.where(nobody, after.state, states + state * self.num_actions + action)
        logits = np.where(nobody[:, None], after.logits, np.float32(-np.inf))
        zero, one = np.float32(0), np.float32(1)
        reward, discount = np.where(nobody, after.reward, zero), np.where(nobody, after.discount, one)
        return Step(place, reward, discount, logits, np.where(nobody, after.value, zero))


def _check_legal(outcomes: Outcomes, state: Numbers, action: Numbers) -> None:
    actions = outcomes.legal.shape[1]
    wrong = (action < 0) | (action >= actions) | ~outcomes.legal[state, action % actions]
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        legal = np.flatnonzero(outcomes.legal[state[row]]).tolist()
        raise ValueError(
            f"action {int(action[row])} in state {int(state[row])} is illegal: legal there is "
            f"{', '.join(map(str, legal)) or 'none, all is over'}"
        )


def _followed(outcomes: Outcomes, state: Numbers, action: Numbers, k: Numbers) -> Step:
    reward, discount = outcomes.reward[state, action, k], outcomes.discount[state, action, k]
    return _step(outcomes, outcomes.next_state[state, action, k], reward, discount)


def _step(
    outcomes: Outcomes, state: Numbers, reward: Float[np.ndarray, " b"], discount: Float[np.ndarray, " b"]
) -> Step:
    logits = np.where(outcomes.legal[state], np.float32(0), np.float32(-np.inf))
    logits = np.where((discount == 0)[:, None], np.float32(-np.inf), logits)
    value = np.where(discount == 0, 0.0, outcomes.value[state])
    return Step(state, reward.astype(np.float32), discount.astype(np.float32), logits, value.astype(np.float32))
