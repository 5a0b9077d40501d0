"""Tensors out of a file of weights, and never anything else: safetensors, or PyTorch's own format without its code.

A published file wraps its tensors in many ways: under "model" or "state_dict", beside an optimiser, behind "module.".
`read_tensors` unwraps them and says what it took off.

Left out: sharded files, and every format that needs another library.
"""

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NESTS = ("state_dict", "model", "model_ema", "model_state", "teacher")  # the first that is there is read
WRAPPERS = ("module.", "model.", "_orig_mod.")
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Tensors:
    """What `read_tensors` returns."""

    name: str  # of the file, for sentences; "the state dict" where none was read
    state: dict[str, Tensor]  # by the names that the file's own code gives them
    nest: tuple[str, ...]  # under which keys they lay, outermost first
    notes: tuple[str, ...]  # what was unwrapped or passed over
    config: dict[str, Any] | None  # what `config.json` beside the file says, if it is one of Hugging Face's


def read_tensors(file: str | Path | Mapping[str, Any]) -> Tensors:
    """Read a file of weights, or a folder of Hugging Face's; or unwrap a state dict that is in memory.

    Files of PyTorch are read with `weights_only=True`: code in them is never run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds code, is truncated, or is no file of weights; one sentence with its name.
    """
    if isinstance(file, Mapping):
        return _unwrap("the state dict", file, None)
    path = Path(file)
    if path.is_dir():
        found = [path / name for name in FOLDER_FILES if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"there is no {' and no '.join(FOLDER_FILES)} in {path}: name the file itself")
        path = found[0]
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give the path of a .safetensors or .pth file")
    loaded = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    if isinstance(loaded, torch.nn.Module) or not isinstance(loaded, Mapping):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not tensors by name: save its state dict")
    return _unwrap(str(path), loaded, _config(path))


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {_first_line(error)}") from error


def _pickled(path: Path) -> Any:
    try:
        # A namespace of training options lies in many files of DeiT and MAE; it is a plain bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL\s+`?([\w.]+)", str(error))
        if code is None:
            raise ValueError(f"{path} is truncated or no file of weights: PyTorch cannot read it") from error
        raise ValueError(
            f"{path} holds more than tensors, {code[1]}, and code in a file is never run here: where you trust it,"
            " save its tensors alone, with torch.save(model.state_dict(), ...) or as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is truncated or no file of weights: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _config(path: Path) -> dict[str, Any] | None:
    """Settings beside the file, if they are those of a model of transformers."""
    try:
        config = json.loads((path.parent / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and "model_type" in config else None


def _unwrap(name: str, loaded: Mapping[str, Any], config: dict[str, Any] | None) -> Tensors:
    """Take off what lies around the tensors."""
    nest: list[str] = []
    notes: list[str] = []
    while (inner := [key for key in NESTS if isinstance(loaded.get(key), Mapping)]) and not _holds_tensors(loaded):
        nest.append(inner[0])
        others = [str(key) for key in loaded if key != inner[0]]
        if others:
            notes.append(f"'{inner[0]}' of the file was read, {_few(others)} beside it not")
        loaded = loaded[inner[0]]
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    others = [str(key) for key in loaded if not isinstance(loaded[key], Tensor)]
    if others:
        notes.append(f"{_few(others)} are no tensors and were passed over")
    if not state:
        raise ValueError(f"{name} holds no tensors by name, its entries are {_few(others)}: give a state dict")
    while wrapper := next((w for w in WRAPPERS if all(key.startswith(w) for key in state)), None):
        state = {key.removeprefix(wrapper): value for key, value in state.items()}
        notes.append(f"every name began with '{wrapper}', which was taken off")
    return Tensors(name, state, tuple(nest), tuple(notes), config)


def _holds_tensors(loaded: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in loaded.values())


def _few(names: list[str], at_most: int = 4) -> str:
    shown = ", ".join(names[:at_most])
    return shown + (f" and {len(names) - at_most} more" if len(names) > at_most else "") if names else "none"
