"""Loops over tables and trees: compiled by Numba where it is installed (extra `planning`), plain Python where not.

The same source serves both, so the numbers are the same; Python takes about a hundred times as long. What was compiled
is kept on disk. Numba asks there whether the file of a function has changed and not whether those that it calls have,
which would go on as they were; so the place has a name made of all files that hold such loops.

Left out: parallel loops.
"""

import hashlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

COMPILED = importlib.util.find_spec("numba") is not None
ROOMS = ("envs", "planning", "rl/tabular")  # where compiled loops call each other
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function at its first call, once per machine; or leave it as it is."""
    if not COMPILED:
        return function
    import numba

    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(kept_in())
    try:  # without the shape checks that tests put around it
        return cast(Function, numba.njit(cache=True)(inspect.unwrap(function)))
    finally:
        config.CACHE_DIR = before


def kept_in() -> Path:
    """The folder of what was compiled from the files as they are now."""
    package = Path(__file__).parents[1]
    files = sorted(path for room in ROOMS for path in (package / room).glob("*.py"))
    stamps = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    name = f"numba-{hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]}"
    if os.access(package, os.W_OK):
        return package / "planning" / "__pycache__" / name
    return Path.home() / ".cache" / "sightline" / name
