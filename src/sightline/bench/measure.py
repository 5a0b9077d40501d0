"""Time and peak memory, measured so that they can be believed.

Time: the functions take turns in one process, so that a busy neighbour or a warm cache meets all of them alike; a ratio
is taken within each turn, then the median over turns. Memory: a child process of its own, since a peak that an earlier
call reached hides every later one.

Left out: kernels on CUDA finer than a whole call, and energy.
"""

import dataclasses
import gc
import importlib
import inspect
import json
import os
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Build = Callable[..., Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it, in the unit of what was measured."""

    median: float
    low: float  # first quartile
    high: float  # third quartile


def interleave(
    functions: Mapping[str, Callable[[], Any]], repeats: int = 7, *, clock: str = "cpu", warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of every call, `repeats` per function, the functions taking turns in an order that rotates.

    The clock is "cpu" (of the process, all threads added: with one thread it hardly feels neighbours) or "wall".
    """
    if clock not in ("cpu", "wall"):
        raise ValueError(f"unknown clock '{clock}': it is one of cpu, wall")
    if repeats < 1:
        raise ValueError(f"at least 1 repeat is needed, got {repeats}")
    read = time.process_time if clock == "cpu" else time.perf_counter
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmup, repeats):
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            _synchronise()
            before = read()
            result = functions[name]()
            _synchronise()
            if turn >= 0:
                seconds[name].append(read() - before)
            del result  # before the next function starts, or it would run with less memory
    return seconds


def _synchronise() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Spread(statistics.median(values), low, high)


def speedup(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> Spread:
    """How many times faster `fast` is than `slow`: the ratio of each turn, then median and quartiles over turns."""
    return spread([a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)])


def peak_memory(
    build: Build | str, arguments: Sequence[Any] = (), *, threads: int = 1, timeout: float = 600.0
) -> int | None:
    """Bytes that one call takes at its peak, over the inputs that lie there already; None where not measurable.

    `build(*arguments)` runs in a child process, makes the inputs and returns the call to measure, a function of
    nothing. It is a function at the top of a file, or "package.module:function", or "file.py:function"; the arguments
    go through JSON. The call runs once before it is measured, so that libraries have set themselves up: it must leave
    nothing behind (`torch.autograd.grad` rather than `.backward()`).

    On Linux the high-water mark of resident memory is reset through /proc/self/clear_refs; blocks of 64 KiB or more
    are given back when freed. Inputs on a CUDA device: PyTorch's own count there. Elsewhere: None.

    Raises:
        RuntimeError: the child failed; the sentence ends with its last line.
    """
    peaks = peak_memories(build, arguments, threads=threads, timeout=timeout)
    return None if peaks is None else peaks[""]


def peak_memories(
    build: Callable[..., Any] | str, arguments: Sequence[Any] = (), *, threads: int = 1, timeout: float = 600.0
) -> dict[str, int] | None:
    """As `peak_memory`, for a `build` that returns several calls by name: measured one after the other in one child."""
    target = build if isinstance(build, str) else _name(build)
    job = json.dumps({"target": target, "arguments": list(arguments), "threads": threads})
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-c", "from sightline.bench import measure; measure.measure_in_this_process()"]
    try:
        child = subprocess.run(command, input=job, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"peak memory of {target}: not done within {timeout:g} s") from None
    if child.returncode != 0:
        killed = "it was killed, most likely for want of memory" if child.returncode < 0 else "it said nothing"
        raise RuntimeError(f"peak memory of {target}: {(child.stderr.strip().splitlines() or [killed])[-1]}")
    return json.loads(child.stdout.splitlines()[-1])


def _name(build: Build) -> str:
    if "<" in build.__qualname__:
        raise ValueError(f"{build.__qualname__} cannot be found by another process: define it at the top of a file")
    if build.__module__ == "__main__" or build.__module__ not in sys.modules:
        return f"{inspect.getsourcefile(build)}:{build.__qualname__}"
    return f"{build.__module__}:{build.__qualname__}"


def measure_in_this_process() -> None:
    """What the child of `peak_memory` does: read a job from standard input, print the bytes."""
    job = json.loads(sys.stdin.read())
    torch.set_num_threads(job["threads"])
    place, _, name = job["target"].rpartition(":")
    home = runpy.run_path(place, run_name="measured") if place.endswith(".py") else vars(importlib.import_module(place))
    built = home[name](*job["arguments"])
    calls = built if isinstance(built, Mapping) else {"": built}
    if not torch.cuda.is_initialized() and not can_measure_memory():
        print(json.dumps(None))
        return
    print(json.dumps({name: _peak_of(call) for name, call in calls.items()}))


def _peak_of(call: Callable[[], Any]) -> int:
    call()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    _give_back()
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def can_measure_memory() -> bool:
    """Whether this machine lets a process reset the high-water mark of its memory: Linux, outside strict sandboxes."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def _give_back() -> None:
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
