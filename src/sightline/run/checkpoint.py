"""`checkpoint/`, written whole or not at all: weights, optimiser and every random state, with no pickle.

`weights.safetensors` holds the model's state dict under its own names, so that other programs read it;
`state.safetensors` and `state.json` hold the rest. A new checkpoint is written beside the old one, forced onto the
disk, and moved into its place by renames.

Left out: more than one checkpoint per run, and sharded weights.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from sightline.run.files import said, sync, write_file
from sightline.run.states import (
    RandomState,
    decode,
    encode,
    get_global_random,
    get_random,
    on_cpu,
    set_global_random,
    set_random,
)

METRICS, CHECKPOINT = "metrics.jsonl", "checkpoint"


@runtime_checkable
class Stateful(Protocol):
    """An optimiser, a schedule, a gradient scaler: anything that can say its state and take it back."""

    def state_dict(self) -> dict[str, Any]:
        """The state as nested containers of tensors, numbers and text."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take the state back."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` returns besides what it restored in place."""

    step: int  # the number of steps done when it was saved
    extra: Any  # what the caller handed to `save_checkpoint`


def save_checkpoint(
    folder: str | Path,
    model: nn.Module,
    *,
    step: int,
    states: Mapping[str, Stateful] | None = None,
    generators: Mapping[str, RandomState] | None = None,
    extra: Any = None,
) -> None:
    """Write `checkpoint/` whole or not at all; the previous one stays until the new one is on the disk.

    `states` are optimisers, schedules and the like; `generators` are random generators beside the global ones of
    Python, NumPy and PyTorch, which are always saved; `extra` is anything of containers, numbers, text and tensors.
    """
    from safetensors.torch import save

    folder = Path(folder)
    weights: dict[str, Tensor] = {}
    besides: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            weights[name] = on_cpu(value)
        else:
            besides[name] = value
    parts = {
        "model": besides,
        "states": {name: holder.state_dict() for name, holder in (states or {}).items()},
        "generators": {name: get_random(generator) for name, generator in (generators or {}).items()},
        "random": get_global_random(),
        "extra": extra,
    }
    metrics = folder / METRICS
    state = {"step": step, "metrics_bytes": metrics.stat().st_size if metrics.exists() else 0}
    state |= {name: encode(part, tensors, name) for name, part in parts.items()}
    new, old, final = _places(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
        if metrics.exists():
            sync(metrics)
        new.mkdir()
        write_file(new / "weights.safetensors", save(weights))
        write_file(new / "state.safetensors", save(tensors))
        write_file(new / "state.json", json.dumps(state).encode())
        sync(new)
        if final.exists():
            os.rename(final, old)
        os.rename(new, final)  # killed just before, old and new lie complete beside each other: see `_whole`
        sync(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            tidy(folder)
        kept = "the previous checkpoint is untouched" if has_checkpoint(folder) else "there is no earlier one"
        raise said(error, f"the checkpoint in {folder} could not be written ({kept})") from error


def load_checkpoint(
    folder: str | Path,
    model: nn.Module,
    *,
    states: Mapping[str, Stateful] | None = None,
    generators: Mapping[str, RandomState] | None = None,
) -> Checkpoint:
    """Put everything back in place, the global random states included: the next step is the one that would have come.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is of another network (or the same in another type: rounded weights resume no run exactly), or
            holds other states or generators; the network is then as it was.
    """
    folder, states, generators = Path(folder), states or {}, generators or {}
    state = read_state(folder)
    for what, asked in (("states", states), ("generators", generators)):
        if set(state[what]) != set(asked):
            raise ValueError(
                f"the checkpoint in {folder} holds the {what} {_few(state[what])}, and {_few(asked)} were asked for"
            )
    weights = _fitting_weights(folder, model, same_types=True)
    for name, holder in states.items():
        try:
            holder.load_state_dict(state["states"][name])
        except (ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"the checkpoint in {folder} holds another '{name}': {error}") from error
    model.load_state_dict(weights)  # after all that may be refused
    for name, generator in generators.items():
        set_random(generator, state["generators"][name])
    set_global_random(state["random"])
    return Checkpoint(state["step"], state["extra"])


def load_weights(folder: str | Path, model: nn.Module) -> None:
    """Put back the model's weights alone.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it is of another network; the sentence says which keys differ, and nothing was changed.
    """
    model.load_state_dict(_fitting_weights(Path(folder), model, same_types=False))


def _fitting_weights(folder: Path, model: nn.Module, *, same_types: bool) -> dict[str, Any]:
    """The state dict in the checkpoint, once it is known to fit the model."""
    there = {**_read_tensors(folder, "weights.safetensors"), **read_state(folder)["model"]}
    here = model.state_dict()
    missing, besides = here.keys() - there.keys(), there.keys() - here.keys()
    differ = [f"it lacks {_few(missing)}"] if missing else []
    differ += [f"it has {_few(besides)} besides"] if besides else []
    for name in sorted(here.keys() & there.keys()):
        sizes = [list(getattr(side[name], "shape", [])) for side in (there, here)]
        differ += [f"its {name} is {sizes[0]} where {sizes[1]} is needed"] if sizes[0] != sizes[1] else []
        types = [getattr(side[name], "dtype", None) for side in (there, here)]
        if same_types and types[0] != types[1]:
            differ.append(f"its {name} is {types[0]} where {types[1]} is needed")
    if differ:
        raise ValueError(f"the checkpoint in {folder} is of another network: {'; '.join(differ[:4])}")
    return there


def _few(names: Any, at_most: int = 4) -> str:
    shown = ", ".join(sorted(names)[:at_most])
    return shown + (f" and {len(names) - at_most} more" if len(names) > at_most else "") if names else "none"


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a whole checkpoint lies in the run folder."""
    return _whole(Path(folder)) is not None


def _places(folder: Path) -> tuple[Path, Path, Path]:
    return folder / f"{CHECKPOINT}.new", folder / f"{CHECKPOINT}.old", folder / CHECKPOINT


def _whole(folder: Path) -> Path | None:
    new, old, final = _places(folder)
    if final.exists():
        return final
    if old.exists():  # killed between the two renames: the new one was complete before the old one moved
        return new if new.exists() else old
    return None


def tidy(folder: Path) -> None:
    """Finish or undo what a killed save left: the whole checkpoint in its place, nothing else."""
    whole = _whole(folder)
    if whole is not None and whole.name != CHECKPOINT:
        os.rename(whole, folder / CHECKPOINT)
    for path in _places(folder)[:2]:
        shutil.rmtree(path, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """Everything but the weights."""
    tensors = _read_tensors(folder, "state.safetensors")
    path = (_whole(folder) or folder) / "state.json"
    try:
        return decode(json.loads(path.read_text()), tensors)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the checkpoint file {path} cannot be read: {error}") from error


def _read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    whole = _whole(folder)
    if whole is None:
        raise FileNotFoundError(f"there is no checkpoint in {folder}: start that run, or name another folder")
    try:
        return load((whole / name).read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"the checkpoint file {whole / name} cannot be read: {error}") from error
