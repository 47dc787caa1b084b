"""Search folders for audio, follow links, and warn of what is left out."""

from __future__ import annotations

import os
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

from ..errors import LeftOutWarning
from .containers import EXTENSIONS, one_line

OTHER = {
    "3gp", "aac", "ac3", "aif", "aifc", "aiff", "alac", "amr", "ape", "au", "avi",
    "caf", "dsf", "dts", "m4a", "m4b", "mka", "mkv", "mov", "mp2", "mp4", "mpc",
    "raw", "pcm", "snd", "sph", "spx", "tta", "voc", "w64", "webm", "wma", "wv",
}  # fmt: skip
"""Endings of recordings that are not read."""


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path from the root, without ``..`` and with links as they are."""
    text = os.path.abspath(path)  # noqa: PTH100 (which does away with ..)
    # normpath keeps two slashes at the beginning, which POSIX allows to be special
    return Path(text[1:] if text.startswith("//") else text)


def walk(folder: Path) -> Iterator[str]:
    """Search a folder and all below it.

    A folder that links lead to as well is searched once:
    where it is, or at the first of the links.

    Args:
        folder: where to begin

    Yields:
        path of each file of :data:`EXTENSIONS`, relative to the folder,
        with forward slashes

    """
    seen: set[tuple[int, int]] = set()
    other: Counter[str] = Counter()
    links = deque([""])
    while links:
        waiting = [links.popleft()]
        while waiting:
            here = waiting.pop()
            path = f"{folder}/{here}"
            try:
                status = os.stat(path)  # noqa: PTH116
                identity = status.st_dev, status.st_ino
                if identity in seen:
                    continue
                seen.add(identity)
                with os.scandir(path) as entries:
                    inside = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                _warn(
                    f"folder cannot be searched: {one_line(path)}: {error.strerror}: "
                    "it is left out"
                )
                continue
            for entry in inside:
                ending = entry.name.rpartition(".")[2].lower()
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{here}{entry.name}/")
                elif os.path.isdir(entry.path):  # noqa: PTH112 (never raises)
                    links.append(f"{here}{entry.name}/")
                elif ending in EXTENSIONS:
                    yield here + entry.name
                elif ending in OTHER:
                    other[ending] += 1
    for ending, count in sorted(other.items()):
        _warn(
            f"{count} {ending} are left out, which is not read: {one_line(folder)}: "
            "convert to wav or flac"
        )


def _warn(text: str) -> None:
    warnings.warn(text, LeftOutWarning, stacklevel=3)
