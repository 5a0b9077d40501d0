"""An agent's updates in a run folder: rows of metrics, evaluations, checkpoints, an end.

A checkpoint holds weights, optimiser, normalisation, every random stream and, where they can be saved, the
environments: a run that was stopped, killed or crashed and then resumed equals one that never stopped, bit for bit
(clocks apart). Where environments cannot be saved, one sentence says so and new episodes begin.

Left out: the updates themselves, which are the agents'.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sightline.envs.states import cannot_save, restore_environments, save_environments
from sightline.rl.learner import Learner
from sightline.rl.off_policy import OffPolicy
from sightline.run.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from sightline.run.folder import append_metrics
from sightline.run.processes import add_up, gather, processes, wait_for_all

Row = dict[str, float | int]
Learns = Learner | OffPolicy
BEYOND = 7919  # added to the seed of environments that begin anew in a resumed run


@dataclass(frozen=True)
class Every:
    """Environment steps between what is done now and then."""

    save: int = 50_000
    evaluate: int = 0  # 0: never

    def __post_init__(self) -> None:
        if self.save < 1 or self.evaluate < 0:
            raise ValueError(
                f"1 or more steps lie between two checkpoints and 0 (never) or more between two evaluations, got "
                f"{self.save} and {self.evaluate}"
            )


def fit(
    learner: Learns,
    updates: Callable[[], Iterator[Row]],
    folder: Path,
    *,
    steps: int,
    every: Every = Every(),
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[Row], None] = lambda row: None,
) -> bool:
    """Train in a run folder, from where `resume` put the learner, and return whether the end was reached.

    Args:
        learner: what `updates` changes.
        updates: the agent's `train`.
        folder: opened by `open_run`.
        steps: of all environments together, at the end.
        every: how often what is done.
        evaluate: gives more columns of a row; the first process alone asks.
        stop: asked after every update; once it is true, a checkpoint is written and this function returns.
        show: told of every row.

    Raises:
        ValueError: a number is none (what, where and when is named; the last checkpoint is kept).
        RuntimeError: an environment failed.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # `_check` says it in a sentence
        return _fit(learner, updates, folder, steps, every, evaluate, stop, show)


def _fit(
    learner: Learns,
    updates: Callable[[], Iterator[Row]],
    folder: Path,
    steps: int,
    every: Every,
    evaluate: Callable[[], Mapping[str, float]] | None,
    stop: Callable[[], bool],
    show: Callable[[Row], None],
) -> bool:
    saved = evaluated = learner.steps
    for row in updates():
        ended = learner.steps >= steps
        if evaluate is not None and every.evaluate and (ended or learner.steps - evaluated >= every.evaluate):
            evaluated = learner.steps
            row |= evaluate() if processes().writes else {}
        _check(row, learner, folder)
        if processes().writes:
            append_metrics(folder, row)
            show(row)
        stopped = bool(add_up(torch.tensor(float(stop()))) > 0)
        if ended or stopped or learner.steps - saved >= every.save:
            saved = learner.steps
            save(learner, folder)
        if stopped and not ended:
            return False
    return learner.steps >= steps


def save(learner: Learns, folder: Path) -> None:
    """Write a checkpoint; all processes call this together."""
    here = {
        "learner": learner.state_dict(),
        "environments": save_environments(learner.envs) if cannot_save(learner.envs) is None else None,
    }
    everywhere = gather(here)
    if processes().writes:
        save_checkpoint(
            folder,
            learner.policy,
            step=learner.steps,
            states=learner.states,
            extra={"processes": everywhere},
        )
    wait_for_all()


def resume(learner: Learns, folder: Path, *, seed: int) -> str | None:
    """Put the learner where the folder's checkpoint is, if there is one.

    Returns:
        Why the resumed run is not exactly the uninterrupted one; None where it is.

    Raises:
        ValueError: the checkpoint is of another policy, other environments or another number of processes.
    """
    if not has_checkpoint(folder):
        return None
    there = load_checkpoint(folder, learner.policy, states=learner.states)
    saved = there.extra["processes"]
    if len(saved) != processes().count:
        raise ValueError(
            f"the run in {folder} was saved by {len(saved)} processes and here are {processes().count}: start as many "
            "(torchrun --nproc-per-node)"
        )
    mine = saved[processes().rank]
    learner.load_state_dict(mine["learner"])
    if mine["environments"] is not None:
        restore_environments(learner.envs, mine["environments"])
        return None
    learner.restart(seed + BEYOND + learner.steps)
    return (
        f"new episodes begin, so that the run is not bit for bit the one without a pause: {cannot_save(learner.envs)}"
    )


def _check(row: Row, learner: Learns, folder: Path) -> None:
    bad = [name for name, value in row.items() if name.endswith(("loss", "entropy", "kl")) and not math.isfinite(value)]
    if bad or not learner.finite():
        kept = f"the last checkpoint is kept in {folder}" if has_checkpoint(folder) else "there is no checkpoint yet"
        raise ValueError(
            f"{bad[0] if bad else 'the weights'} is no number at step {learner.steps}: use a smaller learning rate "
            f"(--learning-rate) or a tighter --gradient-clip; {kept}"
        )
