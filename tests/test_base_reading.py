"""Files of which nothing is known."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from wav2small.export.base import files, reading


def _socket(path: Path) -> None:
    # the name of a socket may have 100 bytes at most
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize(
    "read", [reading.open_file, reading.read_bytes, reading.read_json, files.sha256]
)
def test_what_is_no_file_is_not_opened(tmp_path, kind, read):
    NO_FILES[kind](tmp_path / "x")
    with pytest.raises(OSError, match=f"it is {kind}, not a file") as caught:
        read(tmp_path / "x")
    assert caught.value.filename == str(tmp_path / "x")


def test_a_link_to_a_file_is_one(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf[1]")
    (tmp_path / "y").symlink_to("x")
    assert reading.read_json(tmp_path / "y") == [1]


def test_size_is_looked_at_first(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)
    for read in (reading.open_file, reading.read_bytes, files.sha256):
        with pytest.raises(OSError, match="its 1099511627776 bytes are more than"):
            read(tmp_path / "x")


def test_a_file_without_a_size_has_bounds():
    # the kernel says 0 bytes
    assert len(reading.read_bytes("/proc/self/status")) > 100
    with pytest.raises(OSError, match="it has more than 100 bytes"):
        reading.read_bytes("/proc/self/status", most=100)


def test_names_that_no_file_can_have(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file has such a name"):
        reading.read_bytes(f"{tmp_path}/a\0b")
    with pytest.raises(OSError, match="name too long"):
        reading.read_bytes(tmp_path / ("a" * 300))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{", "Expecting"),
        ("9" * 5000, "4300 digits"),
    ],
)
def test_wrong_json(tmp_path, text, match):
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=match):
        reading.read_json(tmp_path / "x")


def test_json_is_bounded(tmp_path):
    (tmp_path / "x").write_bytes(b" " * (reading.MOST_TEXT + 1))
    with pytest.raises(OSError, match="more than"):
        reading.read_json(tmp_path / "x")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LAUGHS, "aliases are not read"),
        ("&a [*a]", "aliases are not read"),
        ("[" * 5000, "recursion"),
        ("x" * (reading.MOST_YAML + 1), "characters are more than"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("2020-13-45", "month must be in"),
        ("!!bool x", "."),
        ("!!timestamp x", "."),
        ("a: b: c", "not allowed"),
        ("\0", "not allowed"),
    ],
)
def test_wrong_yaml(text, match):
    with pytest.raises(ValueError, match=match) as caught:
        reading.parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_yaml_of_plain_values():
    assert reading.parse_yaml("a: [1, x]\nb: {c: null}\n") == {
        "a": [1, "x"],
        "b": {"c": None},
    }
