"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

from wav2small.export.base.errors import BenchError, one_line

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "KIB": 2**10,
    "MIB": 2**20,
}


def parse_size(text: str) -> int:
    """Read a size in bytes.

    KiB and MiB are powers of 1024, KB and MB of 1000;
    small and capital letters are the same.

    Args:
        text: number with a unit or without, for instance ``24KiB`` or ``61440``

    Returns:
        bytes

    Raises:
        BenchError: if it is no size or not a whole number of bytes above 0

    Examples:
        >>> parse_size("24KiB")
        24576

    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]*)\s*", text)
    if match and match[2].upper() in _UNITS:
        size = float(match[1]) * _UNITS[match[2].upper()]
        if size >= 1 and size == int(size):
            return int(size)
    raise BenchError(
        f"size must be a whole number of bytes with B, KB, MB, KiB, MiB or no unit, "
        f"got '{one_line(ValueError(text))}': write for instance 24KiB"
    )
