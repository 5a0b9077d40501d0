"""What a network of the long-range study costs: parameters, floating-point operations, memory of a training step.

Operations are those of one canvas forwards, two for each multiply-add, counted by PyTorch's `FlopCounterMode`; it does
not look into this library's attention operators, so those are counted by formula (`ops/flops.py`). Peak memory is that
of forward and backward over weights and batch, in a child process of its own (`bench/measure.py`).

Left out: the optimiser's memory (two numbers per parameter, alike for all), and energy.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sightline.bench.measure import peak_memory
from sightline.ops.flops import FORMULAS
from sightline.studies.long_range.networks import RecallNetwork, in_channels_last
from sightline.studies.long_range.training import Budget, Training, labelled_loss


@dataclass(frozen=True)
class Cost:
    """What one network costs on one task."""

    parameters: int
    flops: int  # of one canvas forwards
    peak_memory: int | None  # bytes of a training step of a whole batch; None where this machine cannot tell


def cost(training: Training) -> Cost:
    """All costs that do not depend on the seed; takes seconds, most of them for the child process."""
    network = RecallNetwork(**training.network_arguments())
    arguments = (training.task, training.digits, training.network, asdict(training.budget))
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=count_flops(network, training.budget.size),
        peak_memory=peak_memory("sightline.studies.long_range.costs:training_step", arguments),
    )


def count_flops(network: nn.Module, size: tuple[int, int]) -> int:
    """Floating-point operations of one image of this size, forwards."""
    image = torch.zeros(1, 3, *size)
    counter = FlopCounterMode(display=False, custom_mapping=dict(FORMULAS))
    network.eval()
    # The fused attention of processors is opaque to the counter, the plain one is not, and they cost the same.
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        network(image)
    return int(counter.get_total_flops())


def training_step(task: str, digits: int, network: str, settings: dict[str, Any]) -> Callable[[], tuple[Tensor, ...]]:
    """One forward and backward pass as a function of nothing, for the child process that measures it."""
    budget = Budget(**settings)
    training = Training(task, digits, network, 0, budget)
    built = in_channels_last(RecallNetwork(**training.network_arguments())).train()
    canvases = training.draw(budget.batch, "train", torch.Generator().manual_seed(0))
    image = canvases.image.contiguous(memory_format=torch.channels_last)
    parameters = list(built.parameters())
    return lambda: torch.autograd.grad(labelled_loss(built.answers(image), canvases), parameters)
