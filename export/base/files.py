"""Write files and folders that are whole or not there, and keep a folder for one run.

A file or a folder is written under a temporary name beside its own,
brought to the disk, and renamed.
Whatever moment a process is killed at,
what was there before or what is new is found whole,
and the next run clears away what was left.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import InputError, one_line
from .reading import open_file

LOCK = ".lock"
"""Name of the file that says that a run is writing into a folder."""

_TEMPORARY = re.compile(r"\..*\.(\d+)(\.[0-9a-f]{8})?\.tmp")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when it is complete and on disk.

    The bytes go to a hidden file beside it,
    so whoever looks sees the old file or the new one.
    If the block raises, the old file stays.

    Args:
        path: the file to write, its folder must exist

    Yields:
        binary file

    """
    _remove_dead(path)
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole file in place of what is there, see :func:`atomic_write`.

    Raises:
        OSError: if the folder cannot be written to

    """
    with atomic_write(path) as file:
        file.write(data)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Write a folder that takes its name only when it is complete and on disk.

    A folder cannot be replaced in one step.
    While it is, the old one is beside it under another name,
    where :func:`whole_folder` and :func:`recover_folder` find it.

    Args:
        folder: the folder to write, replaced if it is there

    Yields:
        the folder to put files into

    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    _remove_dead(folder)
    fresh = _temporary(folder)
    try:
        fresh.mkdir()
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        _sync_folder(fresh)
        if os.path.lexists(folder):
            folder.rename(_old(folder))
        fresh.rename(folder)
    except BaseException:
        _discard(fresh)
        recover_folder(folder)
        raise
    _sync_folder(folder.parent)
    remove_folder(_old(folder))


def recover_folder(folder: Path) -> None:
    """Finish what a killed :func:`atomic_folder` left; only its writer may call it."""
    old = _old(folder)
    if not os.path.lexists(old):
        return
    if os.path.lexists(folder):
        remove_folder(old)
    else:
        old.rename(folder)


def whole_folder(folder: Path) -> Path:
    """Return where a folder's files are, for a process that only reads them.

    Returns:
        the folder itself,
        or its predecessor where a kill came before the folder took its name

    """
    old = _old(folder)
    return old if not folder.exists() and old.exists() else folder


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no part of it is ever seen under its name."""
    if os.path.lexists(folder):
        gone = _temporary(folder)
        folder.rename(gone)
        _discard(gone)


def is_temporary(path: Path) -> bool:
    """Tell whether a path is unfinished: its writer is at work, or was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left in a folder; nobody may be writing there."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if is_temporary(path):
                _discard(path)


@contextmanager
def claim(output: Path, *parts: str, file: bool = False) -> Iterator[None]:
    """Keep a folder for this run: another one that wants it is refused.

    The operating system lets go of it when the process ends, however it ends.
    What killed runs left in it is removed.

    Args:
        output: the folder to write to, made if it is not there
        parts: folders in it that are written to as well
        file: whether the output is a file, which alone is then kept

    Raises:
        InputError: if another run is writing there, or it cannot be written to

    """
    # loading it costs time that those who only read do not have to spend
    from filelock import FileLock, Timeout

    folder = output.parent if file else output
    made = not folder.exists()
    lock = folder / (f".{output.name}{LOCK}" if file else LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            found = lock.lstat()
            # a link would be followed into a file of somebody else's
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise InputError(
                    f"lock must be a plain file, got a link or a special file: {lock}: "
                    "remove it"
                )
        held = FileLock(lock, timeout=0, thread_local=False)
        held.acquire()
    except Timeout as error:
        raise InputError(
            f"output is being written by another run: {output}: "
            "wait for it or name another"
        ) from error
    except InputError:
        raise
    except (OSError, NotImplementedError, ValueError) as error:
        raise _unwritable(output, "file" if file else "folder", error) from error
    try:
        if not file:
            for place in (folder, *(folder / part for part in parts)):
                remove_temporary(place)
        yield
    finally:
        try:
            # while it is held: who opened it meanwhile sees that it is gone
            with suppress(OSError):
                lock.unlink()
        finally:
            held.release()
        if made:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def check_output(path: Path, *, folder: bool = False) -> None:
    """Check before the work begins that its result can be written.

    Args:
        path: what will be written, with the folders that it needs
        folder: whether it is a folder

    Raises:
        InputError: if something else is there, or its folder cannot be written to

    """
    kind = "folder" if folder else "file"
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # says, unlike exists, what no path can be
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            there = "folder" if path.is_dir() else "file"
            if there == kind:  # neither of the two
                there = "special file"
            raise InputError(
                f"output must be a {kind}, got a {there}: {path}: name another"
            )
        above = path if folder else path.parent
        while not above.exists() and above != above.parent:
            above = above.parent
        if not above.is_dir():
            raise InputError(
                f"output must be in a folder, got a file: {above}: name another"
            )
        if not os.access(above, os.W_OK | os.X_OK):
            raise InputError(
                f"output must be in a folder that can be written, got {above}: "
                "name another"
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise _unwritable(path, kind, error) from error


def _unwritable(path: Path, kind: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or one_line(error)
    return InputError(
        f"output must be a {kind} that can be written, got {path}: {reason}: "
        "name another"
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces.

    Raises:
        OSError: as of :func:`wav2small.export.base.reading.open_file`

    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary(path: Path) -> Path:
    # names have a largest length in every file system, however long the path's is
    name = f".{path.name[:40]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    return path.with_name(name)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _remove_dead(path: Path) -> None:
    """Remove what killed writers of one file or folder left beside it."""
    begin = f".{path.name[:40]}."
    for name in os.listdir(path.parent):  # noqa: PTH208 (a folder may be large)
        found = _TEMPORARY.fullmatch(name) if name.startswith(begin) else None
        if found and not _lives(int(found[1])):
            _discard(path.with_name(name))


def _lives(process: int) -> bool:
    if os.name == "nt":  # Windows has no harmless way to ask
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
