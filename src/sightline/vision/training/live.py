"""A training while it runs, and the look at the data before: one live line on a terminal, plain lines elsewhere.

Left out: anything that `metrics.jsonl` does not hold as well.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sightline.run.progress import progress_words, time_words

SHOWN = {"loss": ("loss", ".3f"), "mean_iou": ("mean IoU", ".3f"), "top1": ("accuracy", ".3f")}


class Line:
    """What is known so far, as words."""

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.clock = steps, clock
        self.begun = clock()
        self.first: int | None = None  # the step before the first that is shown: a resumed run has some behind it
        self.known: dict[str, float | int] = {}

    def words(self, step: int, row: Mapping[str, float | int] | None) -> str:
        """The line after a step, whose row may be new."""
        self.known |= {} if row is None else row
        self.first = step - 1 if self.first is None else self.first
        said = [f"step {step} of {self.steps}"]
        said += [f"{name} {self.known[key]:{form}}" for key, (name, form) in SHOWN.items() if key in self.known]
        if "images_per_second" in self.known:
            said.append(f"{self.known['images_per_second']:.1f} images a second")
        if step < self.steps:
            left = (self.clock() - self.begun) / (step - self.first) * (self.steps - step)
            said.append(f"{time_words(left)} left")
        return ", ".join(said)


@contextmanager
def live(steps: int) -> Iterator[Callable[[int, Mapping[str, float | int] | None], None]]:
    """Call what is yielded after every step; it shows what is new."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console, line = Console(), Line(steps)
    if not console.is_terminal:

        def write(step: int, row: Mapping[str, float | int] | None) -> None:
            words = line.words(step, row)
            if row is not None:
                print(words, flush=True)

        yield write
        return
    with Progress(BarColumn(bar_width=24), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("the first step", total=steps)
        yield lambda step, row: bar.update(task, completed=step, description=line.words(step, row))


@contextmanager
def looking() -> Iterator[Callable[[int, int], None]]:
    """Call what is yielded with how many of how many examples were looked at; on a terminal it shows a bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console, begun = Console(), time.monotonic()
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at the data", total=None)

        def show(done: int, count: int) -> None:
            words = progress_words(done, count, "images looked at", time.monotonic() - begun)
            bar.update(task, completed=done, total=count, description=words)

        yield show
