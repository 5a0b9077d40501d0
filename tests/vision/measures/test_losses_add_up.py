"""Losses over several processes equal the loss of all their batches together, gradients included.

Each process is a thread with its own part of the batch; its `add_up` waits for the others and gives every one the sum,
inside one autograd graph. What DistributedDataParallel does, the mean of the gradients of every process's loss, must
then be the gradient of the whole: the backward pass of the sum counts every process's loss, and the mean undoes it.
"""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sightline.vision.measures.category_consistent import category_consistent_loss
from sightline.vision.measures.losses import AddUp, cross_entropy, dice_loss, ohem_cross_entropy

IGNORE = 255
WEIGHT = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)

LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": lambda x, t, add_up=None: cross_entropy(x, t, weight=WEIGHT, smoothing=0.1, add_up=add_up),
    "ohem": lambda x, t, add_up=None: ohem_cross_entropy(x, t, threshold=0.4, least=0, add_up=add_up),
    "dice": lambda x, t, add_up=None: dice_loss(x, t, add_up=add_up),
    "category-consistent": lambda x, t, add_up=None: category_consistent_loss(x, t, classes=3, add_up=add_up),
    "category-consistent over images": lambda x, t, add_up=None: category_consistent_loss(
        x, t, classes=3, over="image", add_up=add_up
    ),
}


class Together:
    """Adds up what each of several threads brings, in the order of their numbers."""

    def __init__(self, processes: int) -> None:
        self.brought: list[Tensor] = [torch.empty(0)] * processes
        self.barrier = threading.Barrier(processes)

    def of(self, number: int) -> AddUp:
        def add_up(tensor: Tensor) -> Tensor:
            self.brought[number] = tensor
            self.barrier.wait(10)
            total = torch.stack(self.brought).sum(0)
            self.barrier.wait(10)
            return total

        return add_up


def run(processes: int, work: Callable[[int], Tensor]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: work(i)})) for i in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [found[i] for i in range(processes)]


@pytest.mark.parametrize("name", LOSSES)
def test_processes_together_equal_one(name):
    values = torch.randn(4, 3, 3, 5, dtype=torch.float64)
    target = torch.randint(3, (4, 3, 5))
    target[0] = IGNORE  # parts in which different numbers of pixels count, and one part with a class less
    target[1:, :, ::2] = target[1:, :, ::2].clamp_max(1)
    parts = [slice(0, 1), slice(1, 4)]

    whole = values.clone().requires_grad_()
    loss = LOSSES[name](whole, target)
    (expected,) = torch.autograd.grad(loss, whole)

    each = [values[part].clone().requires_grad_() for part in parts]
    together = Together(2)
    losses = run(2, lambda i: LOSSES[name](each[i], target[parts[i]], together.of(i)))
    for found in losses:
        torch.testing.assert_close(found, loss, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(sum(losses) / 2, each)
    torch.testing.assert_close(torch.cat(gradients), expected, rtol=1e-12, atol=1e-12)


def test_without_adding_up_the_mean_of_two_losses_is_another_loss():
    """Why `add_up` exists: batches in which different numbers of pixels count."""
    values, target = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    target[0, 1:] = IGNORE
    mean = (cross_entropy(values[:1], target[:1]) + cross_entropy(values[1:], target[1:])) / 2
    assert (mean - cross_entropy(values, target)).abs() > 1e-3
