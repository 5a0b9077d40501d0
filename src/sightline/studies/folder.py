"""A study's folder: what was asked, what was measured, and the command that spells it.

`settings.json` says which study lies there, so that `--resume` goes on with the same one and nothing else;
`results.json` holds every number of the page. Left out: run folders of trainings (`run/folder.py`).
"""

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.run import write_whole

SETTINGS, RESULTS = "settings.json", "results.json"


def command_of(name: str, settings: Any) -> str:
    """The command line that these settings spell: `name` is the study's, defaults and `resume` are left out."""
    words, default = ["sightline", "study", name], type(settings)()
    for field, value in asdict(settings).items():
        if value == getattr(default, field) or field == "resume":
            continue
        option = f"--{field.replace('_', '-')}"
        values = value if isinstance(value, tuple) else (value,)
        words += [option] if value is True else [option, *map(str, values)]
    return shlex.join(words)


def open_study(settings: Any, same: Sequence[str]) -> Path:
    """Make `settings.out`, or find there the study that these settings resume; only the fields `same` must agree.

    Raises:
        FileExistsError: a study lies there, and `resume` was not asked for.
        ValueError: another study lies there.
    """
    path = settings.out / SETTINGS
    asked = json.loads(json.dumps({name: value for name, value in asdict(settings).items() if name in same}))
    if path.exists():
        there = json.loads(path.read_text())
        if not settings.resume:
            raise FileExistsError(
                f"{settings.out} already holds a study: resume it (--resume) or choose another folder (--out)"
            )
        names = dict.fromkeys((*asked, *there))
        differ = [
            f"{name} was {there.get(name)} and is now {asked.get(name)}"
            for name in names
            if there.get(name) != asked.get(name)
        ]
        if differ:
            raise ValueError(f"the study in {settings.out} is another ({'; '.join(differ)}): choose another --out")
    settings.out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asked, indent=2) + "\n")
    return settings.out


def write_results(out: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json`, whole or not at all."""
    write_whole(out / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")


def at_least_one(settings: Any, *names: str) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: names the option.
    """
    for name in names:
        if getattr(settings, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(settings, name)}")


def versions() -> dict[str, str]:
    """Of Python, PyTorch and NumPy."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


def machine() -> dict[str, str]:
    """Processor, number of cores and system."""
    import os

    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [
            line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    return {"processor": name, "cores": str(os.cpu_count()), "system": f"{platform.system()} {platform.machine()}"}
