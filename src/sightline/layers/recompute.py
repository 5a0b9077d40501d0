"""Gradient checkpointing (Chen et al., 2016, https://arxiv.org/abs/1604.06174): a block is run again in the backward
pass instead of keeping what it computed, for the same gradients in less memory and more time.

The second run sees the same random numbers, and leaves the running statistics of batch norms alone: they have counted
the batch once already.

Left out: choosing by itself which blocks are worth it.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module, *arguments: Any, **named: Any) -> Tensor:
    """`block(*arguments, **named)`, computed again for the backward pass."""
    contexts: Callable[[], tuple[Any, Any]] = lambda: (contextlib.nullcontext(), counted_already(block))  # noqa: E731
    return checkpoint(block, *arguments, use_reentrant=False, context_fn=contexts, **named)


@contextlib.contextmanager
def counted_already(block: nn.Module) -> Iterator[None]:
    """Batch norms take the batch's statistics as before and leave their running ones as they are."""
    # Norms are known by their buffers, so that a synchronised one is served too. A momentum of zero, rather than no
    # running statistics: the second run must take the same path as the first.
    norms = [m for m in block.modules() if m.training and isinstance(getattr(m, "running_mean", None), Tensor)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]  # type: ignore[operator]
    for norm in norms:
        norm.momentum = 0.0  # type: ignore[assignment]
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[operator, union-attr]
