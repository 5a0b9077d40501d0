"""What the page's test canvas needs to answer a reader's query, packed for a script: numbers, no networks.

For every map position of every network: where it looks and which cells count (a byte each, as a share of the largest),
which cells can reach its output (a bit per cell), what it says and what is true there. Left out: scenes that would make
the page too heavy; `pack` keeps the first ones that fit.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sightline.studies.long_range.scenes import Scene
from sightline.studies.long_range.strip import UNLABELLED, answer_cells, most_common
from sightline.studies.page import png_bytes
from sightline.vision.drawing.pages import picture_uri

NOTHING = -1  # no question, no answer, no attention: JSON has no better integer for it


def text_of(raw: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(raw).decode("ascii")


def looks_text(looks: Float[np.ndarray, "queries y x"]) -> str:
    """One byte per weight, 255 for the largest of its query; empty for a network without attention."""
    if np.isnan(looks).any():
        return ""
    flat = looks.reshape(len(looks), -1).astype(np.float32)
    return text_of(np.rint(255 * flat / np.maximum(flat.max(axis=1, keepdims=True), 1e-12)).astype(np.uint8).tobytes())


def effect_on_answers(scene: Scene, network: int) -> list[int]:
    """For each query the percentage of what counts that lies on the cell of its answer; -1 where there is none."""
    cell, answer = cell_of_positions(scene), answer_cells(scene)
    shares = scene.effect[network].reshape(len(cell), -1).astype(np.float64)
    targets = [answer[one] for one in cell]
    return [NOTHING if t is None else round(100 * float(shares[q][t])) for q, t in enumerate(targets)]


def reach_text(reach: Bool[np.ndarray, "queries cells_y cells_x"]) -> str:
    """One bit per cell, highest bit first."""
    return text_of(np.packbits(reach.reshape(-1)).tobytes())


def said_at_positions(
    values: Int[np.ndarray, "h w"], truth: Int[np.ndarray, "h w"], size: tuple[int, int]
) -> list[int]:
    """The most common value among the labelled pixels that each map position covers, or among all where none is."""
    h, w = truth.shape
    said = []
    for y in range(size[0]):
        for x in range(size[1]):
            box = (
                slice(y * h // size[0], max(y * h // size[0] + 1, (y + 1) * h // size[0])),
                slice(x * w // size[1], max(x * w // size[1] + 1, (x + 1) * w // size[1])),
            )
            labelled = truth[box] != UNLABELLED
            said.append(most_common(values[box][labelled] if labelled.any() else values[box].reshape(-1)))
    return said


def cell_of_positions(scene: Scene) -> list[int]:
    """The cell, row by row, in which the middle of each map position lies."""
    rows, columns = scene.reach.shape[2:]
    ys, xs = scene.map_size
    return [
        (2 * y + 1) * rows // (2 * ys) * columns + (2 * x + 1) * columns // (2 * xs)
        for y in range(ys)
        for x in range(xs)
    ]


def shares_on_answers(scene: Scene, network: int) -> list[int]:
    """For each query the percentage of its look that falls on the cell of its answer; -1 where there is none."""
    looks, cell, answer = (
        scene.looks[network].astype(np.float64),
        np.array(cell_of_positions(scene)),
        answer_cells(scene),
    )
    if np.isnan(looks).any():
        return [NOTHING] * len(looks)
    weights = looks.reshape(len(looks), -1)
    targets = [answer[cell[query]] for query in range(len(looks))]
    return [
        NOTHING if target is None else round(100 * float(weights[query][cell == target].sum()))
        for query, target in enumerate(targets)
    ]


def telling_query(truth: Sequence[int], said: Sequence[Sequence[int]]) -> int:
    """The question about which the networks disagree most, the first of equals; the middle where nothing is asked."""
    asked = [query for query, label in enumerate(truth) if label != UNLABELLED]
    if not asked:
        return len(truth) // 2

    def disagreement(query: int) -> int:
        right = sum(one[query] == truth[query] for one in said)
        return min(right, len(said) - right)

    return max(asked, key=disagreement)


def scene_data(scene: Scene) -> dict[str, Any]:
    """One scene as values that JSON can hold."""
    truth = said_at_positions(scene.truth, scene.truth, scene.map_size)
    said = [said_at_positions(prediction, scene.truth, scene.map_size) for prediction in scene.prediction]
    return {
        "pixels": list(scene.truth.shape),
        "map": list(scene.map_size),
        "cells": list(scene.reach.shape[2:]),
        "image": picture_uri(png_bytes(scene.image)),
        "networks": list(scene.networks),
        "truth": [NOTHING if label == UNLABELLED else label for label in truth],
        "said": said,
        "looks": [looks_text(looks) for looks in scene.looks],
        "reach": [reach_text(reach) for reach in scene.reach],
        "effect": [looks_text(effect) for effect in scene.effect],
        "cell": cell_of_positions(scene),
        "answer": [NOTHING if cell is None else cell for cell in answer_cells(scene)],
        "onAnswer": [shares_on_answers(scene, network) for network in range(len(scene.networks))],
        "effectOnAnswer": [effect_on_answers(scene, network) for network in range(len(scene.networks))],
        "start": telling_query(truth, said),
    }


def pack(scenes: Sequence[Scene], budget: int) -> list[dict[str, Any]]:
    """The first scenes that fit into `budget` bytes of text together; at least one where there is one."""
    packed: list[dict[str, Any]] = []
    used = 0
    for scene in scenes:
        queries = math.prod(scene.map_size)
        used += len(scene.networks) * (2 * queries * queries * 4 // 3 + 8 * queries)
        if packed and used > budget:
            break
        packed.append(scene_data(scene))
    return packed
