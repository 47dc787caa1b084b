"""Limits that a model is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from wav2small.export.base.errors import BenchError


@dataclass(frozen=True)
class Limits:
    """What a model may use; None is no limit beside those of the target.

    Raises:
        BenchError: if a limit is not above 0, or the growth is below 0

    """

    ram: int | None = None
    """Bytes of RAM, instead of each target's."""

    flash: int | None = None
    """Bytes of flash memory, instead of each target's."""

    realtime_factor: float | None = None
    """Seconds of work per second of audio; 1 of a target if there is no limit."""

    max_push_instructions: int | None = None
    """Instructions of the most expensive push of one hop; needs an emulator."""

    max_slice_instructions: int | None = None
    """Instructions of the most expensive push of 32 samples; needs an emulator."""

    max_result_instructions: int | None = None
    """Instructions of one result; needs an emulator."""

    max_latest_instructions: int | None = None
    """Instructions of the scores of what was heard completely; needs an emulator."""

    max_call_instructions: int | None = None
    """Instructions of each function of a program that is called."""

    baseline: str | Path | None = None
    """Earlier report as JSON, whose figures may not grow; needs an emulator."""

    growth: float = 0.01
    """Share by which a figure may be above the baseline's."""

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if field.name in ("baseline", "growth") or limit is None:
                continue
            if not (limit > 0 and math.isfinite(limit)):
                raise BenchError(
                    f"{field.name} must be above 0, got {limit}: "
                    "give what the model may use"
                )
        if not (self.growth >= 0 and math.isfinite(self.growth)):
            raise BenchError(
                f"growth must be 0 or more, got {self.growth}: "
                "give a share, for instance 0.01"
            )

    @property
    def need_emulation(self) -> bool:
        """Whether a limit can only be checked on an emulated core."""
        return any(self.instructions.values()) or self.baseline is not None

    @property
    def of_memory_or_time(self) -> bool:
        """Whether there is a limit that needs no target to be checked."""
        return any((self.ram, self.flash, self.realtime_factor))

    @property
    def instructions(self) -> dict[str, int | None]:
        """Most instructions by name of what takes them, as the report has it."""
        return {
            "push": self.max_push_instructions,
            "slice": self.max_slice_instructions,
            "result": self.max_result_instructions,
            "latest": self.max_latest_instructions,
        }
