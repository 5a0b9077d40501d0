"""Lists: text files whose lines name an image and its mask, or an image and its class.

    # comments and empty lines do not count
    photos/a.jpg  masks/a.png
    photos/b.jpg  masks/b.png

The two are parted by a tab, by a comma, or by blanks (names with blanks in them need one of the former). Paths are
relative to the list's folder. A folder with train.txt and val.txt has both parts; one list alone is divided.

Left out: lists of images without a target.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from sightline.vision.data.listing import ALIASES, Listing, take_part


def find_list(path: Path, split: str) -> Path | None:
    """The list of a part in a folder, or beside a list that is named as a part; None where there is none."""
    folder = path if path.is_dir() else path.parent
    for name in ALIASES.get(split, (split,)):
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
    return None


def is_part(path: Path) -> bool:
    """Whether a list is named as a part is."""
    return any(path.stem in names for names in ALIASES.values())


def read_list(path: Path, split: str, task: str) -> Listing:
    """The images and targets that a list names, or the lists of a folder.

    Args:
        path: a list, or a folder of lists that are named train.txt, val.txt.
        split: which part: of a list that is named otherwise, a fifth is for validation.
        task: "segment" or "classify".

    Raises:
        ValueError: there is no such list, or a line does not name two things; the sentence has the line's number.
    """
    if path.is_file() and not is_part(path):
        pairs, note = take_part(_lines(path, task), split)
        every = [target for _, target in _lines(path, task)]
        return _listing(pairs, every, note)
    found = find_list(path, split)
    if found is None:
        where = path if path.is_dir() else path.parent
        raise ValueError(f"there is no list of the part '{split}': {where / split}.txt is not there")
    lists = [found.with_name(f"{name}.txt") for names in ALIASES.values() for name in names]
    every = [target for other in lists if other.is_file() for _, target in _lines(other, task)]
    return _listing(_lines(found, task), every, "")


def _listing(pairs: list[tuple[Path, Path | str]], every: list[Path | str], note: str) -> Listing:
    listing = Listing("list", tuple(image for image, _ in pairs), tuple(target for _, target in pairs), note=note)
    twice = [image for image, times in Counter(listing.images).items() if times > 1]
    findings = tuple(f"{image} is named more than once in its list: keep one line" for image in twice)
    return replace(listing, findings=findings, all_targets=tuple(every))


def _lines(path: Path, task: str) -> list[tuple[Path, Path | str]]:
    pairs: list[tuple[Path, Path | str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        divider = next((mark for mark in ("\t", ",") if mark in line), None)
        pieces = [piece.strip() for piece in line.split(divider) if piece.strip()]
        if len(pieces) != 2:
            what = "an image and its mask" if task == "segment" else "an image and its class"
            raise ValueError(
                f"{path}, line {number} names {len(pieces)} things: {what} are asked for, "
                "parted by a tab, a comma or blanks"
            )
        target = path.parent / pieces[1] if task == "segment" else pieces[1]
        pairs.append((path.parent / pieces[0], target))
    return pairs
