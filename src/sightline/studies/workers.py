"""Jobs of a study side by side, each in a process of its own with one thread.

Nothing but files passes between a job and its study, so that a killed study has lost nothing that a file holds.
Processes ignore Ctrl-C themselves and watch a shared flag, `stopped()`, so that one word from the study ends them all
after the step they are in, with a checkpoint.

Left out: several machines.
"""

import multiprocessing
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

from sightline.run import keep_interrupts_back

Job = TypeVar("Job", bound=Hashable)
_stop: Any = None  # the study's flag, in a worker process


def _begin(stop: Any) -> None:
    """Set up a worker process: one thread, deaf to Ctrl-C, gone when the study is gone."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def stopped() -> bool:
    """In a worker process: whether the study asked for an end, or is gone."""
    parent = multiprocessing.parent_process()
    return _stop is not None and (_stop.is_set() or (parent is not None and not parent.is_alive()))


class Workers(Generic[Job]):
    """Processes that take jobs in their order; `finished()` says which ended since it was last asked."""

    def __init__(self, pool: ProcessPoolExecutor, stop: Any) -> None:
        self._pool, self._stop = pool, stop
        self._running: dict[Future[Any], Job] = {}

    def start(self, function: Callable[..., Any], jobs: Sequence[Job], *arguments: Any) -> None:
        """Queue `function(job, *arguments)` for every job; the function stands at the top of a file."""
        with keep_interrupts_back():
            for job in jobs:
                self._running[self._pool.submit(function, job, *arguments)] = job

    def finished(self, timeout: float) -> list[Job]:
        """The jobs that ended within this time, at least one unless it ran out.

        Raises:
            Exception: whatever a job raised.
        """
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        ended = [self._running.pop(future) for future in done if future.exception() is None]
        for future in done:
            future.result()
        return ended

    @property
    def busy(self) -> bool:
        """Whether any job is queued or running."""
        return bool(self._running)

    def stop(self) -> None:
        """Cancel what has not begun, ask what runs for an end, and return when it has come."""
        for future in self._running:
            future.cancel()
        self._stop.set()
        wait(self._running)
        self._running.clear()


@contextmanager
def open_workers(count: int) -> Iterator[Workers[Any]]:
    """Start the processes, and end them whatever happens; what runs then writes its checkpoint first."""
    context = multiprocessing.get_context("spawn")  # threads of a forked PyTorch would hang
    stop = context.Event()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(stop,))
    workers: Workers[Any] = Workers(pool, stop)
    try:
        yield workers
    finally:
        workers.stop()
        pool.shutdown()
