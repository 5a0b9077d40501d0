"""A moving average of a network's weights (EMA), which answers better than the weights that jump about.

After update n, counted from 0: average <- d_n average + (1 - d_n) weights, with d_n = min(decay, (1 + n) / (10 + n)),
so that the first updates are soon forgotten. Running statistics of batch norms are averaged in the same way, as they
belong to the weights of their time; counters are copied.

Left out: averages over a part of the training, and recomputed statistics.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def decay_at(decay: float, update: int) -> float:
    """d_n."""
    return min(decay, (1 + update) / (10 + update))


class WeightAverage:
    """The averaged network, `network`, in evaluation mode; `follow` after every update."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    def follow(self, network: nn.Module) -> None:
        """Move towards the weights and buffers of the network that learns."""
        kept = 1 - decay_at(self.decay, self.updates)
        moving: tuple[list[Tensor], list[Tensor]] = ([], [])
        with torch.no_grad():
            for mine, its in zip(_tensors(self.network), _tensors(network), strict=True):
                if mine.is_floating_point():
                    moving[0].append(mine)
                    moving[1].append(its.detach())
                else:
                    mine.copy_(its)
            torch._foreach_lerp_(*moving, kept)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights and the number of updates."""
        return {"updates": self.updates, "weights": dict(self.network.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back.

        Raises:
            RuntimeError: they are of another network.
        """
        self.network.load_state_dict(state_dict["weights"])
        self.updates = state_dict["updates"]


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers, each once."""
    return [*network.parameters(), *network.buffers()]
