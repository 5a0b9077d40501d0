"""MiniGrid's picture as numbers of one scale: what lies in every cell of the agent's view, `[7, 7, 3]` in [0, 1].

MiniGrid (https://minigrid.farama.org) encodes a cell as its object's, colour's and state's numbers and calls the array
bytes, which a policy would take for nearly black pixels. Here each is divided by the largest there is. The direction
and the sentence that MiniGrid gives as well are left out.

Left out: worlds with objects of their own, whose numbers may exceed 1.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float32, UInt8

LARGEST = np.array([10, 5, 2], np.float32)  # object, colour and state, of minigrid/core/constants.py


class Cells(gymnasium.ObservationWrapper[np.ndarray, Any, dict[str, Any]]):
    """A MiniGrid environment that shows its picture alone, as numbers in [0, 1]."""

    def __init__(self, env: gymnasium.Env[dict[str, Any], Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        picture = env.observation_space["image"]
        self.observation_space = Box(0.0, 1.0, picture.shape, np.float32)

    def observation(self, observation: dict[str, Any]) -> Float32[np.ndarray, "y x 3"]:
        """The picture, divided."""
        picture: UInt8[np.ndarray, "y x 3"] = observation["image"]
        return picture / LARGEST
