"""Does reading data bound a training step? ResNet-50 at 512 x 512 on files of Cityscapes' size, on all cores.

Photographs of 1024 x 2048 as JPEG with their masks as PNG lie in a folder; every image is decoded, scaled, cropped,
mirrored and changed in colour as in `sightline train segment`. Three questions:

- how many images a second the loader gives alone;
- how many a training step takes, fed from memory (forward, cross-entropy, backward, SGD);
- what the same step takes when the loader feeds it. Loader and step share the cores, so this is the one that counts;
  the processor time of both is told as well, because a busy machine cannot hide in it.

The two kinds of step take turns in blocks: a loader that read ahead while the other kind runs would be a gift. The
first steps of a block are not counted, until what was read ahead is used up and reading keeps step.

    python benchmarks/data_loading.py

Left out: slow disks (the files are small enough to stay in memory), GPUs, and several processes.
"""

import dataclasses
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from sightline.bench import machine
from sightline.bench.measure import speedup, spread
from sightline.models.heads import LinearHead
from sightline.models.resnet import ResNet
from sightline.models.segmenter import Segmenter
from sightline.run.files import write_whole
from sightline.vision.augmentation.augment import IMAGENET_MEAN, IMAGENET_STD, Augmentation, normalise
from sightline.vision.data.examples import Examples
from sightline.vision.data.folders import open_examples
from sightline.vision.measures.losses import cross_entropy
from sightline.vision.training.batches import batches
from sightline.vision.training.recipes import make_optimizer, sgd_poly

ROOT = Path(__file__).parent.parent
TESTS = ["tests/vision/training/test_batches.py", "tests/vision/augmentation/test_augment.py"]
SIZE = (1024, 2048)
CLASSES = 19
ALLOWED = 1.05  # of a step from memory
WARM_UP = 4  # steps of a block: two loader processes read four batches ahead


def write_folder(folder: Path, count: int) -> Examples:
    """Photographs and masks of patches, in files."""
    photographs = load_sample_images().images
    random = np.random.default_rng(0)
    for index in range(count):
        picture = Image.fromarray(photographs[index % len(photographs)]).resize(SIZE[::-1], Image.Resampling.BICUBIC)
        noisy = np.asarray(picture).astype(np.int16) + random.integers(-6, 7, (*SIZE, 3))  # enlarged is too easy
        patches = random.integers(0, CLASSES, (SIZE[0] // 64, SIZE[1] // 64), dtype=np.uint8)
        for kind in ("images", "masks"):
            (folder / kind / "train").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            folder / "images" / "train" / f"{index}.jpg", quality=90
        )
        Image.fromarray(patches.repeat(64, 0).repeat(64, 1)).save(folder / "masks" / "train" / f"{index}.png")
    return open_examples(folder, "train", task="segment", classes=tuple(f"class {i}" for i in range(CLASSES)))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Whether reading data bounds a training step."""

    side: int = 512
    """Side of the crops, in pixels."""
    batch: int = 2
    """Images of a step."""
    workers: int = 2
    """Loader processes, the default of `sightline train`."""
    images: int = 16
    """Files that are read, again and again."""
    steps: int = 6
    """Counted steps of a block."""
    blocks: int = 4
    """Blocks of each kind."""
    threads: int = 2
    """Threads of the step."""
    skip_tests: bool = False
    """For a quick look; nothing is written."""
    out: Path | None = ROOT / "benchmarks" / "results" / "data_loading.md"
    """The page that is written."""


class Step:
    """A training step of ResNet-50 under a 1 x 1 convolution: of all networks of this depth the quickest."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(0)
        self.network = Segmenter(ResNet(50), LinearHead(2048, CLASSES)).train()
        self.optimizer = make_optimizer(self.network, sgd_poly(1000, settings.batch))

    def __call__(self, image: Tensor, target: Tensor) -> None:
        """Normalise, forward, backward, update."""
        logits = self.network(normalise(image, IMAGENET_MEAN, IMAGENET_STD))
        cross_entropy(logits, target.long()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def loaded(examples: Examples, settings: Settings, updates: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as a training reads them."""
    augmentation = Augmentation(crop=(settings.side, settings.side))
    read = batches(examples, augmentation, batch=settings.batch, updates=range(updates), workers=workers)
    return ((part.image, part.target) for (part,) in read)


def images_a_second(examples: Examples, settings: Settings, workers: int) -> float:
    """Of the loader alone, once it runs."""
    source = loaded(examples, settings, 24, workers)
    for _ in range(4):
        next(source)
    begin = time.perf_counter()
    count = sum(1 for _ in source)
    return count * settings.batch / (time.perf_counter() - begin)


def processor_seconds(examples: Examples, settings: Settings, step: Step) -> tuple[float, float]:
    """Of reading a batch and of a step."""
    source, spent = loaded(examples, settings, 6, 0), [time.process_time()]
    for _ in range(6):
        batch = next(source)
        spent.append(time.process_time())
    reading = spread([b - a for a, b in itertools.pairwise(spent)]).median
    spent = [time.process_time()]
    for _ in range(4):
        step(*batch)
        spent.append(time.process_time())
    return reading, spread([b - a for a, b in itertools.pairwise(spent)][1:]).median


def block(step: Step, source: Iterator[tuple[Tensor, Tensor]], steps: int) -> list[float]:
    """Wall seconds of a step and the reading before it, without the first ones."""
    seconds = []
    for _ in range(WARM_UP + steps):
        begin = time.perf_counter()
        step(*next(source))
        seconds.append(time.perf_counter() - begin)
    return seconds[WARM_UP:]


def measure(examples: Examples, settings: Settings) -> tuple[list[str], bool]:
    """The table's lines, and whether reading is within what is allowed."""
    step = Step(settings)
    alone = {
        workers: images_a_second(examples, settings, workers) for workers in dict.fromkeys((0, 1, settings.workers))
    }
    reading, stepping = processor_seconds(examples, settings, step)
    memory = next(loaded(examples, settings, 1, 0))
    seconds: dict[str, list[float]] = {"memory": [], "loader": []}
    updates = WARM_UP + settings.steps + 3 * settings.workers  # it still reads while the last step is counted
    for _ in range(settings.blocks):
        seconds["memory"] += block(step, itertools.repeat(memory), settings.steps)
        seconds["loader"] += block(step, loaded(examples, settings, updates, settings.workers), settings.steps)
    ratio = speedup(seconds, "loader", "memory")
    times = {kind: spread(values) for kind, values in seconds.items()}
    rate = settings.batch / times["memory"].median
    lines = ["| what | images a second | seconds a step [quartiles] |", "|---|---:|---:|"]
    for workers, images in alone.items():
        where = f"{workers} loader process{'' if workers == 1 else 'es'}" if workers else "read in the same process"
        lines.append(f"| data alone, {where} | {images:.1f} | |")
    for kind, title in (("memory", "the same batch again"), ("loader", f"{settings.workers} loader processes")):
        t = times[kind]
        lines.append(
            f"| training step, {title} | {settings.batch / t.median:.2f} | {t.median:.2f} [{t.low:.2f}, {t.high:.2f}] |"
        )
    within = ratio.median <= ALLOWED
    lines += [
        "",
        f"Fed by the loader a step takes {ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] times as long as from "
        f"memory ({'within' if within else 'MORE than'} the {ALLOWED} allowed); alone, the loader is "
        f"{alone[settings.workers] / rate:.0f} times faster than the step.",
        "",
        f"Processor time of a batch: {reading:.3f} s to read it, {stepping:.3f} s for the step, "
        f"{100 * reading / stepping:.1f} % of it.",
    ]
    return lines, within


def main(settings: Settings) -> None:
    """Check, measure, print, write."""
    torch.set_num_threads(settings.threads)
    command = [sys.executable, "-m", "pytest", "-m", "not slow", *TESTS]
    if not settings.skip_tests and subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("the tests of the batches are red: no figures")
    told = machine.provenance()
    with tempfile.TemporaryDirectory() as folder:
        lines, within = measure(write_folder(Path(folder), settings.images), settings)
    page = [
        "# Reading data against a training step",
        "",
        f"ResNet-50 with a 1 x 1 head, float32, batches of {settings.batch} crops of {settings.side} x {settings.side} "
        f"from {settings.images} JPEGs of {SIZE[0]} x {SIZE[1]} with PNG masks, {settings.blocks} blocks of "
        f"{settings.steps} steps of each kind, wall time.",
        "",
        *lines,
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in told.items()),
    ]
    print("\n".join(page))
    if settings.out is not None and not settings.skip_tests:
        write_whole(settings.out, "\n".join(page) + "\n")
    sys.exit(not within)


if __name__ == "__main__":
    main(tyro.cli(Settings))
