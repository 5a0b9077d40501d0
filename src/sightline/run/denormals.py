"""Denormal numbers counted as zero for as long as a training takes, and no longer.

Squares of small gradients fall below the smallest normal float32 (1.2e-38); a processor takes about ten times as long
for those. The switch belongs to the whole thread: left on, everything that it computes afterwards is changed too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def denormals_are_zero() -> Iterator[None]:
    """Set the switch inside `with` (or for a function that this decorates), and put it back as it was at the end."""
    before = denormals_are_lost()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def denormals_are_lost() -> bool:
    """Whether this thread's processor takes denormal numbers for zero now (PyTorch has no question for it)."""
    smallest = sys.float_info.min  # by name: a constant would be computed when the file is compiled
    return smallest / 2.0 == 0.0
