"""The long-range study while it runs: what stands in its table, and in its plain lines.

Before a network is trained the table already says how many of the answers it can see at all. Left out: how it is drawn
(`studies/progress.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from sightline.studies.long_range.evaluation import ceiling
from sightline.studies.long_range.training import Training
from sightline.studies.progress import Column, Progress, Seen, pace_words

TITLE = "Who can answer a question whose answer stands anywhere?"
COLUMNS = (
    *(Column(name, words=name in ("task", "network")) for name in ("task", "digits", "network", "seed", "can see")),
    *(Column(name) for name in ("score", "ceiling", "loss", "steps/s", "left")),
    Column("state", words=True),
)
Fields = Mapping[tuple[str, int, str], tuple[float, float]]  # (task, digits, network) to ceiling and share in the field


def percent(share: float) -> str:
    """A share in whole percents."""
    return f"{share:.0%}"


def fields_of(trainings: Sequence[Training], seen: Mapping[str, Bool[Tensor, "cells_y cells_x h w"]]) -> Fields:
    """What the exact field of every network allows on the test canvases of its task."""
    return {
        (t.task, t.digits, t.network): ceiling(seen[t.network], t.test_canvases(t.budget.test_canvases))[::-1]
        for t in trainings
        if t.seed == 0
    }


def progress_of(trainings: Sequence[Training], out: Path, fields: Fields) -> Progress[Training]:
    """The progress of these trainings, with what each network can see."""

    def field_of(training: Training) -> tuple[float, float]:
        return fields[training.task, training.digits, training.network]

    def cells(training: Training, seen: Seen) -> list[str]:
        ceiling, reach = field_of(training)
        named = [training.task, str(training.digits), training.network, str(training.seed), percent(reach)]
        if seen.row is not None:
            row = seen.row
            numbers = [f"{row['score']:.3f}", f"{ceiling:.3f}", f"{row['loss']:.3f}"]
            return [*named, *numbers, f"{1 / row['seconds_per_step']:.0f}", "", row["verdict"]]
        blind = "" if reach == 1 else f"cannot see {percent(1 - reach)} of the answers; "
        if seen.last is None:
            return [*named, "", f"{ceiling:.3f}", "", "", "", f"{blind}waits"]
        numbers = [f"{seen.last['score']:.3f}", f"{ceiling:.3f}", f"{seen.last['loss']:.3f}"]
        rate, left = f"{seen.rate:.0f}" if seen.rate else "", f"{seen.left:.0f} s" if seen.left else ""
        return [*named, *numbers, rate, left, f"{blind}step {seen.last['step']} of {training.steps}"]

    def line(training: Training, seen: Seen) -> str:
        ceiling, _ = field_of(training)
        if seen.row is not None:
            return f"score {seen.row['score']:.3f}, ceiling {ceiling:.3f}: {seen.row['sentence']}"
        score = "?" if seen.last is None else f"{seen.last['score']:.3f}"
        return f"{pace_words(training, seen)}, score {score}, ceiling {ceiling:.3f}"

    return Progress(trainings, out, title=TITLE, columns=COLUMNS, cells=cells, line=line)


def say_fields(fields: Fields) -> None:
    """Say of each network what it can see, before any training."""
    for (task, digits, network), (highest, reach) in fields.items():
        verb = "can see every answer" if reach == 1 else f"cannot see {percent(1 - reach)} of the answers"
        print(f"{task}, {digits} digits: {network} {verb}, ceiling {highest:.3f}")
