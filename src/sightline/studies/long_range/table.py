"""The long-range study while it runs: a live table on a terminal, plain lines elsewhere.

Before a network is trained the table already says how many of the answers it can see at all. Left out: anything that
`results.json` does not hold as well.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.run import read_metrics
from sightline.studies.long_range.training import Training

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 16  # rows of the table; of a longer study those that run, and the last that ended
EVERY = 20.0  # seconds between plain lines


def percent(share: float) -> str:
    """A share in whole percents."""
    return f"{share:.0%}"


class Progress:
    """What is known of every training, and how it is shown; `update` reads the run folders."""

    def __init__(
        self, trainings: Sequence[Training], out: Path, fields: Mapping[tuple[str, int, str], tuple[float, float]]
    ):
        self.trainings, self.out, self.fields = list(trainings), out, fields
        self.rows: dict[Training, dict[str, Any]] = {}
        self.last: dict[Training, dict[str, Any]] = {}
        self.seen_at: dict[
            Training, tuple[float, int]
        ] = {}  # when a run was first seen since the command started, at which step
        self.begun = time.monotonic()
        self.done_before = 0

    def finish(self, training: Training, row: dict[str, Any]) -> None:
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

    def rate(self, training: Training) -> float | None:
        """Steps per second of a running training since it was first seen."""
        if training not in self.seen_at or training not in self.last:
            return None
        begun, step = self.seen_at[training]
        steps, seconds = self.last[training]["step"] - step, time.monotonic() - begun
        return steps / seconds if steps > 0 and seconds > 0 else None

    def line(self, training: Training) -> list[str]:
        """One row of the table."""
        ceiling, reach = self.fields[training.task, training.digits, training.network]
        named = [training.task, str(training.digits), training.network, str(training.seed), percent(reach)]
        row, last, rate = self.rows.get(training), self.last.get(training), self.rate(training)
        if row is not None:
            numbers = [f"{row['score']:.3f}", f"{ceiling:.3f}", f"{row['loss']:.3f}"]
            return [*named, *numbers, f"{1 / row['seconds_per_step']:.0f}", "", row["verdict"]]
        if last is None:
            waiting = "waits" if reach == 1 else f"cannot see {percent(1 - reach)} of the answers; waits"
            return [*named, "", f"{ceiling:.3f}", "", "", "", waiting]
        left = (training.budget.steps - last["step"]) / rate if rate else None
        state = f"step {last['step']} of {training.budget.steps}"
        if reach < 1:
            state = f"cannot see {percent(1 - reach)} of the answers; {state}"
        numbers = [f"{last['score']:.3f}", f"{ceiling:.3f}", f"{last['loss']:.3f}", f"{rate:.0f}" if rate else ""]
        return [*named, *numbers, f"{left:.0f} s" if left is not None else "", state]

    def left(self) -> float | None:
        """Seconds that the whole study still needs, from the trainings that ended since the command started."""
        done, total = len(self.rows) - self.done_before, len(self.trainings) - self.done_before
        if done < 2:
            return None
        return (time.monotonic() - self.begun) / done * (total - done)

    def caption(self) -> str:
        """How much is done, and what is left."""
        left = self.left()
        rest = (
            ""
            if left is None or not left
            else f", about {left / 60:.0f} minutes left"
            if left > 90
            else ", nearly done"
        )
        return f"{len(self.rows)} of {len(self.trainings)} trainings done{rest}; Ctrl-C keeps what is done"

    def shown(self) -> list[Training]:
        """The trainings that a screen has room for."""
        if len(self.trainings) <= SHOWN:
            return self.trainings
        running = [t for t in self.trainings if t in self.last and t not in self.rows]
        ended = list(self.rows)[-(SHOWN - len(running)) :]
        return [t for t in self.trainings if t in running or t in ended]

    def table(self) -> "Table":
        """The table as rich draws it."""
        from rich.table import Table

        table = Table(title="Who can answer a question whose answer stands anywhere?", caption=self.caption())
        for name in (
            "task",
            "digits",
            "network",
            "seed",
            "can see",
            "score",
            "ceiling",
            "loss",
            "steps/s",
            "left",
            "state",
        ):
            table.add_column(name, justify="left" if name in ("task", "network", "state") else "right")
        for training in self.shown():
            table.add_row(*self.line(training))
        return table


@contextmanager
def shown(progress: Progress) -> Iterator[Any]:
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
    """Plain lines for files and pipes: what each can see, what ended, and now and then what runs."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.told, self.when = progress, set(progress.rows), 0.0
        for (task, digits, network), (ceiling, reach) in progress.fields.items():
            verb = "can see every answer" if reach == 1 else f"cannot see {percent(1 - reach)} of the answers"
            print(f"{task}, {digits} digits: {network} {verb}, ceiling {ceiling:.3f}")
        sys.stdout.flush()

    def __call__(self) -> None:
        self.progress.update()
        for training, row in self.progress.rows.items():
            if training not in self.told:
                self.told.add(training)
                name = f"{training.task}, {training.digits} digits, {training.network}, seed {training.seed}"
                print(f"{name}: score {row['score']:.3f}, ceiling {row['ceiling']:.3f}: {row['sentence']}", flush=True)
        if time.monotonic() - self.when > EVERY:
            self.when = time.monotonic()
            running = [t for t in self.progress.trainings if t in self.progress.last and t not in self.progress.rows]
            for training in running:
                *named, _, score, ceiling, loss, rate, left, state = self.progress.line(training)
                numbers = f"score {score}, ceiling {ceiling}, loss {loss}"
                print(
                    f"  {', '.join(named)}: {state}, {numbers}, {rate or '?'} steps/s, {left or '?'} left", flush=True
                )
            print(self.progress.caption(), flush=True)
