"""What fits in a GPU whose memory was full: one image is tried, and the rest is arithmetic.

Left out: networks whose memory does not grow in proportion to the batch.
"""

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch

from sightline.run.processes import processes
from sightline.vision.training.batches import Batch, generator_of
from sightline.vision.training.objective import Whole
from sightline.vision.training.train import Learner


class Need(NamedTuple):
    """Bytes of a device."""

    image: int  # for one image's forward and backward pass
    free: int  # for all of them, beside weights, optimiser and average


def what_fits(learner: Learner, crop: tuple[int, int], measure: Callable[[], Need | None] | None = None) -> str:
    """The sentence for a user whose training did not fit.

    Args:
        learner: As it is after the error.
        crop: Height and width of an image.
        measure: Finds out what an image needs; None where not even one fits. By default it is tried.
    """
    recipe, count = learner.recipe, processes().count
    at_once = -(-recipe.batch // (recipe.accumulate * count))
    asked = f"the memory of {learner.device} is full with {at_once} images of {crop[0]} x {crop[1]} at once"
    if measure is None and (count > 1 or learner.device.type != "cuda"):
        fits = at_once // 2  # nothing can be tried: other processes do not, and a CPU's memory is everybody's
    else:
        need = try_one(learner, crop) if measure is None else measure()
        fits = 0 if need is None else min(need.free // max(need.image, 1), at_once - 1)
    if fits < 1:
        smaller = [max(side // 2 // 32 * 32, 32) for side in crop]
        return (
            f"{asked}, and not even one fits: try a crop of {smaller[0]} x {smaller[1]} (--crop) or a smaller network"
        )
    parts = -(-recipe.batch // (fits * count))
    return (
        f"{asked}: about {fits} would fit, so try --accumulate {parts}, which gives the same update, or a batch of"
        f" {fits * count} instead of {recipe.batch} (--batch)"
    )


def is_full(error: RuntimeError) -> bool:
    """Whether an error says that memory is full, the GPU's or the machine's."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def try_one(learner: Learner, crop: tuple[int, int]) -> Need | None:
    """Show the learner one image and measure; None where it does not fit."""
    learner.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(learner.device)
    torch.cuda.reset_peak_memory_stats(learner.device)
    target = torch.zeros((1, *crop) if learner.task == "segment" else (1,), dtype=torch.int64)
    batch = Batch(torch.zeros(1, 3, *crop, dtype=torch.uint8), target, torch.zeros(learner.classes, dtype=torch.int64))
    try:
        losses = learner.losses(batch, Whole(float(target.numel()), 1.0, 1, 1), generator_of(0))
        torch.stack(list(losses.values())).sum().backward()
    except torch.cuda.OutOfMemoryError:
        return None
    except ValueError:  # a batch norm that cannot do with one value
        return None
    gradients = torch.cuda.memory_allocated(learner.device) - before  # they are there whatever the batch is
    needed = torch.cuda.max_memory_allocated(learner.device) - before
    learner.optimizer.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(learner.device)
    return Need(needed, free - gradients)
