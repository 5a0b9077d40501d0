"""Trainings of the long-range study side by side, each in a process of its own with one thread.

A process trains, evaluates and writes `result.json` into the run folder; the study reads progress from the run folders'
metrics, so that nothing but files passes between them and a killed study has lost nothing that a file holds. Processes
ignore Ctrl-C themselves and watch a shared flag, so that one word from the study ends them all after the step they are
in, with a checkpoint.

Left out: several machines.
"""

import json
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.run import keep_interrupts_back, read_metrics, write_whole
from sightline.studies.long_range.costs import cost
from sightline.studies.long_range.evaluation import Changes, Evaluation, evaluate
from sightline.studies.long_range.training import Training, train
from sightline.studies.long_range.verdicts import judge

RESULT, REACH = "result.json", "reach.npz"
_stop: Any = None  # the study's flag, in a worker process


def _begin(stop: Any) -> None:
    """Set up a worker process: one thread, deaf to Ctrl-C, gone when the study is gone."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _stopped() -> bool:
    parent = multiprocessing.parent_process()
    return _stop.is_set() or (parent is not None and not parent.is_alive())


def run_training(training: Training, out: Path, resume: bool) -> bool:
    """Train and evaluate one row of the study in this process; False where it was stopped before the end."""
    network = train(training, out, resume=resume, stop=_stopped)
    if network is None:
        return False
    with np.load(out / REACH, allow_pickle=False) as arrays:
        seen = torch.from_numpy(arrays[training.network])
    evaluation = evaluate(network, training, seen)
    costs = out / cost_file(training)
    if not costs.exists():  # the same for every seed, and it takes seconds
        costs.parent.mkdir(exist_ok=True)
        write_whole(costs, json.dumps(asdict(cost(training)), indent=2) + "\n")
    write_whole(out / training.folder / RESULT, json.dumps(asdict(evaluation), indent=2) + "\n")
    return True


def cost_file(training: Training) -> Path:
    """Where the costs of a network lie below the study's folder."""
    return Path("costs") / f"{training.task}-{training.slug}.json"


def read_evaluation(training: Training, out: Path) -> Evaluation | None:
    """What a finished training was found to do; None where it is not finished."""
    path = out / training.folder / RESULT
    if not path.exists():
        return None
    numbers = json.loads(path.read_text())
    return Evaluation(**{**numbers, "tested": Changes(**numbers["tested"])})


def read_row(training: Training, out: Path) -> dict[str, Any] | None:
    """The row of `results.json` for one training, from its folder; None where it is not finished."""
    evaluation = read_evaluation(training, out)
    if evaluation is None:
        return None
    curve = read_metrics(out / training.folder)
    verdict = judge(evaluation)
    return {
        "task": training.task,
        "digits": training.digits,
        "network": training.network,
        "seed": training.seed,
        "loss": curve[-1]["loss"],
        "steps": curve[-1]["step"],
        "seconds": curve[-1]["seconds"],
        "seconds_per_step": curve[-1]["seconds"] / curve[-1]["step"],
        **asdict(evaluation),
        **json.loads((out / cost_file(training)).read_text()),
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "curve": curve,
    }


class Workers:
    """Processes that take trainings in their order; `finished()` says which ended since it was last asked."""

    def __init__(self, pool: ProcessPoolExecutor, stop: Any) -> None:
        self._pool, self._stop = pool, stop
        self._running: dict[Future[bool], Training] = {}

    def start(self, trainings: Sequence[Training], out: Path, resume: bool) -> None:
        """Queue trainings."""
        with keep_interrupts_back():
            for training in trainings:
                self._running[self._pool.submit(run_training, training, out, resume)] = training

    def finished(self, timeout: float) -> list[Training]:
        """The trainings that ended within this time, at least one unless it ran out.

        Raises:
            Exception: whatever a training raised.
        """
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        return [self._running.pop(future) for future in done if future.result() or True]

    @property
    def busy(self) -> bool:
        """Whether any training is queued or running."""
        return bool(self._running)

    def stop(self) -> None:
        """Cancel what has not begun, ask what runs for a checkpoint, and return when it is written."""
        for future in self._running:
            future.cancel()
        self._stop.set()
        wait(self._running)
        self._running.clear()


@contextmanager
def open_workers(count: int) -> Iterator[Workers]:
    """Start the processes, and end them whatever happens; what runs then writes its checkpoint first."""
    context = multiprocessing.get_context("spawn")  # threads of a forked PyTorch would hang
    stop = context.Event()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(stop,))
    workers = Workers(pool, stop)
    try:
        yield workers
    finally:
        workers.stop()
        pool.shutdown()
