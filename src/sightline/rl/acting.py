"""A policy that acts: observations and noise as environments and streams give them, actions as a rollout keeps them.

Left out: remembering anything between two steps.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

from sightline.rl.normalise import ObservationNormaliser
from sightline.rl.policies.by_hand import ByHand
from sightline.rl.policies.policy import Policy
from sightline.rl.trees import Arrays, map_arrays


class Acting:
    """What `Collector.collect` takes: `act(observation [b, ...], noise [b, ...]) -> action [b, ...]`.

    Args:
        policy: asked without gradients.
        normaliser: brings observations to the scale that the policy learns at, as it stands at each step.
        greedy: whether the most probable action is taken, and the noise ignored.
        by_hand: the same policy in NumPy, where there is one.
    """

    def __init__(
        self,
        policy: Policy,
        normaliser: ObservationNormaliser | None = None,
        *,
        greedy: bool = False,
        by_hand: ByHand | None = None,
    ) -> None:
        self.policy, self.normaliser, self.greedy, self.by_hand = policy, normaliser, greedy, by_hand
        self.device = next(policy.parameters()).device

    def __call__(self, observation: Arrays, noise: Shaped[np.ndarray, "b ..."]) -> Shaped[np.ndarray, "b ..."]:
        """One action per environment."""
        if self.normaliser is not None:
            observation = self.normaliser(observation)
        if self.by_hand is not None and not self.greedy:
            return self.by_hand.act(observation, noise)
        with torch.inference_mode():
            seen = to_tensors(observation, self.device)
            if self.greedy:
                return self.policy.mode(self.policy.distribution(seen)).numpy(force=True)
            return self.policy.act(seen, to_tensors(noise, self.device)).numpy(force=True)


def to_tensors(tree: Arrays, device: torch.device | Any) -> Arrays:
    """The arrays of an observation as tensors; on the CPU they share their memory."""
    here = torch.device(device).type == "cpu"  # asking `to` for nothing takes as long as the smallest operator
    return map_arrays(lambda one: _tensor(one) if here else _tensor(one).to(device), tree)


def _tensor(one: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(one))
