"""Read a program for a small core of Arm, whatever built it.

Nothing in the file is believed before it was held against the file's size:
a program may come from anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from wav2small.export.base.errors import BenchError, one_line

MAGIC = b"\x7fELF"
"""How every such file begins."""

MOST_BYTES = 1 << 27
"""Largest file that is read."""

_MOST_SYMBOLS = 1 << 20
_MOST_PARTS = 1 << 12
_MOST_NAME = 256
_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SEGMENT = struct.Struct("<8I")
_SECTION = struct.Struct("<10I")
_SYMBOL = struct.Struct("<IIIBBH")
_ARM, _RISCV, _EXECUTABLE = 40, 243, 2
_LOAD, _SYMBOLS, _NO_BITS, _ATTRIBUTES = 1, 2, 8, 0x70000003
_WRITE, _ALLOCATED = 1, 2
_OBJECT, _FUNCTION = 1, 2


class Symbol(NamedTuple):
    """A name in a program."""

    address: int
    """Address; of a function it is odd."""

    size: int
    """Bytes."""

    function: bool
    """Whether it is a function."""

    data: bool
    """Whether it is a constant or a variable."""


class Section(NamedTuple):
    """A part of a program that takes memory when it runs."""

    name: str
    """Its name."""

    address: int
    """Address when it runs."""

    bytes: int
    """Size."""

    stored: bool
    """Whether the file holds its content."""

    writable: bool
    """Whether it may change."""


class Segment(NamedTuple):
    """A part of a program that is loaded."""

    address: int
    """Address of the first byte in flash memory."""

    data: bytes
    """The bytes."""

    run_address: int
    """Address when it runs, where startup code may have to copy it to."""

    run_bytes: int
    """Bytes when it runs; those beyond the data are cleared."""

    writable: bool
    """Whether it may change."""


@dataclass(frozen=True)
class Elf:
    """What a file says of a program."""

    sections: tuple[Section, ...]
    """Parts that take memory."""

    segments: tuple[Segment, ...]
    """Parts that are loaded."""

    symbols: dict[str, Symbol]
    """Its names."""

    architecture: int | None
    """Number of the architecture that it is built for, Tag_CPU_arch of Arm's ABI;
    None if it does not say."""


def read_elf(data: bytes, *, riscv: bool = False) -> Elf:
    """Read a program.

    Args:
        data: content of the file
        riscv: whether it is one for RISC-V instead

    Raises:
        BenchError: if it is no linked program of 32 bits for a core of Arm,
            or is damaged

    """
    try:
        return _read(data, _RISCV if riscv else _ARM)
    except (struct.error, IndexError, ValueError) as error:
        raise BenchError(
            f"program must be an ELF file for a Cortex-M, got {one_line(error)}: "
            "link it again"
        ) from error


def _read(data: bytes, wanted: int) -> Elf:
    ident, kind, machine, *rest = _HEADER.unpack_from(data)
    _, _, segments_at, sections_at = rest[:4]
    segment_bytes, segment_count, section_bytes, section_count, names_in = rest[6:]
    if ident[:7] != MAGIC + b"\x01\x01\x01" or machine != wanted:
        raise ValueError("one for another processor")
    if kind != _EXECUTABLE:
        raise ValueError("one that is not linked, as an object file or a library")
    if max(segment_count, section_count) > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS} parts")
    headers = [
        _SECTION.unpack_from(data, sections_at + number * section_bytes)
        for number in range(section_count)
    ]
    names = _content(data, headers[names_in]) if headers else b""
    symbols: dict[str, Symbol] = {}
    architecture = None
    for header in headers:
        if header[1] == _SYMBOLS:
            strings = _content(data, headers[header[6]])
            symbols |= _symbols(_content(data, header), strings)
        elif header[1] == _ATTRIBUTES and machine == _ARM:
            architecture = _architecture(_content(data, header))
    return Elf(
        tuple(_sections(headers, names)),
        tuple(
            _segments(data, segments_at + number * segment_bytes)
            for number in range(segment_count)
            if _SEGMENT.unpack_from(data, segments_at + number * segment_bytes)[0]
            == _LOAD
        ),
        symbols,
        architecture,
    )


def _content(data: bytes, header: tuple[int, ...]) -> bytes:
    return _part(data, header[4], header[5])


def _part(data: bytes, start: int, count: int) -> bytes:
    if start + count > len(data):
        raise ValueError("a file that was cut off")
    return data[start : start + count]


def _text(strings: bytes, start: int) -> str:
    end = strings.find(b"\0", start, start + _MOST_NAME)
    name = strings[start : end if end >= 0 else start + _MOST_NAME]
    return name.decode("utf-8", "replace")


def _sections(headers: list[tuple[int, ...]], names: bytes) -> Iterator[Section]:
    for name, kind, flags, address, _, size, *_ in headers:
        if flags & _ALLOCATED and size:
            stored, writable = kind != _NO_BITS, bool(flags & _WRITE)
            yield Section(_text(names, name), address, size, stored, writable)


def _segments(data: bytes, place: int) -> Segment:
    _, start, run_at, address, stored, size, flags, _ = _SEGMENT.unpack_from(
        data, place
    )
    if max(run_at, address) + max(size, stored) > 1 << 32:
        raise ValueError("a part beyond the last address")
    part = _part(data, start, stored)
    # the second bit of these flags says that it may be written to
    return Segment(address, part, run_at, max(size, stored), bool(flags & 2))


def _symbols(table: bytes, strings: bytes) -> dict[str, Symbol]:
    if len(table) > _MOST_SYMBOLS * _SYMBOL.size:
        raise ValueError(f"more than {_MOST_SYMBOLS} names")
    found = {}
    whole = len(table) // _SYMBOL.size * _SYMBOL.size
    for name, address, size, kind, _, where in _SYMBOL.iter_unpack(table[:whole]):
        # a "$" marks where code and data begin
        if where and strings[name : name + 1] not in (b"", b"\0", b"$"):
            found[_text(strings, name)] = Symbol(
                address, size, kind & 15 == _FUNCTION, kind & 15 == _OBJECT
            )
    return found


def _architecture(table: bytes) -> int | None:
    """Look up Tag_CPU_arch, of Arm's ABI for attributes of a file."""
    # one byte of version, a length, "aeabi", the tag of a file and a length
    at = table.index(b"aeabi\0") + 6 + 5
    while at < len(table):
        tag, at = _number(table, at)
        if tag in (4, 5, 67) or tag == 65 or (tag > 32 and tag % 2):
            at = table.index(b"\0", at) + 1
            continue
        value, at = _number(table, at)
        if tag == 6:
            return value
        if tag == 32:
            at = table.index(b"\0", at) + 1
    return None


def _number(table: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where the next one begins."""
    value = shift = 0
    while shift < 35:
        byte = table[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            break
    return value, at
