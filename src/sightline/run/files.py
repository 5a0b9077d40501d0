"""Files that are there whole or not at all, and disk errors said in one sentence.

Left out: file systems that lie about `fsync`.
"""

import contextlib
import os
from pathlib import Path


def write_whole(path: str | Path, data: str | bytes) -> None:
    """Write a file through a temporary sibling, so that a reader or a crash never meets half of it.

    The sibling bears the process's number: of two processes that write one file, the later wins and neither fails.
    """
    path = Path(path)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        write_file(new, data.encode() if isinstance(data, str) else data)
        os.replace(new, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise said(error, f"{path} could not be written") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """`os.write` until everything is written: one call writes at most two gigabytes, or less on a disk nearly full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if os.name != "posix" and path.is_dir():
        return  # such systems open no folders
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def said(error: OSError, what: str) -> OSError:
    """The same kind of error with one sentence: what could not be done, and the system's reason."""
    reason = error.strerror or str(error)
    sentence = type(error)(f"{what}: {reason[:1].lower()}{reason[1:]}")
    sentence.errno = error.errno
    return sentence
