"""The life of a tabular agent: in a world whose table is known, all of it compiled; in any environment, step by step.

Both learn by the same function after every real step (`learn`), so that in a world without chance they are the same
numbers, bit for bit. What one step is followed by:

    note what came of it; improve by its method, or put it in the queue of sweeping; plan; choose the next action

SARSA chooses before it improves, all others after they planned.

Left out: several environments at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from sightline.planning.jit import compiled
from sightline.planning.tabular import World, discrete_sizes
from sightline.rl.tabular.dyna import FULL, NONE, PLANNING, PLUS, RANDOM, SWEEPING, Dyna, plan_at_random, plan_fully
from sightline.rl.tabular.q_learning import METHODS, SARSA, QLearning, Trail, empty_trail, look_back, worth
from sightline.rl.tabular.sweeping import Queue, empty_queue, note_way, sweep
from sightline.rl.tabular.tables import Known, choose, note, nothing_known

Agent = QLearning | Dyna


class Options(NamedTuple):
    """An agent's settings as numbers, for compiled code."""

    method: int
    planning: int
    n: int
    alpha: float
    alpha_power: float
    epsilon: float
    gamma: float
    kappa: float
    theta: float


class Mind(NamedTuple):
    """All that is learned and remembered."""

    known: Known
    trail: Trail
    queue: Queue
    place: np.ndarray
    """Where the agent is, what it does next, steps of this episode, episodes begun."""


def options_of(agent: Agent) -> Options:
    """The numbers of the settings."""
    if isinstance(agent, QLearning):
        method = METHODS.index(agent.method)
        rates = (agent.alpha, agent.alpha_power, agent.epsilon, agent.gamma)
        return Options(method, NONE, 0, *rates, 0.0, 0.0)
    rates = (agent.alpha, 0.0, agent.epsilon, agent.gamma)
    return Options(0, PLANNING.index(agent.planning), agent.n, *rates, agent.kappa, agent.theta)


def new_mind(agent: Agent, states: int, actions: int) -> Mind:
    """Before the first step.

    Raises:
        ValueError: tables of this size would fill the memory.
    """
    known = nothing_known(states, actions, agent.first_value)
    n = agent.n if isinstance(agent, QLearning) else 1
    sweeps = isinstance(agent, Dyna) and agent.planning == "sweeping"
    queue = empty_queue(states, actions) if sweeps else empty_queue(1, 1)
    return Mind(known, empty_trail(n), queue, np.zeros(4, np.int64))


@compiled
def learn(mind: Any, options: Any, reward: float, to: int, over: bool, cut: bool, rng: Any) -> None:
    """Everything that follows a real step: `mind.place` says from where, and afterwards what is done next.

    Args:
        mind: of the agent.
        options: of the agent.
        reward: of the step.
        to: the state that it led to.
        over: whether nothing follows it.
        cut: whether the episode ends although something would follow.
        rng: the agent's.
    """
    known, trail, place = mind.known, mind.trail, mind.place
    s, a = place[0], place[1]
    after = 0
    if options.method == SARSA and not over:
        after = choose(known.q[to], options.epsilon, rng)
    if options.planning == SWEEPING:
        note_way(known, mind.queue, s, a, to)
    note(known, s, a, reward, to, over)
    if options.planning == SWEEPING:
        sweep(known, mind.queue, options.n, options.alpha, options.gamma, options.theta, s, a)
    else:
        last = trail.length[0]
        trail.states[last], trail.actions[last], trail.rewards[last] = s, a, reward
        trail.length[0] += 1
        ahead = 0.0 if over else worth(known.q[to], after, options.method, options.epsilon)
        look_back(known, trail, ahead, over or cut, options.alpha, options.alpha_power, options.gamma)
        if options.planning == RANDOM or options.planning == PLUS:
            plus = options.planning == PLUS
            plan_at_random(known, options.n, options.alpha, options.gamma, options.kappa, plus, rng)
        elif options.planning == FULL:
            plan_fully(known, options.gamma, options.theta)
    place[2] += 1
    if not over and not cut:
        place[0] = to
        place[1] = after if options.method == SARSA else choose(known.q[to], options.epsilon, rng)


@compiled
def begin(mind: Any, options: Any, first: int, rng: Any) -> None:
    """Stand at the beginning of an episode."""
    place = mind.place
    place[0], place[1], place[2] = first, choose(mind.known.q[first], options.epsilon, rng), 0
    place[3] += 1


@compiled
def _drawn(chances: Any, rng: Any) -> Any:
    """An index with these probabilities; where one has them all, no number is drawn."""
    for i in range(len(chances)):
        if chances[i] == 1.0:
            return i
    left = rng.random()
    for i in range(len(chances)):
        left -= chances[i]
        if left < 0:
            return i
    last = len(chances) - 1
    while chances[last] == 0.0:  # rounding left something over
        last -= 1
    return last


@compiled
def _walk(
    mind: Any, options: Any, probability: Any, next_state: Any, reward: Any, over: Any, start: Any,
    steps: int, episodes: int, limit: int, rewards: Any, lengths: Any, rng: Any,
) -> Any:  # fmt: skip
    """Steps taken, episodes ended."""
    place, taken, ended = mind.place, 0, 0
    if place[3] == 0:
        begin(mind, options, _drawn(start, rng), rng)
    while taken < steps and ended < episodes:
        s, a = place[0], place[1]
        k = _drawn(probability[s, a], rng)
        cut = limit > 0 and place[2] + 1 >= limit
        learn(mind, options, reward[s, a, k], next_state[s, a, k], over[s, a, k], cut, rng)
        if len(rewards):
            rewards[taken] = reward[s, a, k]
        taken += 1
        if over[s, a, k] or cut:
            if len(lengths):
                lengths[ended] = place[2]
            ended += 1
            begin(mind, options, _drawn(start, rng), rng)
    return taken, ended


@dataclass
class Walked:
    """What came of some steps."""

    steps: int
    rewards: np.ndarray
    """Of every step."""
    lengths: np.ndarray
    """Of every episode that ended."""


def walk(
    mind: Mind,
    agent: Agent,
    world: World,
    rng: np.random.Generator,
    *,
    steps: int = 0,
    episodes: int = 0,
    limit: int = 0,
) -> Walked:
    """Live on in a world, from wherever the mind is.

    Args:
        mind: of the agent; it is changed.
        agent: its settings.
        world: as it stands now.
        rng: the agent's and the world's.
        steps: after which to stop, 0: no such limit.
        episodes: after whose end to stop, 0: no such limit; one of both is needed.
        limit: steps after which an episode is cut off, 0: never.

    Raises:
        ValueError: neither steps nor episodes are given.
    """
    if steps < 1 and episodes < 1:
        raise ValueError("a walk ends after some steps or episodes: give one of them")
    unlimited = np.iinfo(np.int64).max
    rewards = np.zeros(steps if steps else 0)
    lengths = np.zeros(episodes if episodes else 0, np.int64)
    taken, ended = _walk(
        mind, options_of(agent), world.probability, world.next_state, world.reward, world.over, world.start,
        steps or unlimited, episodes or unlimited, limit, rewards, lengths, rng,
    )  # fmt: skip
    return Walked(int(taken), rewards[:taken], lengths[:ended])


@dataclass
class Life:
    """A tabular agent in one Gymnasium environment.

    Raises:
        ValueError: a space is not discrete, or tables would fill the memory.
    """

    agent: Agent
    env: gymnasium.Env[Any, Any]
    seed: int
    mind: Mind = field(init=False)
    rng: np.random.Generator = field(init=False)
    total: float = field(init=False, default=0.0)  # of the episode that goes on

    def __post_init__(self) -> None:
        self.mind = new_mind(self.agent, *discrete_sizes(self.env))
        self.rng = np.random.default_rng(self.seed)

    @property
    def steps(self) -> int:
        """Taken so far."""
        return int(self.mind.known.counts[0])

    def begin_anew(self, seed: int | None = None) -> None:
        """Leave the episode that goes on, which is neither an end nor learned from."""
        self.total, self.mind.trail.length[0] = 0.0, 0
        begin(self.mind, options_of(self.agent), int(self.env.reset(seed=seed)[0]), self.rng)

    def live(self, steps: int, told: Callable[[float, int], None] = lambda total, length: None) -> Iterator[float]:
        """Take so many steps, and give the reward of each.

        Args:
            steps: how many.
            told: of every episode that ends: its return and its length.
        """
        options, mind = options_of(self.agent), self.mind
        if mind.place[3] == 0:
            self.begin_anew(self.seed)
        for _ in range(steps):
            to, reward, over, cut, _ = self.env.step(int(mind.place[1]))
            self.total += float(reward)
            learn(mind, options, float(reward), int(to), bool(over), bool(cut), self.rng)
            if over or cut:
                told(self.total, int(mind.place[2]))
                self.total = 0.0
                begin(mind, options, int(self.env.reset()[0]), self.rng)
            yield float(reward)
