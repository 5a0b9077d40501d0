"""A study that measures one part after the other: what is done is kept, Ctrl-C ends it after the part it is in.

A part is a function of a few seconds that gives numbers (whatever JSON holds), with its seed inside; parts do not know
each other, so that a study that was stopped and resumed ends with the same numbers as one that never stopped.

Left out: trainings of minutes, which have checkpoints of their own (`side_by_side.py`).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sightline.run import stop_on_interrupt
from sightline.studies import page
from sightline.studies.folder import RESULTS, command_of, machine, open_study, versions, write_results
from sightline.studies.page import Section, Table
from sightline.studies.side_by_side import how_to_go_on

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A name, and what is measured under it."""

    name: str
    measure: Callable[[], Any]


def run_parts(
    study: str,
    settings: Any,
    same: Sequence[str],
    parts: Sequence[Part],
    *,
    facts: Mapping[str, Any],
    summarise: Callable[[Mapping[str, Any]], Any],
    write_page: Callable[[Path, Results], Path],
) -> None:
    """Measure what is not done yet, and write `results.json` after every part and the page at the end.

    Args:
        study: its name on the command line.
        settings: a dataclass with `out`, `resume` and `quick`.
        same: the fields that must agree where a study goes on.
        parts: in their order.
        facts: what the page says of the settings beside the fields themselves; they do not hold with `quick`.
        summarise: numbers from the parts by name, of which some may be missing.
        write_page: writes it from the results.

    Raises:
        ValueError: another study lies in the folder.
        FileExistsError: a study lies there, and `resume` was not asked for.
        KeyboardInterrupt: stopped before the end; results and page of what is there are written.
    """
    out = open_study(settings, same)
    path = out / RESULTS
    there = json.loads(path.read_text())["parts"] if settings.resume and path.exists() else {}
    done = {part.name: there[part.name] for part in parts if part.name in there}
    begun, before = time.monotonic(), len(done)

    def results() -> dict[str, Any]:
        own = {name: value for name, value in asdict(settings).items() if name not in ("out", "resume")}
        kept = {part.name: done[part.name] for part in parts if part.name in done}
        return {
            "study": study,
            "command": command_of(study, settings),
            "versions": versions(),
            "machine": machine(),
            "settings": own if settings.quick else {**own, **facts},
            "parts": kept,
            "summary": summarise(kept),
            "finished": len(kept) == len(parts),
        }

    with stop_on_interrupt() as stop:
        for part in parts:
            if part.name in done:
                continue
            if stop.requested:
                break
            started = time.monotonic()
            done[part.name] = json.loads(json.dumps(part.measure(), allow_nan=False))
            now = time.monotonic()
            left = (now - begun) / (len(done) - before) * (len(parts) - len(done))
            print(
                f"{part.name}: {now - started:.1f} s; {len(done)} of {len(parts)} done, about {left:.0f} s left",
                flush=True,
            )
            write_results(out, results())
        found = results()
        write_results(out, found)
        print(write_page(out, found))
    if not found["finished"]:
        raise KeyboardInterrupt(how_to_go_on(out))


def of_kind(parts: Mapping[str, Any], kind: str) -> list[tuple[list[str], Any]]:
    """The parts whose name begins with this word, with the other words of each name."""
    split = [(name.split(", "), value) for name, value in parts.items()]
    return [(words[1:], value) for words, value in split if words[0] == kind]


def spread(values: Sequence[float | int]) -> dict[str, float]:
    """Mean, lowest and highest."""
    return {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}


def ranged(values: Mapping[str, float], digits: int = 2) -> str:
    """A `spread` in words: its mean with its lowest and highest."""
    return f"{values['mean']:.{digits}f} [{values['low']:.{digits}f}, {values['high']:.{digits}f}]"


def write_page_of(
    out: Path,
    results: Results,
    *,
    title: str,
    question: str,
    answer: Sequence[tuple[str, str] | None],
    sections: Sequence[Section | None],
    tables: Sequence[Table],
) -> Path:
    """Write the page of such a study and return its path; lines and sections without numbers are left out."""
    quick = results["settings"]["quick"]
    return page.write_page(
        out,
        title=title,
        question=question,
        answer=[line for line in answer if line is not None],
        sections=[section for section in sections if section is not None],
        tables=tables,
        results={**results, "finished": results["finished"] and not quick},
        unfinished=(
            "It ran with --quick: the numbers show the page and mean nothing."
            if quick
            else "The page shows what is there; --resume goes on."
        ),
    )
