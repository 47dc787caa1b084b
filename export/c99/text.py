"""Numbers and tables as C has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .lowering import Number

TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "int64": "int64_t",
}


def integer(value: int) -> str:
    """Number of C of the type that fits."""
    return str(value) if -(2**31) < value < 2**31 else f"INT64_C({value})"


def initial(value: Number) -> str:
    """Member of a struct."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return integer(value)
    return "{" + ", ".join(map(integer, value)) + "}"


def words(
    name: str, values: np.ndarray, runs: Sequence[tuple[str, int, int]]
) -> Iterator[str]:
    """Table of bytes that are read four at a time, which stand in macros.

    Args:
        name: of the table
        values: bytes
        runs: name of each macro, how many bytes it takes, and how often it comes

    """
    yield "static const union {"
    yield f"    {TYPES[str(values.dtype)]} bytes[{len(values)}];"
    yield "    uint32_t aligned;"
    yield f"}} {name} = {{{{"
    rest = iter(values.tolist())
    for macro, size, count in runs:
        for _ in range(count):
            yield f"    {macro}({', '.join(str(next(rest)) for _ in range(size))}),"
    yield "}};"


def table(name: str, values: np.ndarray) -> Iterator[str]:
    """Constant array."""
    kind = TYPES[str(values.dtype)]
    yield f"static const {kind} {name}[{len(values)}] = {{"
    yield from _entries(values)
    yield "};"


def _entries(values: np.ndarray) -> Iterator[str]:
    line = "   "
    for value in values.tolist():
        entry = f" {integer(value)},"
        if len(line) + len(entry) > 88:
            yield line
            line = "   "
        line += entry
    yield line


def renamed(text: str, prefix: str) -> str:
    """Text of a template with another prefix."""
    return text.replace("wav2small", prefix).replace("WAV2SMALL", prefix.upper())
