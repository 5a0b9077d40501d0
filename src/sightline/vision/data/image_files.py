"""The images that a user means: files and folders on a command line become a list, each with a name of its own.

Left out: web addresses, videos, and images of other kinds than Pillow reads.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImageFile:
    """A file, and the name (no ending, "/" between folders) by which what is made from it goes."""

    path: Path
    name: str


def find_images(given: Sequence[Path], *, leave_out: Path | None = None) -> list[ImageFile]:
    """The given files, and the images in the given folders and below, in order; none twice, all names different.

    Args:
        given: files, of any ending, and folders, of which hidden files and other endings are left out.
        leave_out: a folder whose images are not meant: the one to which results are written.

    Raises:
        FileNotFoundError: one of them does not exist.
        ValueError: nothing was given, or a folder has no image.
    """
    if not given:
        raise ValueError("no image was given: name files, or folders of images")
    found: dict[Path, str] = {}
    for one in given:
        if one.is_dir():
            inside = sorted(_inside(one, leave_out))
            if not inside:
                raise ValueError(f"there is no image in {one}: images end in {', '.join(ENDINGS)}")
            for path in inside:
                found.setdefault(path.resolve(), path.relative_to(one).as_posix())
        elif one.is_file():
            found.setdefault(one.resolve(), one.name)
        else:
            raise FileNotFoundError(f"there is no image or folder {one}")
    return [ImageFile(path, name) for path, name in zip(found, _different(list(found.values())), strict=True)]


def _inside(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    without = None if leave_out is None else leave_out.resolve()
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and (Path(here) / name).resolve() != without]
        yield from (Path(here) / name for name in files if name.lower().endswith(ENDINGS) and not name.startswith("."))


def _different(names: Sequence[str]) -> list[str]:
    """Names without their endings; where two would be the same, with them, and numbered if that is not enough."""
    short = [name.rpartition(".")[0] or name for name in names]
    wanted = [a if short.count(a) == 1 else b for a, b in zip(short, names, strict=True)]
    taken: set[str] = set()
    for i, name in enumerate(wanted):
        number = 2
        while wanted[i] in taken:
            wanted[i], number = f"{name}-{number}", number + 1
        taken.add(wanted[i])
    return wanted
