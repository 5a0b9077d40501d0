"""Which class each number in a mask, or each name in a list, stands for.

Left out: names that the data brings along (`class_names.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from sightline.vision.data.class_names import ade20k_numbers, named
from sightline.vision.data.listing import Listing
from sightline.vision.data.reading import read_mask

MOST = 1 << 16  # classes: beyond that, numbers in masks are no classes


def as_classes(
    found: Integer[np.ndarray, "h w"], classes: int, ignore: int, stored: Iterable[tuple[int, int]] | None
) -> Int64[np.ndarray, "h w"]:
    """The class of each number in a mask; -1 where there is none."""
    pairs = [(number, number) for number in range(classes)] if stored is None else list(stored)
    table = np.full(MOST + 1, -1, np.int64)
    if ignore < MOST:
        table[ignore] = ignore
    for number, index in pairs:
        table[number] = index
    if found.dtype.itemsize > 2:
        found = np.where((found < 0) | (found > MOST), MOST, found)
    return table[found]


def ranges(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 as "0 to 2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def mask_classes(
    listing: Listing, given: Sequence[str] | Mapping[int, str] | None, folder: Path, ignore: int
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...] | None]:
    """The names of classes and what stands for them in masks: the user's, the layout's, or what the masks have."""
    if given is not None:
        names, own = named(given)
        if own is not None:
            return names, tuple(own.items())
        if listing.layout == "ade20k":
            return names, ade20k_numbers(len(names), ignore)
        if listing.names is not None and listing.layout == "cityscapes" and len(names) != len(listing.names):
            raise ValueError(
                f"Cityscapes has {len(listing.names)} classes, got the names of {len(names)}: name the numbers that "
                "your masks store as well (classes.txt with lines such as '7 road')"
            )
        return names, listing.stored if listing.layout == "cityscapes" else None
    if listing.names is not None:
        return listing.names, listing.stored
    largest = -1
    with ThreadPoolExecutor() as pool:
        for numbers in pool.map(_numbers, listing.all_targets):
            largest = max([largest, *(number for number in numbers if number != ignore)])
    if largest < 1:
        found = "no number" if largest < 0 else "no other number than 0"
        raise ValueError(
            f"the masks in {folder} hold {found} beside {ignore}, which does not count: if {ignore} is a class, name "
            f"the stored numbers in {folder / 'classes.txt'}, with lines such as '0 background' and '{ignore} object'"
        )
    return tuple(str(number) for number in range(largest + 1)), None


def _numbers(path: Path | str) -> list[int]:
    """The numbers that a mask has; none where it is broken, which `inspect` says."""
    try:
        found = read_mask(path)
    except ValueError:
        return []
    if found.dtype == np.uint8:
        return np.bincount(found.ravel(), minlength=256).nonzero()[0].tolist()
    return [number for number in np.unique(found).tolist() if 0 <= number < MOST]


def class_names(listing: Listing, given: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...]:
    """The names of classes of whole images: the user's, the layout's, or those in the lists."""
    if given is not None:
        return named(given)[0]
    if listing.names is not None:
        return listing.names
    targets = {str(target) for target in listing.all_targets}
    if all(target.isdigit() and int(target) < MOST for target in targets):
        return tuple(str(number) for number in range(max(int(target) for target in targets) + 1))
    return tuple(sorted(targets))


def class_targets(listing: Listing, names: tuple[str, ...]) -> list[int]:
    """The class of each image: its name's index, or the number itself."""
    index = {name: number for number, name in enumerate(names)}
    found = []
    for image, target in zip(listing.images, listing.targets, strict=True):
        target = str(target)
        number = index.get(target, int(target) if target.isdigit() else -1)
        if not 0 <= number < len(names):
            raise ValueError(
                f"{image} is of the class '{target}', which is none of the {len(names)} classes {', '.join(names[:6])}"
                f"{' ...' if len(names) > 6 else ''}"
            )
        found.append(number)
    return found
