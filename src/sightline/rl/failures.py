"""What went wrong, in one sentence with the step and the environment: numbers that are none, workers that died.

Left out: going on in spite of it. A run goes on from its last checkpoint.
"""

from multiprocessing.connection import wait
from typing import Any

import numpy as np


def first_not_finite(rows: np.ndarray) -> list[tuple[int, int, float]]:
    """Time, environment and value of the first one, in a list; the list is empty where all are finite."""
    if not np.issubdtype(rows.dtype, np.floating):
        return []
    finite = np.isfinite(rows)
    if finite.all():
        return []
    where = np.argwhere(~finite)[0]
    return [(int(where[0]), int(where[1]), float(rows[tuple(where)]))]


def which_failed(envs: Any, error: Exception) -> int | None:
    """The index of the environment that failed, as far as its vector environment lets one know."""
    for index, pipe in enumerate(getattr(envs, "parent_pipes", ())):
        if pipe is None:  # Gymnasium's mark of a worker whose environment raised
            return index
    processes = getattr(envs, "processes", ())
    gone = wait([process.sentinel for process in processes], timeout=1) if processes else []
    for index, process in enumerate(processes):
        if process.sentinel in gone:
            return index
    trace = error.__traceback__
    while trace is not None:  # Gymnasium's serial loop over its environments counts them by i
        variables = trace.tb_frame.f_locals
        if variables.get("self") is envs and isinstance(variables.get("i"), int):
            return int(variables["i"])
        trace = trace.tb_next
    return None


def failure(envs: Any, error: Exception, step: int) -> str:
    """Say that the environments raised an error at this step, and which of them."""
    index = which_failed(envs, error)
    who = "the environments" if index is None else f"environment {index}"
    what = next(iter(str(error).strip().splitlines()), "") or "without a word, as a worker process does that is killed"
    return (
        f"{who} failed at step {step} ({type(error).__name__}: {what}): correct the cause, then go on from the last "
        "checkpoint with new environments"
    )
