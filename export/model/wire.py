"""Fields of a protobuf message, and the bytes that each takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..base.errors import ExportError

_STRING, _MESSAGE = 9, 10
"""Types of fields whose value has a length, as protobuf counts them."""


@dataclass(frozen=True)
class Field:
    """A field of a message in its serialised form."""

    name: str
    start: int
    body: int
    """Where the value starts, after tag and length."""

    end: int


def fields(data: bytes, start: int, end: int, message: type) -> Iterator[Field]:
    """Walk over the fields of a serialised message.

    The wire is read and not the parsed message,
    because the same message may be written in more than one way.
    """
    names = message.DESCRIPTOR.fields_by_number  # type: ignore[attr-defined]
    while start < end:
        tag, body = _varint(data, start)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, body = _varint(data, body)
            stop = body + length
        elif wire == 0:
            _, stop = _varint(data, body)
        elif wire in (1, 5):
            stop = body + (8 if wire == 1 else 4)
        else:
            raise ExportError(
                f"model must be written without groups, got one at byte {start}: "
                "export it again"
            )
        known = number in names and (
            wire == 2 or names[number].cpp_type not in (_STRING, _MESSAGE)
        )
        name = names[number].name if known else "unknown fields"
        yield Field(name, start, body, stop)
        start = stop


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Integer at a place in a serialised message, and where it ends."""
    value = shift = 0
    while True:
        byte = data[start]
        value |= (byte & 127) << shift
        start += 1
        shift += 7
        if byte < 128:
            return value, start
