"""The recurrence study: criss-cross attention with R = 0, 1, 2 and 3 passes of shared weights (Huang et al., 2019,
https://arxiv.org/abs/1811.11721, section 3.3) on one backbone, with equal steps.

The task is the recall of the long-range study (`vision/built_in/canvases.py`): every square is segmented with the class
of the digit that has its colour, anywhere on the canvas. Stem, head, width, budget and test are that study's too, so
that the number of passes is all that differs; R = 0 has no attention.

Left out: other attention (`long_range/`); the published head, whose 3 x 3 convolutions widen the cross, so that one
pass half sees a map of this size (its field is given beside).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.run import stop_on_interrupt, write_whole
from sightline.run.checkpoint import load_weights
from sightline.studies.folder import at_least_one, command_of, machine, open_study, versions, write_results
from sightline.studies.long_range import draw_scenes
from sightline.studies.long_range.networks import RecallNetwork
from sightline.studies.long_range.scenes import save_scenes
from sightline.studies.long_range.summary import summarise
from sightline.studies.long_range.table import fields_of, progress_of, say_fields
from sightline.studies.long_range.training import Budget, Training
from sightline.studies.long_range.workers import read_row, run_training, write_reaches
from sightline.studies.progress import Progress
from sightline.studies.recurrence.page import write_page
from sightline.studies.recurrence.sight import architecture, arrivals, cells_agree, passes_of, sight
from sightline.studies.side_by_side import how_to_go_on, train_side_by_side
from sightline.vision.built_in.canvases import CELL

MOST = 3
SIGHT = "sight.json"
MEANS = (
    *("on_cross", "off_cross", "asked_on_cross", "look_on_cross", "look_off_cross"),
    *("arrive_on_cross", "arrive_off_cross", "mean_iou"),
)  # over seeds
SAME = ("passes", "digits", "steps")  # more seeds or workers are no other study


@dataclass(frozen=True)
class Recurrence:
    """Settings of the study; every number of passes gets the same budget."""

    out: Path = Path("runs/recurrence")
    """Folder for the page, results.json and one run folder per training."""
    resume: bool = False
    """Go on with what lies in the folder, to the same result."""
    seeds: int = 1
    """Trainings of every number of passes, from seeds 0, 1, ..."""
    passes: tuple[int, ...] = (0, 1, 2, 3)
    """Numbers of passes, R in the paper."""
    digits: int = 4
    """Digits on a canvas, each of which may be asked for."""
    steps: int = Budget().steps
    """Training steps of each."""
    workers: int = 2
    """Trainings side by side, each with one thread."""


def trainings_of(settings: Recurrence) -> list[Training]:
    """What is to be trained, in order: all numbers of passes once, then the next seed.

    Raises:
        ValueError: a number that is too small or too large.
    """
    at_least_one(settings, "seeds", "steps", "workers")
    if not settings.passes or any(not 0 <= passes <= MOST for passes in settings.passes):
        raise ValueError(f"--passes must lie between 0 and {MOST}, got {' '.join(map(str, settings.passes)) or 'none'}")
    budget = Budget(steps=settings.steps)
    most = budget.rows * budget.columns - budget.squares
    if not 1 <= settings.digits <= most:
        raise ValueError(
            f"--digits must lie between 1 and {most}, the cells that squares leave free, got {settings.digits}"
        )
    return [
        Training("recall", settings.digits, f"criss-cross R={passes}", seed, budget)
        for seed in range(settings.seeds)
        for passes in sorted(set(settings.passes))
    ]


def run(settings: Recurrence) -> None:
    """Run the study, or what is left of it; Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end; the checkpoints, results and page of what is there are written.
    """
    trainings = trainings_of(settings)
    out = open_study(settings, SAME)
    with stop_on_interrupt() as stop:
        seen = write_reaches({training.network: training.budget for training in trainings}, out)
        fields = fields_of(trainings, seen)
        say_fields(fields)
        budget = trainings[0].budget
        cells = (budget.rows, budget.columns)
        architectures = {
            network: {
                **architecture(passes_of(network), cells, (budget.rows // 2, budget.columns // 3)),
                "found_bit_by_bit": cells_agree(table, passes_of(network), cells),
            }
            for network, table in seen.items()
        }
        progress = progress_of(trainings, out, fields)
        finished = train_side_by_side(
            progress,
            stop,
            train=run_one,
            read_row=read_one,
            write=lambda: write_results(out, results_of(settings, progress, architectures, finished=False)),
            workers=settings.workers,
            resume=settings.resume,
        )
        results = results_of(settings, progress, architectures, finished=finished)
        write_results(out, results)
        scenes = draw_scenes.draw([t for t in trainings if t in progress.rows], seen, out, look=arrivals)
        save_scenes(out / "scenes.npz", scenes)
        page = write_page(out, results, scenes)
    for one in results["summary"]:
        print(f"{one['network']}: {one['sentence']}")
    print(f"{page}: {len(progress.rows)} of {len(trainings)} trainings")
    if not finished:
        raise KeyboardInterrupt(how_to_go_on(out))


def run_one(training: Training, out: Path, resume: bool) -> bool:
    """Train, evaluate and ask for the sight of one network, in a worker process; False where it was stopped."""
    if not (out / training.folder / "result.json").exists() and not run_training(training, out, resume):
        return False
    network = RecallNetwork(**training.network_arguments())
    load_weights(out / training.folder, network)
    write_whole(out / training.folder / SIGHT, json.dumps(asdict(sight(network, training)), indent=2) + "\n")
    return True


def read_one(training: Training, out: Path) -> dict[str, Any] | None:
    """The row of one training, from its folder; None where it is not finished."""
    path = out / training.folder / SIGHT
    row = read_row(training, out)
    if row is None or not path.exists():
        return None
    return {"passes": passes_of(training.network), **row, **json.loads(path.read_text())}


def results_of(
    settings: Recurrence, progress: Progress[Training], fields: Mapping[str, Mapping[str, Any]], *, finished: bool
) -> dict[str, Any]:
    """What `results.json` holds, rows in the order of the trainings."""
    rows = [progress.rows[training] for training in progress.trainings if training in progress.rows]
    summary = []
    for one in summarise(rows):
        group = [row for row in rows if row["network"] == one["network"]]
        means = {name: _mean([row[name] for row in group]) for name in MEANS}
        summary.append({"passes": passes_of(one["network"]), **one, **means, **fields[one["network"]]})
    return {
        "study": "recurrence",
        "command": command_of("recurrence", settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            "seeds": settings.seeds,
            "digits": settings.digits,
            "workers": settings.workers,
            "threads of each": 1,
            "cell": CELL,
            **asdict(progress.trainings[0].budget),
        },
        "chance": 1 / 10,
        "rows": rows,
        "summary": summary,
        "finished": finished,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
