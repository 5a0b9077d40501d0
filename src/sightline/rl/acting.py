"""A policy that acts: observations and noise as environments and streams give them, actions as a rollout keeps them.

Left out: several policies in turn.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped

from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.face import Acts, ActsByHand
from sightline.rl.policies.memory import Past
from sightline.rl.trees import Arrays, map_arrays


class Acting:
    """What `Collector.collect` takes: `act(observation [b, ...], noise [b, ...]) -> action [b, ...]`.

    With a memory it follows the same environments from call to call, and has to be told by `begin` which of them stand
    at the beginning of an episode; `past` is what it remembers. Without one `begin` is None.

    Args:
        policy: asked without gradients.
        normaliser: brings observations to the scale that the policy learns at, as it stands at each step.
        greedy: whether the most probable action is taken, and the noise ignored.
        by_hand: the same policy in NumPy, where there is one.
    """

    def __init__(
        self,
        policy: Acts,
        normaliser: ObservationNormaliser | None = None,
        *,
        greedy: bool = False,
        by_hand: ActsByHand | None = None,
    ) -> None:
        self.policy, self.normaliser, self.greedy, self.by_hand = policy, normaliser, greedy, by_hand
        self.device = next(policy.parameters()).device
        self.past: Past | None = None
        self.begin: Callable[[Bool[np.ndarray, " b"]], None] | None = self._begin if policy.remembers else None

    def __call__(self, observation: Arrays, noise: Shaped[np.ndarray, "b ..."]) -> Shaped[np.ndarray, "b ..."]:
        """One action per environment."""
        if self.normaliser is not None:
            observation = self.normaliser(observation)
        if self.by_hand is not None and not self.greedy:
            return self.by_hand.act(observation, noise)
        with torch.inference_mode():
            seen, policy = to_tensors(observation, self.device), self.policy
            if not policy.remembers:
                features = policy.actor_body(seen)  # the critic's own are not needed
            else:
                both = policy.features(seen, policy.start(len(noise)) if self.past is None else self.past)
                features, self.past = both[0], policy.after(both)
            if self.greedy:
                return policy.mode(policy.distribution_from(features, seen)).numpy(force=True)
            return policy.act(features, seen, to_tensors(noise, self.device)).numpy(force=True)

    def state_dict(self) -> dict[str, Any]:
        """What is remembered; nothing before the first call."""
        return {"state": None if self.past is None else self.past.state.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        saved = state["state"]
        if saved is not None:
            self.past = Past(saved.to(self.device), torch.zeros(1, len(saved), dtype=torch.bool, device=self.device))

    def _begin(self, which: Bool[np.ndarray, " b"]) -> None:
        """Say which environments give the first observation of an episode to the next call."""
        past = self.past
        if past is None or len(past.state) != len(which):
            past = self.policy.start(len(which))
            assert past is not None
        self.past = Past(past.state, torch.from_numpy(which.copy())[None].to(self.device))


def to_tensors(tree: Arrays, device: torch.device | Any) -> Arrays:
    """The arrays of an observation as tensors; on the CPU they share their memory."""
    here = torch.device(device).type == "cpu"  # asking `to` for nothing takes as long as the smallest operator
    return map_arrays(lambda one: _tensor(one) if here else _tensor(one).to(device), tree)


def _tensor(one: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(one))
