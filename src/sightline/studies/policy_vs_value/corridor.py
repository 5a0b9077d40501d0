"""The corridor of Sutton & Barto (2018, example 13.1): REINFORCE, Sarsa, and the gradient's noise beside its truth.

All states look alike, so that a policy is one number, the probability p of going right, and everything is known in
closed form: the value (`envs/corridor.py`), and, with p = sigmoid(theta), its slope

    dv / dtheta = 2 (p^2 - 4 p + 2) / (p (1 - p))

The value method is Sarsa with a table (section 6.4): one state, two actions, epsilon-greedy. Left out: value methods
with a memory, which could tell the states apart.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from sightline.envs.corridor import BEST_RIGHT, GOAL, LEFT, RIGHT, Corridor, CorridorState, corridor_value
from sightline.envs.making import make_environments
from sightline.rl import reinforce
from sightline.rl.learner import Learner
from sightline.rl.policies.policy import Policy, make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.run import seed_everything

ENVIRONMENTS = 8
LEARNING_RATE, LEFT_OVER = 2e-2, 0.02  # of Adam; the share of it that is left at the end
START = 0.05  # of going right, where REINFORCE begins: the worse of the two policies that Sarsa goes to and fro between
EPSILONS = (0.1, 0.3)
BASELINES = ("none", "constant", "state value")


@dataclass(frozen=True)
class Lesson:
    """How long agents learn in the corridor, in steps of the environment, and how often it is looked at them."""

    steps: int = 100_000
    looks: int = 60


def slope(right: float) -> float:
    """The exact gradient of the start's value along theta, where sigmoid(theta) = `right`, in (0, 1)."""
    return 2 * (right**2 - 4 * right + 2) / (right * (1 - right))


def greedy_values(epsilon: float) -> tuple[float, float]:
    """The values of the two policies that an epsilon-greedy method can have: mostly right, mostly left."""
    return corridor_value(1 - epsilon / 2), corridor_value(epsilon / 2)


def learn_by_policy(baseline: str, seed: int, lesson: Lesson) -> dict[str, Any]:
    """REINFORCE in the corridor: the probability of going right, at every look."""
    seed_everything(seed)
    envs = make_environments("sightline/Corridor-v0", ENVIRONMENTS)
    policy = make_policy(envs.single_observation_space, envs.single_action_space, PolicySettings(hidden=(8,)))
    with torch.no_grad():
        policy.actor.bias.copy_(torch.tensor([0.0, math.log(START / (1 - START))]))
    settings = reinforce.Reinforce(
        baseline=baseline, gamma=1.0, learning_rate=LEARNING_RATE, learning_rate_end=LEFT_OVER, episodes=2
    )
    learner = Learner(
        policy, envs, rollout=settings.rollout, gamma=1.0, learning_rate=settings.learning_rate, seed=seed
    )
    seen = [(0, right_of(policy))]
    for row in reinforce.train(learner, settings, lesson.steps):
        seen.append((int(row["steps"]), right_of(policy)))
    envs.close()
    return looked_at(seen, lesson)


def right_of(policy: Policy) -> float:
    """The probability of going right, which is the same everywhere."""
    with torch.no_grad():
        distribution = policy.distribution(torch.ones(1, 1))
        return float(distribution.log_prob(torch.tensor([RIGHT])).exp())


def learn_by_value(epsilon: float, seed: int, lesson: Lesson, rate: float = 0.05) -> dict[str, Any]:
    """Sarsa in the corridor: the probability of going right that its values stand for, at every look.

    Values start at 0, above every true one, so that both actions are tried; equal ones are told apart by chance.
    """
    rng = np.random.default_rng(seed)
    corridor, values = Corridor(), np.zeros(2)
    seen: list[tuple[int, float]] = []
    state, action = corridor.reset(rng, 1)[0], RIGHT
    every = max(lesson.steps // lesson.looks, 1)

    def choose() -> int:
        if rng.random() < epsilon:
            return int(rng.integers(2))
        return int(np.argmax(values + 1e-9 * rng.random(2)))

    action = choose()
    for step in range(lesson.steps):
        if step % every == 0:
            seen.append((step, _right_by_values(values, epsilon)))
        state, _, reward, over = corridor.step(state, np.array([action]), rng)
        if over[0]:
            values[action] += rate * (reward[0] - values[action])
            state, action = corridor.reset(rng, 1)[0], choose()
            continue
        following = choose()
        values[action] += rate * (reward[0] + values[following] - values[action])
        action = following
    seen.append((lesson.steps, _right_by_values(values, epsilon)))
    return {**looked_at(seen, lesson), "values": values.tolist()}


def _right_by_values(values: Float[np.ndarray, "2"], epsilon: float) -> float:
    if values[LEFT] == values[RIGHT]:
        return 0.5
    return 1 - epsilon / 2 if values[RIGHT] > values[LEFT] else epsilon / 2


def looked_at(seen: list[tuple[int, float]], lesson: Lesson) -> dict[str, Any]:
    """What was true at every look: the latest that was seen; with the value, and means over the last quarter."""
    looks = np.linspace(0, lesson.steps, lesson.looks + 1)
    steps, chances = np.array([step for step, _ in seen]), [chance for _, chance in seen]
    right = [chances[int(np.searchsorted(steps, look, side="right")) - 1] for look in looks]
    value = [corridor_value(chance) for chance in right]
    late = max(len(looks) // 4, 1)
    return {
        "steps": [round(look) for look in looks],
        "right": [round(one, 4) for one in right],
        "value": [round(one, 3) for one in value],
        "right_late": float(np.mean(right[-late:])),
        "value_late": float(np.mean(value[-late:])),
    }


def true_values(right: float) -> Float[np.ndarray, "3"]:
    """The value of every state: what a baseline would be that sees them."""
    chances = np.zeros((GOAL, GOAL + 1))
    for action, chance in ((LEFT, 1 - right), (RIGHT, right)):
        after, *_ = Corridor().step(CorridorState(np.arange(GOAL)), np.full(GOAL, action), np.random.default_rng(0))
        chances[np.arange(GOAL), after.place] += chance
    return np.linalg.solve(np.eye(GOAL) - chances[:, :GOAL], np.full(GOAL, -1.0))


def play(
    right: float, episodes: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "t n"], Bool[np.ndarray, "t n"], Bool[np.ndarray, "t n"]]:
    """Whole episodes side by side: places, whether right was chosen, and which rows count."""
    corridor = Corridor()
    state, _ = corridor.reset(rng, episodes)
    over = np.zeros(episodes, bool)
    places, actions, alive = [], [], []
    while not over.all():
        action = rng.random(episodes) < right
        places.append(state.place)
        actions.append(action)
        alive.append(~over)
        state, _, _, ended = corridor.step(state, action.astype(np.int64), rng)
        over = over | ended
    return np.array(places), np.array(actions), np.array(alive)


def noise(right: float, episodes: int, sizes: tuple[int, ...], seed: int) -> dict[str, Any]:
    """How far gradients from so many episodes lie from the exact one: root of the mean square, over its length.

    The constant is the mean return over the rows of an update's other episodes, as `rl/reinforce.py` has it.
    """
    rng, exact = np.random.default_rng(seed), slope(right)
    places, actions, alive = play(right, episodes, rng)
    returns = -np.cumsum(alive[::-1], 0)[::-1].astype(np.float64) * alive
    score = (actions - right) * alive
    plain, total, count = (returns * score).sum(0), returns.sum(0), alive.sum(0)
    values = true_values(right)[np.minimum(places, GOAL - 1)]
    found: dict[str, Any] = {"right": right, "exact": exact, "sizes": list(sizes), "errors": {}, "bias": {}}
    for baseline in BASELINES:
        errors: list[float | None] = []
        for size in sizes:
            if baseline == "constant":
                if size == 1:  # there is no other episode
                    errors.append(None)
                    continue
                groups = [one[: episodes // size * size].reshape(-1, size) for one in (total, count)]
                others = [group.sum(1, keepdims=True) - group for group in groups]
                constant = (others[0] / others[1]).reshape(-1)
                each = plain[: len(constant)] - constant * score.sum(0)[: len(constant)]
            else:
                each = plain if baseline == "none" else ((returns - values) * score).sum(0)
            estimates = each[: episodes // size * size].reshape(-1, size).mean(1)
            errors.append(float(np.sqrt(np.mean((estimates - exact) ** 2)) / abs(exact)))
            found["bias"][baseline] = float(estimates.mean() - exact)
        found["errors"][baseline] = errors
    return found


def curve(count: int = 121) -> list[tuple[float, float]]:
    """The exact value over the probability of going right."""
    rights = np.linspace(0.02, 0.98, count)
    return [(float(right), corridor_value(float(right))) for right in (*rights, BEST_RIGHT)]
