"""What does a first layer come to look for? Kernels as large as AlexNet's, trained on two photographs without labels.

Four tasks, all on random crops of scikit-learn's photographs, all from the same noise of small deviation (Krizhevsky et
al., 2012, section 5, began at 0.01):

- "sparse": the answers shall be independent, each near zero as often as it can (Bell and Sejnowski, 1997,
  https://doi.org/10.1016/S0042-6989(97)00121-1), by the fixed point of the log cosh (Hyvarinen, 1999,
  https://doi.org/10.1109/72.761722, equation 20) on the patches' leading components; the one task with no network
  behind the first layer, and few steps are enough;
- "rotation": by how many quarter turns was the crop turned? (Gidaris et al., 2018, https://arxiv.org/abs/1803.07728)
- "place": which photograph, and where in it? (after Doersch et al., 2015, https://arxiv.org/abs/1505.05192), with
  brightness and colour disturbed, which would tell it too easily;
- "denoising": give the crop back from a noisy one (Vincent et al., 2010), by few answers.

How well a task does is told on the photographs' right fifth, which no training sees (for "place" the places are those
of the training). Left out: what deeper layers learn, and more than two photographs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from sightline.models.convnet import AlexNet
from sightline.models.weights import load_published
from sightline.seeing.kernels import first_kernels, waves

KERNEL, STRIDE, COUNT = 11, 4, 64  # of AlexNet's first layer in torchvision's form
SIDE = 67  # of a crop: 15 x 15 positions of the first layer
BATCH = 64
START = 0.01
TRAINED_ON = 0.8  # of a photograph's width; the rest is for the test
ROWS, COLUMNS = 4, 6  # of the places in a photograph
LINE = 0.5  # more oriented than this is called oriented, no kernel of noise is; likewise for colour
POOL, SOME = 20_000, 4096  # patches that "sparse" has, and takes at each step
MOST_SPARSE = 300  # steps of it: after half as many the kernels stay what they are
SPARSE, ROTATION, PLACE, DENOISING = TASKS = ("sparse", "rotation", "place", "denoising")


@dataclass(frozen=True)
class Learned:
    """One training: its kernels, and how well they serve where the task says so."""

    task: str
    seed: int
    kernels: Float[Tensor, "k 3 h w"]
    seconds: float
    score: float | None  # share of right answers; of "denoising" the error over that of the noisy crop
    chance: float | None


def photographs() -> list[Float[Tensor, "3 h w"]]:
    """Both photographs, with the mean of each channel taken off and all of deviation 1, as AlexNet's images are."""
    from sklearn.datasets import load_sample_images

    every = [torch.from_numpy(np.array(one)).permute(2, 0, 1).float() / 255 for one in load_sample_images().images]
    pixels = torch.cat([one.flatten(1) for one in every], 1)
    mean, deviation = pixels.mean(1)[:, None, None], (pixels - pixels.mean(1, keepdim=True)).std()
    return [(one - mean) / deviation for one in every]


def crops(
    every: list[Float[Tensor, "3 h w"]], count: int, side: int, draw: Generator, *, test: bool = False
) -> Float[Tensor, "n 3 side side"]:
    """Crops anywhere in the photographs' part for training, or in that for the test."""
    found = []
    for which, down, right in torch.rand(count, 3, generator=draw).tolist():
        photograph = every[int(which * len(every))]
        height, width = photograph.shape[1:]
        cut = int(TRAINED_ON * width)
        first, last = (cut, width) if test else (0, cut)
        top, left = int(down * (height - side + 1)), first + int(right * (last - first - side + 1))
        found.append(photograph[:, top : top + side, left : left + side])
    return torch.stack(found)


class SmallNetwork(nn.Module):
    """AlexNet's first layer, two small ones behind it, the mean over positions, and a linear layer."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, COUNT, KERNEL, STRIDE)
        self.rest = nn.Sequential(
            nn.BatchNorm2d(COUNT), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(COUNT, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(width, classes)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        """Logits."""
        return self.head(self.rest(self.first(image)).mean((2, 3)))


def noise(seed: int) -> Float[Tensor, "k 3 h w"]:
    """The kernels that every task begins with."""
    return START * torch.randn(COUNT, 3, KERNEL, KERNEL, generator=torch.Generator().manual_seed(seed))


def turned(
    every: list[Tensor], count: int, draw: Generator, test: bool
) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, "n"]]:
    """Crops turned by 0 to 3 quarters, and by how many."""
    turns = torch.randint(0, 4, (count,), generator=draw)
    upright = crops(every, count, SIDE, draw, test=test)
    return torch.stack([torch.rot90(one, int(k), (1, 2)) for one, k in zip(upright, turns, strict=True)]), turns


def placed(
    every: list[Tensor], count: int, draw: Generator, test: bool
) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, "n"]]:
    """Crops with contrast and colour disturbed, and the number of the place that each comes from."""
    places = torch.randint(0, len(every) * ROWS * COLUMNS, (count,), generator=draw)
    within = torch.rand(count, 2, generator=draw)
    found = []
    for place, (down, right) in zip(places.tolist(), within.tolist(), strict=True):
        photograph = every[place // (ROWS * COLUMNS)]
        row, column = divmod(place % (ROWS * COLUMNS), COLUMNS)
        top = int((row + down) / ROWS * (photograph.shape[1] - SIDE))
        left = int((column + right) / COLUMNS * (photograph.shape[2] - SIDE))
        found.append(photograph[:, top : top + SIDE, left : left + SIDE])
    contrast = 0.5 + torch.rand(count, 1, 1, 1, generator=draw)
    tint = 0.5 * torch.randn(count, 3, 1, 1, generator=draw)
    return contrast * torch.stack(found) + tint, places


def train_classifier(task: str, steps: int, seed: int) -> Learned:
    """Train the small network at telling turns or places."""
    make = {ROTATION: turned, PLACE: placed}[task]
    every, draw = photographs(), torch.Generator().manual_seed(seed)
    classes = 4 if task == ROTATION else len(every) * ROWS * COLUMNS
    network = SmallNetwork(classes)
    begin(network, seed)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    for rate in rates(steps, 4e-3):
        image, label = make(every, BATCH, draw, False)
        descend(optimiser, F.cross_entropy(network(image), label), rate)
    network.eval()
    with torch.no_grad():
        image, label = make(every, 8 * BATCH, draw, True)
        score = float((network(image).argmax(1) == label).float().mean())
    return Learned(task, seed, network.first.weight.detach(), 0.0, score, 1 / classes)


def train_denoising(steps: int, seed: int, *, noise_deviation: float = 1.0, few: float = 0.05) -> Learned:
    """Train an encoder of one layer and a decoder of one to take noise off, with as few answers as serve."""
    every, draw = photographs(), torch.Generator().manual_seed(seed)
    encoder, decoder = nn.Conv2d(3, COUNT, KERNEL, STRIDE), nn.ConvTranspose2d(COUNT, 3, KERNEL, STRIDE)
    network = nn.Sequential(encoder, nn.ReLU(), decoder)
    begin(network, seed)
    optimiser = torch.optim.Adam(network.parameters())
    inside = slice(KERNEL, -KERNEL)  # where as many kernels overlap as anywhere

    def errors(count: int, test: bool) -> tuple[Tensor, Tensor]:
        clean = crops(every, count, SIDE, draw, test=test)
        answers = encoder(clean + noise_deviation * torch.randn(clean.shape, generator=draw)).relu()
        return (decoder(answers) - clean)[:, :, inside, inside].square().mean(), answers.mean()

    for rate in rates(steps, 4e-3):
        error, active = errors(BATCH // 2, False)
        descend(optimiser, error + few * active, rate)
    with torch.no_grad():
        score = float(errors(4 * BATCH, True)[0]) / noise_deviation**2
    return Learned(DENOISING, seed, encoder.weight.detach(), 0.0, score, 1.0)


def train_sparse(steps: int, seed: int) -> Learned:
    """Kernels of length 1 whose answers, of variance 1 and uncorrelated, are as far from normal as they can be."""
    draw = torch.Generator().manual_seed(seed)
    patches = crops(photographs(), POOL, KERNEL, draw).flatten(1)
    patches = patches - patches.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    values, vectors = values.flip(0)[:COUNT], vectors.flip(1)[:, :COUNT]
    whitening = vectors / values.sqrt()
    whitened = patches @ whitening
    turn = orthogonal(noise(seed).flatten(1) @ vectors)  # what all tasks begin with, as far as these patches see it
    for _ in range(min(steps, MOST_SPARSE)):
        some = whitened[torch.randint(0, len(whitened), (SOME,), generator=draw)]
        answers = torch.tanh(some @ turn.T)
        turn = orthogonal(answers.T @ some / len(some) - (1 - answers.square()).mean(0)[:, None] * turn)
    kernels = F.normalize(turn @ whitening.T, dim=1)
    return Learned(SPARSE, seed, kernels.unflatten(1, (3, KERNEL, KERNEL)), 0.0, None, None)


def orthogonal(table: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The nearest orthogonal matrix."""
    left, _, right = torch.linalg.svd(table)
    return left @ right


def begin(network: nn.Module, seed: int) -> None:
    """Draw every weight anew, the first layer's as the common noise."""
    draw = torch.Generator().manual_seed(seed)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer in layers:
        fan = layer.weight[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else COUNT * KERNEL**2 // STRIDE**2
        nn.init.normal_(layer.weight, std=(2 / fan) ** 0.5, generator=draw)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layers[0].weight.copy_(noise(seed))


def rates(steps: int, most: float) -> Iterator[float]:
    """The rate of every step: up over the first tenth, then down to nothing."""
    rise = max(steps // 10, 1)
    for step in range(steps):
        yield most * min((step + 1) / rise, (steps - step) / max(steps - rise, 1))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step at this rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


TRAIN: Mapping[str, Callable[[int, int], Learned]] = {
    SPARSE: train_sparse,
    ROTATION: lambda steps, seed: train_classifier(ROTATION, steps, seed),
    PLACE: lambda steps, seed: train_classifier(PLACE, steps, seed),
    DENOISING: train_denoising,
}


def train(task: str, steps: int, seed: int) -> Learned:
    """Train one first layer and say how long it took."""
    begun = time.perf_counter()
    one = TRAIN[task](steps, seed)
    return Learned(one.task, one.seed, one.kernels, time.perf_counter() - begun, one.score, one.chance)


def published(file: Path) -> Float[Tensor, "k 3 h w"]:
    """AlexNet's own first kernels, from a file of weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold AlexNet's weights.
    """
    network = AlexNet()
    load_published(network, file)
    return first_kernels(network, torch.zeros(1, 3, 224, 224)).filters


def measures(kernels: Float[Tensor, "k 3 h w"]) -> dict[str, Any]:
    """How oriented kernels are, how fine, and how many oppose colours.

    A kernel opposes colours where it is one shape in one direction of colour (the leading singular component holds more
    than half of its energy) and that direction lies further from grey than from the plane of colours.
    """
    found = waves(kernels)
    _, strength, colour = torch.linalg.svd(kernels.detach().double().flatten(2).transpose(1, 2), full_matrices=False)
    energy = strength.square()
    single = energy[:, 0] / energy.sum(1).clamp_min(1e-30)
    grey = colour[:, 0].sum(1).square() / 3  # the squared cosine with (1, 1, 1)
    opposed = (single > LINE) & (grey < LINE)
    return {
        "kernels": len(kernels),
        "oriented_median": float(found.oriented.median()),
        "oriented": float((found.oriented > LINE).double().mean()),
        "cycles_median": float(found.cycles.median()),
        "one_colour_median": float(single.median()),
        "opposed": float(opposed.double().mean()),
    }
