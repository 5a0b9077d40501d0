"""Test canvases for the page: what each trained network of one setting answers there, where it looks, what can reach
its answer, and what counts in it.

Left out: choosing canvases that tell a better story; they are the first of the test canvases.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightline.run.checkpoint import load_weights
from sightline.seeing.effective import heats
from sightline.studies.long_range.networks import STRIDE, RecallNetwork
from sightline.studies.long_range.scenes import Scene
from sightline.studies.long_range.training import Training, predict
from sightline.vision.built_in.canvases import CELL, Canvases

CANVASES = 3


Look = Callable[[RecallNetwork, Tensor, tuple[int, int]], Tensor | None]  # network, image, query -> [1, y, x]


def draw(
    done: Sequence[Training], reach: Mapping[str, Tensor], out: Path, *, look: Look = RecallNetwork.looks
) -> list[Scene]:
    """Scenes of the recall setting in the middle of those trained, from seed 0; none where nothing is trained yet.

    `look` says where a query of the map looks, as `RecallNetwork.looks` does.
    """
    chosen = _setting(done)
    if not chosen:
        return []
    canvases = chosen[0].test_canvases(CANVASES)
    networks = [_trained(training, out) for training in chosen]
    predictions = [predict(network, canvases.image) for network in networks]
    return [
        Scene(
            image=(canvases.image[i] * 255).round().byte().permute(1, 2, 0).numpy(),
            truth=canvases.label[i].numpy(),
            networks=[training.network for training in chosen],
            prediction=np.stack([prediction[i].numpy() for prediction in predictions]),
            looks=np.stack([_looks(network, canvases, i, look) for network in networks]),
            reach=np.stack([_reach_of_positions(reach[training.network]) for training in chosen]),
            effect=np.stack([_effects(network, canvases, i) for network in networks]),
        )
        for i in range(CANVASES)
    ]


def _setting(done: Sequence[Training]) -> list[Training]:
    """The trainings of one number of digits: the middle one that is there."""
    recall = [training for training in done if training.task == "recall" and training.seed == 0]
    counts = sorted({training.digits for training in recall})
    return [training for training in recall if training.digits == counts[len(counts) // 2]] if counts else []


def _trained(training: Training, out: Path) -> RecallNetwork:
    network = RecallNetwork(**training.network_arguments())
    load_weights(out / training.folder, network)
    return network.eval()


def _looks(network: RecallNetwork, canvases: Canvases, index: int, look: Look) -> np.ndarray:
    """Where every map position looks, `[y x, y, x]`; NaN where the network has no attention."""
    image = canvases.image[index : index + 1]
    y, x = image.shape[2] // STRIDE, image.shape[3] // STRIDE
    table = np.full((y * x, y, x), np.nan, dtype=np.float16)
    with torch.no_grad():
        for position in range(y * x):
            looks = look(network, image, (position // x, position % x))
            if looks is None:
                break
            table[position] = looks[0].numpy()
    return table


def _effects(network: RecallNetwork, canvases: Canvases, index: int) -> np.ndarray:
    """How much each cell counts in each map position's answer, `[y x, cells_y, cells_x]`: shares of its gradient."""
    image = canvases.image[index : index + 1]
    y, x = image.shape[2] // STRIDE, image.shape[3] // STRIDE
    heat = heats(network, image, "head", [(row, column) for row in range(y) for column in range(x)])
    cells = heat.unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).sum((2, 4))
    return (cells / cells.sum((1, 2), keepdim=True).clamp_min(torch.finfo(cells.dtype).tiny)).half().numpy()


def _reach_of_positions(reach: Tensor) -> np.ndarray:
    """`[cells_y, cells_x, h, w]` to `[y x, cells_y, cells_x]`: all pixels of a map position answer alike."""
    return reach[:, :, ::STRIDE, ::STRIDE].flatten(2).permute(2, 0, 1).numpy()
