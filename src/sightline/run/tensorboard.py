"""`metrics.jsonl` as TensorBoard's event files, in `RUN/tensorboard/`: `tensorboard --logdir RUN` shows the curves.

What the event files say is what `metrics.jsonl` says, each step once. A note beside them remembers how much of it they
hold; further calls add what came since. Where a resumed run was cut back and went on otherwise, the files begin anew.

Left out: pictures, histograms, and the times at which the rows were written, which the metrics do not hold.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from sightline.run.checkpoint import METRICS
from sightline.run.files import write_whole

EVENTS, NOTE = "tensorboard", "written.json"


@dataclass(frozen=True)
class Events:
    """Settings of `sightline tensorboard`."""

    run: Positional[Path]
    """The run folder."""


def run(settings: Events) -> None:
    """Write the event files of a run and say where they are."""
    if not settings.run.is_dir():
        raise ValueError(f"{settings.run} is no run folder: there is no such folder")
    rows = write_events(settings.run)
    print(f"{rows} new rows; to see them: tensorboard --logdir {settings.run}")


def write_events(folder: str | Path) -> int:
    """Bring the run's event files up to its metrics and return how many rows were new to them.

    Every number of a row becomes a curve under its name, over the row's `step` or `steps` (its own number without one).

    Raises:
        ValueError: TensorBoard is not installed.
    """
    writer_of = _writer()
    folder = Path(folder)
    events = folder / EVENTS
    raw = (folder / METRICS).read_bytes() if (folder / METRICS).exists() else b""
    raw = raw[: raw.rfind(b"\n") + 1]  # a last line that a crash tore is left out
    note = _read_note(events)
    if note["digest"] != hashlib.sha256(raw[: note["bytes"]]).hexdigest():
        note = _empty()
    _remove_others(events, note["files"])
    lines = raw[note["bytes"] :].splitlines()
    if not lines:
        return 0
    first = raw[: note["bytes"]].count(b"\n")
    events.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in events.iterdir()}
    with contextlib.closing(writer_of(log_dir=str(events))) as writer:
        for number, line in enumerate(lines, first):
            row = json.loads(line)
            step = row.get("step", row.get("steps"))
            for name, value in row.items():
                if name not in ("step", "steps") and isinstance(value, int | float) and not isinstance(value, bool):
                    writer.add_scalar(name, value, number if step is None else step)
    # TensorBoard reads files by name, and its own counter puts 10 before 9: the first row's number orders them.
    made = sorted({path.name for path in events.iterdir()} - before)
    named = [f"events.out.tfevents.{first:012d}.{place}" for place, _ in enumerate(made)]
    for old, new in zip(made, named, strict=True):
        (events / old).rename(events / new)
    files = note["files"] + named
    digest = hashlib.sha256(raw).hexdigest()
    write_whole(events / NOTE, json.dumps({"bytes": len(raw), "digest": digest, "files": files}))
    return len(lines)


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "event files need TensorBoard, which is not installed: pip install 'sightline[tensorboard]'"
        ) from None
    return SummaryWriter


def _empty() -> dict[str, Any]:
    return {"bytes": 0, "digest": hashlib.sha256(b"").hexdigest(), "files": []}


def _read_note(events: Path) -> dict[str, Any]:
    try:
        note = json.loads((events / NOTE).read_text())
        there = all((events / name).is_file() for name in note["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return _empty()
    return note if there else _empty()


def _remove_others(events: Path, kept: list[str]) -> None:
    """Event files that the note does not know: of a call that was killed, or of a course that the run gave up."""
    for path in events.glob("events.out.tfevents.*"):
        if path.name not in kept:
            path.unlink()
