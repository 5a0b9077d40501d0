"""Effective fields for the page: of the followed neurons as heat, of every main layer's central neuron as areas.

`effective.heats` does the work, on the user's one image, with the protocol that it calls "absolute"; RepLKNet's squares
come from its own protocol.

Left out: means over many images, which the functions themselves take.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from sightline.seeing.effective import heats, possible
from sightline.seeing.effective_size import areas, replknet_areas
from sightline.seeing.effective_size import share as share_of
from sightline.seeing.receptive import Fields
from sightline.seeing.report.contents import Effect, Missing, Neurons
from sightline.seeing.report.parts import Done, Start, attempt
from sightline.seeing.report.sentences import named, percent

DRAWS = 2  # mixtures of a neuron's channels, averaged
BLOCK = 14  # neurons whose heats are asked for at once


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the page says of effects."""

    areas: dict[str, Effect] | Missing
    neurons: Neurons | Missing
    """With heats, where they could be made."""
    note: str
    """How they were made, or why not."""


def measure(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    fields: Fields,
    neurons: Neurons | Missing,
    main: tuple[str, ...],
    start: Start,
) -> Measured:
    """Areas of every main layer's central neuron, and heats of the followed neurons."""
    layers = list(main)
    if isinstance(neurons, Neurons) and neurons.layer not in layers:
        layers.append(neurons.layer)
    done = start("effect by layer", len(layers))
    areas, notes = effects_of(network, image, fields, layers, done)
    failed, notes = notes, notes[:2]
    if isinstance(neurons, Neurons):
        followed, told = neurons, start("effect by neuron", len(neurons.sets))
        heat = attempt("Heat", lambda: heat_of_each(network, image, followed, told))
        if isinstance(heat, Missing):
            notes = [heat.sentence]
        else:
            neurons = dataclasses.replace(followed, heats=heat)
            notes.append(_protocol(network, image, fields, followed.layer, areas))
    found = areas or Missing(failed[0] if failed else "No effective field was measured.")
    return Measured(found, neurons, " ".join(notes))


def _protocol(
    network: nn.Module, image: Float[Tensor, "1 c h w"], fields: Fields, layer: str, areas: dict[str, Effect]
) -> str:
    said = (
        f"Effect: the size of the gradient of {named(layer)} by each pixel of this one image, the channels mixed at"
        f" random {DRAWS} times; the contours are those of the drawn cells, the shares those of single pixels."
    )
    grid = fields.layers[layer].grid
    middle = (grid[0] // 2, grid[1] // 2)
    could = attempt("The possible field", lambda: possible_areas(network, image, layer, middle))
    if isinstance(could, dict) and layer in areas:
        said += (
            f" With weights drawn anew the central neuron's 95 % would take {percent(could[0.95])} of the image; with"
            f" these it takes {percent(areas[layer].most)}. Far less means that a branch is closed, by last weights of"
            " zero for one."
        )
    return said


def plain_name(layer: str) -> str:
    """A layer's name without the number of its call."""
    return layer.partition(" #")[0]


def heat_of_each(
    network: nn.Module, image: Float[Tensor, "1 c h w"], neurons: Neurons, done: Done
) -> Float[np.ndarray, "n h w"]:
    """The heat of every followed neuron; `done` is told how many more are ready.

    Raises:
        ValueError: no gradient leads to the image.
    """
    places = [(row, column) for row in neurons.rows for column in neurons.columns]
    found = []
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        heat = heats(network, image, plain_name(neurons.layer), block, draws=DRAWS)
        found.append(heat.float().cpu().numpy())
        done(len(block))
    return np.concatenate(found)


def effects_of(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    fields: Fields,
    layers: Sequence[str],
    done: Done,
) -> tuple[dict[str, Effect], list[str]]:
    """The effect of each layer's central neuron, and a sentence for every layer without one."""
    found: dict[str, Effect] = {}
    failed: list[str] = []
    for layer in layers:
        grid = fields.layers[layer].grid
        place = (grid[0] // 2, grid[1] // 2)
        try:
            found[layer] = effect_of(network, image, fields, layer, place)
        except (ValueError, RuntimeError) as error:
            failed.append(f"The effective field of {layer or 'the output'} could not be measured: {error}.")
        done(1)
    return found, failed


def effect_of(
    network: nn.Module, image: Float[Tensor, "1 c h w"], fields: Fields, layer: str, place: tuple[int, int]
) -> Effect:
    """Areas of one neuron's effective field, by both definitions; zero where no gradient reaches the image.

    Raises:
        ValueError: no gradient leads to the image.
    """
    heat = heats(network, image, plain_name(layer), [place], draws=DRAWS)[0]
    if not bool((heat > 0).any()):
        return Effect(0.0, 0.0)
    size = areas(heat, (0.5, 0.95))
    return Effect(
        size[0.5], size[0.95], _squares(network, image, layer, place), share_of(heat, fields.set(layer, place))
    )


def _squares(
    network: nn.Module, image: Float[Tensor, "1 c h w"], layer: str, place: tuple[int, int]
) -> dict[str, float]:
    heat = heats(network, image, plain_name(layer), [place], protocol="replknet")[0]
    if not bool((heat > 0).any()):
        return {}
    return {f"{100 * t:.0f}": area for t, area in replknet_areas(heat).items() if area is not None}


def possible_areas(
    network: nn.Module, image: Float[Tensor, "1 c h w"], layer: str, place: tuple[int, int]
) -> dict[float, float]:
    """Areas that the architecture allows, under weights drawn anew.

    Raises:
        ValueError: no weights move the neuron.
    """
    return areas(possible(network, image, plain_name(layer), [place])[0], (0.5, 0.95))
