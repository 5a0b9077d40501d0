"""Ctrl-C that ends a loop after the step it is in, so that a checkpoint can be written.

Left out: other signals; SIGTERM ends the process as always, and resume copes with that.
"""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType


@dataclasses.dataclass
class Stop:
    """A flag that the first Ctrl-C raises; a loop reads it after each step."""

    requested: bool = False


@contextlib.contextmanager
def stop_on_interrupt(*, repeated: bool = False) -> Iterator[Stop]:
    """Turn the first Ctrl-C into `stop.requested`; a second one interrupts at once, as always.

    With `repeated` a second one does nothing more: torchrun hands one Ctrl-C to its processes twice. Outside the main
    thread Python hands out no signals: the flag then stays down.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(_signal: int, _frame: FrameType | None) -> None:
        stop.requested = True
        if not repeated:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def keep_interrupts_back() -> Iterator[None]:
    """Ctrl-C waits: in this process until the end, in processes started meanwhile for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose start, with the first process or lock, would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
