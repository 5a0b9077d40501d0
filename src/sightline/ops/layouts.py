"""In which memory layout and precision an operator on flattened maps `[b, c, n]` computes and answers.

A map in channels_last keeps each position's channels side by side; flattened, that is a transposed `[b, n, c]`. An
operator that honours it on both ends spares the copies that a change of layout costs.

Left out: layouts that are neither; they are read as they are and answered channels first.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
Size = int | torch.SymInt  # a symbol while a graph for any size is traced


def is_channels_last(x: Shaped[Tensor, "b c *positions"]) -> bool:
    """Whether the channels of one position lie side by side and its positions do not (one channel counts as first)."""
    return x.stride(1) == 1 and not x.is_contiguous()


def empty_map(like: Tensor, channels: Size, positions: Size, channels_last: bool) -> Tensor:
    """Uninitialised `[b, channels, positions]` with the batch, dtype and device of `like`, in the asked layout."""
    if channels_last:
        return like.new_empty(like.shape[0], positions, channels).transpose(1, 2)
    return like.new_empty(like.shape[0], channels, positions)


def accumulation_type(dtype: torch.dtype) -> torch.dtype:
    """What scores and sums are kept in: float32 where the inputs have half precision."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def outside_autocast(kernel: Callable[P, R]) -> Callable[P, R]:
    """A kernel that computes in the dtype it was given: autocast would turn its float32 scores into half precision."""

    @functools.wraps(kernel)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        device = next(a.device.type for a in (*arguments, *named.values()) if isinstance(a, torch.Tensor))
        with torch.autocast(device, enabled=False):
            return kernel(*arguments, **named)

    return run
