"""One test canvas with everything a page needs to answer a reader's query: what is there, what each network says, where
it looks, what can reach it and what counts.

A file of scenes is a plain `.npz` of arrays (names as text arrays, nothing pickled), so that a page can be redrawn
without the networks. Left out: the networks themselves; their checkpoints lie in the run folders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Scene:
    """One canvas, `n` networks, a map of `y x` positions that a reader can ask about, flattened row by row."""

    image: np.ndarray  # uint8 [h, w, 3]
    truth: np.ndarray  # int64 [h, w]: class of each labelled pixel, -100 elsewhere
    networks: list[str]  # n names, the order of every first axis below
    prediction: np.ndarray  # int64 [n, h, w]: predicted class of every pixel
    looks: np.ndarray  # float16 [n, y * x, y, x]: where the query looks; sums to 1; NaN: no attention in this network
    reach: np.ndarray  # bool [n, y * x, cells_y, cells_x]: which input cells can reach this position's output at all
    effect: np.ndarray  # float16 [n, y * x, cells_y, cells_x]: share of each cell in the gradient of this output

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the map that queries live on."""
        return int(self.looks.shape[2]), int(self.looks.shape[3])


def save_scenes(path: Path, scenes: Sequence[Scene]) -> Path:
    """Write scenes to one `.npz`; the same scenes give the same arrays back."""
    arrays = {
        f"{index}/{field.name}": np.asarray(getattr(scene, field.name))
        for index, scene in enumerate(scenes)
        for field in fields(Scene)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def load_scenes(path: Path) -> list[Scene]:
    """Read what `save_scenes` wrote; a file that is not there holds no scenes."""
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as arrays:
        count = 1 + max((int(name.split("/")[0]) for name in arrays.files), default=-1)
        return [
            Scene(
                image=arrays[f"{i}/image"],
                truth=arrays[f"{i}/truth"],
                networks=[str(name) for name in arrays[f"{i}/networks"]],
                prediction=arrays[f"{i}/prediction"],
                looks=arrays[f"{i}/looks"],
                reach=arrays[f"{i}/reach"],
                effect=arrays[f"{i}/effect"],
            )
            for i in range(count)
        ]
