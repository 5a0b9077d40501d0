"""The position study: how does a network come to know where, and does it still know at sizes it was never trained at?

Small Vision Transformers that differ in their encoding of positions alone learn a task that asks for places in three
senses (`grids.py`), at one size, and are tested at others; small causal transformers do the like on sequences up to
four times the training length (`sequences.py`). Beside the scores stands what each encoding can know at all, found
exactly by putting the patches in another order (`knows.py`).

Left out: other budgets. `--steps` changes that of all schemes alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.ops.arguments import choose
from sightline.run import stop_on_interrupt
from sightline.studies.folder import at_least_one, command_of, machine, open_study, versions, write_results
from sightline.studies.positions import grids, schemes, sequences
from sightline.studies.positions.knows import knows
from sightline.studies.positions.page import write_page
from sightline.studies.positions.training import TASKS, Budget, Training, read_rows, run_training, served_by
from sightline.studies.progress import Column, Progress, Seen, pace_words
from sightline.studies.side_by_side import how_to_go_on, train_side_by_side

SAME = ("tasks", "images", "sequences", "steps")  # more seeds or workers are no other study
COLUMNS = (*(Column(name, words=True) for name in ("task", "scheme", "seed", "state")), Column("loss"))
MARKS = {  # what each kind of question is scored at when nothing about where is known, in words
    "left": "the digit in the cell to the left",
    "row": "the red digit of the row",
    "quadrant": "the quadrant of the image",
    "back": f"the token {sequences.BACK} places before",
    "first": "the first token",
}


@dataclass(frozen=True)
class Positions:
    """Settings of the study; every scheme gets the same budget."""

    out: Path = Path("runs/positions")
    """Folder for the page, results.json and one run folder per training."""
    resume: bool = False
    """Go on with what lies in the folder, to the same result."""
    seeds: int = 1
    """Trainings of every scheme, from seeds 0, 1, ..."""
    tasks: tuple[str, ...] = ()
    """image, sequence; both where none is given."""
    images: tuple[str, ...] = ()
    """Names of schemes for images, in quotes; all where none is given."""
    sequences: tuple[str, ...] = ()
    """Names of schemes for sequences, in quotes; all where none is given."""
    steps: int = Budget().steps
    """Training steps of every scheme."""
    workers: int = 2
    """Trainings side by side, each with one thread."""


def trainings_of(settings: Positions) -> list[Training]:
    """What is to be trained, in order: all schemes once, then the next seed.

    Raises:
        ValueError: an unknown name, or a number that is too small.
    """
    at_least_one(settings, "seeds", "steps", "workers")
    tasks = [choose("task", task, TASKS) for task in settings.tasks or TASKS]
    wanted = {
        "image": [choose("scheme for images", name, schemes.SCHEMES) for name in settings.images or schemes.SCHEMES],
        "sequence": [
            choose("scheme for sequences", name, sequences.SCHEMES) for name in settings.sequences or sequences.SCHEMES
        ],
    }
    budget = Budget(steps=settings.steps)
    every = [
        Training(task, schemes.TRAINED_AS.get(scheme, scheme) if task == "image" else scheme, seed, budget)
        for seed in range(settings.seeds)
        for task in tasks
        for scheme in wanted[task]
    ]
    return list(dict.fromkeys(every))


def run(settings: Positions) -> None:
    """Run the study, or what is left of it; Ctrl-C keeps what is done.

    Raises:
        ValueError: settings that do not fit, or another study in the folder.
        FileExistsError: the folder holds a study, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end; the checkpoints, results and page of what is there are written.
    """
    trainings = trainings_of(settings)
    out = open_study(settings, SAME)
    with stop_on_interrupt() as stop:
        known = what_is_known(trainings)
        for one in known:
            print(f"{one['scheme']}: can know {one['words']}")
        progress = Progress(trainings, out, title="Who knows where?", columns=COLUMNS, cells=_cells, line=_line)
        finished = train_side_by_side(
            progress,
            stop,
            train=run_training,
            read_row=read_row,
            write=lambda: write_results(out, results_of(settings, progress, known, finished=False)),
            workers=settings.workers,
            resume=settings.resume,
        )
        results = results_of(settings, progress, known, finished=finished)
        write_results(out, results)
        page = write_page(out, results, [t for t in trainings if t in progress.rows])
    print(f"{page}: {len(progress.rows)} of {len(trainings)} trainings")
    if not finished:
        raise KeyboardInterrupt(how_to_go_on(out))


def what_is_known(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """What every scheme for images among these could know, by reordering the patches in float64."""
    names = [name for t in trainings if t.task == "image" and t.seed == 0 for name in served_by(t.scheme, t.task)]
    found = []
    for scheme in [name for name in schemes.SCHEMES if name in names]:
        one = knows(scheme)
        found.append({"scheme": scheme, **asdict(one), "words": one.words})
    return found


def read_row(training: Training, out: Path) -> dict[str, Any] | None:
    """All rows that one training gives, as progress keeps them; None where it is not finished."""
    rows = read_rows(training, out)
    return None if rows is None else {"rows": rows}


def _cells(training: Training, seen: Seen) -> list[str]:
    named = [training.task, training.scheme, str(training.seed)]
    if seen.row is not None:
        return [*named, _score_words(seen.row["rows"][0], training), f"{seen.row['rows'][0]['loss']:.3f}"]
    if seen.last is None:
        return [*named, "waits", ""]
    return [*named, pace_words(training, seen), f"{seen.last['loss']:.3f}"]


def _line(training: Training, seen: Seen) -> str:
    if seen.row is not None:
        return _score_words(seen.row["rows"][0], training)
    loss = "" if seen.last is None else f", loss {seen.last['loss']:.3f}"
    return pace_words(training, seen) + loss


def _score_words(row: Mapping[str, Any], training: Training) -> str:
    """The scores at the size of training, or at the first that was tested."""
    tests = {tuple(test["size"]): test for test in row["tests"]}
    here = tests.get(training.size, row["tests"][0])
    return ", ".join(f"{name} {value:.2f}" for name, value in here["scores"].items())


def results_of(
    settings: Positions, progress: Progress[Training], known: Sequence[Mapping[str, Any]], *, finished: bool
) -> dict[str, Any]:
    """What `results.json` holds, rows in the order of the trainings."""
    rows = [
        row
        for training in progress.trainings
        if training in progress.rows
        for row in progress.rows[training]["rows"]
        if not settings.images or training.task != "image" or row["scheme"] in settings.images
    ]
    budget = progress.trainings[0].budget
    tasks = {training.task for training in progress.trainings}
    return {
        "study": "positions",
        "command": command_of("positions", settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            "seeds": settings.seeds,
            "workers": settings.workers,
            "threads of each": 1,
            "image network": f"width {schemes.WIDTH}, {schemes.DEPTH} blocks, {schemes.HEADS} heads",
            "sequence network": f"width {sequences.WIDTH}, {sequences.DEPTH} blocks, {sequences.HEADS} heads",
            **asdict(budget),
        },
        "questions": MARKS,
        "chance": {**grids.CHANCE, **dict.fromkeys(sequences.QUESTIONS, 1 / sequences.VOCABULARY)},
        "without_where": ceilings(budget) if "image" in tasks else [],
        "knows": list(known),
        "rows": rows,
        "summary": summarise(rows),
        "finished": finished,
    }


def ceilings(budget: Budget) -> list[dict[str, Any]]:
    """For each test size, the best scores of who does not know where, on those very canvases."""
    import torch

    from sightline.studies.positions.training import TEST_SEED

    found = []
    for size in budget.test_cells:
        drawn = grids.draw(budget.test_canvases, size, "test", torch.Generator().manual_seed(TEST_SEED))
        found.append({"size": list(size), "scores": {kind: grids.ceiling(drawn, kind) for kind in grids.QUESTIONS}})
    return found


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows summed up over seeds: for each task and scheme, the scores at every size with their spread."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["scheme"]), []).append(row)
    found = []
    for (task, scheme), group in groups.items():
        tests = []
        for place, test in enumerate(group[0]["tests"]):
            scores = {}
            for kind in test["scores"]:
                values = [row["tests"][place]["scores"][kind] for row in group]
                scores[kind] = {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}
            tests.append({"size": test["size"], "scores": scores})
        found.append(
            {
                "task": task,
                "scheme": scheme,
                "seeds": len(group),
                "parameters": group[0]["parameters"],
                "seconds": sum(row["seconds"] for row in group) / len(group),
                "tests": tests,
            }
        )
    return found
