"""One training of the position study: one scheme on one task from one seed, and its scores at every size.

Every scheme gets the same `Budget`: AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101), one cycle of
the learning rate, as many steps of as many examples, drawn afresh, all of one size. Left out: anything tuned for one
scheme, and training at several sizes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.run import describe, open_run, read_metrics, seed_everything, write_whole
from sightline.studies import loop
from sightline.studies.positions import grids, schemes, sequences
from sightline.studies.workers import stopped

TASKS = ("image", "sequence")
RESULT = "result.json"
TEST_SEED = 1_000_003  # test examples are the same for every scheme and every seed
Size = tuple[int, ...]  # rows and columns of cells, or a length


@dataclass(frozen=True)
class Budget:
    """What every scheme gets alike."""

    steps: int = 1200
    batch: int = 32  # canvases
    sequences: int = 32  # sequences of a batch
    learning_rate: float = 1.5e-3  # the peak of the cycle
    weight_decay: float = 1e-2
    cells: tuple[int, int] = (6, 6)  # of a canvas in training
    length: int = 32  # of a sequence in training
    test_cells: tuple[tuple[int, int], ...] = ((4, 4), (6, 6), (6, 12), (8, 8), (12, 12))
    test_lengths: tuple[int, ...] = (32, 64, 128)
    test_canvases: int = 256
    test_sequences: int = 256
    report_every: int = 50  # steps between rows of metrics
    save_every: int = 300  # steps between checkpoints


@dataclass(frozen=True)
class Training:
    """What is trained on what, from which seed."""

    task: str  # one of `TASKS`
    scheme: str
    seed: int
    budget: Budget

    @property
    def folder(self) -> Path:
        """Where its run folder lies below the study's."""
        slug = self.scheme.lower().replace(" ", "-")
        return Path("runs") / f"{self.task}-{slug}-seed{self.seed}"

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.budget.steps

    @property
    def title(self) -> str:
        """Its name in a line of text."""
        return f"{self.task}, {self.scheme}, seed {self.seed}"

    @property
    def size(self) -> Size:
        """What is trained at."""
        return self.budget.cells if self.task == "image" else (self.budget.length,)

    @property
    def sizes(self) -> list[Size]:
        """What is tested at."""
        if self.task == "image":
            return [tuple(cells) for cells in self.budget.test_cells]
        return [(length,) for length in self.budget.test_lengths]

    def builder(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """The network's class and what it is built from."""
        if self.task == "image":
            return schemes.GridNetwork, {"scheme": self.scheme, "size": list(self.budget.cells)}
        return sequences.SequenceNetwork, {"scheme": self.scheme, "length": self.budget.length}

    def network(self, scheme: str | None = None) -> nn.Module:
        """The network; with another scheme's name the one that takes the same weights."""
        kind, arguments = self.builder()
        return kind(**{**arguments, **({} if scheme is None else {"scheme": scheme})})

    def draw(self, size: Size, count: int, split: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What goes in, and the answers `[*positions]` (`-100`: none): cells of canvases, or places of sequences."""
        if self.task == "image":
            made = grids.draw(count, (size[0], size[1]), split, generator)
            return made.image, made.label
        drawn = sequences.draw(count, size[0], generator)
        return drawn.token, drawn.label


def loss_of(network: nn.Module, task: str, given: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy over what is asked."""
    logits = network(given)
    if task == "image":
        return F.cross_entropy(logits, label, ignore_index=grids.NONE)
    return F.cross_entropy(logits.flatten(0, 2), label.flatten(), ignore_index=sequences.NONE)


def train(
    training: Training, out: Path, *, resume: bool = False, stop: Callable[[], bool] = lambda: False
) -> nn.Module | None:
    """Train to the end of the budget and return the network; None if it was stopped before (a checkpoint is there)."""
    budget = training.budget
    seed_everything(training.seed)
    network = training.network()
    optimizer = torch.optim.AdamW(network.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.learning_rate, total_steps=budget.steps + 1)
    kind, arguments = training.builder()
    config = {"model": describe(kind, **arguments), "training": asdict(training)}
    folder = open_run(out / training.folder, config, resume=resume)
    examples = torch.Generator().manual_seed(training.seed)
    batch = budget.batch if training.task == "image" else budget.sequences

    def step() -> Tensor:
        loss = loss_of(network, training.task, *training.draw(training.size, batch, "train", examples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    ended = loop.train(
        folder,
        loop.Trained(network, optimizer, schedule, examples),
        loop.Pace(budget.steps, budget.report_every, budget.save_every),
        step,
        dict,  # what it scores is asked at the end alone
        stop=stop,
    )
    return network if ended else None


def test_batch(training: Training, size: Size) -> tuple[Tensor, Tensor]:
    """The examples that every scheme is tested on at this size."""
    budget = training.budget
    count = budget.test_canvases if training.task == "image" else budget.test_sequences
    return training.draw(size, count, "test", torch.Generator().manual_seed(TEST_SEED))


def answers(network: nn.Module, task: str, given: Tensor, batch: int = 64) -> Tensor:
    """The most likely answer at every cell or place; the network is put into evaluation mode."""
    network.eval()
    axis = 1 if task == "image" else -1
    with torch.no_grad():
        return torch.cat([network(part).argmax(axis) for part in given.split(batch)])


def scores(network: nn.Module, training: Training, size: Size) -> dict[str, float]:
    """Share of right answers to each kind of question, at one size."""
    given, label = test_batch(training, size)
    said = answers(network, training.task, given)
    if training.task == "image":
        count = training.budget.test_canvases
        asked = grids.draw(count, (size[0], size[1]), "test", torch.Generator().manual_seed(TEST_SEED)).question
        kinds = {name: asked == number for number, name in enumerate(grids.QUESTIONS)}
        return {name: _share(said == label, here) for name, here in kinds.items()}
    last = slice(-training.budget.length, None)  # places that no training at its length has seen, at a greater one
    said, label = said[:, last], label[:, last]
    asked_here = label != sequences.NONE
    return {
        name: _share(said[..., number] == label[..., number], asked_here[..., number])
        for number, name in enumerate(sequences.QUESTIONS)
    }


def _share(right: Tensor, asked: Tensor) -> float:
    return float((right & asked).sum() / asked.sum())


def served_by(scheme: str, task: str) -> list[str]:
    """The schemes whose numbers one training gives."""
    same = [name for name, trained in schemes.TRAINED_AS.items() if trained == scheme and task == "image"]
    return [scheme, *same]


def run_training(training: Training, out: Path, resume: bool) -> bool:
    """Train and test, in a worker process; False where it was stopped before the end."""
    trained = train(training, out, resume=resume, stop=stopped)
    if trained is None:
        return False
    found: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in trained.parameters()), "tests": {}}
    for scheme in served_by(training.scheme, training.task):
        network = training.network(scheme)
        network.load_state_dict(trained.state_dict())
        found["tests"][scheme] = [
            {"size": list(size), "scores": scores(network, training, size)} for size in training.sizes
        ]
    write_whole(out / training.folder / RESULT, json.dumps(found, indent=2) + "\n")
    return True


def read_rows(training: Training, out: Path) -> list[dict[str, Any]] | None:
    """The rows of `results.json` that one training gives, one for each scheme; None where it is not finished."""
    path = out / training.folder / RESULT
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    curve = read_metrics(out / training.folder)
    last: Mapping[str, Any] = curve[-1]
    return [
        {
            "task": training.task,
            "scheme": scheme,
            "seed": training.seed,
            "steps": last["step"],
            "seconds": last["seconds"],
            "loss": last["loss"],
            "parameters": found["parameters"],
            "tests": tests,
            "curve": [{name: round(row[name], 4) for name in ("step", "loss")} for row in curve],
        }
        for scheme, tests in found["tests"].items()
    ]
