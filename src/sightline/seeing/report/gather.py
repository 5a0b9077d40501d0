"""Everything that the page shows of one network on one image, gathered part by part.

A part that fails leaves a sentence in its place, and the others are made all the same; only what the whole page needs
(the network takes the image, the layer exists) is an error.

Left out: how any part is measured; each is a file of `seeing`.
"""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.modes import evaluated
from sightline.ops.arguments import choose
from sightline.seeing.receptive import Fields, receptive_fields
from sightline.seeing.report.contents import Layer, Missing, Neurons, Picture, Report
from sightline.seeing.report.drawn import features_of, files_in, kernels_of
from sightline.seeing.report.effect import Measured, measure
from sightline.seeing.report.looking import distances_of, looks_of
from sightline.seeing.report.parts import Start, attempt, progress
from sightline.seeing.report.photo import Photo
from sightline.seeing.report.sentences import TIMES
from sightline.seeing.report.theory import chosen_layer, main_layers, neurons_of, rows_of, steps_of

NO_MAP = "No layer's output lies over the image."


@dataclass(frozen=True)
class Wanted:
    """What is asked of a page."""

    layer: str | None
    images: Path | None
    values: bool
    features: bool
    neurons: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def gather(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    photo: Photo,
    name: str,
    wanted: Wanted,
    *,
    command: str,
    trained: bool = False,
) -> Report:
    """The report.

    Raises:
        ValueError: the layer does not exist, the sentence suggests the nearest; no row of neurons is wanted.
        FileNotFoundError: the folder of images is not there.
    """
    if wanted.neurons < 1:
        raise ValueError(f"at least 1 row of neurons is followed, got --neurons {wanted.neurons}")
    files = [] if wanted.images is None else files_in(wanted.images)
    with evaluated(network), progress() as start:
        start("what it can see", None)
        fields = attempt("Theoretical fields", lambda: receptive_fields(network, image, values=wanted.values))
        if isinstance(fields, Missing):
            theory = _without_fields(network, fields, wanted.layer)
        else:
            theory = _with_fields(network, image, photo, fields, wanted, files, start)
        queries = start("attention", None)
        looked = attempt("Attention", lambda: looks_of(network, image, wanted.neurons, queries))
        looks, unplaced = (looked, []) if isinstance(looked, Missing) else looked
        return Report(
            model=name,
            image=photo.name,
            photo=photo.pixels,
            kind="value-aware" if wanted.values else "structural",
            layers=theory.layers,
            main=theory.main,
            effects=theory.effect.areas,
            neurons=theory.effect.neurons,
            heat_note=theory.effect.note,
            steps=theory.steps,
            looks=looks,
            distances=attempt("Distances of heads", lambda: distances_of(network, image)),
            kernels=attempt("Pictures of kernels", lambda: kernels_of(network, image, trained)),
            features=theory.features,
            warnings=theory.warnings + tuple(unplaced),
            facts=_facts(network, image, wanted, trained),
            command=command,
            original=photo.original,
        )


@dataclass(frozen=True)
class _Theory:
    """All parts that need theoretical fields."""

    layers: tuple[Layer, ...] | Missing
    main: tuple[str, ...]
    steps: tuple[Neurons, ...] | Missing
    effect: Measured
    features: tuple[Picture, ...] | Missing
    warnings: tuple[str, ...]


def _without_fields(network: nn.Module, why: Missing, asked: str | None) -> _Theory:
    if asked is not None:
        choose("layer", asked, [name for name, _ in network.named_modules()])
    beside = Missing("Effective fields are shown beside theoretical ones, which are not known here.")
    cut = Missing("Features are cut to the theoretical field, which is not known here.")
    return _Theory(why, (), why, Measured(beside, why, ""), cut, ())


def _with_fields(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    photo: Photo,
    fields: Fields,
    wanted: Wanted,
    files: list[Path],
    start: Start,
) -> _Theory:
    layers = rows_of(fields)
    main = main_layers(network, layers)
    if wanted.layer is None and not main:
        neurons: Neurons | Missing = Missing("No layer's output lies over the image: there is no neuron to point at.")
    else:
        layer = chosen_layer(layers, main, wanted.layer)
        neurons = attempt("Exact fields", lambda: neurons_of(fields, layer, wanted.neurons))
    features: tuple[Picture, ...] | Missing = Missing("No layer was followed, so that there is no channel to show.")
    if isinstance(neurons, Neurons):
        followed = neurons.layer
        features = attempt(
            "Features",
            lambda: features_of(
                network, photo.pixels, followed, fields, channels=image.shape[1], mean=wanted.mean, std=wanted.std,
                files=files, optimise=wanted.features,
            ),
        )  # fmt: skip
    measured = attempt("Effective fields", lambda: measure(network, image, fields, neurons, main, start))
    return _Theory(
        layers,
        main,
        attempt("The strip", lambda: steps_of(fields, main, wanted.neurons)) if main else Missing(NO_MAP),
        Measured(measured, neurons, "") if isinstance(measured, Missing) else measured,
        features,
        tuple(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in fields.warnings),
    )


def _facts(
    network: nn.Module, image: Float[Tensor, "1 c h w"], wanted: Wanted, trained: bool
) -> tuple[tuple[str, str], ...]:
    return (
        ("parameters", f"{sum(one.numel() for one in network.parameters()):,}"),
        ("weights", "of a training run" if trained else "as the model's factory made them"),
        ("input", f" {TIMES} ".join(str(one) for one in image.shape)),
        ("mean and deviation", f"{wanted.mean}, {wanted.std}"),
        ("theoretical fields", "value-aware" if wanted.values else "structural"),
        ("PyTorch", torch.__version__),
        ("Python", sys.version.split()[0]),
        ("system", platform.platform(terse=True)),
    )
