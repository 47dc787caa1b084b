"""``manifest.sha256``: checksums that show whether the files of a folder changed.

Its format is that of ``sha256sum``, so ``sha256sum -c manifest.sha256`` reads it
and ``sha256sum FILES > manifest.sha256`` makes one for a folder of one's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from .errors import InputError
from .escape import line
from .files import replace_file, sha256
from .reading import read_text

MANIFEST = "manifest.sha256"
"""Name of the file."""

_MOST_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")


def manifest(digests: Mapping[str, str]) -> bytes:
    """Return the content of a manifest.

    Args:
        digests: SHA-256 in hexadecimal digits by name below the folder

    """
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def write(folder: Path, names: list[str] | None = None) -> None:
    """Write the manifest of a folder.

    Args:
        folder: folder
        names: files below it; all that are not hidden if None

    Raises:
        OSError: if a file cannot be read or the manifest not be written

    """
    if names is None:
        found = (path.relative_to(folder) for path in folder.rglob("*"))
        names = [
            path.as_posix()
            for path in found
            if path.as_posix() != MANIFEST
            and (folder / path).is_file()
            and not any(part.startswith((".", "_")) for part in path.parts)
        ]
    digests = {name: sha256(folder / name) for name in names}
    replace_file(folder / MANIFEST, manifest(digests))


def read(folder: Path, error: type[InputError] = InputError) -> dict[str, str]:
    """Return what a manifest lists: SHA-256 by name.

    Raises:
        InputError: of the type given, if it cannot be read or is damaged

    """
    path = folder / MANIFEST
    try:
        text = read_text(path, most=_MOST_BYTES)
    except OSError as cause:
        raise error(
            f"manifest cannot be read: {line(path)}: {cause.strerror}"
        ) from cause
    except ValueError:
        text = ""
    found = _LINE.findall(text)
    listed = {name: digest for digest, name in found}
    # each byte of it belongs to an entry, and no entry leads out of the folder
    if (
        not listed
        or len(listed) < len(found)
        or sum(map(len, listed)) + 67 * len(listed) != len(text)
        or any(Path(name).is_absolute() or ".." in Path(name).parts for name in listed)
    ):
        raise error(f"manifest is damaged: {line(path)}: copy the folder again")
    return listed


def verify(
    folder: Path,
    known: Mapping[str, bytes] | None = None,
    error: type[InputError] = InputError,
) -> None:
    """Check the files of a folder that has a manifest; one without says nothing.

    Args:
        folder: folder
        known: content by name of files that have been read and must be listed
        error: type of the error

    Raises:
        InputError: of the type given,
            if a listed file is missing, cannot be read or was changed,
            or a known one is not listed

    """
    known = known or {}
    # a link that leads nowhere is a manifest that is gone
    if not (folder / MANIFEST).exists() and not (folder / MANIFEST).is_symlink():
        return
    listed = read(folder, error)
    for name in known:
        if name not in listed:
            raise error(
                f"file must be listed in {MANIFEST} beside it: {line(folder / name)}: "
                "move it into a folder of its own, or copy the folder again"
            )
    for name, digest in listed.items():
        try:
            if name in known:
                found = hashlib.sha256(known[name]).hexdigest()
            else:
                found = sha256(folder / name)
        except OSError as cause:
            raise error(
                f"file cannot be read: {line(folder / name)}: {cause.strerror}: "
                "copy the folder again"
            ) from cause
        if found != digest:
            raise error(
                f"file is damaged: {line(folder / name)}: its SHA-256 is not the "
                "manifest's; copy the folder again"
            )


SEAL = "\x01sha256: " + "0" * 64
"""What a file that shall carry its own checksum holds once, before it has one."""


def seal(data: bytes) -> bytes:
    """Put the checksum of a file into it, where its last :data:`SEAL` is.

    Raises:
        ValueError: if it has none

    """
    place = data.rindex(SEAL.encode()) + len(SEAL) - 64
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + 64 :]


def is_sealed(data: bytes) -> bool:
    """Tell whether a file is as :func:`seal` made it, to the bit."""
    begin = data.rfind(SEAL[:-64].encode())
    place = begin + len(SEAL) - 64
    bare = data[:place] + SEAL[-64:].encode() + data[place + 64 :]
    digest = hashlib.sha256(bare).hexdigest().encode()
    return begin >= 0 and data[place : place + 64] == digest
