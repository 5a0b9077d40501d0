"""Tabular control from experience alone: Q-learning, SARSA, expected SARSA (Sutton & Barto, 2018, chapters 6 and 7).

After s, a, r, s' the value q(s, a) moves towards r + gamma times what s' is worth, by the rate alpha:

| method           | what s' is worth                                       | equation |
|------------------|--------------------------------------------------------|----------|
| "q_learning"     | max_a q(s', a): of the best policy, whatever is done   | 6.8      |
| "sarsa"          | q(s', a') of the action that is taken next             | 6.7      |
| "expected_sarsa" | the mean over epsilon-greedy actions                   | 6.9      |

With `n` above 1 the target has n rewards before it looks at a value (7.4, and 7.7 for the expectation). For
"q_learning" that is not off-policy any more: what was explored in between counts as if it had been wanted.

The rate may fall with the visits of a pair, alpha / visits^power: a power in (1/2, 1] is what convergence asks for
where outcomes are random (Watkins & Dayan, 1992).

Left out: eligibility traces, double Q-learning, off-policy corrections for n > 1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sightline.ops.arguments import choose
from sightline.planning.jit import compiled
from sightline.rl.tabular.tables import best_of

METHODS = ("q_learning", "sarsa", "expected_sarsa")
QLEARNING, SARSA, EXPECTED = range(3)


@dataclass(frozen=True)
class QLearning:
    """Settings of learning from experience."""

    method: str = "q_learning"
    """q_learning, sarsa or expected_sarsa."""
    n: int = 1
    """Rewards in a target before a value stands for the rest."""
    alpha: float = 0.1
    """The rate."""
    alpha_power: float = 0.0
    """The rate is divided by the visits of state and action to this power; 0: constant."""
    epsilon: float = 0.1
    """How often any action is taken instead of the best."""
    gamma: float = 0.95
    """The discount."""
    first_value: float = 0.0
    """What is expected of everything at first; more than there is makes an agent try everything."""

    def __post_init__(self) -> None:
        choose("method", self.method, METHODS)
        if self.n < 1:
            raise ValueError(f"a target has 1 reward or more, got n {self.n}")
        check_rates(self.alpha, self.epsilon, self.gamma)
        if self.alpha_power < 0:
            raise ValueError(f"the rate falls with a power of 0 or more, got alpha_power {self.alpha_power}")


def check_rates(alpha: float, epsilon: float, gamma: float) -> None:
    """Say which number lies outside of what it may be.

    Raises:
        ValueError: one does.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha, the rate, lies in (0, 1], got {alpha}")
    for name, number in (("epsilon", epsilon), ("gamma", gamma)):
        if not 0 <= number <= 1:
            raise ValueError(f"{name} lies in [0, 1], got {number}")


@compiled
def worth(row: Any, action: int, method: int, epsilon: float) -> Any:
    """What a state is worth to a method, from its action values and the action that is taken there next."""
    if method == SARSA:
        return row[action]
    best = best_of(row)
    if method == QLEARNING:
        return best
    total = 0.0
    for i in range(len(row)):
        total += row[i]
    return (1 - epsilon) * best + epsilon * total / len(row)


@compiled
def improve(known: Any, s: int, a: int, target: float, alpha: float, alpha_power: float) -> None:
    """Move a value towards its target, counting the visit."""
    known.visits[s, a] += 1
    rate = alpha if alpha_power == 0.0 else alpha / known.visits[s, a] ** alpha_power
    known.q[s, a] += rate * (target - known.q[s, a])


class Trail(NamedTuple):
    """The last n transitions of an episode, whose targets are not known yet."""

    states: Int[np.ndarray, " n"]
    actions: Int[np.ndarray, " n"]
    rewards: Float[np.ndarray, " n"]
    length: Int[np.ndarray, "1"]


def empty_trail(n: int) -> Trail:
    """At the beginning of an episode, for targets of n rewards."""
    return Trail(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(1, np.int64))


@compiled
def look_back(
    known: Any, trail: Any, worth_now: float, ends: bool, alpha: float, alpha_power: float, gamma: float
) -> None:
    """Improve the oldest of a trail that is full, or all of it where an episode ends there.

    Args:
        known: what is learned.
        trail: with the latest transition.
        worth_now: what the state after it is worth; 0 where nothing follows.
        ends: whether the episode ends.
        alpha: the rate, which falls with this power of the visits.
        alpha_power: see there.
        gamma: the discount.
    """
    states, actions, rewards, length = trail
    while length[0] == len(states) or (ends and length[0] > 0):
        target = worth_now
        for i in range(length[0] - 1, -1, -1):
            target = rewards[i] + gamma * target
        improve(known, states[0], actions[0], target, alpha, alpha_power)
        for i in range(1, length[0]):
            states[i - 1], actions[i - 1], rewards[i - 1] = states[i], actions[i], rewards[i]
        length[0] -= 1
