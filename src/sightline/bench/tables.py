"""The bench's rows as a live table in the terminal, as markdown and as JSON.

Left out: charts.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
PARTS = {"forward": "forward", "training": "forward + backward"}


def headings(memory: bool) -> list[str]:
    """The columns: seconds of both forms and their ratio, then bytes."""
    columns = ["operator", "map"]
    for part in PARTS.values():
        columns += [f"{part}, naive ms", "lean ms", "times faster"]
    if memory:
        for part in PARTS.values():
            columns += [f"{part}, naive MiB", "lean MiB"]
    return columns


def cells(row: Row, memory: bool) -> list[str]:
    """One row as text: medians, with the quartiles of the ratio in brackets."""
    naive, lean = row["forms"]["naive"], row["forms"]["lean"]
    said = [row["operator"], "x".join(map(str, row["map"]))]
    for part in PARTS:
        ratio = row.get(f"{part}_speedup")
        said += [_milliseconds(naive, part), _milliseconds(lean, part)]
        said += [f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "skipped"]
    if memory:
        for part in PARTS:
            said += [_mebibytes(naive, part), _mebibytes(lean, part)]
    return said


def _milliseconds(form: Row, part: str) -> str:
    seconds = form.get(f"{part}_seconds")
    return "-" if seconds is None else f"{seconds['median'] * 1e3:.3g}"


def _mebibytes(form: Row, part: str) -> str:
    peak = form.get(f"{part}_bytes")
    return "-" if peak is None else f"{peak / 2**20:.1f}"


@contextlib.contextmanager
def live(*, memory: bool) -> Iterator[Callable[[Sequence[Row]], None]]:
    """A table that grows in the terminal; where output goes to a file, a plain line per row."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        print(" | ".join(headings(memory)), flush=True)
        yield lambda rows: print(" | ".join(cells(rows[-1], memory)) + _why(rows[-1]), flush=True)
        return
    with Live(_table([], memory), console=console, auto_refresh=False) as screen:
        yield lambda rows: screen.update(_table(rows, memory), refresh=True)


def _why(row: Row) -> str:
    return f" | {row['skipped']}" if row["skipped"] else ""


def _table(rows: Sequence[Row], memory: bool) -> Any:
    from rich.table import Table

    table = Table()
    for i, heading in enumerate(headings(memory)):
        table.add_column(heading, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*cells(row, memory))
    skipped = [f"{row['operator']} {row['map'][0]}x{row['map'][1]}: {row['skipped']}" for row in rows if row["skipped"]]
    table.caption = "\n".join(skipped) or None
    return table


def as_markdown(rows: Sequence[Row], about: Mapping[str, str], *, memory: bool) -> str:
    """A page: what the table says, the table, what was skipped and why, and where the numbers come from."""
    columns = headings(memory)
    lines = [
        "# Attention operators: time and peak memory, naive and lean",
        "",
        "Naive is the form of the published code, lean is Sightline's; both were compared with the slow reference.",
        "Medians; in brackets the quartiles of the ratio, which is taken within each turn. Memory is over the inputs.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * 2 + "---:|" * (len(columns) - 2),
    ]
    lines += ["| " + " | ".join(cells(row, memory)) + " |" for row in rows]
    lines += [""] + [f"- {row['operator']}, {row['map']}: {row['skipped']}" for row in rows if row["skipped"]]
    lines += [f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in about.items()]
    return "\n".join(lines) + "\n"


def as_json(results: Mapping[str, Any]) -> str:
    """The same numbers for programs."""
    return json.dumps(results, indent=1) + "\n"
