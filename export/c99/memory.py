"""Places of what is alive at different times in one memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ALIGNMENT = 8
"""Bytes that every place is a multiple of."""


@dataclass(frozen=True)
class Span:
    """Something that needs memory for some steps."""

    name: str
    """What it is, unique."""

    bytes: int
    """Size."""

    first: int
    """First step that it is alive in."""

    last: int
    """Last step that it is alive in."""

    lowest: int = 0
    """Place that it must not be below."""


def place(spans: Iterable[Span]) -> tuple[dict[str, int], int]:
    """Give each span a place so that none overlaps another that is alive with it.

    Largest first, each at the lowest place that is free.

    Returns:
        place of each span in bytes, and the bytes of all

    """
    placed: list[tuple[Span, int]] = []
    for span in sorted(spans, key=lambda span: (-span.bytes, span.first, span.name)):
        start = span.lowest
        for other, begin in sorted(placed, key=lambda entry: entry[1]):
            together = span.first <= other.last and other.first <= span.last
            if together and begin < start + span.bytes:
                start = max(start, aligned(begin + other.bytes))
        placed.append((span, start))
    size = max((start + span.bytes for span, start in placed), default=0)
    return {span.name: start for span, start in placed}, aligned(size)


def aligned(size: int) -> int:
    """Next multiple of :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT
