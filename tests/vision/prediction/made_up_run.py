"""A run that need not be trained: a network that names the strongest colour, and examples that it gets wrong."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sightline.run import append_metrics
from sightline.vision.data.examples import Example
from sightline.vision.prediction.runs import LoadedRun

CLASSES = ("red", "green", "blue")


class Brightest(nn.Module):
    """Says of every pixel (or image) which of its colours is the strongest: what it must say is plain to see."""

    def __init__(self, classify: bool = False) -> None:
        super().__init__()
        self.classify, self.sharpness = classify, nn.Parameter(torch.tensor(40.0))

    def forward(self, image):
        logits = self.sharpness * image
        return logits.mean((2, 3)) if self.classify else logits


@dataclass(frozen=True)
class Mistaken:
    """Images of random colours; `wrong[i]` pixels of image i (rows of a mask, or its class) have another truth."""

    task: str = "segment"
    wrong: tuple[int, ...] = (0, 30, 5, 120)
    classes: tuple[str, ...] = CLASSES
    ignore: int = 255

    def __len__(self) -> int:
        return len(self.wrong)

    def name(self, index: int) -> str:
        return f"photo-{index}.png"

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        image = torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 16, 20), dtype=np.uint8))
        if self.task == "classify":
            image[index % 3] = 200
            truth = image.double().mean((1, 2)).argmax()
            return Example(image, (truth + (self.wrong[index] > 0)) % 3)
        target = image.long().argmax(0)
        target.view(-1)[: self.wrong[index]] = (target.view(-1)[: self.wrong[index]] + 1) % 3
        target[-1] = 255
        return Example(image, target)


def loaded(folder, network: nn.Module | None = None, task: str = "segment") -> LoadedRun:
    return LoadedRun(
        network=Brightest(task == "classify") if network is None else network,
        task=task,
        classes=CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        size=(16, 20),
        ignore=255,
        folder=Path(folder),
    )


def write_run(folder: Path, *, task: str = "segment", steps: int = 40, done: int = 40, classes=CLASSES) -> Path:
    """Config and metrics of a run, no checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"object": "sightline.vision.training.recipes:Recipe", "arguments": {"steps": steps, "batch": 4}}
    model = {"object": "sightline.models.heads:Classifier", "arguments": {"encoder": {"name": "a:<b>"}, "classes": 3}}
    config = {"task": task, "classes": list(classes), "recipe": recipe, "model": model, "size": [16, 20]}
    (folder / "config.json").write_text(json.dumps(config))
    for step in range(1, done + 1):
        append_metrics(folder, {"step": step, "cross_entropy": 2 / step, "rate": 0.1})
        if step % 10 == 0:
            score = {"mean_iou": 0.5 + step / 100, "pixel_accuracy": 0.9} if task == "segment" else {"top1": step / 50}
            append_metrics(folder, {"step": step, **score, "iou/red": None})
    return folder
