"""The bench's rows as a live table in the terminal, as markdown and as JSON.

Left out: charts.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
PARTS = {"forward": "forward", "training": "and backward"}


def headings(memory: bool) -> list[str]:
    """The columns: milliseconds of both forms and their ratio, then memory over the inputs."""
    return ["operator", "map", "pass", "naive ms", "lean ms", "times faster"] + ["naive MiB", "lean MiB"] * memory


def lines(row: Row, memory: bool) -> list[list[str]]:
    """One measured size as two lines of text, forward and training: medians, with the ratio's quartiles in brackets."""
    naive, lean = row["forms"]["naive"], row["forms"]["lean"]
    said = []
    for part, title in PARTS.items():
        ratio = row.get(f"{part}_speedup")
        line = [row["operator"], "x".join(map(str, row["map"])), title]
        line += [_milliseconds(naive, part), _milliseconds(lean, part)]
        line += [f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]" if ratio else "skipped"]
        line += [_mebibytes(naive, part), _mebibytes(lean, part)] * memory
        said.append(line)
    return said


def _milliseconds(form: Row, part: str) -> str:
    seconds = form.get(f"{part}_seconds")
    if seconds is None:
        return "-"
    milliseconds = seconds["median"] * 1e3
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


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
        yield lambda rows: print(_plain(rows[-1], memory), flush=True)
        return
    with Live(as_table([], memory), console=console, auto_refresh=False) as screen:
        yield lambda rows: screen.update(as_table(rows, memory), refresh=True)


def _plain(row: Row, memory: bool) -> str:
    said = [" | ".join(line) for line in lines(row, memory)]
    return "\n".join(said) + (f" | {row['skipped']}" if row["skipped"] else "")


def as_table(rows: Sequence[Row], memory: bool) -> Any:
    """What the terminal shows: a rich table, with what was skipped and why below it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0)
    for i, heading in enumerate(headings(memory)):
        table.add_column(heading, justify="left" if i in (0, 2) else "right", overflow="fold")
    for row in rows:
        first, second = lines(row, memory)
        table.add_row(*first)
        table.add_row("", "", *second[2:])
    skipped = [f"{row['operator']} {row['map'][0]}x{row['map'][1]}: {row['skipped']}" for row in rows if row["skipped"]]
    table.caption = "\n".join(skipped) or None
    return table


def as_markdown(rows: Sequence[Row], about: Mapping[str, str], *, memory: bool) -> str:
    """A page: what the table says, the table, what was skipped and why, and where the numbers come from."""
    columns = headings(memory)
    page = [
        "# Attention operators: time and peak memory, naive and lean",
        "",
        "Naive is the form of the published code, lean is Sightline's; both were compared with the slow reference.",
        "Medians; in brackets the quartiles of the ratio, which is taken within each turn. Memory is over the inputs.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * 3 + "---:|" * (len(columns) - 3),
    ]
    page += ["| " + " | ".join(line) + " |" for row in rows for line in lines(row, memory)]
    page += [""] + [f"- {row['operator']}, {row['map']}: {row['skipped']}" for row in rows if row["skipped"]]
    page += [f"- {what}: {f'`{text}`' if what == 'command' else text}" for what, text in about.items()]
    return "\n".join(page) + "\n"


def as_json(results: Mapping[str, Any]) -> str:
    """The same numbers for programs."""
    return json.dumps(results, indent=1) + "\n"
