"""An environment whose every number is known, and the plain loop over single environments that is the oracle."""

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

MODES = ("NextStep", "SameStep", "Disabled")
KINDS = ("vector", "image", "dict", "tuple")


class Counting(gymnasium.Env[Any, Any]):
    """Counts its episodes and steps. How long an episode lasts and how it ends is drawn when it begins."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, kind: str = "vector", fault: Callable[["Counting"], Any] | None = None) -> None:
        self.kind, self.fault = kind, fault
        parts = {
            "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "image": spaces.Box(0, 255, (1, 2, 2), np.uint8),
            "count": spaces.Discrete(1000),
        }
        self.observation_space = {
            "vector": parts["vector"],
            "image": parts["image"],
            "dict": spaces.Dict(parts),
            "tuple": spaces.Tuple([parts["image"], spaces.Dict(vector=parts["vector"])]),
        }[kind]
        self.episode = self.step_ = self.taken = 0
        self.number = -1.0

    def observe(self) -> Any:
        parts = {
            "vector": np.array([self.number, self.episode, self.step_], np.float32),
            "image": np.full((1, 2, 2), (17 * self.episode + self.step_) % 256, np.uint8),
            "count": np.int64(self.step_),
        }
        return {"dict": parts, "tuple": (parts["image"], {"vector": parts["vector"]})}.get(self.kind) or parts[
            self.kind if self.kind in parts else "vector"
        ]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.number = float(seed)
        self.episode, self.step_ = self.episode + 1, 0
        self.length = int(self.np_random.integers(1, 7))
        self.ending = int(self.np_random.integers(1, 4))  # bit 0: terminated, bit 1: truncated
        return self.observe(), {"episode": self.episode}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.step_ < self.length, "stepped after its end"
        self.step_, self.taken = self.step_ + 1, self.taken + 1
        over = self.step_ == self.length
        reward = float(10 * self.episode + self.step_ + 0.1 * np.sum(action) + self.np_random.random())
        out = (self.observe(), reward, over and self.ending % 2 == 1, over and self.ending >= 2, {"taken": self.taken})
        return out if self.fault is None else (self.fault(self) or out)


def counting(mode: str, environments: int, kind: str = "vector", workers: bool = False) -> VectorEnv[Any, Any, Any]:
    make = [lambda: Counting(kind)] * environments
    return AsyncVectorEnv(make, autoreset_mode=mode) if workers else SyncVectorEnv(make, autoreset_mode=mode)


def leaves(observation: Any) -> list[np.ndarray]:
    if isinstance(observation, dict):
        return [leaf for key in sorted(observation) for leaf in leaves(observation[key])]
    if isinstance(observation, tuple):
        return [leaf for part in observation for leaf in leaves(part)]
    return [np.asarray(observation)]


def act(observation: Any, noise: np.ndarray) -> np.ndarray:
    """Every action shows which observation and which noise it was made from; some lie beyond the box."""
    seen = sum(leaf.reshape(len(noise), -1).astype(np.float32).sum(1) for leaf in leaves(observation))
    return (0.5 * noise + 0.01 * np.asarray(seen)[:, None]).astype(np.float32)


Transition = tuple[Any, np.ndarray, float, bool, bool, Any]  # the last: what it truly led to


def oracle(seed: int, index: int, transitions: int, kind: str = "vector") -> list[Transition]:
    """One environment by itself, no vector, no rows that only reset, noise drawn row by row."""
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    environment = Counting(kind)
    observation, _ = environment.reset(seed=seed + index)
    out: list[Transition] = []
    while len(out) < transitions:
        batch = tuple_batch(observation)
        action = act(batch, generator.standard_normal((1, 2), np.float32))[0]
        following, reward, terminated, truncated, _ = environment.step(action.clip(-1, 1))
        out.append((observation, action, reward, terminated, truncated, following))
        observation = environment.reset()[0] if terminated or truncated else following
    return out


def tuple_batch(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: tuple_batch(part) for key, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(tuple_batch(part) for part in observation)
    return np.asarray(observation)[None]
