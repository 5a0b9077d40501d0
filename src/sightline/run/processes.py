"""Several processes that compute together: who I am, and sums over all of them that gradients go through.

`torchrun` starts the processes and tells each by environment variables which one it is; alone, none of this does
anything. Numbers on the CPU go by gloo, those on CUDA devices by NCCL.

Left out: starting processes, processes that hold parts of one network, and collectives that overlap with computation.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = datetime.timedelta(hours=2)  # one process may check a large data set while the others wait
BUCKET = 25_000_000  # elements that are added up in one go


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is."""

    rank: int
    count: int

    @property
    def writes(self) -> bool:
        """Whether this one prints and writes files."""
        return self.rank == 0


def processes() -> Processes:
    """Which one this is: the only one where no group of them was opened."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes(0, 1)


@contextlib.contextmanager
def open_processes() -> Iterator[Processes]:
    """Join the others that torchrun started, leave them at the end; alone, or already joined, nothing is done.

    Raises:
        ValueError: the environment speaks of several processes and lacks what is needed to find them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield processes()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE says {os.environ['WORLD_SIZE']} processes, but {', '.join(missing)} is not set: start them by"
            " torchrun, or unset WORLD_SIZE"
        )
    cuda = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield processes()
    finally:
        dist.destroy_process_group()


def local_device(asked: str) -> str:
    """The name of this process's device: with several processes on a machine, "cuda" is a different one for each."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not several or asked not in ("auto", "cuda") or not torch.cuda.is_available():
        return asked
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


class _AddUp(torch.autograd.Function):
    """The sum over all processes. Each of them has what comes of it, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def add_up(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, differentiable; alone, the tensor itself.

    Gradients are those of the sum, over the processes, of what each of them minimises: where all of them compute one
    and the same loss from sums like this one, each should minimise its share, the loss divided by their number.
    """
    return value if processes().count == 1 else _AddUp.apply(value)


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes; one that only some of them have is 0 on the others."""
    if processes().count == 1:
        return
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    has = torch.tensor([parameter.grad is not None for parameter in learning], dtype=torch.int32)
    dist.all_reduce(has)
    groups: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter, any_has in zip(learning, has.tolist(), strict=True):
        if any_has:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            groups.setdefault((parameter.grad.dtype, parameter.device), []).append(parameter)
    for group in groups.values():
        for bucket in _buckets(group):
            gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(total.view(gradient.shape))


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    yield bucket


def same_everywhere(value: Any) -> Any:
    """What the first process has; numbers, texts and containers of them. Others wait for it."""
    if processes().count == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def gather(value: Any) -> list[Any]:
    """What every process has, in the order of their ranks; numbers, texts, arrays and containers of them."""
    if processes().count == 1:
        return [value]
    box: list[Any] = [None] * processes().count
    dist.all_gather_object(box, value)
    return box


def by_the_first(work: Callable[[], Any]) -> Any:
    """Let the first process do something, and give all of them what comes of it.

    Where it fails, only the first one says so; the others end with exit code 2.
    """
    if processes().count == 1:
        return work()
    result, failed = None, None
    if processes().writes:
        try:
            result = work()
        except (ValueError, OSError) as error:
            failed = error
    bad, result = same_everywhere((failed is not None, result))
    if failed is not None:
        raise failed
    if bad:
        raise SystemExit(2)
    return result


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if processes().count > 1:
        dist.all_reduce(torch.zeros(1))


def spread(network: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if processes().count > 1:
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.detach(), 0)


def greatest(value: Tensor) -> Tensor:
    """The largest of a tensor's values over all processes, element by element; without gradients."""
    if processes().count == 1:
        return value
    out = value.detach().clone()
    dist.all_reduce(out, dist.ReduceOp.MAX)
    return out
