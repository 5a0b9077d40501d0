"""What a receptive field costs, against one forward pass of the same network: all layers, and one exact set.

    python benchmarks/receptive_field.py

Interleaved in one process; checked first: sizes against the published ones (Araujo, Norris & Sim, Distill 2019, and
torchvision's layout). `all layers` watches one run on shapes alone and keeps the hull of every neuron of every module;
`one exact set` walks back from the network's central neuron. Wanted: each within ten forward passes of a ResNet-50.

Left out: graphics cards, where a forward pass costs less and watching does not.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import torch
import tyro
from torch import nn

from sightline.bench import machine
from sightline.bench.measure import interleave, speedup, spread
from sightline.models.ccnet import ccnet
from sightline.models.convnet import AlexNet
from sightline.models.resnet import ResNet
from sightline.models.vgg import VGG
from sightline.models.vit import SIZES, VisionTransformer
from sightline.run.files import write_whole
from sightline.seeing.receptive import receptive_fields

WANTED = 10.0  # forward passes
NETWORKS: dict[str, tuple[int, Callable[[], nn.Module], int | None]] = {  # side, network, published size of its field
    "alexnet": (224, AlexNet, 163),  # its map, before the last pooling
    "vgg16": (224, lambda: VGG(16), 196),  # likewise
    "resnet50": (224, lambda: ResNet(50), 427),
    "resnet152": (224, lambda: ResNet(152), None),
    "vit_base": (224, lambda: VisionTransformer(SIZES["base"]), None),
    "ccnet, ResNet-50": (385, lambda: ccnet(ResNet(50, output_stride=8), 19), None),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure."""

    repeats: int = 7
    only: tuple[str, ...] = tuple(NETWORKS)
    out: Path | None = Path("benchmarks/results/receptive_field.md")


def row(name: str, settings: Settings) -> str:
    """One network's line of the table."""
    side, build, published = NETWORKS[name]
    network = build().eval()
    image = torch.rand(1, 3, side, side)
    fields = receptive_fields(network, (side, side))
    last = list(fields.layers)[-1]
    size = fields.layers[last].size[0]
    assert published in (None, size), f"{name}: {size} px, published {published}"
    centre = tuple(g // 2 for g in fields.layers[last].grid)

    def forward() -> object:
        with torch.no_grad():
            return network(image)

    calls = {
        "forward": forward,
        "all layers": functools.partial(receptive_fields, network, (side, side)),
        "one exact set": functools.partial(fields.set, last, centre),
    }
    seconds = interleave(calls, settings.repeats)
    cells = [name, f"{side} px", len(fields.layers), f"{size} px", f"{1e3 * spread(seconds['forward']).median:.0f} ms"]
    for what in ("all layers", "one exact set"):
        ratio = speedup(seconds, what, "forward")
        cells += [
            f"{1e3 * spread(seconds[what]).median:.0f} ms",
            f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
        ]
    return f"| {' | '.join(map(str, cells))} |"


def main(settings: Settings) -> None:
    """Check, measure, print, write."""
    torch.set_num_threads(1)
    head = [
        "| network | image | modules | field | one forward pass | all layers | in passes | one exact set | in passes |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    print("\n".join(head), flush=True)
    table = []
    for name in settings.only:
        table.append(row(name, settings))
        print(table[-1], flush=True)
    page = [
        "# What a receptive field costs",
        "",
        f"Process time, one thread, float32, one image; medians over {settings.repeats} interleaved turns, ratios",
        f"within each turn with quartiles. Wanted for resnet50: at most {WANTED:.0f} passes each.",
        "",
        *head,
        *table,
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in machine.provenance().items()),
    ]
    if settings.out is not None:
        write_whole(settings.out, "\n".join(page) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
