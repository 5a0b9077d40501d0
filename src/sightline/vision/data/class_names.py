"""What the numbers in masks mean: names from the data's own classes.txt, or those that a data set was published with.

classes.txt has one name a line, the first for 0. Where the masks store other numbers than 0, 1, 2, ..., each line
starts with the stored one:

    0 background
    255 crack

Left out: colours of classes; `drawing/palette.py` has them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sightline.vision.drawing.palette import CITYSCAPES

FILE = "classes.txt"
ADE20K = 150  # classes of the scene parsing benchmark
ADE20K_NAMES = "objectInfo150.txt"  # lies beside its images
CITYSCAPES_CLASSES = tuple(CITYSCAPES)
# cityscapesScripts, helpers/labels.py: which of the 34 stored numbers are among the 19 classes that count, in order
CITYSCAPES_STORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_IDS = 34


def named(classes: Sequence[str] | Mapping[int, str]) -> tuple[tuple[str, ...], dict[int, int] | None]:
    """Names, and the class of each stored number (None: as stored) of classes as a user gives them.

    Raises:
        ValueError: there is no class, or a name comes twice.
    """
    names = tuple(str(name) for name in (classes.values() if isinstance(classes, Mapping) else classes))
    if isinstance(classes, str) or not names:
        raise ValueError(f"classes are a sequence of names, got {classes!r}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the class '{twice}' is named twice: give every class a name of its own")
    if isinstance(classes, Mapping):
        if not all(0 <= int(stored) < 1 << 16 for stored in classes):
            raise ValueError(f"masks store numbers from 0 to 65535, got names for {', '.join(map(str, classes))}")
        return names, {int(stored): index for index, stored in enumerate(classes)}
    return names, None


def read_names(folder: Path) -> Sequence[str] | Mapping[int, str] | None:
    """Classes from the folder's classes.txt, in the form that `named` takes; None where there is none.

    Raises:
        ValueError: a stored number comes twice, or the file names nothing.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{path} names no class: write one name a line")
    pairs = [re.fullmatch(r"(\d+)[\s:,=]+(.+)", line) for line in lines]
    if not all(pairs):
        return lines
    stored = [(int(pair[1]), pair[2]) for pair in pairs if pair]
    if len(dict(stored)) < len(stored):
        raise ValueError(f"{path} gives two names to one number: each line is the number in the masks and its class")
    return dict(stored)


def ade20k_names(folder: Path) -> tuple[str, ...]:
    """The 150 names from the data's objectInfo150.txt (the first of each line's synonyms), else their numbers."""
    path = folder / ADE20K_NAMES
    if path.is_file():
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()]
        found = {int(row[0]): row[-1].split(",")[0].strip() for row in rows if row[0].strip().isdigit()}
        if sorted(found) == list(range(1, ADE20K + 1)):
            names = [found[number] for number in sorted(found)]
            return tuple(
                name if names.count(name) == 1 else f"{name} {number}" for number, name in enumerate(names, start=1)
            )
    return tuple(f"class {number}" for number in range(1, ADE20K + 1))


def ade20k_numbers(classes: int, ignore: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a stored number and its class: 0 does not count, classes are stored from 1."""
    return (0, ignore), *((number, number - 1) for number in range(1, classes + 1))


def cityscapes_numbers(ignore: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a stored number of a *_labelIds.png and its class, `ignore` for those that do not count."""
    known = {stored: index for index, stored in enumerate(CITYSCAPES_STORED)}
    return tuple((stored, known.get(stored, ignore)) for stored in range(CITYSCAPES_IDS))
