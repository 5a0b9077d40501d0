"""What a small network of the receptive-field tests says of itself."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A small network, and how its answer may differ from the exact set.

    `dense` are operations that must be named where the set is larger than the true one; with `exact_at_values` the
    value-aware set is not. `warns`: words of the warning.
    """

    build: Callable[[], nn.Module]
    size: tuple[int, int] = (11, 9)
    channels: int = 3
    dense: tuple[str, ...] = ()
    exact_at_values: bool = False
    warns: str = ""
    training: bool = False
    joins_batch: bool = False
    neurons: int = 3


class Do(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Both(nn.Module):
    """Two branches, joined by a function."""

    def __init__(self, one: nn.Module, other: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.other, self.join = one, other, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.one(x), self.other(x))


def steps(*layers: nn.Module | Callable[[Tensor], Tensor]) -> nn.Sequential:
    """Layers and plain functions one after the other."""
    return nn.Sequential(*(layer if isinstance(layer, nn.Module) else Do(layer) for layer in layers))
