"""The run folder: its config, and metrics that survive a crash and never say a step twice.

Left out: locks; one process writes one folder.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from sightline.run.checkpoint import CHECKPOINT, METRICS, has_checkpoint, load_weights, read_state, tidy
from sightline.run.config import CONFIG, plain, read_config, rebuild
from sightline.run.files import said, write_all, write_whole


def open_run(folder: str | Path, config: Mapping[str, Any], *, resume: bool = False) -> Path:
    """Make the run folder and write its config; with `resume`, go on with the run that is there, if there is one.

    Resuming cuts `metrics.jsonl` back to the checkpoint (to nothing where there is none yet), so that the file grows
    into the one of an uninterrupted run.

    Raises:
        FileExistsError: the folder holds a run, and `resume` was not asked for.
        ValueError: the run there was started with another config.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    asked = json.loads(json.dumps(plain(config, "the config")))
    if not resume and any((folder / name).exists() for name in (CONFIG, METRICS, CHECKPOINT)):
        raise FileExistsError(f"{folder} already holds a run: resume it (--resume) or choose another folder (--out)")
    if (folder / CONFIG).exists():
        there = read_config(folder)
        differ = sorted(key for key in {*there, *asked} if there.get(key) != asked.get(key))
        if differ:
            changes = "; ".join(f"{key} was {there.get(key)} and is now {asked.get(key)}" for key in differ)
            raise ValueError(f"the run in {folder} has another config ({changes}): choose another folder (--out)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
        _cut_metrics(folder)
        if not (folder / CONFIG).exists():
            write_whole(folder / CONFIG, json.dumps(asked, indent=2) + "\n")
    except OSError as error:
        raise said(error, f"the run folder {folder} cannot be written") from error
    return folder


def _cut_metrics(folder: Path) -> None:
    # The checkpoint knows how long the file was; what came after, a torn last line included, will be written again.
    path = folder / METRICS
    needed = read_state(folder)["metrics_bytes"] if has_checkpoint(folder) else 0
    size = path.stat().st_size if path.exists() else 0
    if size < needed:
        raise ValueError(f"{path} has {size} bytes, and its checkpoint was saved when it had {needed}: rows were lost")
    if size > needed:
        os.truncate(path, needed)


def append_metrics(folder: str | Path, row: Mapping[str, Any]) -> None:
    """Add one row to `metrics.jsonl`: numbers, text, one-element tensors. A NaN or an infinity is written as null."""
    path = Path(folder) / METRICS
    line = json.dumps({key: _number(value, key) for key, value in row.items()}, allow_nan=False) + "\n"
    try:
        # One write to a file opened for appending: once it returns, the line outlives the process.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            write_all(file, line.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise said(error, f"a row of {path} could not be written") from error


def _number(value: Any, key: str) -> Any:
    if isinstance(value, Tensor | np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a metric is a number or a text, got a {type(value).__name__} for '{key}'")


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """All whole rows so far; a last line that a crash tore is left out. No file means no rows."""
    path = Path(folder) / METRICS
    lines = path.read_text(errors="replace").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def load(folder: str | Path, trust: bool = False) -> dict[str, Any]:
    """The run's config with every object rebuilt; where there is a checkpoint, its weights are in the "model".

    Objects from outside sightline are imported only with `trust=True`. Lists come back as tuples.
    """
    rebuilt = rebuild(read_config(folder), trust)
    if isinstance(rebuilt.get("model"), nn.Module) and has_checkpoint(folder):
        load_weights(folder, rebuilt["model"])
    return rebuilt
