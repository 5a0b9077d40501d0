"""Small data and a small network to train in tests; at module level, as loader processes need them."""

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.vision.augmentation.augment import Augmentation
from sightline.vision.data.examples import Example
from sightline.vision.training.recipes import Losses, Recipe, sgd_poly

AUGMENTATION = Augmentation(crop=(8, 8), scale=(0.8, 1.5))


@dataclasses.dataclass(frozen=True)
class Halves:
    """A bright and a dark half; a band that grows with the index does not count."""

    count: int = 10
    task: str = "segment"
    classes: tuple[str, ...] = ("dark", "bright", "never")
    ignore: int = 255

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        generator = torch.Generator().manual_seed(index)
        mask = torch.zeros(9, 9, dtype=torch.int64)
        mask[:, index % 7 + 1 :] = 1
        image = mask * 120 + torch.randint(0, 90, (3, 9, 9), generator=generator)
        mask[: index % 6] = 255
        target = mask if self.task == "segment" else torch.tensor(index % 3)
        return Example(image.to(torch.uint8), target)

    def name(self, index: int) -> str:
        return f"halves-{index}"


class Said(NamedTuple):
    logits: Tensor
    auxiliary: Tensor | None
    features: Tensor | None


class Toy(nn.Module):
    """A segmenter in small: two convolutions, a norm, dropout, an auxiliary head."""

    def __init__(self, norm: str = "batch", dropout: float = 0.0, auxiliary: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4) if norm == "batch" else nn.GroupNorm(2, 4)
        self.drop = nn.Dropout2d(dropout)
        self.second = nn.Conv2d(4, 4, 3, 1, 1)
        self.last = nn.Conv2d(4, 3, 1)
        self.auxiliary = nn.Conv2d(4, 3, 1) if auxiliary else None

    def answers(self, image: Tensor) -> Said:
        before = self.drop(self.norm(self.first(image)).relu())
        features = self.second(before)
        auxiliary = None if self.auxiliary is None else self.grow(self.auxiliary(before), image)
        return Said(self.grow(self.last(features.relu()), image), auxiliary, features)

    def grow(self, x: Tensor, image: Tensor) -> Tensor:
        return F.interpolate(x, size=image.shape[2:], mode="bilinear")

    def forward(self, image: Tensor) -> Tensor:
        return self.answers(image).logits


def toy(norm: str = "batch", dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Toy:
    torch.manual_seed(8)
    return Toy(norm, dropout).to(dtype)


def recipe(steps: int = 3, batch: int = 5, losses: Losses = Losses(), **changes: object) -> Recipe:  # noqa: B008
    return sgd_poly(steps, batch, learning_rate=0.2, losses=losses, **changes)


EVERYTHING = Losses(smoothing=0.1, dice=0.5, category=0.3, class_weights=(1.0, 3.0, 1.0))
EVERYTHING_HARD = dataclasses.replace(EVERYTHING, ohem=True, ohem_threshold=0.4, ohem_least=8)
