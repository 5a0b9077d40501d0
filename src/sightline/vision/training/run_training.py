"""What `sightline train` does: look at the data, open the run folder, train, say how it went and where it lies.

Left out: the loop itself (`loop.py`).
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightline.ops.arguments import choose
from sightline.run.checkpoint import has_checkpoint
from sightline.run.config import read_config
from sightline.run.device import choose_device, seed_everything
from sightline.run.folder import open_run, read_metrics
from sightline.run.processes import by_the_first, local_device, open_processes, processes
from sightline.run.stop import stop_on_interrupt
from sightline.run.tensorboard import write_events
from sightline.vision.augmentation.augment import IMAGENET_MEAN, IMAGENET_STD
from sightline.vision.augmentation.prepare import needed_multiple
from sightline.vision.data.examples import Examples
from sightline.vision.data.inspection import Inspection, inspect
from sightline.vision.measures.class_weights import class_weights
from sightline.vision.training.batches import check_batch
from sightline.vision.training.build import build_network, open_data
from sightline.vision.training.live import live, looking
from sightline.vision.training.loop import Data, Every, Row, fit
from sightline.vision.training.settings import (
    WEIGHINGS,
    TrainClassify,
    TrainSegment,
    augmentation_of,
    crop_of,
    preparation_of,
    recipe_of,
)
from sightline.vision.training.train import Learner

Settings = TrainSegment | TrainClassify
NAMES = {
    "mean_iou": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "top1": "accuracy",
    "top5": "among the best five",
    "best": "the best so far",
}


def run_training(settings: Settings) -> None:
    """Train as the settings say, in their run folder; alone or as one of the processes that torchrun started.

    Raises:
        ValueError: a setting, the data or the run in the folder does not fit; one sentence says which and what to do.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    with open_processes() as me:
        ended, step = _train(settings)
        if not ended:
            if not me.writes:  # one process says it
                raise SystemExit(130)
            raise KeyboardInterrupt(
                f"stopped after step {step} of {settings.steps}; the same command with --resume goes on from there"
            )
        if me.writes:
            _finish(settings)


def _train(settings: Settings) -> tuple[bool, int]:
    """Everything up to the last checkpoint: whether the end was reached, and the step."""
    task = "segment" if isinstance(settings, TrainSegment) else "classify"
    device = choose_device(local_device(settings.device))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    examples, other = _data(settings, task)
    check_batch(examples, settings.batch, settings.accumulate, processes().count)
    weights = _look(settings, examples, other)
    crop = crop_of(settings, examples)
    recipe = recipe_of(settings, crop, weights)
    seed_everything(settings.seed)
    described, network = _network(settings, task, len(examples.classes), crop)
    ignore = examples.ignore
    augmentation = augmentation_of(settings, crop, ignore)
    config = {
        "model": described,
        "task": task,
        "classes": examples.classes,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "size": crop,
        "ignore": ignore,
        "recipe": recipe,
        "augmentation": augmentation,
        "data": {"data": settings.data, "layout": settings.layout, "val": settings.val, "examples": len(examples)},
        "weights": settings.weights,
        "seed": settings.seed,
    }
    learner = Learner(
        network, recipe, task=task, classes=len(examples.classes), ignore=ignore, device=device, seed=settings.seed
    )
    if settings.tensorboard:
        by_the_first(lambda: write_events(settings.out))  # now, so that it is not missed at the end
    by_the_first(lambda: open_run(settings.out, config, resume=settings.resume))
    preparation = preparation_of(task, crop, needed_multiple(network), ignore)
    every = Every(settings.report_every, settings.evaluate_every, settings.save_every)
    with stop_on_interrupt(repeated=processes().count > 1) as stop, _shown(settings) as show:
        ended = fit(
            learner,
            Data(examples, augmentation, other, preparation),
            settings.out,
            every=every,
            workers=settings.workers,
            stop=lambda: stop.requested,
            show=show,
        )
    return ended, learner.step


@contextlib.contextmanager
def _shown(settings: Settings) -> Iterator[Callable[[int, Row | None], None]]:
    """What is told of every step: by the first process alone."""
    if not processes().writes:
        yield lambda step, row: None
        return
    with live(settings.steps) as line:

        def show(step: int, row: Row | None) -> None:
            line(step, row)
            if settings.tensorboard and row is not None and "best" in row:
                write_events(settings.out)

        yield show


def _data(settings: Settings, task: str) -> tuple[Examples, Examples | None]:
    """What is trained on, and what is evaluated."""
    ignore = settings.ignore if isinstance(settings, TrainSegment) else 255

    def part(split: str) -> Examples:
        return open_data(
            settings.data,
            split,
            task=task,
            layout=settings.layout,
            classes=settings.classes,
            ignore=ignore,
            trust=settings.trust,
        )

    examples = part("train")
    other = part(settings.val) if settings.val else None
    if other is not None and tuple(other.classes) != tuple(examples.classes):
        raise ValueError(
            f"the part '{settings.val}' has the classes {', '.join(other.classes)} where the one to train on has"
            f" {', '.join(examples.classes)}: give the names of all classes (--classes)"
        )
    return examples, other


def _look(settings: Settings, examples: Examples, other: Examples | None) -> tuple[float, ...] | None:
    """Check the data, and weigh its classes if that was asked for; a run that goes on has been through it."""
    how = choose("way to weigh classes (--class-weights)", settings.class_weights, WEIGHINGS)
    if settings.resume and has_checkpoint(settings.out):
        weights = read_config(settings.out)["recipe"]["arguments"]["losses"]["arguments"]["class_weights"]
        if how == "none" or weights is not None:
            return None if how == "none" else tuple(weights)
    if not settings.check and how == "none":
        return None

    def look() -> tuple[float, ...] | None:
        counts = _checked(examples).counts
        if settings.check and other is not None:
            _checked(other)
        # A class that has no pixel has no part in the loss, whatever it weighs.
        return None if how == "none" else tuple(class_weights(counts, how, absent=0.0).tolist())

    return by_the_first(look)


def _checked(examples: Examples) -> Inspection:
    """Every example looked at, warnings said."""
    print(examples)
    with looking() as show:
        inspection = inspect(examples, progress=show)
    inspection.raise_if_broken()
    for warning in inspection.warnings:
        print(f"mind: {warning}")
    return inspection


def _network(settings: Settings, task: str, classes: int, crop: tuple[int, int]) -> tuple[dict[str, Any], nn.Module]:
    """The network at its start, and its entry in the config."""
    factor = settings.auxiliary if isinstance(settings, TrainSegment) else None
    described, network = build_network(
        task,
        settings.encoder,
        settings.head if isinstance(settings, TrainSegment) else None,
        classes,
        size=crop,
        auxiliary=None if factor is None else factor > 0,
        drop_path=settings.drop_path,
        trust=settings.trust,
    )
    resumes = settings.resume and has_checkpoint(settings.out)
    if settings.weights is not None and not resumes:  # the checkpoint has what became of them
        from sightline.models.weights import load_published

        encoder = network.encoder
        assert isinstance(encoder, nn.Module)
        report = load_published(encoder, settings.weights)
        if processes().writes:
            print(report)
    return described, network


def _finish(settings: Settings) -> None:
    """The last scores as a table, the report, and where they are."""
    from rich.console import Console
    from rich.table import Table

    if settings.tensorboard:
        write_events(settings.out)
    rows = [row for row in read_metrics(settings.out) if "best" in row]
    if rows:
        table = Table(title=f"after {rows[-1]['step']} steps")
        table.add_column("score")
        table.add_column("", justify="right")
        for name, value in rows[-1].items():
            if name in NAMES or "/" in name:
                table.add_row(NAMES.get(name, name.replace("/", " of ")), "absent" if value is None else f"{value:.4f}")
        Console().print(table)
    page = _report(settings)
    print(f"wrote {settings.out} ({page.name} shows how it went)")


def _report(settings: Settings) -> Path:
    from sightline.vision.report.page import write_report

    task = "segment" if isinstance(settings, TrainSegment) else "classify"
    _, other = _data(settings, task)
    return write_report(settings.out, examples=other, device=choose_device(settings.device), trust=settings.trust)
