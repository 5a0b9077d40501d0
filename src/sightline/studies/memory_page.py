"""The page of the memory study: where each layer stops fitting, and the two laws as charts on logarithmic axes.

Left out: measuring anything (`memory.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from sightline.studies.charts import Law, Place, log_log
from sightline.studies.memory import CRISS_CROSS, FORMS, GB, NON_LOCAL, PowerLaw
from sightline.studies.page import Section, Table, charts, side_by_side, write_page
from sightline.vision.drawing.svg_charts import spread_labels

POINTS = 2  # a power law is a straight line here


def write(out: Path, results: Mapping[str, Any]) -> Path:
    """Write the page and return its path."""
    summary = results["summary"]
    budget = float(results["settings"]["memory"])
    sections = []
    if any(one["largest_side"] for one in summary):
        sections.append(
            Section(
                f"The largest image that fits in {budget:g} GB",
                "The side of a square image whose training step (forward and backward of this one layer) comes to "
                f"{budget:g} GB, to scale, in pixels. Where a size could not be measured in the time allowed, its law "
                "says it.",
                largest_chart(summary),
            )
        )
    both = [chart for chart in (memory_chart(results), time_chart(results)) if chart is not None]
    if both:
        sections.append(
            Section(
                "Memory and time over the side of the image",
                "Both axes are logarithmic, so that a power law is a straight line and its exponent the slope. Dots "
                "were measured; dashed lines go on by the law fitted to the last of them, up to where the layer stops "
                "fitting, at the ring.",
                charts(both),
            )
        )
    return write_page(
        out,
        title="When does attention stop fitting?",
        question=(
            f"One layer on the map of one image, {results['settings']['channels']} channels, one position for each "
            f"{results['settings']['stride']} x {results['settings']['stride']} pixels: what does a training step take?"
        ),
        answer=answer_of(results),
        sections=sections,
        tables=tables_of(results),
        results=results,
        unfinished="The page shows the sizes that were measured; --resume goes on.",
    )


def answer_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stops first and what stops the others, then one line for each layer, the first to stop fitting first."""
    known = sorted((one for one in results["summary"] if one["largest_side"]), key=lambda one: one["largest_side"])
    lines = []
    there = {one["form"]: one["seconds_there"] for one in known if one["seconds_there"]}
    wide, cross = f"lean {NON_LOCAL}", f"lean {CRISS_CROSS}"
    if wide in there and cross in there:
        lines.append(
            (
                "What stores a table of weights stops first;",
                "without tables memory grows with the area of the image alone, and time decides: a step at the limit "
                f"takes {wide} {duration(there[wide])}, {cross} {duration(there[cross])}.",
            )
        )
    for one in known:
        side = f"{pixels(one['largest_side'])} x {pixels(one['largest_side'])} pixels"
        time = f", time as side^{one['time_law']['exponent']:.1f}" if one["time_law"] else ""
        how = "by its law" if one["extrapolated"] else "measured"
        law = f"{how}; memory grows as side^{one['memory_law']['exponent']:.1f}{time}"
        took = "" if one["seconds_there"] is None else f"; a step there takes {duration(one['seconds_there'])}"
        lines.append((f"{one['form']}: {side},", f"{law}{took}."))
    return lines


def pixels(side: float | int) -> str:
    """A side in pixels to two digits: no law is better than that."""
    return two_digits(side)


def two_digits(value: float | int) -> str:
    """Rounded to two digits, never with an exponent: 110, 1.1, 0.11."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:g}"


def size(count: float | int) -> str:
    """Bytes with a decimal unit."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.3g} B"


def duration(seconds: float | int | None) -> str:
    """Seconds in the unit that reads best."""
    if seconds is None:
        return "-"
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * unit or (unit == 1 and seconds >= 1):
            return f"{two_digits(seconds / unit)} {name}"
    return f"{two_digits(1e3 * seconds)} ms"


def largest_chart(summary: Sequence[Mapping[str, Any]]) -> Markup:
    """The largest images as squares in each other, to scale, one corner in common."""
    known = sorted((one for one in summary if one["largest_side"]), key=lambda one: -one["largest_side"])
    most, edge, bottom, left = known[0]["largest_side"], 210.0, 224.0, 4.0
    sides = [edge * one["largest_side"] / most for one in known]
    labels = spread_labels([bottom - side for side in sides], 14.0, bottom - 8)
    parts = []
    for one, side, label in zip(known, sides, labels, strict=True):
        place = FORMS.index(one["form"])
        box = f'x="{left}" y="{bottom - side:.1f}" width="{side:.1f}" height="{side:.1f}"'
        parts.append(f'<rect class="law law{place} square" {box}/>')
        start = f"M{left + side:.1f} {bottom - side:.1f}"
        parts.append(f'<path class="leader" d="{start}L{left + edge + 8:.1f} {label:.1f}"/>')
        words = f"{one['form']}: {pixels(one['largest_side'])}"
        parts.append(f'<text x="{left + edge + 11:.1f}" y="{label + 4:.1f}">{escape(words)}</text>')
    said = "; ".join(f"{one['form']} {pixels(one['largest_side'])} pixels" for one in known)
    head = f'<svg viewBox="0 0 400 230" role="img" class="chart squares" aria-label="{escape(said)}">'
    return side_by_side([Markup(head + "".join(parts) + "</svg>")])


def _laws(results: Mapping[str, Any], name: str, law: str) -> list[Law]:
    found = []
    for one in results["summary"]:
        places = [(row["side"], row[name]) for row in results["rows"] if row["form"] == one["form"] and row[name]]
        limit = one["largest_side"]
        if not places:
            continue
        onward: list[Place] = []
        end = None
        if limit and one[law]:
            power = PowerLaw(**one[law])
            end = (limit, power(limit))
            onward = [end] if limit > places[-1][0] else []
        found.append(Law(one["form"], places, onward, end))
    return found


def memory_chart(results: Mapping[str, Any]) -> tuple[str, Markup] | None:
    """Peak memory over the side of the image; None where it was not measured."""
    laws = _laws(results, "bytes", "memory_law")
    if not laws or all(len(law.measured) < POINTS for law in laws):
        return None
    limit = results["settings"]["memory"] * GB
    said = "; ".join(f"{law.name} {size(law.measured[-1][1])} at {law.measured[-1][0]:g}" for law in laws)
    return "Peak memory", log_log(
        laws, f"Peak memory: {said}", "side of the image in pixels", size, limit=limit, limit_name=size(limit)
    )


def time_chart(results: Mapping[str, Any]) -> tuple[str, Markup] | None:
    """Time of a step over the side of the image."""
    laws = _laws(results, "seconds", "time_law")
    if not laws or all(len(law.measured) < POINTS for law in laws):
        return None
    said = "; ".join(f"{law.name} {duration(law.measured[-1][1])} at {law.measured[-1][0]:g}" for law in laws)
    return "Time of a step", log_log(laws, f"Time of a step: {said}", "side of the image in pixels", duration)


def tables_of(results: Mapping[str, Any]) -> list[Table]:
    """The laws, then every measurement."""
    budget = f"{results['settings']['memory']:g} GB"

    def power(law: Mapping[str, float] | None) -> str:
        return "-" if law is None else f"{law['exponent']:.2f}"

    return [
        Table(
            f"Laws, start + factor x side^exponent, what fits in {budget}, and by how much the law of the smaller "
            "sizes "
            "missed the largest one",
            [
                "Layer",
                "Exponent of memory",
                "Exponent of time",
                "Measured to",
                f"{budget} at a side of",
                "which is",
                "A step there",
                "Missed by",
            ],
            [
                [
                    one["form"],
                    power(one["memory_law"]),
                    power(one["time_law"]),
                    f"{one['measured_to']:g} px",
                    "-" if not one["largest_side"] else f"{pixels(one['largest_side'])} px",
                    "-" if not one["largest_side"] else "extrapolated" if one["extrapolated"] else "measured",
                    duration(one["seconds_there"]),
                    "-" if one["missed_by"] is None else f"{100 * one['missed_by']:+.0f} %",
                ]
                for one in results["summary"]
            ],
        ),
        Table(
            "Every measurement",
            ["Layer", "Side", "Positions", "Peak memory", "Time of a step", "Quartiles"],
            [
                [
                    row["form"],
                    f"{row['side']} px",
                    str(row["positions"]),
                    "-" if row["bytes"] is None else size(row["bytes"]),
                    duration(row["seconds"]),
                    f"{duration(row['seconds_low'])} to {duration(row['seconds_high'])}",
                ]
                for row in results["rows"]
            ],
        ),
    ]
