"""The batch of update n is a pure function of the seed and n, whoever reads it and from whichever update on.

Epochs follow each other without a gap: the order of epoch e is a permutation drawn from (seed, e), and update n takes
the places n batch .. (n + 1) batch - 1 of this endless row. So every batch is full, no example is left out, and where
the data is no multiple of the batch, one batch holds the end of an epoch and the beginning of the next. What is drawn
for an example comes from (seed, epoch, index). Neither depends on loader processes, on those that train together, or
on where a run was interrupted: nothing about the position in an epoch has to be saved.

A batch is cut into equal parts (one image more in the first ones), of which each process reads its own.

Left out: examples drawn by class, repeated augmentation, and reading ahead without loader processes.
"""

import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sightline.run.processes import Processes
from sightline.run.stop import keep_interrupts_back
from sightline.vision.augmentation.augment import Augmentation, augment
from sightline.vision.augmentation.prepare import Preparation, prepare
from sightline.vision.data.examples import Example, Examples

Place = tuple[int, int]  # epoch and index of an example
Part = TypeVar("Part")
ALONE = Processes(0, 1)


class Batch(NamedTuple):
    """A part of a batch, as its process reads it."""

    image: UInt8[Tensor, "b 3 h w"]
    target: Tensor  # classes [b] or [b, h, w]; uint8 where every label fits, int64 otherwise
    counts: Int64[Tensor, "k"]  # pixels, or images, of each class that count


def generator_of(*numbers: int) -> torch.Generator:
    """A generator that belongs to these numbers, each 0 or more."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed >> 1)  # a manual seed has a sign


@functools.lru_cache(maxsize=4)
def order_of(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    """The examples of an epoch in the order in which they are seen."""
    return tuple(torch.randperm(count, generator=generator_of(seed, epoch)).tolist())


def places_of(update: int, *, seed: int, count: int, batch: int) -> list[Place]:
    """Which examples update n sees, in order."""
    row = range(update * batch, (update + 1) * batch)
    return [(place // count, order_of(seed, place // count, count)[place % count]) for place in row]


def share(items: Sequence[Part], number: int, parts: int) -> Sequence[Part]:
    """One of several equal parts of a row; the first ones have one item more where it does not come out even."""
    each, more = divmod(len(items), parts)
    start = number * each + min(number, more)
    return items[start : start + each + (number < more)]


class _Drawn(Dataset[Any]):
    """Parts of batches by their places; in a loader process as in this one. A mistake in the data is a sentence."""

    def __init__(self, examples: Examples, augmentation: Augmentation, seed: int) -> None:
        self.examples, self.augmentation, self.seed = examples, augmentation, seed

    def __getitem__(self, places: Sequence[Place]) -> "Batch | str":
        try:
            return join([self.draw(*place) for place in places], self.examples, [index for _, index in places])
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__

    def draw(self, epoch: int, index: int) -> Example:
        # One more number than the order's generator, so that no two streams are the same.
        return augment(self.examples[index], self.augmentation, generator_of(self.seed, epoch, index, 1))


class _Prepared(Dataset[Any]):
    """Examples as they are evaluated, by index."""

    def __init__(self, examples: Examples, preparation: Preparation) -> None:
        self.examples, self.preparation = examples, preparation

    def __getitem__(self, index: int) -> "Example | str":
        try:
            return prepare(self.examples[index], self.preparation)
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__


def join(drawn: Sequence[Example], examples: Examples, indices: Sequence[int]) -> Batch:
    """Examples of one size as a batch, their targets as small as they may be.

    Raises:
        ValueError: a label is no class, with the name of its example.
    """
    classes = len(examples.classes)
    counts = torch.zeros(classes, dtype=torch.int64)
    for example, index in zip(drawn, indices, strict=True):
        labels = example.target.flatten()
        if example.target.ndim:
            labels = labels[labels != examples.ignore]
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f"{examples.name(index)} has the label {int(wrong[0])}, but classes go from 0 to {classes - 1}, and"
                f" only {examples.ignore} does not count: correct it, or give more classes"
            )
        counts += labels.bincount(minlength=classes)
    target = torch.stack([example.target for example in drawn])
    if classes <= 256 and 0 <= examples.ignore < 256:
        target = target.to(torch.uint8)
    return Batch(torch.stack([example.image for example in drawn]), target, counts)


def check_batch(examples: Examples, batch: int, accumulate: int, processes: int) -> None:
    """Say what is wrong with a size of batches.

    Raises:
        ValueError: the batch is larger than the data, or has fewer images than parts.
    """
    if not len(examples):
        raise ValueError("there is no example to train on: is this the right folder and split?")
    if batch > len(examples):
        raise ValueError(
            f"a batch of {batch} was asked for, but there are {len(examples)} examples: make it {len(examples)} or"
            " smaller (--batch)"
        )
    if accumulate * processes > batch:
        raise ValueError(
            f"a batch of {batch} images cannot be shared by {processes} processes in {accumulate} parts each: make it"
            f" {accumulate * processes} or larger (--batch)"
        )


def batches(
    examples: Examples,
    augmentation: Augmentation,
    *,
    batch: int,
    updates: range,
    seed: int = 0,
    accumulate: int = 1,
    processes: Processes = ALONE,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[list[Batch]]:
    """What this process sees in each update: its share of every part of the batch.

    Args:
        examples: Any data set; with loader processes it has to pickle.
        augmentation: What is drawn for each example.
        batch: Images of an update, over all parts and processes.
        updates: Their numbers.
        seed: The data's.
        accumulate: Parts of a batch.
        processes: Which of those that train together this one is.
        workers: Loader processes, which read ahead; 0 reads when asked. The batches are the same.
        pin: Whether the batches lie in memory that a CUDA device reads from at once.

    Raises:
        ValueError: an example is broken, or a loader process died.
    """
    check_batch(examples, batch, accumulate, processes.count)

    def parts() -> Iterator[Sequence[Place]]:
        for update in updates:
            places = places_of(update, seed=seed, count=len(examples), batch=batch)
            for part in range(accumulate):
                yield share(share(places, part, accumulate), processes.rank, processes.count)

    loaded = _load(_Drawn(examples, augmentation, seed), parts(), workers, pin)
    for _ in updates:
        yield [next(loaded) for _ in range(accumulate)]


def prepared(
    examples: Examples, preparation: Preparation, indices: Sequence[int], *, workers: int = 0, pin: bool = False
) -> Iterator[Example]:
    """These examples as they are evaluated.

    Raises:
        ValueError: an example is broken, or a loader process died.
    """
    return _load(_Prepared(examples, preparation), iter(indices), min(workers, len(indices)), pin)


def _load(dataset: Dataset[Any], keys: Iterator[Any], workers: int, pin: bool) -> Iterator[Any]:
    """What the data set holds under each key, in order."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=_Keys(keys),
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_begin,
        multiprocessing_context=_context() if workers else None,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    with keep_interrupts_back(), warnings.catch_warnings(action="ignore"):  # Ctrl-C is for the process that trains
        try:
            iterator = iter(loader)
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            raise ValueError(
                f"these examples cannot be handed to loader processes ({error}): read them without (--workers 0), or"
                " define them at the top of a module"
            ) from None
    try:
        for item in iterator:
            if isinstance(item, str):
                raise ValueError(item)
            yield item
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ValueError(
            "a loader process died, most often for want of memory (also of shared memory, /dev/shm): use fewer"
            f" loader processes (--workers) or smaller crops; PyTorch says: {str(error).splitlines()[0]}"
        ) from error


class _Keys:
    """Keys that are asked for once, as a sampler."""

    def __init__(self, keys: Iterator[Any]) -> None:
        self.keys = keys

    def __iter__(self) -> Iterator[Any]:
        return self.keys


def _begin(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # PyTorch's own watch looks at the process that forked this one, which here is the server: that would outlive a
    # training that was killed, kept alive by this very process.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _context() -> Any:
    # Forking a process that computes may hang: its threads are not copied, their locks are. A server that never did
    # compute forks instead, quicker than every loader could import PyTorch.
    if sys.platform in ("win32", "darwin"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", __name__])
    return context
