"""Random worlds of some layers, the exact value of everything in them by looking at all of it, and models of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from sightline.planning.model import Step


@dataclass(frozen=True)
class Layers:
    """A model: some states in each of some layers; every step leads one layer down, and below the last is the end."""

    to: np.ndarray
    """[s, a, k]: where to."""
    probability: np.ndarray
    """[s, a, k]"""
    reward: np.ndarray
    """[s, a, k]"""
    discount: np.ndarray
    """[s, a, k]: 0 in the last layer and sometimes before."""
    logits: np.ndarray
    """[s, a]"""
    value: np.ndarray
    """[s]: a guess."""

    @property
    def num_actions(self) -> int:
        return self.logits.shape[1]

    def exact(self) -> Float[np.ndarray, "s a"]:
        """The best action values, layers from below; -inf: illegal."""
        q = np.full(self.logits.shape, -np.inf)
        for s in range(len(q) - 1, -1, -1):
            for a in range(self.num_actions):
                if self.logits[s, a] > -np.inf:
                    q[s, a] = 0.0
                    for k in range(self.to.shape[2]):
                        ahead = q[self.to[s, a, k]].max() if self.discount[s, a, k] else 0.0
                        q[s, a] += self.probability[s, a, k] * (self.reward[s, a, k] + self.discount[s, a, k] * ahead)
        return q

    def root(self, observation: Int[np.ndarray, " b"]) -> Step:
        count = len(observation)
        return Step(
            observation, *self.given(np.zeros(count), np.ones(count)), self.logits[observation], self.value[observation]
        )

    def step(self, state: Int[np.ndarray, " b"], action: Int[np.ndarray, " b"], rng: np.random.Generator) -> Step:
        k = (self.probability[state, action].cumsum(1) > rng.random(len(state))[:, None]).argmax(1)
        return self.arrive(state, action, k)

    def arrive(self, state: np.ndarray, action: np.ndarray, k: np.ndarray) -> Step:
        to, over = self.to[state, action, k], self.discount[state, action, k] == 0
        logits = np.where(over[:, None], -np.inf, self.logits[to]).astype(np.float32)
        value = np.where(over, np.nan, self.value[to]).astype(np.float32)  # at the end nobody may look at it
        return Step(to, *self.given(self.reward[state, action, k], self.discount[state, action, k]), logits, value)

    @staticmethod
    def given(reward: np.ndarray, discount: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return reward.astype(np.float32), discount.astype(np.float32)


@dataclass(frozen=True)
class Explicit:
    """The same, where after every action nobody moves and then an outcome happens: states are (state, action or -1)."""

    layers: Layers

    @property
    def num_actions(self) -> int:
        return self.layers.num_actions

    def root(self, observation: Int[np.ndarray, " b"]) -> Step:
        step = self.layers.root(observation)
        return step._replace(state=(observation, np.full_like(observation, -1)))

    def chance(self, state: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "b k"]:
        s, a = state
        return np.where((a >= 0)[:, None], self.layers.probability[s, a], 0.0)

    def step(
        self, state: tuple[np.ndarray, np.ndarray], action: Shaped[np.ndarray, " b"], rng: np.random.Generator
    ) -> Step:
        s, a = state
        waits = a < 0
        step = self.layers.arrive(s, np.where(waits, 0, a), np.where(waits, 0, action))
        pick = np.where(waits, 0.0, step.reward), np.where(waits, 1.0, step.discount)
        value = np.where(waits, self.layers.value[s], step.value).astype(np.float32)
        logits = np.where(waits[:, None], -np.inf, step.logits).astype(np.float32)
        return Step((np.where(waits, s, step.state), np.where(waits, action, -1)), *Layers.given(*pick), logits, value)


def random_layers(
    seed: int, *, players: int = 1, outcomes: int = 1, gamma: float = 1.0, depth: int = 4, states: int = 5,
    actions: int = 3, illegal: float = 0.2, ends: float = 0.1, guess: float = 0.5, results: bool = False,
) -> Layers:  # fmt: skip
    """With `results` rewards are -1, 0 or 1 and come at the end alone."""
    rng = np.random.default_rng(seed)
    count = depth * states
    shape = (count, actions, outcomes)
    layer = np.arange(count) // states
    to = np.minimum((layer[:, None, None] + 1) * states + rng.integers(states, size=shape), count - 1)
    over = (layer == depth - 1)[:, None, None] | (rng.random(shape) < ends)
    sign = np.where(rng.random(shape) < 0.7, -1.0, 1.0) if players == 2 else np.ones(shape)
    logits = rng.normal(size=(count, actions))
    logits[(rng.random(logits.shape) < illegal) & (np.arange(actions) > 0)] = -np.inf
    reward = rng.integers(-1, 2, shape) * over if results else rng.uniform(-1, 1, shape) / depth
    return Layers(
        to, rng.dirichlet(np.ones(outcomes), shape[:2]), reward.astype(float), np.where(over, 0.0, gamma * sign),
        logits.astype(np.float32), (guess * rng.uniform(-1, 1, count)).astype(np.float32),
    )  # fmt: skip
