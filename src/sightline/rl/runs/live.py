"""An agent while it learns: one live line on a terminal, plain lines elsewhere.

Left out: anything that `metrics.jsonl` does not hold as well.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sightline.run.progress import time_words

EVERY = 5.0  # seconds between plain lines


class Line:
    """What is known so far, as words."""

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.clock = steps, clock
        self.begun = clock()
        self.first: int | None = None  # steps before the first row: a resumed run has some behind it

    def words(self, row: Mapping[str, float | int]) -> str:
        """The line after an update."""
        done = int(row["steps"])
        gone = self.clock() - self.begun
        if self.first is None:  # its own update took the time since the beginning
            self.first = max(done - round(row["steps_per_second"] * gone), 0)
        said = [f"step {done} of {self.steps}"]
        if math.isfinite(row["return_mean"]):
            said.append(f"return {row['return_mean']:.4g}")
        if "evaluation_mean" in row:
            said.append(f"evaluated {row['evaluation_mean']:.4g}")
        rate = (done - self.first) / max(gone, 1e-9)
        said.append(f"{rate:.0f} steps a second")
        if done < self.steps and rate > 0:
            said.append(f"{time_words((self.steps - done) / rate)} left")
        return ", ".join(said)


@contextmanager
def live(steps: int) -> Iterator[Callable[[Mapping[str, float | int]], None]]:
    """Call what is yielded with every row; it shows what is new."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console, line = Console(), Line(steps)
    said = -math.inf
    if not console.is_terminal:

        def write(row: Mapping[str, float | int]) -> None:
            nonlocal said
            words = line.words(row)
            if time.monotonic() - said >= EVERY or row["steps"] >= steps:
                said = time.monotonic()
                print(words, flush=True)

        yield write
        return
    with Progress(BarColumn(bar_width=24), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("the first rollout", total=steps)
        yield lambda row: bar.update(task, completed=min(row["steps"], steps), description=line.words(row))
