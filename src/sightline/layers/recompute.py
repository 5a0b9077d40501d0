"""Gradient checkpointing (Chen et al., 2016, https://arxiv.org/abs/1604.06174): a block is run again in the backward
pass instead of keeping what it computed, for the same gradients in less memory and more time.

The second run is not to be noticed: it sees the same random numbers, and what it writes into buffers is thrown away.
Plain checkpointing moves the running statistics of every batch norm twice for each batch.

Left out: choosing by itself which blocks are worth it.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module, *arguments: Any, **named: Any) -> Tensor:
    """`block(*arguments, **named)`, computed again for the backward pass; where there will be none, plainly."""
    if not torch.is_grad_enabled():
        return block(*arguments, **named)
    if torch.compiler.is_compiling():  # what the block writes stands in the graph once, whatever is computed again
        return checkpoint(block, *arguments, use_reentrant=False, **named)

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), Unwritten(block)

    return checkpoint(block, *arguments, use_reentrant=False, context_fn=contexts, **named)


class Unwritten:
    """Within it the block writes into copies of its buffers, which are then thrown away.

    Nothing else differs from the first run, neither the path through the code nor what is kept for the gradient, as
    checkpointing asks. It is entered once for each walk back, and a graph that is kept is walked back more than once.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.kept: list[tuple[nn.Module, str, Tensor | None]] = []

    def __enter__(self) -> None:
        named = [(module, name, buffer) for module in self.block.modules() for name, buffer in module._buffers.items()]
        self.kept = named
        for module, name, buffer in named:
            if buffer is not None:
                module._buffers[name] = buffer.clone()

    def __exit__(self, *raised: object) -> None:
        for module, name, buffer in self.kept:
            module._buffers[name] = buffer
