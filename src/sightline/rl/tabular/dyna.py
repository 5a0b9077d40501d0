"""Dyna: learn from every real step, remember it, and learn again from what is remembered (Sutton & Barto, 2018, 8.2).

| planning     | between two real steps                                                                            |
|--------------|---------------------------------------------------------------------------------------------------|
| "random"     | n times: a random state of those discovered, a random action of those tried there, one Q-learning  |
|              | step on what followed the last time (Dyna-Q)                                                        |
| "plus"       | the same with all actions, and a bonus kappa sqrt(tau) for what was not tried in tau steps; what    |
|              | was never tried is taken to lead back to where it starts, for nothing (Dyna-Q+, 8.3)                |
| "sweeping"   | up to n times the pair whose value would move most, then those that lead to it (8.4)                |
| "full"       | sweeps over all that was tried until no value moves: what a model-based learner does without Dyna   |

Real steps themselves are Q-learning's, one step each, except that "sweeping" puts them in its queue, as in the book.

Left out: models of random outcomes (the last outcome stands for all), trajectory sampling.
"""

from dataclasses import dataclass
from typing import Any

from sightline.ops.arguments import choose
from sightline.planning.jit import compiled
from sightline.rl.tabular.q_learning import check_rates
from sightline.rl.tabular.tables import NEVER, best_of

PLANNING = ("random", "plus", "sweeping", "full")
NONE, RANDOM, PLUS, SWEEPING, FULL = -1, 0, 1, 2, 3


@dataclass(frozen=True)
class Dyna:
    """Settings of Dyna."""

    planning: str = "random"
    """random, plus, sweeping or full."""
    n: int = 10
    """Updates from the model after every real step, at most."""
    alpha: float = 0.1
    """The rate, of real and of remembered steps."""
    epsilon: float = 0.1
    """How often any action is taken instead of the best."""
    gamma: float = 0.95
    """The discount."""
    kappa: float = 1e-3
    """Of the bonus for what was not tried lately, with plus."""
    theta: float = 1e-4
    """The smallest movement that is worth an update, with sweeping and full."""
    first_value: float = 0.0
    """What is expected of everything at first."""

    def __post_init__(self) -> None:
        choose("planning", self.planning, PLANNING)
        check_rates(self.alpha, self.epsilon, self.gamma)
        for name in ("n", "kappa", "theta"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more, got {getattr(self, name)}")
        if self.planning == "full" and (self.theta == 0 or self.gamma == 1):
            raise ValueError(
                "full planning ends when no value moves by theta: give a theta above 0 and a gamma below 1"
            )


@compiled
def plan_at_random(known: Any, n: int, alpha: float, gamma: float, kappa: float, plus: bool, rng: Any) -> None:
    """Dyna-Q's updates, or Dyna-Q+'s."""
    q, actions = known.q, known.q.shape[1]
    for _ in range(n):
        pair = int(rng.random() * (known.counts[1] * actions))  # one number for both
        s, a = known.states[pair // actions], pair % actions
        if not plus:
            while known.tried[s, a] == NEVER:  # a random one of those that were: at least one was
                a = int(rng.random() * actions)
        reward, to, over, since = 0.0, s, False, known.counts[0]
        if known.tried[s, a] != NEVER:
            reward, to, over = known.reward[s, a], known.next_state[s, a], known.over[s, a]
            since -= known.tried[s, a]
        if plus:
            reward += kappa * since**0.5
        target = reward if over else reward + gamma * best_of(q[to])
        q[s, a] += alpha * (target - q[s, a])
    known.counts[2] += n


@compiled
def plan_fully(known: Any, gamma: float, theta: float) -> None:
    """Sweep over all that was tried until no value moves by more than theta."""
    q, moved = known.q, theta + 1.0
    while moved > theta:
        moved = 0.0
        for i in range(known.counts[1]):
            s = known.states[i]
            for a in range(q.shape[1]):
                if known.tried[s, a] != NEVER:
                    target = known.reward[s, a]
                    if not known.over[s, a]:
                        target += gamma * best_of(q[known.next_state[s, a]])
                    moved = max(moved, abs(target - q[s, a]))
                    q[s, a] = target
                    known.counts[2] += 1
