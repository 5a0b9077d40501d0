"""What a training adds up between two rows of its metrics, exactly, also over an interruption.

Losses stay on the device until a row is written. The first loss that is no number is remembered with its step, so that
nothing after it is ever saved.

Left out: losses of single images.
"""

import math
import time
from typing import Any

import torch
from torch import Tensor

from sightline.run.processes import add_up, greatest, processes
from sightline.vision.training.train import Learner, Update


class Totals:
    """Sums since the last row, and clocks; `state` goes into a checkpoint."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.sums: dict[str, Tensor] = {}
        self.updates = 0
        self.seconds, self.learning = 0.0, 0.0  # of the whole run; of learning since the last row
        self.best: dict[str, float | int] = {}  # the highest score and its step
        self.bad = torch.tensor(math.inf, device=learner.device, dtype=torch.float64)
        self._clock = time.perf_counter()

    def tick(self) -> float:
        """Seconds since the last tick, counted into those of the run."""
        now = time.perf_counter()
        passed, self._clock = now - self._clock, now
        self.seconds += passed
        return passed

    def add(self, update: Update) -> None:
        """Count an update."""
        total = torch.stack(list(update.losses.values())).sum()
        for name, loss in update.losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(self.bad)) + loss
        self.bad = torch.where(total.isfinite(), self.bad, self.bad.clamp_max(update.step))
        self.updates += 1
        self.learning += self.tick()

    def bad_step(self) -> int | None:
        """The first step whose loss was no number in any process; None for none. All processes ask together."""
        first = -float(greatest(-self.bad))
        return None if first == math.inf else int(first)

    def row(self, update: Update, examples: int) -> dict[str, float | int]:
        """The means since the last row, over all processes; the sums begin anew."""
        sums = self._gathered()
        batch = self.learner.recipe.batch
        row: dict[str, float | int] = {
            "step": update.step,
            "epoch": update.step * batch / examples,
            "loss": sum(sums.values()) / self.updates,
        }
        row |= {name: value / self.updates for name, value in sums.items()} if len(sums) > 1 else {}
        row |= {"learning_rate": update.rate, "images_per_second": batch * self.updates / max(self.learning, 1e-9)}
        self.sums, self.updates, self.learning = {}, 0, 0.0
        return row

    def remember(self, score: float, step: int) -> float:
        """Keep the best score; return it."""
        if not self.best or score > self.best["score"]:
            self.best = {"score": score, "step": step}
        return self.best["score"]

    def _gathered(self) -> dict[str, float]:
        if not self.sums:
            return {}
        values = add_up(torch.stack(list(self.sums.values())).cpu()).tolist()
        return dict(zip(self.sums, values, strict=True))

    def state(self) -> dict[str, Any]:
        """What `restore` takes: of all processes together."""
        numbers = {"updates": self.updates, "seconds": self.seconds, "learning": self.learning, "best": self.best}
        return {"sums": self._gathered(), **numbers}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the first process has all the sums."""
        mine = 1.0 if processes().writes else 0.0
        self.sums = {name: torch.zeros_like(self.bad) + value * mine for name, value in state["sums"].items()}
        self.updates, self.seconds, self.learning = state["updates"], state["seconds"], state["learning"]
        self.best = dict(state["best"])
        self._clock = time.perf_counter()
