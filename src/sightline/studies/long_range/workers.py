"""One row of the long-range study: a training and its evaluation, in a worker process, and the files they leave.

The worker trains, evaluates and writes `result.json` into the run folder; the study reads progress from the run
folders' metrics, and rows from their results. Left out: how the workers are kept (`studies/workers.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.run import read_metrics, write_whole
from sightline.studies.long_range.costs import cost
from sightline.studies.long_range.evaluation import Changes, Evaluation, architecture_reach, evaluate
from sightline.studies.long_range.training import Budget, Training, train
from sightline.studies.long_range.verdicts import judge
from sightline.studies.workers import stopped

RESULT, REACH = "result.json", "reach.npz"


def write_reaches(budgets: Mapping[str, Budget], out: Path) -> dict[str, torch.Tensor]:
    """The exact field of every network, `[cells_y, cells_x, h, w]`, also as a file for the workers."""
    seen = {network: architecture_reach(network, budget) for network, budget in budgets.items()}
    arrays: Any = {network: table.numpy() for network, table in seen.items()}
    with open(out / REACH, "wb") as file:
        np.savez_compressed(file, **arrays)
    return seen


def run_training(training: Training, out: Path, resume: bool) -> bool:
    """Train and evaluate one row of the study in this process; False where it was stopped before the end."""
    network = train(training, out, resume=resume, stop=stopped)
    if network is None:
        return False
    with np.load(out / REACH, allow_pickle=False) as arrays:
        seen = torch.from_numpy(arrays[training.network])
    evaluation = evaluate(network, training, seen)
    costs = out / cost_file(training)
    if not costs.exists():  # the same for every seed, and it takes seconds
        costs.parent.mkdir(exist_ok=True)
        write_whole(costs, json.dumps(asdict(cost(training)), indent=2) + "\n")
    write_whole(out / training.folder / RESULT, json.dumps(asdict(evaluation), indent=2) + "\n")
    return True


def cost_file(training: Training) -> Path:
    """Where the costs of a network lie below the study's folder."""
    return Path("costs") / f"{training.task}-{training.slug}.json"


def read_evaluation(training: Training, out: Path) -> Evaluation | None:
    """What a finished training was found to do; None where it is not finished."""
    path = out / training.folder / RESULT
    if not path.exists():
        return None
    numbers = json.loads(path.read_text())
    return Evaluation(**{**numbers, "tested": Changes(**numbers["tested"])})


def read_row(training: Training, out: Path) -> dict[str, Any] | None:
    """The row of `results.json` for one training, from its folder; None where it is not finished."""
    evaluation = read_evaluation(training, out)
    if evaluation is None:
        return None
    curve = read_metrics(out / training.folder)
    verdict = judge(evaluation)
    return {
        "task": training.task,
        "digits": training.digits,
        "network": training.network,
        "seed": training.seed,
        "loss": curve[-1]["loss"],
        "steps": curve[-1]["step"],
        "seconds": curve[-1]["seconds"],
        "seconds_per_step": curve[-1]["seconds"] / curve[-1]["step"],
        **asdict(evaluation),
        **json.loads((out / cost_file(training)).read_text()),
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "curve": curve,
    }
