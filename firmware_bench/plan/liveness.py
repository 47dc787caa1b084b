"""From which step to which each buffer is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .operations import WindowProgram


@dataclass(frozen=True)
class LiveRange:
    """Memory that is needed without a break from one step to another."""

    name: str
    """Buffer that is the first to use it."""

    bytes: int
    """Size of the memory."""

    first: int
    """Step that writes it first, 0 for an input."""

    last: int
    """Last step that reads it, the last of all for an output."""

    buffers: tuple[str, ...] = ()
    """Buffers that use it one after the other, each written over the one before."""


def live_ranges(program: WindowProgram) -> tuple[LiveRange, ...]:
    """Find from which step to which each buffer is needed.

    A step needs what it reads and what it writes at the same time.
    An element-wise operation writes over an input of the same size
    if nothing reads that input later;
    both are one live range then.

    Returns:
        live ranges in the order of their first step

    """
    end = len(program.operations) - 1
    first = dict.fromkeys(program.inputs, 0)
    last = dict.fromkeys(program.inputs, 0)
    for index, operation in enumerate(program.operations):
        for name in operation.outputs:
            first[name] = last[name] = index
        for name in operation.inputs:
            last[name] = index
    last.update(dict.fromkeys(program.outputs, end))
    chains = {name: [name] for name in first}
    for index, operation in enumerate(program.operations):
        if not operation.in_place:
            continue
        (output,) = operation.outputs
        written = program.buffers[output]
        for name in operation.inputs:
            read = program.buffers[name]
            # a broadcast input has fewer elements, and is read again and again
            if (
                last[name] == index
                and name not in program.outputs
                and (read.elements, read.bits) == (written.elements, written.bits)
            ):
                chains[name].append(output)
                chains[output] = chains.pop(name)
                break
    ranges = [
        LiveRange(
            name=chain[0],
            bytes=program.buffers[chain[0]].bytes,
            first=first[chain[0]],
            last=last[chain[-1]],
            buffers=tuple(chain),
        )
        for chain in chains.values()
    ]
    return tuple(sorted(ranges, key=lambda live: (live.first, live.name)))


def live_bytes(ranges: Sequence[LiveRange]) -> list[int]:
    """Bytes that are needed at each step."""
    steps = max((live.last for live in ranges), default=-1) + 1
    change = [0] * (steps + 1)
    for live in ranges:
        change[live.first] += live.bytes
        change[live.last + 1] -= live.bytes
    total = 0
    needed = []
    for step in range(steps):
        total += change[step]
        needed.append(total)
    return needed


def lower_bound(ranges: Sequence[LiveRange]) -> int:
    """Bytes below which no plan for this order of execution can go."""
    return max(live_bytes(ranges), default=0)
