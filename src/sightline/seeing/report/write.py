"""A report as files: the page, its numbers, and a PNG for every picture.

Left out: reading them back.
"""

import json
from pathlib import Path

from sightline.run.files import said, write_whole
from sightline.seeing.report.contents import Missing, Report
from sightline.seeing.report.numbers import numbers_of
from sightline.seeing.report.page import page_of, png_bytes
from sightline.seeing.report.pictures import central_picture, strip_picture


def write_report(report: Report, out: Path) -> Path:
    """Write the page and what stands beside it.

    Raises:
        OSError: a file cannot be written.
        ValueError: the page would be too large.
    """
    page = page_of(report)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise said(error, f"the folder {out} cannot be made") from error
    if not isinstance(report.neurons, Missing):
        write_whole(out / "field.png", png_bytes(central_picture(report.photo, report.neurons)))
    if not isinstance(report.steps, Missing) and report.steps:
        write_whole(out / "strip.png", png_bytes(strip_picture(report.photo, report.steps)))
    for part in (report.kernels, report.features):
        for picture in () if isinstance(part, Missing) else part:
            write_whole(out / f"{picture.name}.png", picture.png)
    write_whole(out / "numbers.json", json.dumps(numbers_of(report), indent=1, allow_nan=False) + "\n")
    write_whole(out / "report.html", page)
    return out / "report.html"
