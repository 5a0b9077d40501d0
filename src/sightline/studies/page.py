"""The page of a study: one self-contained file that opens with its answer, then shows it, then gives every number.

A study hands over an answer in lines, sections of pictures and charts, and tables; the rest (style, command, settings,
versions, machine, the notice of an unfinished study) is alike for all. Words are escaped; markup is made here and in
the charts alone.

Left out: what any study says, and pages that a reader plays with (`long_range/page.html.j2` has its own template).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup, escape

from sightline.vision.drawing.pages import fill_in, picture_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBER = ' class="number"'


@dataclass(frozen=True)
class Section:
    """A heading, a few sentences, and what is to be seen."""

    title: str
    text: str
    body: Markup


@dataclass(frozen=True)
class Table:
    """All numbers of one kind; the first `names` columns hold words."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


def in_thousands(value: float | int) -> str:
    """A count with a decimal prefix: 57 300 is `57 k`."""
    for size, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def unbroken(words: str) -> str:
    """Percent signs that stay on the line of their number."""
    return words.replace(" %", "\u00a0%")


def facts_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Machine, versions and settings, one line each."""
    found: list[tuple[str, str]] = []
    for name in ("machine", "versions", "settings"):
        value = results.get(name)
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, inner in pairs:
            label = f"{name}: {key}" if key else name
            found.append((label, inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)))
    return found


def png_bytes(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An image as a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG", optimize=True)
    return file.getvalue()


def png_of(figure: "Figure", dpi: int = 110) -> bytes:
    """A drawn figure as a PNG file that is the same every time."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def picture(png: bytes, alt: str, *, title: str = "", caption: str = "", pixels: bool = False) -> Markup:
    """A picture with its words below; `pixels` keeps the edges of enlarged pixels sharp."""
    words = (f"<strong>{escape(title)}</strong>" if title else "") + (
        f'<span class="quiet">{escape(caption)}</span>' if caption else ""
    )
    kind = ' class="pixels"' if pixels else ""
    return Markup(
        f'<figure><img{kind} src="{picture_uri(png)}" alt="{escape(alt)}">'
        + (f"<figcaption>{words}</figcaption>" if words else "")
        + "</figure>"
    )


def side_by_side(figures: Sequence[Markup], *, kind: str = "row") -> Markup:
    """Figures in a row that breaks on a phone; kinds: "row", "wide" (one for each line), "strip" (small ones)."""
    return Markup(f'<div class="figures {kind}">{"".join(figures)}</div>')


def charts(titled: Sequence[tuple[str, Markup]]) -> Markup:
    """Charts with a title each."""
    inner = "".join(f"<section><h3>{escape(title)}</h3>{chart}</section>" for title, chart in titled)
    return Markup(f'<div class="charts pairs">{inner}</div>')


def legend(marks: Sequence[tuple[Markup, str]]) -> Markup:
    """Marks (SVG in a box of 16 x 16) and what they mean."""
    lines = "".join(
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{mark}</svg>{escape(words)}</li>' for mark, words in marks
    )
    return Markup(f'<ul class="legend">{lines}</ul>')


def table_markup(head: Sequence[str], rows: Sequence[Sequence[str]], label: str, *, names: int = 1) -> Markup:
    """A table inside a section; the first `names` columns hold words."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{NUMBER if place >= names else ''}>{escape(cell)}</{tag}>" for place, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    table = f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    return Markup(f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>')


def markdown(table: Table) -> str:
    """The table for a page of the docs."""
    marks = ["---" if place < table.names else "---:" for place in range(len(table.head))]
    lines = [f"| {' | '.join(cells)} |" for cells in (table.head, *table.rows)]
    return "\n".join([lines[0], f"|{'|'.join(marks)}|", *lines[1:], ""])


def write_page(
    folder: Path,
    *,
    title: str,
    question: str,
    answer: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    tables: Sequence[Table],
    results: Mapping[str, Any],
    unfinished: str = "",
) -> Path:
    """Write `folder / report.html` and return its path.

    `answer` is pairs of a few words in bold and the rest of the sentence; `unfinished` says what is there so far, and
    is shown where `results["finished"]` is false.
    """
    here = Path(__file__).parent
    values = {
        "title": title,
        "question": question,
        "answer": [(lead, unbroken(rest)) for lead, rest in answer],
        "sections": sections,
        "tables": tables,
        "finished": bool(results["finished"]),
        "unfinished": unfinished,
        "command": str(results["command"]),
        "facts": facts_of(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    path.write_text(fill_in(here / "page.html.j2", values, style=here / "page.css"), encoding="utf-8")
    return path
