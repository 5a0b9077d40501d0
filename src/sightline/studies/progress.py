"""A study while it trains: a live table on a terminal, plain lines elsewhere, with the time that is left.

A study says which columns it has and what stands in them; how far the trainings are is read from their run folders.
Left out: anything that `results.json` does not hold as well.
"""

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from sightline.run import read_metrics

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 16  # rows of the table; of a longer study those that run, and the last that ended
EVERY = 20.0  # seconds between plain lines


@runtime_checkable
class Trains(Hashable, Protocol):
    """What progress wants to know of a training."""

    @property
    def folder(self) -> Path:
        """Its run folder, below the study's."""

    @property
    def steps(self) -> int:
        """How many steps it has."""

    @property
    def title(self) -> str:
        """Its name in a line of text."""


T = TypeVar("T", bound=Trains)


@dataclass(frozen=True)
class Seen:
    """What is known of a training: its row of results once it ended, its last metrics while it runs."""

    row: Mapping[str, Any] | None
    last: Mapping[str, Any] | None
    rate: float | None  # steps per second
    left: float | None  # seconds


@dataclass(frozen=True)
class Column:
    """A column of the table, and of the plain lines where it has a name there."""

    name: str
    words: bool = False  # set to the left, as words are; numbers to the right


class Progress(Generic[T]):
    """What is known of every training, and how it is shown; `update` reads the run folders.

    `cells` gives the table's row of a training; `line` what a plain line says of it, after its title.
    """

    def __init__(
        self,
        trainings: Sequence[T],
        out: Path,
        *,
        title: str,
        columns: Sequence[Column],
        cells: Callable[[T, Seen], list[str]],
        line: Callable[[T, Seen], str],
    ) -> None:
        self.trainings, self.out, self.title = list(trainings), out, title
        self.columns, self.cells, self.line = columns, cells, line
        self.rows: dict[T, dict[str, Any]] = {}
        self.last: dict[T, dict[str, Any]] = {}
        self.seen_at: dict[T, tuple[float, int]] = {}  # when, and at which step, a run was first seen by this command
        self.begun = time.monotonic()
        self.done_before = 0

    def finish(self, training: T, row: dict[str, Any]) -> None:
        """A training ended with this row of results."""
        self.rows[training] = row

    def update(self) -> None:
        """Read how far the running trainings are."""
        for training in self.trainings:
            if training in self.rows or not (self.out / training.folder).exists():
                continue
            metrics = read_metrics(self.out / training.folder)
            if metrics:
                self.last[training] = metrics[-1]
                self.seen_at.setdefault(training, (time.monotonic(), metrics[-1]["step"]))

    def seen(self, training: T) -> Seen:
        """All that is known of a training."""
        row, last, rate = self.rows.get(training), self.last.get(training), None
        if last is not None and training in self.seen_at:
            begun, step = self.seen_at[training]
            steps, seconds = last["step"] - step, time.monotonic() - begun
            rate = steps / seconds if steps > 0 and seconds > 0 else None
        left = (training.steps - last["step"]) / rate if rate and last is not None else None
        return Seen(row, last, rate, left)

    def left(self) -> float | None:
        """Seconds that the whole study still needs, from the trainings that ended since the command started."""
        done, total = len(self.rows) - self.done_before, len(self.trainings) - self.done_before
        if done < 2:
            return None
        return (time.monotonic() - self.begun) / done * (total - done)

    def caption(self) -> str:
        """How much is done, and what is left."""
        left = self.left()
        rest = ""
        if left:
            rest = f", about {left / 60:.0f} minutes left" if left > 90 else ", nearly done"
        return f"{len(self.rows)} of {len(self.trainings)} trainings done{rest}; Ctrl-C keeps what is done"

    def shown(self) -> list[T]:
        """The trainings that a screen has room for."""
        if len(self.trainings) <= SHOWN:
            return self.trainings
        running = self.running()
        ended = list(self.rows)[-(SHOWN - len(running)) :]
        return [t for t in self.trainings if t in running or t in ended]

    def running(self) -> list[T]:
        """The trainings that have begun and not ended."""
        return [t for t in self.trainings if t in self.last and t not in self.rows]

    def table(self) -> "Table":
        """The table as rich draws it."""
        from rich.table import Table

        table = Table(title=self.title, caption=self.caption())
        for column in self.columns:
            table.add_column(column.name, justify="left" if column.words else "right")
        for training in self.shown():
            table.add_row(*self.cells(training, self.seen(training)))
        return table


@contextmanager
def shown(progress: Progress[Any]) -> Iterator[Callable[[], None]]:
    """Show progress while inside; call what is yielded now and then, and it draws when there is something new."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        yield _Lines(progress)
        return
    from rich.live import Live

    with Live(progress.table(), console=console, refresh_per_second=2) as live:

        def draw() -> None:
            progress.update()
            live.update(progress.table())

        yield draw
        draw()


class _Lines:
    """Plain lines for files and pipes: what ended, and now and then what runs."""

    def __init__(self, progress: Progress[Any]) -> None:
        self.progress, self.told, self.when = progress, set(progress.rows), 0.0
        sys.stdout.flush()

    def __call__(self) -> None:
        progress = self.progress
        progress.update()
        for training in progress.rows:
            if training not in self.told:
                self.told.add(training)
                print(f"{training.title}: {progress.line(training, progress.seen(training))}", flush=True)
        if time.monotonic() - self.when > EVERY:
            self.when = time.monotonic()
            for training in progress.running():
                print(f"  {training.title}: {progress.line(training, progress.seen(training))}", flush=True)
            print(progress.caption(), flush=True)


def pace_words(training: Trains, seen: Seen) -> str:
    """How far a running training is, how fast, and how long it still takes."""
    step = 0 if seen.last is None else seen.last["step"]
    rate = "? steps/s" if seen.rate is None else f"{seen.rate:.0f} steps/s"
    left = "" if seen.left is None else f", {seen.left:.0f} s left"
    return f"step {step} of {training.steps}, {rate}{left}"
