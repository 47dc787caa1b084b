"""Where each tensor lies in one block of memory, the arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wav2small.export.base.errors import BenchError

from .liveness import LiveRange, lower_bound

ALIGNMENT = 16
"""Multiple of bytes at which every block starts, as vector loads need it."""


class Block(NamedTuple):
    """A live range and where it lies in the arena."""

    live: LiveRange
    """The live range."""

    offset: int
    """Bytes from the start of the arena."""


@dataclass(frozen=True)
class ArenaPlan:
    """Where every live range lies.

    The stack, scratch inside kernels and the state of a runtime are not counted.
    """

    blocks: tuple[Block, ...]
    """Blocks in the order of the live ranges."""

    size: int
    """Bytes of the arena."""

    lower_bound: int
    """Bytes that are needed at the fullest step, alignment left out."""

    alignment: int
    """Multiple of bytes at which every block starts."""

    @property
    def gap(self) -> int:
        """Bytes above the lower bound."""
        return self.size - self.lower_bound


_ORDERS: tuple[Callable[[LiveRange], tuple[int, ...]], ...] = (
    lambda live: (-live.bytes, live.first),
    lambda live: (-live.bytes, -live.last),
    lambda live: (-live.bytes * (live.last - live.first + 1), live.first),
    lambda live: (live.first - live.last, -live.bytes),
    lambda live: (live.first, -live.bytes),
    lambda live: (-live.last, -live.bytes),
)


def plan_arena(ranges: Sequence[LiveRange], alignment: int = ALIGNMENT) -> ArenaPlan:
    """Place live ranges so that no two share memory at the same time.

    Each range is put at the lowest free offset.
    This is done in several orders, and the smallest arena is returned:
    by size, by size times duration, by duration, by begin and by end.
    The plan has passed :func:`verify`.

    Args:
        ranges: live ranges
        alignment: multiple of bytes at which every block starts

    Raises:
        BenchError: if the alignment is below 1

    """
    if alignment < 1:
        raise BenchError(
            f"alignment must be at least 1 byte, got {alignment}: 16 suits every core"
        )
    bound = lower_bound(ranges)
    best: list[int] | None = None
    size = 0
    for key in _ORDERS:
        keys = [key(live) for live in ranges]
        order = sorted(range(len(ranges)), key=keys.__getitem__)
        offsets = _lowest_offsets(ranges, order, alignment)
        ends = [o + live.bytes for o, live in zip(offsets, ranges, strict=True)]
        if best is None or max(ends, default=0) < size:
            best, size = offsets, max(ends, default=0)
        if size == bound:
            break
    assert best is not None
    plan = ArenaPlan(
        blocks=tuple(map(Block, ranges, best)),
        size=size,
        lower_bound=bound,
        alignment=alignment,
    )
    verify(plan)
    return plan


def _lowest_offsets(
    ranges: Sequence[LiveRange], order: Sequence[int], alignment: int
) -> list[int]:
    offsets = [0] * len(ranges)
    placed: list[int] = []
    for index in order:
        live = ranges[index]
        offset = 0
        for other in sorted(placed, key=offsets.__getitem__):
            placed_range = ranges[other]
            if placed_range.last < live.first or live.last < placed_range.first:
                continue
            if offsets[other] - offset >= live.bytes:
                break
            end = offsets[other] + placed_range.bytes
            offset = max(offset, -(-end // alignment) * alignment)
        offsets[index] = offset
        placed.append(index)
    return offsets


def verify(plan: ArenaPlan) -> None:
    """Check a plan step by step, in another way than it was made.

    Raises:
        BenchError: if two blocks share a byte at any step,
            a block is misaligned or out of the arena,
            or a figure is wrong

    """
    steps = max((block.live.last for block in plan.blocks), default=-1) + 1
    highest = fullest = 0
    for step in range(steps):
        alive = [b for b in plan.blocks if b.live.first <= step <= b.live.last]
        alive.sort(key=lambda block: block.offset)
        fullest = max(fullest, sum(block.live.bytes for block in alive))
        free_from, below = 0, "the start"
        for block in alive:
            if block.offset < free_from:
                raise BenchError(
                    f"plan must keep blocks apart, got '{block.live.name}' at "
                    f"{block.offset} inside {below} at step {step}: report this"
                )
            free_from, below = block.offset + block.live.bytes, f"'{block.live.name}'"
        highest = max(highest, free_from)
    for block in plan.blocks:
        if block.offset % plan.alignment or block.live.first > block.live.last:
            raise BenchError(
                f"plan must be aligned to {plan.alignment} bytes and in order, got "
                f"'{block.live.name}' at {block.offset}, steps {block.live.first} to "
                f"{block.live.last}: report this"
            )
    if (highest, fullest) != (plan.size, plan.lower_bound):
        raise BenchError(
            f"plan must state its size and bound, got {plan.size} and "
            f"{plan.lower_bound}, found {highest} and {fullest}: report this"
        )
