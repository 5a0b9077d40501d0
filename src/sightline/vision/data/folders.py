"""Your own images as examples: a folder with their masks or their classes, or a list of them.

The layouts are `mask_layouts.py`, `class_folders.py` and `list_files.py`; the one that lies there is recognised. Every
number in a mask is checked whenever it is read: a class that does not exist never reaches a loss.

Classes are named by `classes=`, else by classes.txt in the folder, else by what the layout was published with. Failing
all that the masks of all parts are read, and classes are the numbers from 0 to the largest found.

Left out: data that does not lie on a disk, archives, caches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Int64

from sightline.ops.arguments import choose
from sightline.vision.data import class_folders, mask_layouts
from sightline.vision.data.class_names import read_names
from sightline.vision.data.class_numbers import MOST, as_classes, class_names, class_targets, mask_classes, ranges
from sightline.vision.data.examples import IGNORE, Example, within
from sightline.vision.data.reading import image_size, read_image, read_mask


@dataclass(frozen=True)
class FolderExamples:
    """Examples that lie in files."""

    task: Literal["segment", "classify"]
    classes: tuple[str, ...]
    images: tuple[str, ...]
    """The path of each image."""
    targets: tuple[str, ...] | tuple[int, ...]
    """The path of each mask, or the class of each image."""
    folder: str
    split: str
    layout: str
    ignore: int = IGNORE
    stored: tuple[tuple[int, int], ...] | None = None
    """Pairs of a number in the masks and its class; None: as stored. `ignore` means itself, unless it is among them."""
    findings: tuple[str, ...] = ()
    """What did not belong together in the folder, a sentence each; `inspect` reads them."""
    note: str = ""
    """What a user should know about how the part was made."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        image = read_image(self.images[within(index, len(self))])
        target = self.targets[index]
        if isinstance(target, int):
            return Example(image, torch.tensor(target))
        mask = self.mask(index)
        if mask.shape != image.shape[1:]:
            raise ValueError(self._sizes_differ(index, image.shape[1:], mask.shape))
        return Example(image, torch.from_numpy(mask))

    def name(self, index: int) -> str:
        """The image's path below the folder."""
        path = Path(self.images[within(index, len(self))])
        folder = Path(self.folder)
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()

    def mask(self, index: int) -> Int64[np.ndarray, "h w"]:
        """The class of every pixel, of a mask that may be of another size than its image.

        Raises:
            ValueError: the file is broken or has a class that does not exist.
        """
        path = self.targets[within(index, len(self))]
        assert isinstance(path, str), "images to classify have no masks"
        found = read_mask(path)
        mask = as_classes(found, len(self.classes), self.ignore, self.stored)
        wrong = mask < 0
        if wrong.any():
            y, x = (int(place[0]) for place in wrong.nonzero())
            pixels = int(wrong.sum())
            raise ValueError(
                f"{path} has the value {found[y, x]} at pixel y={y}, x={x}"
                f"{'' if pixels == 1 else f', the first of {pixels} such pixels'}: masks hold {self._allowed()}"
            )
        return mask

    def problems(self, index: int) -> tuple[str, ...]:
        """Everything that is wrong with one example, a sentence each: also the second thing, where there are two."""
        found, sizes = [], []
        try:
            sizes.append(tuple(read_image(self.images[within(index, len(self))]).shape[1:]))
        except ValueError as error:
            found.append(str(error))
        if self.task == "segment":
            path = str(self.targets[index])
            try:
                sizes.append(read_mask(path).shape)
                self.mask(index)
            except ValueError as error:
                found.append(str(error))
            if len(sizes) == 2 and sizes[0] != sizes[1]:
                found.append(self._sizes_differ(index, *sizes))
        return tuple(found)

    def __str__(self) -> str:
        named = ", ".join(self.classes[:6]) + (f" and {len(self.classes) - 6} more" if len(self.classes) > 6 else "")
        note = f"; {self.note}" if self.note else ""
        return (
            f"{len(self)} images to {self.task} in {self.folder} (layout {self.layout}, part {self.split}), "
            f"{len(self.classes)} classes: {named}{note}"
        )

    def _sizes_differ(self, index: int, image: Sequence[int], mask: Sequence[int]) -> str:
        before = image_size(self.images[index])
        turned = " (turned upright as its camera says)" if before != tuple(image) else ""
        return (
            f"{self.images[index]} is {image[0]} x {image[1]} pixels high and wide{turned}, and its mask "
            f"{self.targets[index]} is {mask[0]} x {mask[1]}: they must be of one size"
        )

    def _allowed(self) -> str:
        """Which numbers its masks may have."""
        pairs = dict(((c, c) for c in range(len(self.classes))) if self.stored is None else self.stored)
        pairs = {self.ignore: self.ignore, **pairs} if self.stored is not None else {**pairs, self.ignore: self.ignore}
        count = ranges(number for number in sorted(pairs) if pairs[number] != self.ignore)
        apart = ranges(number for number in sorted(pairs) if pairs[number] == self.ignore)
        return f"{count} for the {len(self.classes)} classes" + (f", {apart} where none counts" if apart else "")


def open_examples(
    folder: str | Path,
    split: str = "train",
    *,
    task: str,
    layout: str = "auto",
    classes: Sequence[str] | Mapping[int, str] | None = None,
    ignore: int = IGNORE,
) -> FolderExamples:
    """One part of the images in a folder, with their masks or classes.

    Args:
        folder: Where they lie, or a list of them.
        split: Which part: "train", "val", or what else the data is divided into. Data that is not divided gives every
            fifth image to validation, and says so in `.note`.
        task: "segment" or "classify".
        layout: How they lie ("folder", "list"; to segment also "ade20k", "cityscapes", "voc"); "auto" recognises it.
        classes: Names of the classes; or the names of the numbers that masks store, where these are not 0, 1, 2, ...
        ignore: The number in masks that does not count, and the label of such pixels.

    Raises:
        ValueError: the folder is not there, is not laid out in a known way, has no such part or no images; or classes
            can neither be named nor counted. One sentence says which.
    """
    choose("task", task, ("segment", "classify"))
    folder = Path(folder).expanduser()
    if not folder.exists():
        raise ValueError(f"there is no folder or list {folder}")
    if not 0 <= ignore < MOST:
        raise ValueError(f"the number that does not count is from 0 to {MOST - 1}, got ignore={ignore}")
    kinds = mask_layouts if task == "segment" else class_folders
    choose("layout", layout, ("auto", *kinds.LAYOUTS))
    if layout == "auto":
        layout = kinds.recognise(folder)
    if folder.is_file() and layout != "list":
        raise ValueError(f"{folder} is a file, and the layout '{layout}' is of a folder")
    if task == "segment":
        listing = mask_layouts.find_masks(folder, split, layout, ignore)
    else:
        listing = class_folders.find_classes(folder, split, layout)
    if not listing.images:
        why = f": {listing.findings[0]}" if listing.findings else ""
        raise ValueError(f"there is no image with its target in the part '{split}' of {folder}{why}")
    home = folder.parent if folder.is_file() else folder
    given = classes if classes is not None else read_names(home)
    names, stored = (
        mask_classes(listing, given, home, ignore) if task == "segment" else (class_names(listing, given), None)
    )
    if stored is not None and ignore < len(names):
        raise ValueError(
            f"the label that does not count, ignore={ignore}, is also that of a class, '{names[ignore]}', "
            f"once the masks' numbers are turned into classes 0 to {len(names) - 1}: take a larger one"
        )
    targets = [str(t) for t in listing.targets] if task == "segment" else class_targets(listing, names)
    return FolderExamples(
        task=cast(Literal["segment", "classify"], task),
        classes=names,
        images=tuple(str(path) for path in listing.images),
        targets=cast("tuple[str, ...] | tuple[int, ...]", tuple(targets)),
        folder=str(home),
        split=split,
        layout=layout,
        ignore=ignore,
        stored=stored,
        findings=listing.findings,
        note=listing.note,
    )
