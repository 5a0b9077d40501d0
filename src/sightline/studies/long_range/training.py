"""One training of the long-range study: one network, one task, one seed, in one run folder.

Every network gets the same `Budget`: AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101), one cycle
of the learning rate, as many steps of as many canvases, drawn afresh. Training stops at a word, and resumed it ends as
if it had never stopped, bit for bit (the clock apart).

Left out: anything tuned for one network, augmentation, early stopping.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sightline.run import describe, open_run, seed_everything
from sightline.studies import loop
from sightline.studies.long_range.networks import STRIDE, WIDTH, RecallNetwork, in_channels_last
from sightline.vision.built_in.canvases import CELL, TASKS, Canvases

TEST_SEED = 1_000_003  # test canvases are the same for every network and every seed


@dataclass(frozen=True)
class Budget:
    """What every network gets alike."""

    steps: int = 1200
    batch: int = 32
    learning_rate: float = 1.5e-3  # the peak of the cycle
    weight_decay: float = 1e-2
    width: int = WIDTH
    squares: int = 8  # on a recall canvas
    rows: int = 12  # of cells of a canvas
    columns: int = 12
    report_every: int = 50  # steps between rows of metrics
    save_every: int = 300  # steps between checkpoints
    test_canvases: int = 512

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a canvas in pixels."""
        return self.rows * CELL, self.columns * CELL


@dataclass(frozen=True)
class Training:
    """One row of the study: what is trained on what, from which seed."""

    task: str  # one of `vision.built_in.canvases.TASKS`
    digits: int
    network: str
    seed: int
    budget: Budget

    @property
    def folder(self) -> Path:
        """Where its run folder lies below the study's."""
        return Path("runs") / f"{self.task}-{self.digits}-{self.slug}-seed{self.seed}"

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.budget.steps

    @property
    def title(self) -> str:
        """Its name in a line of text."""
        return f"{self.task}, {self.digits} digits, {self.network}, seed {self.seed}"

    @property
    def slug(self) -> str:
        """The network's name as part of a file's."""
        return self.network.lower().replace(" ", "-").replace("=", "")

    def draw(self, batch: int, split: str, generator: torch.Generator) -> Canvases:
        """Canvases of this task."""
        cells = (self.budget.rows, self.budget.columns)
        extra = {"squares": self.budget.squares} if self.task == "recall" else {}
        return TASKS[self.task](batch, digits=self.digits, cells=cells, split=split, generator=generator, **extra)

    def test_canvases(self, count: int) -> Canvases:
        """Canvases of digits that are never trained on; the first ones of a larger count are not those of a smaller."""
        return self.draw(count, "test", torch.Generator().manual_seed(TEST_SEED))

    def network_arguments(self) -> dict[str, Any]:
        """What `RecallNetwork` is built from."""
        classes = self.test_canvases(1).classes
        return {"network": self.network, "classes": classes, "width": self.budget.width, "size": self.budget.size}


def labelled_loss(answers: Float[Tensor, "b classes y x"], canvases: Canvases) -> Float[Tensor, ""]:
    """Cross-entropy over the labelled pixels, each answered by its map position: the rest is never laid out."""
    batch, y, x = (canvases.label >= 0).nonzero(as_tuple=True)
    chosen = answers.permute(0, 2, 3, 1)[batch, y // STRIDE, x // STRIDE]
    return F.cross_entropy(chosen, canvases.label[batch, y, x])


def train_step(network: RecallNetwork, optimizer: torch.optim.Optimizer, canvases: Canvases) -> Tensor:
    """Forward, backward, step; the loss comes back detached."""
    image = canvases.image.contiguous(memory_format=torch.channels_last)
    loss = labelled_loss(network.answers(image), canvases)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def predict(network: RecallNetwork, image: Float[Tensor, "b 3 h w"], batch: int = 64) -> Tensor:
    """The answer of every pixel, `[b, h, w]`; the network is put into evaluation mode."""
    network.eval()
    with torch.no_grad():
        parts = [network(part).argmax(1) for part in image.split(batch)]
    return torch.cat(parts)


def score(network: RecallNetwork, canvases: Canvases) -> float:
    """Share of labelled pixels answered rightly."""
    labelled = canvases.label >= 0
    return float((predict(network, canvases.image)[labelled] == canvases.label[labelled]).double().mean())


def build(training: Training) -> tuple[RecallNetwork, torch.optim.Optimizer, Any]:
    """Network, optimiser and schedule, from the training's seed."""
    seed_everything(training.seed)
    budget = training.budget
    network = in_channels_last(RecallNetwork(**training.network_arguments()))
    optimizer = torch.optim.AdamW(network.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.learning_rate, total_steps=budget.steps + 1)
    return network, optimizer, schedule


def train(
    training: Training, out: Path, *, resume: bool = False, stop: Callable[[], bool] = lambda: False
) -> RecallNetwork | None:
    """Train to the end of the budget and return the network; None if it was stopped before (a checkpoint is there)."""
    budget = training.budget
    network, optimizer, schedule = build(training)
    config = {"model": describe(RecallNetwork, **training.network_arguments()), "training": asdict(training)}
    folder = open_run(out / training.folder, config, resume=resume)
    canvases_of = torch.Generator().manual_seed(training.seed)
    few = training.test_canvases(max(budget.test_canvases // 4, 1))
    ended = loop.train(
        folder,
        loop.Trained(network, optimizer, schedule, canvases_of),
        loop.Pace(budget.steps, budget.report_every, budget.save_every),
        lambda: train_step(network, optimizer, training.draw(budget.batch, "train", canvases_of)),
        lambda: {"score": score(network, few)},
        stop=stop,
    )
    return network if ended else None
