"""From the first update to the last in a run folder: rows of metrics, scores on other examples, checkpoints, an end.

A checkpoint is written every so many steps, at the end, and when an end is asked for; what comes after the last one is
done again by a resumed run, to the same bytes (clocks apart). A loss that is no number ends the run before anything
that came of it is saved.

Left out: checkpoints of the best score (the last one is kept; the rows say which step was best), early stopping.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sightline.run.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from sightline.run.folder import append_metrics
from sightline.run.processes import processes, wait_for_all
from sightline.vision.augmentation.augment import Augmentation
from sightline.vision.augmentation.prepare import Preparation
from sightline.vision.data.examples import Examples
from sightline.vision.training.memory import is_full, what_fits
from sightline.vision.training.scores import SCORE, evaluate
from sightline.vision.training.totals import Totals
from sightline.vision.training.train import Learner, Update, train

Row = dict[str, float | int]


@dataclass(frozen=True)
class Every:
    """Steps between what is done now and then."""

    report: int = 20
    """Rows of metrics."""
    evaluate: int = 200
    """Scores on examples that are not trained on; their rows are rows of metrics as well."""
    save: int = 200
    """Checkpoints."""

    def __post_init__(self) -> None:
        for name in ("report", "evaluate", "save"):
            if getattr(self, name) < 1:
                raise ValueError(f"1 or more steps lie between one {name} and the next, got {getattr(self, name)}")


@dataclass(frozen=True)
class Data:
    """What is trained on, and what is evaluated."""

    train: Examples
    augmentation: Augmentation
    other: Examples | None = None  # None: nothing is evaluated
    preparation: Preparation = field(default_factory=Preparation)


def fit(
    learner: Learner,
    data: Data,
    folder: Path,
    *,
    every: Every = Every(),
    workers: int = 0,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[int, Row | None], None] = lambda step, row: None,
) -> bool:
    """Train in a run folder, from its checkpoint where it has one, and return whether the end was reached.

    Args:
        learner: New; a checkpoint is loaded into it.
        data: Examples, and what happens to them.
        folder: Opened by `open_run`.
        every: How often what is done.
        workers: Loader processes.
        stop: Asked before every update; once it is true, a checkpoint is written and this function returns.
        show: Told of every update, with its row where it has one.

    Raises:
        ValueError: the loss is no number (the step is named, the last checkpoint kept); the device's memory is full
            (what would fit is named); the checkpoint is of another network.
        OSError: the disk is full.
    """
    totals = Totals(learner)
    if has_checkpoint(folder):
        there = load_checkpoint(folder, learner.network, states=learner.states)
        learner.step = there.step
        totals.restore(there.extra)
    ended, full = True, False
    try:
        for update in train(learner, data.train, data.augmentation, workers=workers, stop=stop):
            totals.add(update)
            row = _row(learner, data, totals, update, every, folder, workers)
            show(update.step, row)
            last = update.step == learner.recipe.steps
            if update.stop or last or update.step % every.save == 0:
                _save(learner, totals, folder)
            if update.stop and not last:
                ended = False
                break
    except RuntimeError as error:
        if not is_full(error):
            raise
        full = True  # below, the error's frames no longer hold what filled the memory
    if full:
        raise ValueError(what_fits(learner, data.augmentation.crop))
    return ended


def _row(
    learner: Learner, data: Data, totals: Totals, update: Update, every: Every, folder: Path, workers: int
) -> Row | None:
    """The row of this update where it has one, written."""
    last = update.step == learner.recipe.steps
    other = data.other if last or update.step % every.evaluate == 0 else None
    if learner.device.type == "cpu" and processes().count == 1:
        _check_loss(totals, folder)  # costs nothing where nothing has to be waited for
    if other is None and not last and update.step % every.report:
        return None
    _check_loss(totals, folder)
    row = totals.row(update, len(data.train))
    if other is not None:
        scores = _evaluate(learner, other, data.preparation, workers)
        row |= scores | {"best": totals.remember(scores[SCORE[learner.task]], update.step)}
    totals.tick()
    row["seconds"] = totals.seconds
    if processes().writes:
        append_metrics(folder, row)
    return row


def _evaluate(learner: Learner, other: Examples, preparation: Preparation, workers: int) -> dict[str, float]:
    try:
        return evaluate(learner, other, preparation, batch=learner.recipe.batch, workers=workers)
    except RuntimeError as error:
        if not is_full(error):
            raise
        raise ValueError(
            f"the memory of {learner.device} is full when whole images are evaluated: evaluate smaller ones, or none"
            " (--val '')"
        ) from None


def _check_loss(totals: Totals, folder: Path) -> None:
    step = totals.bad_step()
    if step is not None:
        raise ValueError(f"the loss is no number at step {step}: {_advice(totals.learner)}; {_kept(folder)}")


def _advice(learner: Learner) -> str:
    rate = learner.recipe.learning_rate
    if learner.precision is torch.float16:
        return f"use --amp bfloat16, or a learning rate lower than {rate:g} (--learning-rate)"
    return f"use a learning rate lower than {rate:g} (--learning-rate), or clip the gradient (--clip 1)"


def _kept(folder: Path) -> str:
    return f"the last checkpoint is kept in {folder}" if has_checkpoint(folder) else "there is no checkpoint yet"


def _save(learner: Learner, totals: Totals, folder: Path) -> None:
    _check_loss(totals, folder)
    extra = totals.state()
    if not all(
        bool(value.isfinite().all()) for value in learner.network.parameters()
    ):  # an endless gradient of a loss that was a number
        raise ValueError(f"weights are no numbers after step {learner.step}: {_advice(learner)}; {_kept(folder)}")
    if processes().writes:
        save_checkpoint(folder, learner.network, step=learner.step, states=learner.states, extra=extra)
    wait_for_all()
