"""Every training of a study that is not done yet, side by side, shown while it runs; Ctrl-C ends it after a checkpoint.

Left out: what a training is, and what it leaves (each study's own).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sightline.run import Stop
from sightline.studies.progress import Progress, Trains, shown
from sightline.studies.workers import open_workers

T = TypeVar("T", bound=Trains)


def train_side_by_side(
    progress: Progress[T],
    stop: Stop,
    *,
    train: Callable[[T, Path, bool], bool],
    read_row: Callable[[T, Path], dict[str, Any] | None],
    write: Callable[[], object],
    workers: int,
    resume: bool,
) -> bool:
    """Run `train(training, out, resume)` in worker processes for all that have no row yet; whether all have one now.

    `read_row` gives the row of a training that is done; `write` is called whenever one was.
    """

    def finish(training: T) -> None:
        row = read_row(training, progress.out)
        if row is not None:
            progress.finish(training, row)

    for training in progress.trainings:
        finish(training)
    progress.done_before = len(progress.rows)
    left = [training for training in progress.trainings if training not in progress.rows]
    with open_workers(workers) as pool, shown(progress) as draw:
        pool.start(train, left, progress.out, resume)
        while pool.busy and not stop.requested:
            for training in pool.finished(timeout=0.5):
                finish(training)
                write()
            draw()
    return len(progress.rows) == len(progress.trainings)


def how_to_go_on(out: Path) -> str:
    """What a study says that was stopped."""
    return f"stopped; what was done is kept in {out}, and the same command with --resume goes on from there"
