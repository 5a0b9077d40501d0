"""The study of receptive fields: growth by layer, 7 x 7 becoming 3 x 3, repairs in theory and in effect, kernels.

Every number of theory is the engine's (`seeing/receptive`), every number of effect that of `seeing/effective`, every
kernel's that of `seeing/kernels`. Nothing needs a download; minutes on one core, nearly all of it training and heats.

Left out: going on with a study that was stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.ops.arguments import choose
from sightline.studies.folder import at_least_one, command_of, machine, versions, write_results
from sightline.studies.receptive_field import first_layer, growth, repairs
from sightline.studies.receptive_field.page import NOISE, PUBLISHED, Shown, write_page
from sightline.studies.receptive_field.pictures import photograph
from sightline.studies.receptive_field.repairs import Measure

SHOWN = 2  # the crop that is drawn: the pagoda's roof
QUICK = Measure(seeds=1, width=12, images=2, draws=1, side=41, depth=6, deepest=8)
QUICK_STEPS = 3


@dataclass(frozen=True)
class ReceptiveField:
    """Settings of the study."""

    out: Path = Path("runs/receptive-field")
    """Folder for the page, results.json and the pictures."""
    seeds: int = 1
    """Random networks of every kind, and trainings of every task, from seeds 0, 1, ..."""
    steps: int = 1200
    """Training steps of every task."""
    tasks: tuple[str, ...] = first_layer.TASKS
    """What first layers are trained at: sparse, rotation, place, denoising."""
    weights: Path | None = None
    """A file of AlexNet's published weights, whose first layer is then shown too."""
    quick: bool = False
    """Tiny settings that show the page in seconds; its numbers mean nothing."""


def check(settings: ReceptiveField) -> None:
    """Refuse what cannot be run, before anything is.

    Raises:
        ValueError: in one sentence.
        FileNotFoundError: there is no file of weights.
    """
    at_least_one(settings, "seeds", "steps")
    for task in settings.tasks:
        choose("task", task, first_layer.TASKS)
    if settings.weights is not None:
        first_layer.published(settings.weights)


def run(settings: ReceptiveField) -> None:
    """Measure, train, draw and write the page; minutes, or seconds with `quick`.

    Raises:
        ValueError: settings that do not fit, or a file that does not hold AlexNet's weights.
        FileNotFoundError: there is no such file.
    """
    check(settings)
    measure = QUICK if settings.quick else Measure(seeds=settings.seeds)
    steps = QUICK_STEPS if settings.quick else settings.steps
    print("growth of stacks, by formula and by engine", flush=True)
    grown, seven = growth.rows(), growth.seven_to_three()
    rows, sights = [], []
    for own, sight in repairs.measure_repairs(measure):
        end = own[-1]
        print(f"{sight.name}: can see {end['size']}, in effect {end['effective']:.1f} pixels", flush=True)
        rows += own
        sights.append(sight)
    law = repairs.measure_law(measure, [row for row in rows if row["network"] == repairs.DEEP])
    learned = train_all(settings, steps, measure.seeds)
    sets = {NOISE: first_layer.noise(0), **{one.task: one.kernels for one in learned if one.seed == 0}}
    if settings.weights is not None:
        sets[PUBLISHED] = first_layer.published(settings.weights)
    results = {
        "study": "receptive-field",
        "command": command_of("receptive-field", settings),
        "versions": versions(),
        "machine": machine(),
        "settings": {
            **asdict(measure),
            "steps": steps,
            "threads": torch.get_num_threads(),
            "kernel": repairs.KERNEL,
            "strides or poolings at layers": list(repairs.DOWN),
            "first layer": f"{first_layer.COUNT} kernels of {first_layer.KERNEL}, stride {first_layer.STRIDE}",
        },
        "growth": grown,
        "seven": seven,
        "repairs": rows,
        "law": law,
        "kernels": kernel_rows(learned, sets, measure.seeds),
        "finished": not settings.quick,
    }
    settings.out.mkdir(parents=True, exist_ok=True)
    write_results(settings.out, results)
    pieces = repairs.crops(measure.images, measure.side)
    print(write_page(settings.out, results, Shown(photograph(pieces[SHOWN % len(pieces)]), sights, sets)))


def train_all(settings: ReceptiveField, steps: int, seeds: int) -> list[first_layer.Learned]:
    """Every task from every seed."""
    found = []
    for task in dict.fromkeys(settings.tasks):
        for seed in range(seeds):
            one = first_layer.train(task, steps, seed)
            oriented = first_layer.measures(one.kernels)["oriented_median"]
            print(f"{task}, seed {seed}: oriented {oriented:.2f}, {one.seconds:.0f} s", flush=True)
            found.append(one)
    return found


def kernel_rows(
    learned: Sequence[first_layer.Learned], sets: Mapping[str, torch.Tensor], seeds: int
) -> list[dict[str, Any]]:
    """One row for each set of kernels, means over seeds, the least noise-like first; then noise."""
    groups: dict[str, list[first_layer.Learned]] = {}
    for one in learned:
        groups.setdefault(one.task, []).append(one)
    found = [_row(task, [first_layer.measures(one.kernels) for one in ones], ones) for task, ones in groups.items()]
    found.sort(key=lambda row: -row["oriented_median"])
    if PUBLISHED in sets:
        found.insert(0, _row(PUBLISHED, [first_layer.measures(sets[PUBLISHED])], []))
    if found:
        found.append(_row(NOISE, [first_layer.measures(first_layer.noise(seed)) for seed in range(seeds)], []))
    return found


def _row(task: str, measured: Sequence[Mapping[str, Any]], ones: Sequence[first_layer.Learned]) -> dict[str, Any]:
    means = {name: float(np.mean([one[name] for one in measured])) for name in measured[0]}
    medians = [one["oriented_median"] for one in measured]
    scores = [one.score for one in ones if one.score is not None]
    return {
        "task": task,
        "seeds": len(measured),
        **means,
        "kernels": measured[0]["kernels"],
        "oriented_median_low": min(medians),
        "oriented_median_high": max(medians),
        "score": float(np.mean(scores)) if scores else None,
        "chance": ones[0].chance if ones else None,
        "seconds": float(np.mean([one.seconds for one in ones])) if ones else None,
    }
