"""The long-range study: which networks can answer a question whose answer stands anywhere in the image?

Ten networks that differ in their context alone learn to recall (`vision/built_in/canvases.py`) with 2, 4 and 8 digits,
and, as a contrast, an easier task that one summary of the image solves. Beside every score stands its ceiling, from the
exact field, and every gap has one of three verdicts (`verdicts.py`). What was measured lies in `results.json`, and
`report.html` shows it.

Left out: other budgets. `--steps` changes that of all networks alike.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.ops.arguments import choose
from sightline.run import stop_on_interrupt
from sightline.studies import field_picture
from sightline.studies.folder import at_least_one, command_of, machine, open_study, versions, write_results
from sightline.studies.long_range import draw_scenes
from sightline.studies.long_range.networks import NETWORKS
from sightline.studies.long_range.page import write_page
from sightline.studies.long_range.scenes import save_scenes
from sightline.studies.long_range.summary import summarise
from sightline.studies.long_range.table import fields_of, progress_of, say_fields
from sightline.studies.long_range.training import Budget, Training
from sightline.studies.long_range.workers import read_row, run_training, write_reaches
from sightline.studies.progress import Progress
from sightline.studies.side_by_side import how_to_go_on, train_side_by_side
from sightline.vision.built_in.canvases import CELL, TASKS

DEMO_NETWORKS = ("global average pooling", "criss-cross R=1", "criss-cross R=2", "non-local")
DEMO_DIGITS = 4
KEY_CLASS_DIGITS = 8  # the contrast is drawn once
NAME = "long-range"
SAME = ("demo", "networks", "tasks", "digits", "steps")  # more seeds or workers are no other study


@dataclass(frozen=True)
class LongRange:
    """Settings of the study; every network gets the same budget."""

    demo: bool = False
    """Four networks that tell the story, four digits, recall alone: minutes instead of an hour."""
    out: Path = Path("runs/long-range")
    """Folder for the page, results.json and one run folder per training."""
    resume: bool = False
    """Go on with what lies in the folder, to the same result."""
    seeds: int = 1
    """Trainings of every network on every task, from seeds 0, 1, ..."""
    networks: tuple[str, ...] = ()
    """Names of networks, in quotes; all where none is given."""
    tasks: tuple[str, ...] = ()
    """recall, key-class; both where none is given."""
    digits: tuple[int, ...] = ()
    """Digits on a recall canvas; 2, 4 and 8 where none is given."""
    steps: int = Budget().steps
    """Training steps of every network."""
    workers: int = 2
    """Trainings side by side, each with one thread."""


def trainings_of(settings: LongRange) -> list[Training]:
    """What is to be trained, in order: all networks once, then the next seed.

    Raises:
        ValueError: an unknown name, or a number that is too small or too large.
    """
    networks = settings.networks or (DEMO_NETWORKS if settings.demo else NETWORKS)
    tasks = settings.tasks or (("recall",) if settings.demo else tuple(TASKS))
    digits = settings.digits or ((DEMO_DIGITS,) if settings.demo else (2, 4, 8))
    for network in networks:
        choose("network", network, NETWORKS)
    for task in tasks:
        choose("task", task, TASKS)
    at_least_one(settings, "seeds", "steps", "workers")
    budget = Budget(steps=settings.steps)
    most = budget.rows * budget.columns - budget.squares
    if any(not 1 <= count <= most for count in digits):
        raise ValueError(f"--digits must lie between 1 and {most}, the cells that squares leave free, got {digits}")
    pairs = [("recall", count) for count in digits if "recall" in tasks]
    pairs += [("key-class", KEY_CLASS_DIGITS)] if "key-class" in tasks else []
    return [
        Training(task, count, network, seed, budget)
        for seed in range(settings.seeds)
        for task, count in _unique(pairs)
        for network in _unique(networks)
    ]


def run(settings: LongRange) -> None:
    """Run the study, or what is left of it; Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end; the checkpoints, results and page of what is there are written.
    """
    trainings = trainings_of(settings)
    out = open_study(settings, SAME)
    print(f"{field_picture.draw(out)}: what each kind of layer can see", flush=True)
    with stop_on_interrupt() as stop:
        seen = write_reaches({training.network: training.budget for training in trainings}, out)
        fields = fields_of(trainings, seen)
        say_fields(fields)
        progress = progress_of(trainings, out, fields)
        finished = train_side_by_side(
            progress,
            stop,
            train=run_training,
            read_row=read_row,
            write=lambda: _write_results(settings, progress, out, finished=False),
            workers=settings.workers,
            resume=settings.resume,
        )
        results = _write_results(settings, progress, out, finished=finished)
        scenes = draw_scenes.draw([t for t in trainings if t in progress.rows], seen, out)
        save_scenes(out / "scenes.npz", scenes)
        page = write_page(out, results, scenes)
    for one in results["summary"]:
        print(f"{one['task']}, {one['digits']} digits, {one['network']}: {one['sentence']}")
    print(f"{page}: {len(progress.rows)} of {len(trainings)} trainings")
    if not finished:
        raise KeyboardInterrupt(how_to_go_on(out))


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _write_results(settings: LongRange, progress: Progress[Training], out: Path, *, finished: bool) -> dict[str, Any]:
    """`results.json` of the rows that are there, in the order of the trainings."""
    rows = [progress.rows[training] for training in progress.trainings if training in progress.rows]
    budget = asdict(progress.trainings[0].budget)
    results = {
        "study": "long-range",
        "command": command_of(NAME, settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            "seeds": settings.seeds,
            "workers": settings.workers,
            "threads of each": 1,
            "cell": CELL,
            **budget,
        },
        "chance": {"recall": 1 / 10, "key-class": 1 / 2},
        "rows": rows,
        "summary": summarise(rows),
        "finished": finished,
    }
    write_results(out, results)
    return results
