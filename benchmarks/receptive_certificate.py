"""Does the receptive field miss a pixel? Unmodified Hugging Face networks against perturbation, neuron by neuron.

    python benchmarks/receptive_certificate.py

For each architecture, neurons are drawn at random from all layers that have a map. The exact set that
`seeing.receptive` gives for each is compared with the truth: float64, weights drawn anew at several scales, one pixel
changed at a time, a neuron that differs in any bit has seen it. A pixel that the truth has and the set lacks is
*missed*, and one is a defect. A pixel that the set has and the truth lacks is *in excess*: it is explained where an
operation was counted as dense and named, or by a *finite mask*.

What perturbation cannot see is an influence smaller than one rounding in every drawing. Swin adds -100 to scores that
its shifted windows should not use: other weights can lift a score over that, these drawings do not. Whether that is
the cause is tried: where -5 is added instead of -100, the pixels must be seen.

Left out: neurons of vectors (class scores see everything here), and training mode.
"""

import copy
import dataclasses
import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import tyro
from hugging_face_networks import architectures
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.bench import machine
from sightline.run.files import write_whole
from sightline.seeing.maps import Layout, at
from sightline.seeing.reach import SCALES, redraw_weights
from sightline.seeing.receptive import Fields, receptive_fields

Neuron = tuple[str, Layout, tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much to check."""

    neurons: int = 20
    redraws: int = 4
    """Drawings of all weights for all pixels, at several scales of weights and images."""
    more: int = 60
    """Further drawings for pixels still in excess: few paths lead from the rim of a field to its neuron."""
    patience: int = 12
    """Drawings in a row that show nothing new, after which no more are made."""
    batch: int = 128
    """Changed pixels at once."""
    only: tuple[str, ...] = ()
    """Architectures to check; all by default."""
    seed: int = 0
    out: Path | None = Path("benchmarks/results/receptive_certificate.md")


def chosen(fields: Fields, count: int, seed: int) -> list[Neuron]:
    """Neurons at random: a layer that has a map and runs once, and a place on it."""
    draw = random.Random(seed)
    layers = [one for one in fields.layers.values() if one.layout.kind != "vector" and "#" not in one.name]
    layers = [one for one in layers if one.shape[0] == 1]  # not cut into windows, which stand where images do
    again = {name.partition(" #")[0] for name in fields.layers if "#" in name}
    layers = [one for one in layers if one.name not in again]
    picked = [draw.choice(layers) for _ in range(count)]
    return [(p.name, p.layout, (draw.randrange(p.grid[0]), draw.randrange(p.grid[1]))) for p in picked]


def read(network: nn.Module, images: Float[Tensor, "b c h w"], neurons: Sequence[Neuron]) -> list[Tensor]:
    """What each neuron says of each image."""
    modules, said = dict(network.named_modules()), {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, args: object, output: object) -> None:
            values = (
                [output]
                if isinstance(output, Tensor)
                else list(output.values() if isinstance(output, dict) else output)
            )  # type: ignore[call-overload]
            said[name] = next(v for v in values if isinstance(v, Tensor))

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in {n for n, _, _ in neurons}]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [at(said[name], where, position) for name, where, position in neurons]


class WeakMasks(TorchDispatchMode):
    """Finite masks of -100 close less: -5 is added instead."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten.add.Tensor and isinstance(args[1], Tensor) and bool((args[1] == -100).any()):
            args = (args[0], args[1].where(args[1] != -100, -5), *args[2:])
        return func(*args, **(kwargs or {}))


def truth(
    network: nn.Module, neurons: Sequence[Neuron], found: Bool[Tensor, "n h w"], settings: Settings
) -> Bool[Tensor, "n h w"]:
    """The pixels whose change each neuron notices, in any drawing."""
    generator = torch.Generator().manual_seed(settings.seed)
    twin, side = copy.deepcopy(network), found.shape[-1]
    seen = torch.zeros(len(neurons), side * side, dtype=torch.bool)
    idle = 0  # drawings in a row that showed nothing new
    for turn in range(settings.redraws + settings.more):
        asked = torch.arange(side * side)
        if turn >= settings.redraws:
            asked = (found.flatten(1) & ~seen).any(0).nonzero().flatten()
        if not len(asked) or idle == settings.patience:
            break
        known = int(seen.sum())
        weights, brightness = SCALES[turn % len(SCALES)]
        redraw_weights(twin, generator, scale=weights)
        image, other = (brightness * torch.rand(3, side, side, generator=generator).double() for _ in range(2))
        # The same batch size for both, so that the same instructions run and a bit that differs has arrived.
        batch = min(settings.batch, len(asked))
        before = read(twin, image.expand(batch, -1, -1, -1).contiguous(), neurons)
        for pixels in asked.split(batch):
            changed = image.expand(batch, -1, -1, -1).clone().flatten(2)
            changed[torch.arange(len(pixels)), :, pixels] = other.flatten(1)[:, pixels].T
            after = read(twin, changed.unflatten(2, (side, side)), neurons)
            for n, (old, new) in enumerate(zip(before, after, strict=True)):
                differs = ((old != new) & ~(old.isnan() & new.isnan())).any(1)
                seen[n, pixels] |= differs[: len(pixels)]
        idle = idle + 1 if int(seen.sum()) == known else 0
    return seen.unflatten(1, (side, side))


def row(name: str, settings: Settings) -> str:
    """One architecture's line of the table."""
    side, build = architectures()[name]
    torch.manual_seed(settings.seed)
    network = build().double().eval()
    fields = receptive_fields(network, (side, side))
    neurons = chosen(fields, settings.neurons, settings.seed)
    found = torch.stack([fields.set(layer, position) for layer, _, position in neurons])
    true = truth(network, neurons, found, settings)
    missed, excess = int((true & ~found).sum()), (found & ~true).flatten(1).sum(1)
    named = sorted({d for n, (layer, _, _) in enumerate(neurons) if excess[n] for d in fields.layers[layer].dense})
    exact = torch.tensor([not fields.layers[layer].dense for layer, _, _ in neurons])
    left = found & ~true & exact[:, None, None]
    if left.any():
        with WeakMasks():
            masked = left & truth(network, neurons, left, dataclasses.replace(settings, redraws=0))
        left = left & ~masked
        named += ["a finite mask"] if masked.any() else []
    unexplained = int(left.sum())
    layers = len({layer for layer, _, _ in neurons})
    cells = [name, side, f"{len(neurons)} in {layers} layers", int(true.sum()), missed, int(excess.sum()), unexplained]
    return f"| {' | '.join(map(str, cells))} | {', '.join(named) or '-'} |"


def main(settings: Settings) -> None:
    """Check, print, write."""
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    head = [
        "| architecture | side, px | neurons | pixels seen | missed | in excess | unexplained | explained by |",
        "|---|---:|---|---:|---:|---:|---:|---|",
    ]
    print("\n".join(head), flush=True)
    table = []
    for name in settings.only or architectures():
        table.append(row(name, settings))
        print(table[-1], flush=True)
    page = [
        "# Receptive fields of unmodified networks against perturbation",
        "",
        f"Structural sets of {settings.neurons} neurons each. Truth: one pixel changed at a time, in float64, under",
        f"{settings.redraws} drawings of all weights, and up to {settings.more} more for pixels still in excess.",
        f"Networks of transformers {transformers.__version__}, random weights.",
        "",
        *head,
        *table,
        "",
        *(f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in machine.provenance().items()),
    ]
    if settings.out is not None and not settings.only:
        write_whole(settings.out, "\n".join(page) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
