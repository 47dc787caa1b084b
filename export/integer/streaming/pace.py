"""When the rows of a tensor come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """When the rows of a tensor come."""

    period: int
    """Frames of the front end from one row to the next."""

    delay: int
    """Row ``j`` is there with frame ``delay + j * period``."""

    extra: int
    """A signal of ``n`` frames has ``(n + extra) // period`` rows."""

    def rows(self, frames: int) -> int:
        """Rows that are there after so many frames of a signal that goes on."""
        return max(0, (frames - 1 - self.delay) // self.period + 1)

    def length(self, frames: int) -> int:
        """Rows of a signal that has so many frames."""
        return (frames + self.extra) // self.period
