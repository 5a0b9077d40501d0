"""From what a user writes to a network: `package.module:factory`, an entry with arguments, or the folder of a run.

    sightline.models:vit_tiny
    {"object": "sightline.models:ResNet", "arguments": {"depth": 18}}
    runs/mine

Importing runs code, so names outside sightline are refused unless trusted (`run/config.py`). A run's network has the
weights that answer best: the averaged ones where there are any, as in prediction.

Left out: short names; the command knows them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from sightline.ops.arguments import choose
from sightline.run.checkpoint import has_checkpoint, load_weights, read_state
from sightline.run.config import CONFIG, read_config, rebuild, resolve

Colour = tuple[float, float, float]
MEAN: Colour = (0.485, 0.456, 0.406)  # of ImageNet's red, green and blue in [0, 1], as published networks expect
STD: Colour = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Named:
    """A network and how images are made ready for it."""

    network: nn.Module
    name: str
    mean: Colour = MEAN
    std: Colour = STD
    size: tuple[int, int] | None = None
    """Height and width of what it was trained on, where that is known."""
    trained: bool = False
    """Whether the weights are a run's."""


def load_model(named: str, names: Mapping[str, Any] | None = None, *, trust: bool = False) -> Named:
    """The network that a text names; `names` are built-in ones, each with its object and arguments.

    Raises:
        ValueError: there is none of that name, it is not trusted, or it is no network.
        FileNotFoundError: the folder holds no run.
    """
    if names and named in names:
        return replace(_built(names[named], trust), name=named)
    if named.lstrip().startswith("{"):
        return _built(_entry(named), trust)
    if Path(named).is_dir():
        return _from_run(Path(named), trust)
    if ":" in named:
        return _built({"object": named, "arguments": {}}, trust)
    if names and "/" not in named:
        choose("model", named, names)
    raise ValueError(
        f"'{named}' names no network: give package.module:factory, the folder of a run, or a built-in name"
    )


def _entry(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise ValueError(f"the model is no JSON: {error}") from None
    if not isinstance(read, dict) or set(read) - {"arguments"} != {"object"}:
        raise ValueError(f'a model is named {{"object": "package.module:factory", "arguments": {{...}}}}, got {text}')
    return {"object": read["object"], "arguments": read.get("arguments", {})}


def _built(entry: dict[str, Any], trust: bool) -> Named:
    name = str(entry["object"])
    try:
        found = resolve(name, trust) if not entry["arguments"] else None
    except ValueError as error:
        # The sentence is for Python; on the command line the option is --trust.
        raise ValueError(str(error).replace("pass trust=True", "add --trust")) from None
    if isinstance(found, nn.Module):  # a network that stands in its module, made already
        return Named(found.eval(), name.partition(":")[2])
    try:
        network = rebuild(entry, trust)
    except ValueError as error:
        raise ValueError(str(error).replace("pass trust=True", "add --trust")) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"'{name}' makes a {type(network).__name__}, and a network (torch.nn.Module) is needed")
    arguments = ", ".join(f"{key}={_short(value)}" for key, value in entry["arguments"].items())
    return Named(network.eval(), name.partition(":")[2] + (f"({arguments})" if arguments else ""))


def _short(value: Any) -> str:
    if isinstance(value, dict) and "object" in value:
        inner = ", ".join(f"{key}={_short(item)}" for key, item in value.get("arguments", {}).items())
        return f"{str(value['object']).partition(':')[2]}({inner})"
    return str(value)


def _from_run(folder: Path, trust: bool) -> Named:
    config = read_config(folder)
    if "model" not in config:
        raise ValueError(f"the run in {folder} has no model in its {CONFIG}: name the folder of a training run")
    network = rebuild(config["model"], trust)
    if not isinstance(network, nn.Module):
        raise ValueError(f"the model of the run in {folder} is a {type(network).__name__} and no network")
    if not has_checkpoint(folder):
        raise FileNotFoundError(f"the run in {folder} has no checkpoint yet: train it until the first one is written")
    averaged = read_state(folder)["states"].get("average")
    if averaged is None:
        load_weights(folder, network)
    else:
        try:
            network.load_state_dict(averaged["weights"])
        except RuntimeError as error:
            raise ValueError(f"the averaged weights in {folder} are of another network: {error}") from None
    mean, std = tuple(config.get("mean", MEAN)), tuple(config.get("std", STD))
    size = config.get("size")
    return Named(network.eval(), folder.name, mean, std, None if size is None else (int(size[0]), int(size[1])), True)
