"""Write files that are whole or not there, and identify them by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .reading import open_file

_TEMPORARY = ".tmp"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when it is complete and on disk.

    The bytes go to a hidden file beside it,
    so whoever looks sees the old file or the new one.
    If the block raises, the old file stays.
    What a killed process leaves is found by :func:`remove_temporary`.

    Args:
        path: the file to write, its folder must exist

    Yields:
        binary file

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # the new name is in the folder, which has to reach the disk as well
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_temporary(path: Path) -> bool:
    """Tell whether a path is an unfinished file of :func:`atomic_write`."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left in a folder; nobody may be writing there."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if is_temporary(path):
                path.unlink()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces.

    Raises:
        OSError: as of :func:`wav2small.export.base.reading.open_file`

    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole file in place of what is there, see :func:`atomic_write`.

    Raises:
        OSError: if the folder cannot be written to

    """
    with atomic_write(path) as file:
        file.write(data)
