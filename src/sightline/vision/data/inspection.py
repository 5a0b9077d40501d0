"""The data looked at before a training: every file is read, and each that is broken is named in one sentence.

A training that dies in its third hour of one truncated file, or learns from masks one pixel too small, is worse than a
minute of looking. What makes a training wrong or impossible is broken; a class that no image has is a warning.

Left out: whether the labels are right.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sightline.vision.data.class_numbers import ranges
from sightline.vision.data.examples import Examples

SHOWN = 10  # sentences in an error; the others are counted


@dataclass(frozen=True)
class Inspection:
    """What was found."""

    broken: tuple[str, ...]
    """What must be mended, a sentence each, in the order of the examples."""
    warnings: tuple[str, ...]
    """What a person should know."""
    counts: Int64[Tensor, "images k"]
    """How many pixels of each image are of each class (to classify: whether the image is); 0 where it is broken."""
    ignored: Int64[Tensor, "images"]
    """How many pixels of each image do not count."""
    sizes: Int64[Tensor, "images 2"]
    """Height and width of each image in pixels; 0 where it is broken."""
    classes: tuple[str, ...]
    task: str

    def raise_if_broken(self, shown: int = SHOWN) -> None:
        """Refuse to go on with broken data.

        Raises:
            ValueError: something is broken; it has the first `shown` sentences and how many follow.
        """
        if self.broken:
            more = len(self.broken) - shown
            lines = [*self.broken[:shown], *([f"... and {more} more"] if more > 0 else [])]
            found = "1 thing is" if len(self.broken) == 1 else f"{len(self.broken)} things are"
            raise ValueError(f"{found} broken in the data: " + ("\n  " if len(lines) > 1 else "") + ";\n  ".join(lines))

    def __str__(self) -> str:
        """A table for a person: sizes, the share of each class, and what is wrong."""
        whole = self.sizes[self.sizes[:, 0] > 0]
        lines = [f"{len(self.sizes)} images, {len(self.broken)} broken, {len(self.warnings)} warnings"]
        if len(whole):
            (low_y, low_x), (high_y, high_x) = whole.amin(0).tolist(), whole.amax(0).tolist()
            middle_y, middle_x = whole.median(0).values.tolist()
            lines.append(
                f"height {low_y} to {high_y} (median {middle_y}), width {low_x} to {high_x} (median {middle_x})"
            )
        total, width = int(self.counts.sum() + self.ignored.sum()), max((len(name) for name in self.classes), default=0)
        what = "pixels" if self.task == "segment" else "images"
        rows = list(
            zip((*self.classes, "(ignored)"), (*self.counts.sum(0).tolist(), int(self.ignored.sum())), strict=True)
        )
        for name, count in rows[: len(rows) if rows[-1][1] else -1]:
            lines.append(f"  {name:<{max(width, 9)}}  {count / max(total, 1):8.2%} of {what}")
        return "\n".join([*lines, *self.warnings, *self.broken])


def inspect(
    examples: Examples, *, progress: Callable[[int, int], None] | None = None, workers: int | None = None
) -> Inspection:
    """Read every example once and note what is wrong.

    Args:
        examples: any data set. What its `findings` say (files that belong to no other) is broken too; where it has
            `problems(index)`, that is asked what is wrong with an example that cannot be read.
        progress: called with the number of examples read and of all.
        workers: threads that read; None: Python's choice.
    """
    count, k = len(examples), len(examples.classes)
    broken = list(getattr(examples, "findings", ()))
    counts, sizes = torch.zeros(count, k, dtype=torch.int64), torch.zeros(count, 2, dtype=torch.int64)
    ignored = torch.zeros(count, dtype=torch.int64)
    if not count:
        part = getattr(examples, "split", None)
        broken.append(f"there are no images{f' in the part {part!r}' if part else ''}: nothing can be learnt from them")
    with ThreadPoolExecutor(workers) as pool:
        looks = pool.map(lambda index: _look(examples, index), range(count))
        try:
            for index, (wrong, size, classes, ignored_here) in enumerate(looks):
                broken += wrong
                sizes[index] = torch.tensor(size)
                ignored[index] = ignored_here
                if classes is not None:
                    counts[index] = classes
                if progress is not None:
                    progress(index + 1, count)
        except BaseException:  # Ctrl-C first of all: what waits is not read any more
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    warnings = _warnings(examples, counts, ignored)
    return Inspection(tuple(broken), warnings, counts, ignored, sizes, tuple(examples.classes), examples.task)


def _look(examples: Examples, index: int) -> tuple[tuple[str, ...], tuple[int, int], Tensor | None, int]:
    """What is wrong with an example, its height and width, the pixels of each class, and those that do not count."""
    k = len(examples.classes)
    try:
        image, target = examples[index]
    except (ValueError, OSError) as error:
        problems = getattr(examples, "problems", None)
        said = problems(index) if problems is not None else ()
        return tuple(said) or (str(error),), (0, 0), None, 0
    size, name, labels = (image.shape[1], image.shape[2]), examples.name(index), target.numpy()  # see `reading.py`
    if labels.ndim and labels.shape != size:
        return (_sizes_differ(name, size, labels.shape),), (0, 0), None, 0
    counts = labels != examples.ignore if labels.ndim else np.array(True)
    wrong = counts & ((labels < 0) | (labels >= k))
    if wrong.any():
        place = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if labels.ndim else ()
        where = f" at pixel y={place[0]}, x={place[1]}" if place else ""
        return (f"{name} has the class {labels[place]}{where}: there are 0 to {k - 1}",), (0, 0), None, 0
    counted = labels[counts]
    return (), size, torch.from_numpy(np.bincount(counted, minlength=k)), labels.size - counted.size


def _sizes_differ(name: str, image: tuple[int, ...], mask: tuple[int, ...]) -> str:
    return (
        f"{name} is {image[0]} x {image[1]} pixels high and wide, and its mask is "
        f"{' x '.join(map(str, mask))}: they must be of one size"
    )


def _warnings(
    examples: Examples, counts: Int64[Tensor, "images k"], ignored: Int64[Tensor, "images"]
) -> tuple[str, ...]:
    found = []
    what, has = ("pixel", "has a") if examples.task == "segment" else ("image", "is an")
    empty = [index for index, pixels in enumerate(counts.sum(0).tolist()) if not pixels] if len(counts) else []
    split = getattr(examples, "split", None)
    part = f" of the part '{split}'" if isinstance(split, str) else ""
    if len(empty) == 1:
        index = empty[0]
        found.append(f"the class {index} '{examples.classes[index]}' is empty: no image{part} {has} {what} of it")
    elif empty:
        names = ", ".join(f"'{examples.classes[index]}'" for index in empty[:6]) + (" ..." if len(empty) > 6 else "")
        found.append(f"the classes {ranges(empty)} ({names}) are empty: no image{part} {has} {what} of them")
    blank = ((counts.sum(1) == 0) & (ignored > 0)).nonzero().flatten().tolist()
    if blank:
        others = f", and neither do those of {len(blank) - 1} more" if len(blank) > 1 else ""
        found.append(f"the pixels of {examples.name(blank[0])} do not count, none of them{others}")
    return tuple(found)
