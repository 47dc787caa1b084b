"""Read files of which nothing is known: look first, then open, within bounds.

A name may stand for a pipe that nobody writes to, for a device without an end
or for more bytes than there is memory.
So what it is and how large comes before the first byte.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from typing import Any

MOST_BYTES = 1 << 36
"""Largest file that is opened, in bytes: days of audio."""

MOST_IN_MEMORY = 1 << 32
"""Largest file that is read as a whole, in bytes: a billion weights."""

MOST_TEXT = 1 << 24
"""Largest file of JSON in bytes; in memory it takes up to thirty times as much."""

MOST_YAML = 1 << 18
"""Largest YAML in bytes; PyYAML reads a tenth of a megabyte in a second."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_file(
    path: str | os.PathLike[str], *, most: int = MOST_BYTES
) -> io.BufferedReader:
    """Open a regular file of a size that can be.

    Args:
        path: the file, or a link to one
        most: the largest that is accepted, in bytes

    Returns:
        binary file

    Raises:
        OSError: if it cannot be opened, is no regular file or larger;
            ``strerror`` says so in words

    """
    name = os.fspath(path)
    try:
        _check(os.stat(name), name, most)  # noqa: PTH116
        # whoever puts a pipe in its place meanwhile must not make us wait
        opened = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a zero byte in the name
        raise FileNotFoundError(
            errno.ENOENT, f"no file has such a name ({error})", name
        ) from error
    file = open(opened, "rb")  # noqa: PTH123, SIM115
    try:
        _check(os.fstat(opened), name, most)
    except OSError:
        file.close()
        raise
    return file


def _check(found: os.stat_result, name: str, most: int) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        number = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        what = _KINDS.get(kind, "something else")
        raise OSError(number, f"it is {what}, not a file", name)
    if found.st_size > most:
        raise OSError(
            errno.EFBIG, f"its {found.st_size} bytes are more than {most}", name
        )


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_IN_MEMORY) -> bytes:
    """Read a whole file.

    Args:
        path: the file, or a link to one
        most: the largest that is accepted, in bytes

    Raises:
        OSError: as of :func:`open_file`

    """
    with open_file(path, most=most) as file:
        data = file.read(most + 1)
    if len(data) > most:  # files as in /proc state 0 bytes and have no end
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", os.fspath(path))
    return data


def read_text(path: str | os.PathLike[str], *, most: int = MOST_TEXT) -> str:
    """Read a whole file of UTF-8, with or without a byte order mark.

    Raises:
        OSError: as of :func:`open_file`
        ValueError: if it is not UTF-8

    """
    return read_bytes(path, most=most).decode("utf-8-sig")


def read_json(path: str | os.PathLike[str], *, most: int = MOST_TEXT) -> Any:
    """Read a file of JSON.

    Raises:
        OSError: as of :func:`open_file`
        ValueError: if it is no JSON, or nested too deeply

    """
    return parse_json(read_text(path, most=most))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if it is none, or nested too deeply

    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values: no aliases, which can stand for any number of them.

    Raises:
        ValueError: if it is none, has aliases, is large or nested too deeply
        ModuleNotFoundError: without PyYAML

    """
    import yaml

    class Plain(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases are not read")
            return super().compose_node(parent, index)

    if len(text) > MOST_YAML:
        raise ValueError(f"its {len(text)} characters are more than {MOST_YAML}")
    try:
        return yaml.load(text, Plain)
    except Exception as error:  # a wrong date is a KeyError, a wrong number another
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(reason) from error
