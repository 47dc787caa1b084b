"""From when to when each buffer must stay alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .graph import Graph


@dataclass(frozen=True)
class LiveRange:
    """A buffer and the steps in which it must not be overwritten."""

    name: str
    """Name of the buffer."""

    size: int
    """Bytes."""

    first: int
    """Step that writes it; 0 for an input of the model."""

    last: int
    """Last step that reads it; the last of all for an output of the model."""


def live_ranges(graph: Graph) -> list[LiveRange]:
    """Live range of every buffer, in the order in which they begin.

    An input of the model is alive from the first step on,
    an output to the last one.
    """
    first = {block.name: 0 for block in graph.inputs}
    last = dict(first)
    for index, step in enumerate(graph.steps):
        for name in (*step.inputs, *step.outputs):
            first.setdefault(name, index)
            last[name] = index
    for name in graph.outputs:
        last[name] = max(len(graph.steps) - 1, 0)
    return [
        LiveRange(name, graph.blocks[name].size, first[name], last[name])
        for name in first
    ]


def live_bytes(ranges: Sequence[LiveRange]) -> list[int]:
    """Bytes that are alive in each step."""
    steps = max((entry.last + 1 for entry in ranges), default=0)
    alive = [0] * steps
    for entry in ranges:
        for step in range(entry.first, entry.last + 1):
            alive[step] += entry.size
    return alive


def lower_bound(ranges: Sequence[LiveRange], alignment: int = 1) -> int:
    """Bytes below which no plan can go.

    What is alive together lies apart;
    all but the topmost buffer are followed by bytes that no other can use
    if their size is not a multiple of the alignment.
    """
    bound = 0
    for step in range(max((entry.last + 1 for entry in ranges), default=0)):
        alive = [entry.size for entry in ranges if entry.first <= step <= entry.last]
        padding = [-size % alignment for size in alive]
        bound = max(bound, sum(alive) + sum(padding) - max(padding, default=0))
    return bound
