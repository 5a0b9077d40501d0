"""How far a loop is, how fast, and how long it takes yet: a bar on a terminal, a line now and then in a log.

Left out: loops whose length is not known.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
EVERY = 10.0  # seconds between two lines where there is no terminal


def counted(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one by one, with progress on standard error; `what` is their name in the plural."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    begun = said = time.monotonic()
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"0 of {len(items)} {what}", total=len(items))
        for number, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            words = progress_words(number, len(items), what, now - begun)
            bar.update(task, completed=number, description=words)
            if not console.is_terminal and now - said >= EVERY:
                said = now
                print(words, file=sys.stderr, flush=True)


def progress_words(done: int, count: int, what: str, seconds: float) -> str:
    """How many of how many, how many a second (or a minute), and the time left at this rate."""
    rate = done / max(seconds, 1e-9)
    speed = f"{rate:.1f} a second" if rate >= 1 else f"{60 * rate:.1f} a minute"
    return f"{done} of {count} {what}, {speed}, {time_words((count - done) / rate)} left"


def time_words(seconds: float) -> str:
    """A duration in the two largest units that it has: `40 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
