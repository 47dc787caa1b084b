"""Where everything lies in the memory of a generated model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..base.errors import ExportError
from ..integer.streaming.pace import Pace
from ..integer.streaming.schedule import Schedule
from .lowering import Rows, Step
from .memory import Span, aligned, place
from .program import KEEP, Program

_FOREVER = 2**30
_SHORTEST_LAP, _LONGEST_LAP = 2**12, 2**29
_LEVEL_BYTES = 8


@dataclass(frozen=True)
class Memory:
    """Memory of a generated model, in bytes."""

    lines: int
    """Rows that are kept."""

    pools: int
    """Sums of the pooling."""

    front_end: int
    """Samples of a window, levels of the past or the signal's level, counts."""

    scratch: int
    """What is needed only while a function runs; part of the state's struct."""

    @property
    def state(self) -> int:
        """Size of the state's struct, where 64-bit numbers lie at multiples of 8."""
        kept = self.lines + self.pools + self.front_end
        return -(-kept // 8) * 8 + self.scratch


@dataclass(frozen=True, eq=False)
class Placed:
    """A stage in its part."""

    step: Step
    """The stage."""

    part: int
    """Stages of a part go row by row together in a result."""


class Arrangement:
    """Stages of a program in their parts, and places of what they make.

    Raises:
        ExportError: if there is more than places can be said of

    """

    def __init__(self, program: Program, plan: Schedule) -> None:
        front = plan.front.constants
        self.program, self.front = program, front
        self.detector, self.min_frames = plan.detector, plan.min_frames
        self.normalised = front.power_floor is not None
        first, *others = arrange(program.steps)
        self.voice = tuple(arrange(program.voice))
        """Stages of the detector of speech."""
        self.stages = (first, *self.voice, *others)
        self.rows = _unique(
            rows
            for step in (*program.steps, *program.voice, *program.head)
            for rows in (step.output, *step.inputs)
        )
        self.index = {id(rows): i for i, rows in enumerate(self.rows)}
        self.last_frames = -(-front.padding[1] // front.hop_length)
        past = front.past_frames
        # no power lies as far above 1 as the floor lies below it
        self.past_bytes = 4 if len(front.mel) * abs(front.log_floor) < 2**31 else 8
        self.rings, lines = self._ring_places()
        self.pools = [step for step in program.steps if step.pools]
        self.forgets = all(step.references for step in self.pools)
        """Whether all pools can."""
        self.sum_count = sum(step.sums for step in self.pools)
        self.reference_count = sum(step.references for step in self.pools)
        self.lap = self._lap() if plan.endless else 0
        """Frames after which their count starts again, 0 where signals end."""
        self.push_places, push = place(self._push_spans())
        self.result_places, result = place(self._result_spans(push))
        self.memory = Memory(
            lines=aligned(lines),
            pools=8 * self.sum_count
            + 4 * self.reference_count
            + (4 * len(self.pools) if self.reference_count else 0),
            front_end=2 * front.window_length
            + (self.past_bytes * past + 8 if past else 0)
            + (_LEVEL_BYTES if self.normalised else 0)
            + (40 if self.voice else 24),
            scratch=max(push, result),
        )
        for name in ("lines", "scratch"):
            size = getattr(self.memory, name)
            if size >= 2**16:
                raise ExportError(
                    f"{name} must have less than 64 KiB in C code, got {size} bytes: "
                    "choose a smaller student"
                )

    def _lap(self) -> int:
        """Frames after which rings and strides are where they were."""
        past = self.front.past_frames or 1
        rings = [rows.pace.period * max(1, rows.keep) for rows in self.rows]
        lap = math.lcm(past, *rings)
        # by the first one all that is ever looked back at lies behind
        back = max(
            rows.pace.delay + ring for rows, ring in zip(self.rows, rings, strict=True)
        )
        lap *= -(-max(_SHORTEST_LAP, 2 * past, 4 * back) // lap)
        return lap if lap <= _LONGEST_LAP else 0

    def _ring_places(self) -> tuple[dict[int, int], int]:
        """Where the rows of lines are kept, those of int32 first."""
        places, size = {}, 0
        for rows in sorted(self.rows, key=lambda rows: not rows.wide):
            if rows.keep:
                places[id(rows)] = size
                size += rows.keep * rows.bytes
        return places, size

    def _last_reader(self, rows: Rows) -> int:
        return max(
            (i for i, stage in enumerate(self.stages) if rows in stage.step.inputs),
            default=-1,
        )

    def _push_spans(self) -> Iterator[Span]:
        for i, stage in enumerate(self.stages):
            step = stage.step
            if step.kernel == KEEP or step.pools:
                continue
            last = max(i, self._last_reader(step.output))
            yield Span(f"row {self.of(step.output)}", step.output.bytes, i, last)
            if step.work:
                yield Span(f"work {i}", step.work, i, i)

    def _result_spans(self, push: int) -> Iterator[Span]:
        """What a result needs; the head leaves alone what a push has so far."""
        stages, head = self.stages, self.program.head
        voice = [stage.step for stage in self.voice]
        begin = {s.part: i for i, s in reversed(list(enumerate(stages)))}
        end = {s.part: i for i, s in enumerate(stages)}
        head_reads = {
            id(rows): len(stages) + i
            for i, step in enumerate(head)
            for rows in step.inputs
        }
        further = [entry.rows for entry in self.program.further.values()]
        for rows in (self.program.output, *further):
            head_reads[id(rows)] = _FOREVER
        if self.front.past_frames and self.last_frames:
            size = self.past_bytes * self.last_frames
            yield Span("ended", size, begin[0], end[0])
        for i, stage in enumerate(stages):
            step, part = stage.step, stage.part
            if step.kernel == KEEP or step in voice:
                continue
            rows = step.output
            name = f"row {self.of(rows)}"
            if step.pools:
                yield Span(f"work {i}", step.work, begin[part], end[part])
                yield Span(name, rows.bytes, end[part], head_reads[id(rows)], push)
                continue
            if step.work:
                yield Span(f"work {i}", step.work, i, i)
            last = self._last_reader(rows)
            if self.is_whole(rows):
                size = _last_rows(rows.pace, self.last_frames) * rows.bytes
                yield Span(name, size, begin[part], end[stages[last].part])
            else:
                yield Span(name, rows.bytes, i, max(i, last))
        for i, step in enumerate(head, len(stages)):
            name = f"row {self.of(step.output)}"
            last = head_reads.get(id(step.output), i)
            yield Span(name, step.output.bytes, i, last, push)
            if step.work:
                yield Span(f"work {i}", step.work, i, i, push)

    def is_whole(self, rows: Rows) -> bool:
        """Whether all last rows of a tensor are there at once in a result."""
        parts = [s.part for s in self.stages if s.step.output is rows]
        readers = [
            s.part
            for s in self.stages
            if rows in s.step.inputs and s.step.kernel != KEEP
        ]
        return bool(parts) and (
            rows.keep > 0 or max(readers, default=parts[0]) > parts[0]
        )

    def of(self, rows: Rows) -> int:
        """Number of the rows in the table of lines."""
        return self.index[id(rows)]


def arrange(steps: Sequence[Step]) -> Iterator[Placed]:
    """Stages with their parts, and those that keep a row behind its last reader."""
    part = 0
    made = [step.output for step in steps]
    for i, step in enumerate(steps):
        yield Placed(step, part)
        for rows in step.inputs:
            last = max(j for j, other in enumerate(steps) if rows in other.inputs)
            if rows.keep and last == i and rows in made:
                keep = Step(KEEP, step.label, (rows,), rows, rows.pace)
                yield Placed(keep, part)
        if step.pools or step.output.keep:
            part += 1


def _last_rows(pace: Pace, frames: int) -> int:
    """Most rows that a signal's end adds, with so many frames of border."""
    return max(
        pace.length(heard + frames) - pace.rows(heard)
        for heard in range(pace.delay + 1, pace.delay + 1 + pace.period)
    )


def _unique(entries: Iterable[Rows]) -> list[Rows]:
    return list({id(rows): rows for rows in entries}.values())
