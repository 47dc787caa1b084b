"""Where each buffer lies in one arena, and the proof that none overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .errors import BenchError
from .liveness import LiveRange, lower_bound

ALIGNMENT = 16
"""Bytes that every offset is a multiple of, enough for vector loads."""

_ORDERS: tuple[Callable[[LiveRange], tuple[int, ...]], ...] = (
    lambda entry: (-entry.size, entry.first),
    lambda entry: (-entry.size * (entry.last - entry.first + 1), entry.first),
    lambda entry: (entry.first - entry.last, -entry.size),
    lambda entry: (entry.first, -entry.size),
    lambda entry: (-entry.last, -entry.size),
)


@dataclass(frozen=True)
class Placement:
    """A buffer and where it lies."""

    range: LiveRange
    """The buffer."""

    offset: int
    """Bytes from the start of the arena."""


@dataclass(frozen=True)
class Plan:
    """Offsets of all buffers. Stack, scratch and code are not in it."""

    placements: tuple[Placement, ...]
    """Buffers in the order in which they begin."""

    size: int
    """Bytes of the arena."""

    lower_bound: int
    """Bytes below which no plan can go."""

    alignment: int
    """Bytes that every offset is a multiple of."""

    @property
    def gap(self) -> int:
        """Bytes by which a perfect plan might be smaller."""
        return self.size - self.lower_bound


def plan(ranges: Sequence[LiveRange], *, alignment: int = ALIGNMENT) -> Plan:
    """Place buffers in an arena: the best of a few greedy orders, verified.

    Args:
        ranges: buffers with distinct names
        alignment: bytes that every offset shall be a multiple of

    Raises:
        BenchError: if the alignment is no power of two

    """
    if alignment < 1 or alignment & (alignment - 1):
        raise BenchError(
            f"alignment must be a power of two, got {alignment}: 16 suits every core"
        )
    bound = lower_bound(ranges, alignment)
    best: dict[str, int] = {}
    best_size = -1
    for order in _ORDERS:
        offsets = _greedy(sorted(ranges, key=order), alignment)
        size = max((offsets[entry.name] + entry.size for entry in ranges), default=0)
        if best_size < 0 or size < best_size:
            best, best_size = offsets, size
        if best_size == bound:
            break
    result = Plan(
        tuple(Placement(entry, best[entry.name]) for entry in ranges),
        best_size,
        bound,
        alignment,
    )
    verify(result, ranges)
    return result


def _greedy(ranges: Iterable[LiveRange], alignment: int) -> dict[str, int]:
    """Put each buffer at the lowest offset that is free while it lives."""
    placed: list[tuple[int, LiveRange]] = []
    offsets: dict[str, int] = {}
    for entry in ranges:
        offset = 0
        for start, other in sorted(placed, key=lambda item: item[0]):
            if other.last < entry.first or entry.last < other.first:
                continue
            if offset + entry.size <= start:
                break
            end = start + other.size
            offset = max(offset, end + -end % alignment)
        offsets[entry.name] = offset
        placed.append((offset, entry))
    return offsets


def verify(plan: Plan, ranges: Sequence[LiveRange]) -> None:
    """Check a plan without knowing how it was made.

    Args:
        plan: the plan
        ranges: buffers that it must hold

    Raises:
        BenchError: if a buffer is missing, changed, misaligned, outside the arena,
            or shares a byte with another one in some step

    """
    if [entry.range for entry in plan.placements] != list(ranges) or len(
        {entry.name for entry in ranges}
    ) != len(ranges):
        raise BenchError(
            f"plan must place each of {len(ranges)} buffers once, got "
            f"{len(plan.placements)} that differ: plan again"
        )
    for entry in plan.placements:
        end = entry.offset + entry.range.size
        if entry.offset < 0 or entry.offset % plan.alignment or end > plan.size:
            raise BenchError(
                f"plan must place buffers at multiples of {plan.alignment} within "
                f"{plan.size} bytes, got '{entry.range.name}' at {entry.offset} to "
                f"{end}: plan again"
            )
    for step in range(max((entry.last + 1 for entry in ranges), default=0)):
        alive = [
            (entry.offset, entry.offset + entry.range.size, entry.range.name)
            for entry in plan.placements
            if entry.range.first <= step <= entry.range.last and entry.range.size
        ]
        alive.sort()
        for (_, end, name), (start, _, other) in zip(alive, alive[1:], strict=False):
            if start < end:
                raise BenchError(
                    f"plan must keep buffers apart, got '{name}' and '{other}' on the "
                    f"same bytes in step {step}: plan again"
                )
