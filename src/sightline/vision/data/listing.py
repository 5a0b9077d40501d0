"""Which files belong together: what every layout of a folder comes down to.

Left out: reading them (`reading.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sightline.ops.arguments import choose
from sightline.vision.data.examples import SPLITS
from sightline.vision.data.image_files import ENDINGS

ALIASES = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}
FIFTH = 5  # where the data has no parts, every so many is kept for validation

Item = TypeVar("Item")


@dataclass(frozen=True)
class Listing:
    """One part of a data set as files, in an order that is the same on every machine."""

    layout: str
    images: tuple[Path, ...]
    targets: tuple[Path | str, ...]
    """The mask of each image, or the name or number of its class."""
    findings: tuple[str, ...] = ()
    """What does not belong together, a sentence each."""
    note: str = ""
    """What a user should know about how the part was made."""
    names: tuple[str, ...] | None = None
    """Classes, where the layout says them."""
    stored: tuple[tuple[int, int], ...] | None = None
    """Pairs of a number stored in masks and its class; None: as stored."""
    all_targets: tuple[Path | str, ...] = ()
    """The masks or classes of all parts, from which classes without names are counted."""


def images_below(folder: Path) -> dict[str, list[Path]]:
    """The image files in a folder and below, hidden ones left out, by their path without its ending, in order."""
    found: dict[str, list[Path]] = {}
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in paths):
        if not any(piece.startswith(".") for piece in name.split("/")):
            found.setdefault(name[: -len(path.suffix)], []).append(path)
    return found


def pair_up(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Images and masks of one name in two folders, and a sentence for each file that stays alone or comes twice."""
    ours, theirs = images_below(images), images_below(masks)
    findings = [
        f"{' and '.join(str(path) for path in paths)} share one name, so which belongs to the other folder's file "
        "is not known: rename or remove all but one"
        for paths in (*ours.values(), *theirs.values())
        if len(paths) > 1
    ]
    findings += [f"{ours[name][0]} has no mask: {masks / name}.png is not there" for name in ours if name not in theirs]
    findings += [
        f"{theirs[name][0]} has no image: nothing named {Path(name).name} is in {(images / name).parent}"
        for name in theirs
        if name not in ours
    ]
    return [(ours[name][0], theirs[name][0]) for name in ours if name in theirs], findings


def part_of(folder: Path, split: str) -> Path | None:
    """The sub-folder of a part under one of its usual names; None where the folder is not divided into parts.

    Raises:
        ValueError: it is divided, and there is no such part.
    """
    for name in ALIASES.get(split, (split,)):
        if (folder / name).is_dir():
            return folder / name
    parts = [name for names in ALIASES.values() for name in names if (folder / name).is_dir()]
    if not parts:
        return None
    raise ValueError(f"there is no part '{split}' in {folder}: it has {' and '.join(sorted(parts))}")


def take_part(items: Sequence[Item], split: str) -> tuple[list[Item], str]:
    """A part of data that is not divided, and the sentence that says so: every fifth item is for validation.

    Raises:
        ValueError: no such part is made.
    """
    choose("part of data that is not divided into parts", split, SPLITS)
    kept = [item for index, item in enumerate(items) if (index % FIFTH == 0) == (split != "train")]
    note = (
        f"the data is not divided into parts: every fifth of its {len(items)} images, in order of their names, "
        "is for validation and not trained on"
    )
    return kept, note


def shown(paths: Iterable[Path], most: int = 6) -> str:
    """What a folder holds, for a sentence."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in paths if not path.name.startswith("."))
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + rest
