"""The loop of a study's trainings: steps, rows of metrics, checkpoints, and a stop that loses nothing.

A training that was stopped and resumed ends as if it had never stopped, bit for bit (the clock apart). Left out: what a
step does, and every choice of budget, which are the studies'.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.run import append_metrics, has_checkpoint, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Pace:
    """How many steps, and how often something is written down."""

    steps: int
    report_every: int  # steps between rows of metrics
    save_every: int  # steps between checkpoints


@dataclass(frozen=True)
class Trained:
    """What a training consists of: the network, what follows it, and where its examples come from."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    examples: torch.Generator


def train(
    folder: Path,
    trained: Trained,
    pace: Pace,
    step: Callable[[], Tensor],
    scores: Callable[[], Mapping[str, float]],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train to the end, from the run folder's checkpoint where there is one; False if it was stopped before.

    `step` does one step, the optimiser's included, and returns the loss; `scores` may put the network into evaluation
    mode.
    """
    network, schedule = trained.network, trained.schedule
    kept: dict[str, Any] = {
        "states": {"optimizer": trained.optimizer, "schedule": schedule},
        "generators": {"canvases": trained.examples},
    }
    first, total, seconds = 0, 0.0, 0.0
    if has_checkpoint(folder):
        there = load_checkpoint(folder, network, **kept)
        first, total, seconds = there.step, there.extra["total"], there.extra["seconds"]
    for count in range(first + 1, pace.steps + 1):
        network.train()
        begun = time.process_time()
        total += float(step())
        schedule.step()
        seconds += time.process_time() - begun
        last = count == pace.steps
        if count % pace.report_every == 0 or last:
            since = (count - 1) % pace.report_every + 1
            append_metrics(folder, {"step": count, "seconds": seconds, "loss": total / since, **scores()})
            total = 0.0
        stopped = stop() and not last
        if stopped or count % pace.save_every == 0 or last:
            save_checkpoint(folder, network, step=count, extra={"total": total, "seconds": seconds}, **kept)
        if stopped:
            return False
    return True
