"""`sightline export RUN`: a trained network leaves, as an ONNX file or a PyTorch program that needs no sightline.

The file carries what another program needs beside the numbers, as texts: `task`, `classes`, `mean`, `std` (JSON lists),
`input` and `output` in words, and `sizes`. How it is written and checked: `models/export.py`.

Left out: windows, scales and averages over mirror images, which are a program's affair and not a network's.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from tyro.conf import Positional

from sightline.models.export import Exported, export_onnx, export_program
from sightline.models.trace import Normalised
from sightline.ops.arguments import choose
from sightline.vision.prediction.runs import LoadedRun, load_run

FORMATS = {"onnx": export_onnx, "program": export_program}
ENDINGS = {"onnx": ".onnx", "program": ".pt2"}
INPUT = {
    False: "float32 [batch, 3, height, width], RGB, each value v from 0 to 255 given as (v / 255 - mean) / std",
    True: "uint8 [batch, 3, height, width], RGB, from 0 to 255",
}
OUTPUT = {
    "segment": "float32 [batch, classes, height, width], a logit per class and pixel",
    "classify": "float32 [batch, classes], a logit per class",
}


@dataclass(frozen=True)
class Export:
    """A trained network as a file that runs without sightline."""

    run: Positional[Path]
    """Folder of the run whose network is to leave."""
    out: Path | None = None
    """Where to; by default `network.onnx`, `network.pt2` or, of an agent, `policy.onnx` in the run's folder."""
    format: str = "onnx"
    """"onnx", or "program" for `torch.export.load`."""
    normalise: bool = False
    """Whether the file takes bytes, as images hold them, and normalises them itself."""
    size: tuple[int, int] | None = None
    """Height and width near which the network is traced and checked; by default the training's."""
    trust: bool = False
    """Whether the run may name objects outside of sightline, which are imported."""


def run(settings: Export) -> Exported:
    """Load the run, write the file, check it, and say what was checked.

    Raises:
        ValueError: an unknown format, no run, or what `export_onnx` and `export_program` raise.
        OSError: the file cannot be written.
    """
    write = FORMATS[choose("format", settings.format, FORMATS)]
    loaded = load_run(settings.run, trust=settings.trust)
    network: nn.Module = loaded.network
    if settings.normalise:
        network = Normalised(network, loaded.mean, loaded.std)
    file = settings.run / f"network{ENDINGS[settings.format]}" if settings.out is None else settings.out
    size = loaded.size if settings.size is None else settings.size
    report = write(network, file, size=size, metadata=about(loaded, settings.normalise))
    print(report)
    return report


def about(loaded: LoadedRun, normalised: bool) -> dict[str, str]:
    """What goes into the file beside the network, by name."""
    return {
        "task": loaded.task,
        "classes": json.dumps(loaded.classes),
        "mean": json.dumps(loaded.mean),
        "std": json.dumps(loaded.std),
        "input": INPUT[normalised],
        "output": OUTPUT[loaded.task],
    }
