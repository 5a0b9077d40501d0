"""Layouts of folders for classification: one folder of images per class.

    photos/train/cat/1.jpg        or, not divided into parts,        photos/cat/1.jpg
    photos/val/dog/7.jpg                                             photos/dog/7.jpg

Images may lie deeper. Of data that is not divided, every fifth image of each class is for validation. Lists are the
other way (`list_files.py`).

Left out: several classes per image.
"""

from pathlib import Path

from sightline.vision.data.image_files import ENDINGS
from sightline.vision.data.list_files import find_list, read_list
from sightline.vision.data.listing import ALIASES, Listing, images_below, part_of, shown, take_part

LAYOUTS = ("folder", "list")


def find_classes(folder: Path, split: str, layout: str) -> Listing:
    """The images of a part, and the name of each one's class.

    Raises:
        ValueError: there are no such folders or lists; the sentence says what is there.
    """
    if layout == "list":
        return read_list(folder, split, "classify")
    part = part_of(folder, split)
    parts = [folder] if part is None else [folder / n for names in ALIASES.values() for n in names]
    classes = sorted({one.name for other in parts if other.is_dir() for one in _folders(other)})
    if not classes:
        raise ValueError(
            f"there are no folders of classes in {part or folder}, it holds {shown((part or folder).iterdir())}: "
            "put the images of each class into a folder with its name, or write a list"
        )
    images: list[Path] = []
    targets: list[str] = []
    note = ""
    for name in classes:
        found = [path for paths in images_below((part or folder) / name).values() for path in paths]
        if part is None:
            found, _ = take_part(found, split)
            note = "the data is not divided into parts: every fifth image of each class is for validation"
        images += found
        targets += [name] * len(found)
    beside = sorted(path for path in (part or folder).iterdir() if path.suffix.lower() in ENDINGS)
    findings = tuple(f"{path} lies beside the folders of classes, so its class is not known" for path in beside)
    return Listing("folder", tuple(images), tuple(targets), findings, note, tuple(classes), all_targets=tuple(targets))


def recognise(folder: Path) -> str:
    """ "list" for a list and for a folder with train.txt and no folders of classes, else "folder"."""
    if folder.is_file():
        return "list"
    has_list = find_list(folder, "train") is not None or find_list(folder, "val") is not None
    return "list" if has_list and not any(images_below(one) for one in _divided(folder)) else "folder"


def _divided(folder: Path) -> list[Path]:
    return [folder / name for names in ALIASES.values() for name in names if (folder / name).is_dir()]


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
