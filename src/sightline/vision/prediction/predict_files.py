"""`sightline predict RUN IMAGES...`: what a trained run says about images, and why, as files and as one sheet.

For a run that segments: `masks/` (PNG files whose pixel values are the classes), `overlays/`, `why/` (what the least
certain spot looked at, or the pixel that was asked for), `contact-sheet.png` and `predictions.json`. For a run that
classifies: the five likeliest classes in `predictions.json` and `predictions.csv`, `why/` and `contact-sheet.png`. An
image that cannot be read is named at the end; the others are done all the same.

Left out: video, and several runs at once.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from sightline.ops.arguments import choose
from sightline.run.device import choose_device
from sightline.run.files import said, write_whole
from sightline.run.progress import counted
from sightline.run.stop import stop_on_interrupt
from sightline.vision.data.image_files import find_images
from sightline.vision.data.reading import read_image
from sightline.vision.drawing.palette import palette
from sightline.vision.drawing.pictures import TILE, Tile, contact_sheet, png
from sightline.vision.prediction.predict import OVERLAP
from sightline.vision.prediction.predict_image import BEST, Answer, Ways, classify_image, segment_image
from sightline.vision.prediction.runs import LoadedRun, load_run

SHOWN = 24  # images on a contact sheet


@dataclass(frozen=True)
class Predict:
    """Settings of `sightline predict`."""

    run: Positional[Path]
    """Folder of the run whose network is to answer."""
    images: Positional[tuple[Path, ...]]
    """Image files, and folders of images."""
    window: int | None = None
    """Side, in pixels, of the windows by which large images are predicted; by default in one piece (segmentation)."""
    overlap: float = OVERLAP
    """Share of a window that the next one covers again, in [0, 1)."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes at which every image is shown, 1 its own; the answers are averaged (segmentation)."""
    flip: bool = False
    """Whether every image is shown mirrored as well."""
    batch: int = 1
    """Windows shown at once."""
    why: tuple[int, int] | None = None
    """Row and column of the pixel whose answer is explained; by default the least certain spot (segmentation)."""
    explain: bool = True
    """Whether to draw why."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1"."""
    out: Path | None = None
    """Where to write; by default RUN/predictions."""
    trust: bool = False
    """Whether the run may import classes from outside of sightline, which runs their code."""


def run(settings: Predict) -> None:
    """Predict all images and write everything; see the file's docstring.

    Raises:
        ValueError: an option does not fit the run, there is no image, or, once the others are done, some failed.
        OSError: the run is not there, or the disk is full.
        KeyboardInterrupt: after Ctrl-C, with what was done written.
    """
    loaded = load_run(settings.run, trust=settings.trust)
    ways = _ways(loaded, settings)
    answer = segment_image if loaded.task == "segment" else classify_image
    out = settings.run / "predictions" if settings.out is None else settings.out
    files = find_images(settings.images, leave_out=out)
    network = loaded.network.to(choose_device(settings.device)).eval()
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    tiles: list[tuple[float, int, Tile]] = []
    with stop_on_interrupt() as stop:
        for number, file in enumerate(counted(files, "images")):
            try:
                found = answer(loaded, network, read_image(file.path), file.name, ways)
            except ValueError as error:
                failed.append({"image": str(file.path), "reason": str(error)})
            else:
                _write(out, file.name, found)
                rows.append({"image": str(file.path), **found.row})
                # The least certain images are those to look at; no others need to be kept in memory.
                tiles = sorted([*tiles, (found.row["confidence"], number, found.tile)], key=lambda one: one[:2])[:SHOWN]
            if stop.requested:
                break
    _write_lists(loaded, settings, out, rows, failed)
    if tiles:
        write_whole(out / "contact-sheet.png", png(_sheet(loaded, len(rows), [tile for *_, tile in tiles], rows)))
        print(f"{len(rows)} of {len(files)} images done: see {out / 'contact-sheet.png'}")
    if len(rows) + len(failed) < len(files):
        raise KeyboardInterrupt(f"stopped after {len(rows)} of {len(files)} images, which are in {out}")
    if failed:
        more = "" if len(failed) == 1 else f"; the others are named in {out / 'predictions.json'}"
        raise ValueError(f"{len(failed)} of {len(files)} images failed: {failed[0]['reason']}{more}")


def _ways(loaded: LoadedRun, settings: Predict) -> Ways:
    """How to show images; options that have no meaning for the run's task are refused."""
    choose("task of a run that predicts", loaded.task, ("segment", "classify"))
    ways = Ways(**{field.name: getattr(settings, field.name) for field in fields(Ways)})
    if loaded.task == "classify":
        for name in ("window", "scales", "overlap", "batch", "why"):
            if getattr(ways, name) != getattr(Ways(), name):
                raise ValueError(
                    f"--{name} is for runs that segment, and {settings.run} classifies whole images: leave it out"
                )
    return ways


def _write(out: Path, name: str, answer: Answer) -> None:
    """Write an image's files."""
    for folder, content in answer.files.items():
        path = out / folder / f"{name}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise said(error, f"the folder {path.parent} cannot be made") from error
        write_whole(path, content)


def _write_lists(
    loaded: LoadedRun, settings: Predict, out: Path, rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, str]]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    whole = {
        "run": str(settings.run),
        "task": loaded.task,
        "classes": list(loaded.classes),
        "settings": {field.name: getattr(settings, field.name) for field in fields(Ways)},
        "images": rows,
        "failed": failed,
    }
    write_whole(out / "predictions.json", json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    if loaded.task == "classify":
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        count = min(BEST, len(loaded.classes))
        writer.writerow(["image", *(f"{what} {n}" for n in range(1, count + 1) for what in ("class", "probability"))])
        for row in rows:
            writer.writerow([row["image"], *(part for pair in row["top"].items() for part in pair)])
        write_whole(out / "predictions.csv", table.getvalue())


def _sheet(loaded: LoadedRun, count: int, tiles: Sequence[Tile], rows: Sequence[dict[str, Any]]) -> Any:
    """The least certain images on one sheet, with a legend of the classes that occur on any."""
    which = f"the {len(tiles)} least certain of {count} images" if len(tiles) < count else f"{count} images"
    title = f"{loaded.folder}: {which}, the least certain first"
    if loaded.task == "classify":
        bright = f". Bright: {rows[0]['why']['shown']}" if "why" in rows[0] else ""
        return contact_sheet(title + bright, tiles, across=4, width=130)
    occurring = {name for row in rows for name in row["shares"]}
    colours = zip(loaded.classes, palette(loaded.classes).tolist(), strict=True)
    return contact_sheet(title, tiles, legend=[(n, tuple(c)) for n, c in colours if n in occurring], width=TILE)
