"""One wearer's table: a gain and an offset for each score, in a few bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..base.errors import InputError

PART_BITS = 14
"""Bits of a score's fraction: a part is ``2 ** -14``, 16 bits reach from -2 to 2."""

GAIN_BITS = 12
"""Bits of a gain's fraction, which has 16 bits and no sign."""

_VERSION = 1


@dataclass(frozen=True)
class Personal:
    """What makes a model's scores those of one wearer: ``gain * score + offset``."""

    gains: tuple[int, ...]
    """Gain of each score in steps of ``2 ** -12``, 0 to 65,535."""

    offsets: tuple[int, ...]
    """What is added to each score, in parts of ``2 ** -14``, -32,768 to 32,767."""

    @classmethod
    def of(cls, gains: list[float], offsets: list[float]) -> Personal:
        """Round gains and offsets to the steps of the table.

        Raises:
            InputError: if they are beyond 0 to 15.99 and -2 to 1.99

        """
        table = cls(
            tuple(round(gain * 2**GAIN_BITS) for gain in gains),
            tuple(round(offset * 2**PART_BITS) for offset in offsets),
        )
        if not (
            len(gains) == len(offsets)
            and all(0 <= gain < 2**16 for gain in table.gains)
            and all(-(2**15) <= offset < 2**15 for offset in table.offsets)
        ):
            raise InputError(
                "gains must be 0 to 15.99 and offsets -2 to 1.99, one for each score, "
                f"got {gains} and {offsets}: calibrate with other clips"
            )
        return table

    def apply(self, parts: list[int]) -> list[int]:
        """Turn scores in parts of ``2 ** -14`` into those of the wearer."""
        half = 1 << (GAIN_BITS - 1)
        return [
            clamp(((part * gain + half) >> GAIN_BITS) + offset)
            for part, gain, offset in zip(parts, self.gains, self.offsets, strict=True)
        ]

    def scores(self, scores: Sequence[float]) -> list[float]:
        """Turn scores into those of the wearer, in the steps of the table."""
        parts = [clamp(round(score * 2**PART_BITS)) for score in scores]
        return [part / 2**PART_BITS for part in self.apply(parts)]

    def to_bytes(self) -> bytes:
        """Make the table that the C reads: version, scores, pairs, CRC-32."""
        pairs = zip(self.gains, self.offsets, strict=True)
        data = bytes([_VERSION, len(self.gains)])
        data += b"".join(struct.pack("<Hh", *pair) for pair in pairs)
        return data + struct.pack("<I", zlib.crc32(data))

    @classmethod
    def from_bytes(cls, data: bytes, scores: int) -> Personal:
        """Read a table.

        Raises:
            InputError: if it is damaged, or of another version or number of scores

        """
        body, end = data[:-4], data[-4:]
        expected = bytes([_VERSION, scores])
        if (
            len(data) != table_bytes(scores)
            or end != struct.pack("<I", zlib.crc32(body))
            or body[:2] != expected
        ):
            raise InputError(
                f"table of a wearer must have {table_bytes(scores)} bytes of version "
                f"{_VERSION} with their checksum, got {len(data)}: calibrate again"
            )
        pairs = list(struct.iter_unpack("<Hh", body[2:]))
        return cls(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def table_bytes(scores: int) -> int:
    """Bytes of the table of so many scores."""
    return 2 + 4 * scores + 4


def clamp(part: int) -> int:
    """Nearest number of 16 bits."""
    return max(-(2**15), min(2**15 - 1, part))
