"""Theoretical fields for the page: a row for every layer, the layers worth walking through, neurons with their sets.

`receptive_fields` does the work; here its answers are chosen and cut to what a page can hold.

Left out: the rules.
"""

import math
import time
from collections.abc import Sequence

import numpy as np
from torch import nn

from sightline.ops.arguments import choose
from sightline.seeing.receptive import Fields, LayerField
from sightline.seeing.report.contents import Layer, Neurons

MAIN = 14  # layers in charts, at most
FEWEST = 5  # of them, before modules one level deeper are taken as well
STEPS = 8  # layers in the strip, at most
STEP_SECONDS = 40.0  # for exact sets of the strip, all layers together


def _strides(found: tuple[float | None, float | None]) -> tuple[float, float] | None:
    """Stride by axis; none at all where all neurons see the same, zero along one axis where they do along that one."""
    if found[0] is None and found[1] is None:
        return None
    return (float(found[0] or 0), float(found[1] or 0))


def rows_of(fields: Fields) -> tuple[Layer, ...]:
    """Every layer's row of the table, in the order of execution."""
    rows = []
    for name, one in fields.layers.items():
        strides = _strides(one.stride)
        rows.append(
            Layer(
                name=name,
                kind=one.type,
                shape=tuple(one.shape),
                grid=None if one.layout.kind == "vector" else one.grid,
                size=(float(one.size[0]), float(one.size[1])),
                stride=strides,
                padding=None if strides is None else one.padding,
                clipped=(float(one.clipped[0]), float(one.clipped[1])),
                share=float(one.share),
                dense=one.dense,
            )
        )
    return tuple(rows)


def _learns(network: nn.Module, name: str) -> bool:
    """Whether a module has weights that join channels or positions: norms and activations have none."""
    module = network.get_submodule(name.partition(" #")[0])  # a second call is named "layer #2"
    return any(one.dim() > 1 for one in module.parameters())


def main_layers(network: nn.Module, layers: Sequence[Layer], most: int = MAIN) -> tuple[str, ...]:
    """Layers that tell the story, shallow to deep: outermost modules with a map, each of which changes something.

    Modules nested one level deeper join until there are five. A norm or an activation that leaves the field as it was
    is left out. Where there are too many, they are thinned evenly, first and last kept.
    """
    on_image = [
        one
        for one in layers
        # A pooled vector [b, c, 1] has the form of tokens with one channel each.
        if one.grid is not None and one.grid[0] * one.grid[1] > 1 and one.name and one.shape[2:] != (1,)
    ]
    deepest = max((one.name.count(".") for one in on_image), default=0)
    kept: list[Layer] = []
    for depth in range(deepest + 1):
        kept = []
        for one in (one for one in on_image if one.name.count(".") <= depth):
            last = kept[-1] if kept else None
            same = last is not None and (last.grid, last.size, last.stride) == (one.grid, one.size, one.stride)
            if last is not None and same and last.name.startswith(f"{one.name}."):
                kept[-1] = one  # the whole says what its last part says
            elif not same or _learns(network, one.name):
                kept.append(one)
        if len(kept) >= FEWEST:
            break
    names = [one.name for one in kept] or [one.name for one in layers if one.grid is not None][-1:]
    if len(names) > most:
        names = [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
    return tuple(names)


def chosen_layer(layers: Sequence[Layer], main: Sequence[str], asked: str | None) -> str:
    """The layer whose neurons are followed: the one that was asked for, or the last that still has a map.

    Raises:
        ValueError: there is no such layer, the sentence suggests the nearest; or its output, or every layer's, does not
            lie over the image.
    """
    by_name = {one.name: one for one in layers}
    if asked is not None:
        name = "" if asked == "output" and "output" not in by_name else choose("layer", asked, list(by_name))
        if by_name[name].grid is None:
            raise ValueError(
                f"the output of layer '{asked}' has shape {by_name[name].shape} and does not lie over the image:"
                f" choose one that does, such as {main[-1] if main else 'a convolution'}"
            )
        return name
    if not main:
        raise ValueError("no layer's output lies over the image, so there is no neuron to point at")
    return main[-1]


def lattice(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of `count` positions, evenly spread and off the ends as far as each other's half distance."""
    if count <= most:
        return tuple(range(count))
    return tuple(int((i + 0.5) * count / most) for i in range(most))


def centres_of(field: LayerField, axis: int, extent: int, places: Sequence[int]) -> tuple[float, ...]:
    """Where positions are centred along an axis, in pixels from the image's edge.

    By stride and padding; where all positions see the same, each stands for its share of the image.
    """
    stride = field.stride[axis]
    if stride is None or stride <= 0:
        return tuple((u + 0.5) * extent / field.grid[axis] for u in places)
    return tuple(-field.padding[axis] + stride * u + field.size[axis] / 2 for u in places)


def box_of(fields: Fields, layer: str, position: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (exclusive) of the field as if the image had no border.

    By the central neuron's size, stride and padding. They do not hold where neighbours differ (a resize to another
    grid): there the box within the image is all that is known.
    """
    hull, one = fields.hull(layer, position), fields.layers[layer]
    if hull is None:
        return (0, 0, 0, 0)
    found = [hull[0], hull[2], hull[1] + 1, hull[3] + 1]
    for axis in (0, 1):
        low = -one.padding[axis] + (one.stride[axis] or 0.0) * position[axis]
        high = low + one.size[axis]
        if low <= found[axis] and high >= found[axis + 2]:
            found[axis], found[axis + 2] = math.floor(low), math.ceil(high)
    return found[0], found[1], found[2], found[3]


def neurons_of(fields: Fields, layer: str, most: int, *, seconds: float = math.inf) -> Neurons:
    """The lattice of a layer's neurons with their sets; boxes where the exact sets take longer than `seconds`."""
    one, image = fields.layers[layer], fields.image
    rows, columns = lattice(one.grid[0], most), lattice(one.grid[1], most)
    places = [(row, column) for row in rows for column in columns]
    sets = np.zeros((len(places), *image), bool)
    exact, start = True, time.monotonic()
    for index, place in enumerate(places):
        sets[index] = fields.set(layer, place).cpu().numpy()
        if time.monotonic() - start > seconds:
            exact = False
            break
    if not exact:
        for index, place in enumerate(places):
            hull = fields.hull(layer, place)
            if hull is not None:
                sets[index, hull[0] : hull[1] + 1, hull[2] : hull[3] + 1] = True
    return Neurons(
        layer,
        one.grid,
        rows,
        columns,
        (centres_of(one, 0, image[0], rows), centres_of(one, 1, image[1], columns)),
        np.array([box_of(fields, layer, place) for place in places], int).reshape(-1, 4),
        sets,
        exact,
    )


def steps_of(fields: Fields, main: Sequence[str], most: int) -> tuple[Neurons, ...]:
    """The strip: at most eight of the main layers, each with its lattice."""
    names = list(main)
    if len(names) > STEPS:
        names = [names[round(i * (len(names) - 1) / (STEPS - 1))] for i in range(STEPS)]
    left = STEP_SECONDS
    steps = []
    for place, name in enumerate(names):
        start = time.monotonic()
        steps.append(neurons_of(fields, name, most, seconds=left / (len(names) - place)))
        left = max(0.0, left - (time.monotonic() - start))
    return tuple(steps)
