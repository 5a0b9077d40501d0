"""A finished or interrupted training, loaded: its network with the weights that answer best, and what it needs to know.

Left out: going on with the training (the command does, with `--resume`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sightline.run.checkpoint import has_checkpoint, load_weights, read_state
from sightline.run.config import read_config, rebuild

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class LoadedRun:
    """What a run trained, ready to answer."""

    network: nn.Module
    """In evaluation mode, on the CPU, with the averaged weights where the run has an average."""
    task: str
    """"segment" or "classify"."""
    classes: tuple[str, ...]
    """Their names in order."""
    mean: Colour
    """Of red, green and blue, as `normalise` takes it."""
    std: Colour
    """As well."""
    size: tuple[int, int]
    """Height and width of what it was trained on, in pixels."""
    ignore: int
    """The label that did not count."""
    folder: Path
    """Where it lies."""


def load_run(folder: str | Path, *, trust: bool = False) -> LoadedRun:
    """The run in a folder that `sightline train` wrote.

    Args:
        folder: Of the run.
        trust: Whether objects from outside of sightline may be imported, which runs their code.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: it is a run of something else, names something untrusted, or its files are broken.
    """
    folder = Path(folder)
    config = read_config(folder)
    missing = [key for key in ("model", "task", "classes", "mean", "std", "size", "ignore") if key not in config]
    if missing:
        raise ValueError(
            f"{folder} is no run of sightline train (its config has no {', '.join(missing)}): name a folder that"
            " sightline train wrote"
        )
    if not has_checkpoint(folder):
        raise FileNotFoundError(f"the run in {folder} has no checkpoint yet: train it until the first one is written")
    network = rebuild(config["model"], trust)
    if not isinstance(network, nn.Module):
        raise ValueError(f"the model of the run in {folder} is a {type(network).__name__} and no network")
    averaged: dict[str, Any] | None = read_state(folder)["states"].get("average")
    if averaged is None:
        load_weights(folder, network)
    else:
        try:
            network.load_state_dict(averaged["weights"])
        except RuntimeError as error:
            raise ValueError(f"the averaged weights in {folder} are of another network: {error}") from None
    mean, std, size = tuple(config["mean"]), tuple(config["std"]), tuple(config["size"])
    return LoadedRun(
        network.eval(), config["task"], tuple(config["classes"]), mean, std, size, config["ignore"], folder
    )
