"""Attention for the page: where every layer looks from each query of a lattice, and how far its heads look.

The network runs once; rows of each attention's table are asked for while it runs (`attention_calls.py`). Criss-cross
passes are also composed, for which `looks` runs the network once for each query.

Left out: layers whose tokens could not be placed on the image; they are named.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.seeing.attention import looks, on_grid
from sightline.seeing.attention_calls import Call, watch_attention
from sightline.seeing.distance import attention_distances, centres
from sightline.seeing.report.contents import HeadDistances, Look, Missing
from sightline.seeing.report.parts import Done
from sightline.seeing.report.theory import lattice

COMPOSED_QUERIES = 7  # rows and columns of the lattice for composed passes


def _pixels(grid: tuple[int, int], size: tuple[int, int], axis: int, places: tuple[int, ...]) -> tuple[float, ...]:
    return tuple((u + 0.5) * size[axis] / grid[axis] for u in places)


def _look(
    layer: str,
    names: tuple[str, ...],
    weights: Float[np.ndarray, "k n y x"],
    size: tuple[int, int],
    grid: tuple[int, int],
    rows: tuple[int, ...],
    columns: tuple[int, ...],
) -> Look:
    """A look with the mean over its heads first, where there are several, and its distances in pixels."""
    if len(weights) > 1:
        weights = np.concatenate([weights.mean(0, keepdims=True), weights])
        names = ("mean of the heads", *names)
    keys = centres((weights.shape[2], weights.shape[3]), size).numpy()
    queries = centres(grid, size).numpy().reshape(*grid, 2)[np.ix_(rows, columns)].reshape(-1, 2)
    far = np.sqrt(((queries[:, None] - keys[None]) ** 2).sum(-1))
    shares = np.clip(weights.reshape(*weights.shape[:2], -1), 0, None)
    whole = shares.sum(-1)
    distances = (shares * far).sum(-1) / np.where(whole > 0, whole, 1)
    return Look(
        layer, names, rows, columns, (_pixels(grid, size, 0, rows), _pixels(grid, size, 1, columns)), weights, distances
    )


def looks_of(
    network: nn.Module, image: Float[Tensor, "1 c h w"], most: int, done: Done
) -> tuple[tuple[Look, ...] | Missing, list[str]]:
    """Every attention layer that could be placed on the image, in order of execution, and a sentence for the others."""
    size = (image.shape[-2], image.shape[-1])
    found: list[tuple[Call, Look | None]] = []

    def see(call: Call) -> None:
        if call.queries.grid is None or call.keys.grid is None or call.groups > 1:
            found.append((_unheld(call), None))
            return
        grid = call.queries.grid
        rows, columns = lattice(grid[0], most), lattice(grid[1], most)
        maps = []
        for row in rows:
            for column in columns:
                weights = call.row(call.queries.prefix + row * grid[1] + column).detach()
                maps.append(on_grid(weights.float(), call.keys)[0].cpu().numpy())
        whole = np.stack(maps, 1)
        names = tuple(f"head {k + 1}" for k in range(len(whole))) if len(whole) > 1 else ("one head",)
        several = f", call {call.number}" if call.number > 1 else ""
        found.append((_unheld(call), _look(call.layer + several, names, whole, size, grid, rows, columns)))

    watch_attention(network, image, see)
    if not found:
        return Missing("This network has no attention layer that could be seen, so it looks nowhere in particular."), []
    kept = [look for _, look in found if look is not None]
    kept += _composed(network, image, [call for call, _ in found], most, done)
    unplaced = list(dict.fromkeys(call.layer for call, look in found if look is None))
    sentences = []
    if unplaced:
        shown = ", ".join(unplaced[:3]) + (f" and {len(unplaced) - 3} more" if len(unplaced) > 3 else "")
        sentences.append(
            f"Attention that works on windows, or on tokens that fit no grid over the image, is not drawn: {shown}."
        )
    if not kept:
        return Missing(sentences[0]), []
    return tuple(kept), sentences


def _unheld(call: Call) -> Call:
    """The call without the functions that keep the network's tensors."""

    def gone(*_: int) -> Tensor:
        raise RuntimeError("the rows of this call are no longer kept")

    return dataclasses.replace(call, row=gone, rows=gone, criss_cross=None)


def _composed(
    network: nn.Module, image: Float[Tensor, "1 c h w"], calls: list[Call], most: int, done: Done
) -> list[Look]:
    """Passes of criss-cross attention that follow each other, as one look."""
    if sum(call.kind == "criss-cross" for call in calls) < 2:
        return []
    size = (image.shape[-2], image.shape[-1])
    middle = (float(size[0] // 2), float(size[1] // 2))
    chains = [one for one in looks(network, image, middle) if one.passes > 1 and one.grid is not None]
    found = []
    for place, chain in enumerate(chains):
        assert chain.grid is not None
        side = min(most, COMPOSED_QUERIES)
        rows, columns = lattice(chain.grid[0], side), lattice(chain.grid[1], side)
        maps = []
        for y in _pixels(chain.grid, size, 0, rows):
            for x in _pixels(chain.grid, size, 1, columns):
                one = [look for look in looks(network, image, (y - 0.5, x - 0.5)) if look.passes > 1][place]
                maps.append(one.weights.float().cpu().numpy())
                done(1)
        name = f"{chain.layer}, {chain.passes} passes"
        found.append(_look(name, ("composed",), np.stack(maps, 1), size, chain.grid, rows, columns))
    return found


def distances_of(network: nn.Module, image: Float[Tensor, "1 c h w"]) -> HeadDistances | Missing:
    """How far the heads look, layer by layer, beside attention that looks everywhere alike."""
    with torch.no_grad():
        every = attention_distances(network, image)
    found = [one for one in every if not math.isnan(float(one.distance.mean()))]
    if not found:
        return Missing(
            "There is no attention whose heads could be compared."
            if not every
            else f"The heads' distances are not known: {every[0].note or 'their tokens fit no grid'}."
        )
    lines = sorted({round(one.uniform_distance, 2) for one in found})
    note = ""
    if len(lines) > 1:
        note = (
            f"The line is of the last layer; over the layers' grids it lies between {lines[0]:.1f} and {lines[-1]:.1f}."
        )
    names = tuple(one.layer + (f", call {one.number}" if one.number and one.number > 1 else "") for one in found)
    return HeadDistances(
        names,
        tuple(tuple(float(value) for value in one.distance) for one in found),
        float(found[-1].uniform_distance),
        tuple(tuple(float(value) / math.log(2) for value in one.entropy) for one in found),
        note,
    )
