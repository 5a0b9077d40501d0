"""What an agent's networks show to whoever acts with them, plays or evaluates: the common face of all policies."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from sightline.rl.distributions import ActionFit, Distribution
from sightline.rl.policies.body import Body
from sightline.rl.policies.memory import Past
from sightline.rl.trees import Arrays


@runtime_checkable
class Acts(Protocol):
    """`Policy`, `QNetwork` and `SoftActorCritic` are such; the words are explained in `policy.py`."""

    fit: ActionFit

    @property
    def actor_body(self) -> Body:
        """What decides from: the body whose gaze is drawn."""

    @property
    def remembers(self) -> bool:
        """Whether it has a memory."""

    @property
    def plain(self) -> bool:
        """Whether actions as a rollout keeps them are those of the space."""

    def parameters(self) -> Any:
        """As of any module."""

    def start(self, count: int) -> Past | None:
        """What is remembered before the first observation."""

    def features(self, observation: Arrays, past: Past | None = None) -> tuple[Tensor, Tensor]:
        """What the heads read."""

    def after(self, features: tuple[Tensor, Tensor]) -> Past | None:
        """What is remembered next."""

    def heads(self, features: tuple[Tensor, Tensor], observation: Arrays) -> tuple[Distribution, Float[Tensor, " n"]]:
        """What to do, and what return to expect."""

    def distribution_from(self, features: Float[Tensor, "n w"], observation: Arrays) -> Distribution:
        """What to do."""

    def act(
        self, features: Float[Tensor, "n w"], observation: Arrays, noise: Float[Tensor, "n k"]
    ) -> Shaped[Tensor, "n ..."]:
        """An action as a rollout keeps it."""

    def draw(self, distribution: Any, noise: Float[Tensor, "n k"]) -> Shaped[Tensor, "n ..."]:
        """The same from a distribution."""

    def mode(self, distribution: Any) -> Shaped[Tensor, "n ..."]:
        """The action without exploration."""

    def to_space(self, raw: Shaped[np.ndarray, "n ..."]) -> np.ndarray:
        """Actions as the environments' `step` takes them."""


class Forgetful:
    """The part of the face that is alike for networks without a memory and with one body that decides."""

    fit: ActionFit

    @property
    def plain(self) -> bool:
        """As of a policy."""
        return self.fit.plain

    @property
    def remembers(self) -> bool:
        """It has no memory."""
        return False

    def start(self, count: int) -> None:
        """Nothing is remembered."""

    def after(self, features: tuple[Tensor, Tensor]) -> None:
        """Nothing is remembered."""

    def features(self, observation: Arrays, past: Past | None = None) -> tuple[Tensor, Tensor]:
        """What decides reads, twice: nothing else is asked for features."""
        found = self.actor_body(observation)  # type: ignore[attr-defined]
        return found, found


@runtime_checkable
class ActsByHand(Protocol):
    """A policy's actions in NumPy."""

    def act(self, observation: np.ndarray, noise: Float[np.ndarray, "b k"]) -> np.ndarray:
        """An action as a rollout keeps it."""
