"""A network in evaluation mode for a while, to be asked something, and then as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluated(network: nn.Module, training: bool = False) -> Iterator[None]:
    """The network in evaluation mode, or in training mode; afterwards every module is in the mode it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode
