"""What a model costs that runs frame by frame.

The stages are those of :func:`wav2small.export.integer.streaming.schedule`.
Their memory has two parts.

**State** is what must be there from one sample to the next:
the front end's samples and past levels, the sums of pooling,
and for each tensor the rows that its readers look back at (a line).
A line belongs to the stage that looks furthest back, all other readers share it.

**Temporaries** are needed while one hop of samples is worked on:
the row that each stage makes, and the front end's spectrum.
A row is alive until its last reader has run,
then it takes the place of the oldest one in its line, if it has one.
All temporaries share one scratch, whose size is the most that is alive at once.
``peak_bytes`` is state and scratch of the hop that makes a row in every stage.

A **result** while the signal goes on needs more:
the rows that are still to come, with border behind the signal,
must not overwrite what the lines hold.
They are computed part by part, a part being the stages up to the next line or pool:
the last rows of one line go row by row through the part and become those of the next.
``result_bytes`` is the state, the last rows before and behind the most expensive part,
one row of each tensor within it and a copy of its pool's sums.
A result that ends the signal may overwrite and needs no more than a push.

Not counted: stack, constants (flash), alignment, and scratch inside kernels.
``c99_bytes`` has the latter two: it is the state's size in the C that
:func:`wav2small.export.c99.generate` writes, whose kernels unpack what they multiply.

Multiply-accumulates are counted as in :mod:`wav2small.firmware_bench.cost`;
those of the front end are the multiplications of its Fourier transform and mel sums,
see :func:`wav2small.export.integer.front_end.count_multiplications`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from wav2small.export.base.errors import ExportError
from wav2small.export.c99 import count_memory
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.export.integer.streaming.line import Line
from wav2small.export.integer.streaming.schedule import Schedule, schedule
from wav2small.export.integer.streaming.stages import PoolStage, Stage


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage."""

    name: str
    """Kind of the operator and its place among that kind."""

    kind: str
    """``front end``, ``window``, ``row`` or ``pool``."""

    state_bytes: int
    """State: its own, and the lines that it looks back at furthest."""

    temporary_bytes: int
    """The row that it makes and what it needs while it works."""

    rows_per_second: float
    """Rows that it makes, or adds up, per second of audio."""

    macs_per_second: float
    """Multiply-accumulates per second of audio."""


@dataclass(frozen=True)
class StreamingPlan:
    """Cost of all stages."""

    stages: tuple[StageCost, ...]
    """Stages in the order of execution."""

    peak_bytes: int
    """State and scratch while samples are pushed."""

    result_bytes: int
    """State and scratch of a result while the signal goes on."""

    c99_bytes: int | None
    """State of the generated C, scratch included; None if there is no such C."""

    result_macs: int
    """Multiply-accumulates of one result behind the pooling."""

    look_ahead_seconds: float
    """From the middle of a frame to the last sample that its row in the pooling needs;
    a result does not wait for it."""

    obstacle: str | None
    """Why a stream cannot give what the whole clip gives, None if it does.
    The cost is that of the same stages with a front end that streams."""

    @property
    def state_bytes(self) -> int:
        """State of all stages."""
        return sum(stage.state_bytes for stage in self.stages)

    @property
    def macs_per_second(self) -> float:
        """Multiply-accumulates of all stages per second of audio."""
        return sum(stage.macs_per_second for stage in self.stages)


def plan(
    model: IntegerGraph | ModelProto | bytes | str | Path, sampling_rate: int = 16000
) -> StreamingPlan:
    """Plan a model frame by frame.

    Args:
        model: exported int8 model
        sampling_rate: of the audio, in Hz

    Raises:
        ExportError: if it has no integer arithmetic or an operator needs more
            than the past and a fixed look-ahead

    """
    graph = model if isinstance(model, IntegerGraph) else read(model)
    stages = schedule(graph)
    front = stages.front.constants
    delay = max(pool.pace.delay for pool in stages.pools)
    costs = tuple(_costs(stages, sampling_rate / front.hop_length))
    state = sum(stage.state_bytes for stage in costs)
    return StreamingPlan(
        stages=costs,
        peak_bytes=state + _push_scratch(stages),
        result_bytes=state + _result_scratch(stages),
        c99_bytes=_c99_bytes(graph),
        result_macs=_head(stages)[1],
        look_ahead_seconds=(delay * front.hop_length + front.window_length / 2)
        / sampling_rate,
        obstacle=stages.obstacle,
    )


def _c99_bytes(graph: IntegerGraph) -> int | None:
    try:
        return count_memory(graph).state
    except ExportError:
        return None


def _all(stages: Schedule) -> tuple[Stage, ...]:
    return (stages.front, *stages.stages, *stages.pools)


def _costs(stages: Schedule, frames_per_second: float) -> Iterator[StageCost]:
    owners: set[str] = set()
    for stage in _all(stages):
        state = stage.state_bytes
        for line, back in zip(stage.inputs, stage.back, strict=True):
            if back == line.keep and line.tensor.name not in owners:
                owners.add(line.tensor.name)
                state += line.keep * line.row_bytes
        rows_per_second = frames_per_second / stage.pace.period
        yield StageCost(
            name=stage.name,
            kind=stage.kind,
            state_bytes=state,
            temporary_bytes=stage.row_bytes + stage.work_bytes,
            rows_per_second=rows_per_second,
            macs_per_second=stage.macs * rows_per_second,
        )


@dataclass(frozen=True)
class _Step:
    inputs: tuple[str, ...]
    output: str
    bytes: int
    work: int = 0


def _most_alive(steps: list[_Step]) -> int:
    """Bytes that are alive at once when each output stays until its last reader."""
    last = {name: i for i, step in enumerate(steps) for name in step.inputs}
    alive: dict[str, int] = {}
    most = 0
    for i, step in enumerate(steps):
        alive[step.output] = step.bytes
        most = max(most, sum(alive.values()) + step.work)
        alive = {
            name: size for name, size in alive.items() if last.get(name, len(steps)) > i
        }
    return most


def _push_scratch(stages: Schedule) -> int:
    steps = [
        _Step(
            stage.operator.inputs,
            stage.operator.output,
            0 if stage.kind == "pool" else stage.row_bytes,
            stage.work_bytes,
        )
        for stage in _all(stages)
    ]
    return _most_alive(steps)


def _parts(stages: Schedule) -> list[list[Stage]]:
    """Stages up to the next line or pool, which go row by row together."""
    parts: list[list[Stage]] = [[]]
    for stage in _all(stages):
        parts[-1].append(stage)
        if stage.kind == "pool" or stage.output.keep:
            parts.append([])
    return parts[:-1]


def _result_scratch(stages: Schedule) -> int:
    front = stages.front.constants
    frames = -(-front.padding[1] // front.hop_length)
    parts = _parts(stages)
    place = {stage.operator.output: i for i, part in enumerate(parts) for stage in part}
    last = {
        name: i
        for i, part in enumerate(parts)
        for stage in part
        for name in stage.operator.inputs
    }
    whole = {
        name: _last_rows(line, frames) * line.row_bytes
        for name, line in stages.lines.items()
        if line.keep or last[name] > place[name]
    }
    most = 0
    results = 0
    for i, part in enumerate(parts):
        within = max(stage.work_bytes for stage in part)
        for stage in part:
            if isinstance(stage, PoolStage):
                within += stage.state_bytes
                results += stage.row_bytes
            elif stage.operator.output not in whole:
                within += stage.row_bytes
        alive = sum(
            size for name, size in whole.items() if place[name] <= i <= last[name]
        )
        most = max(most, alive + within + results)
    return max(most, _head(stages)[0])


def _last_rows(line: Line, frames: int) -> int:
    """Most rows that a signal's end adds, with so many frames of border."""
    pace = line.pace
    return max(
        pace.length(heard + frames) - pace.rows(heard)
        for heard in range(pace.delay + 1, pace.delay + 1 + pace.period)
    )


def _head(stages: Schedule) -> tuple[int, int]:
    """Bytes alive at once and multiply-accumulates behind the pooling."""
    values = {
        pool.operator.output: np.ones(pool.shape, np.int64) for pool in stages.pools
    }
    steps = [_Step((), pool.operator.output, pool.row_bytes) for pool in stages.pools]
    macs = 0
    for operator in stages.head:
        made = stages.reference.apply(operator, values)
        values[operator.output] = made
        macs += operator.count_macs(values[operator.inputs[0]].shape, made.size)
        tensor = stages.reference.graph.tensors[operator.output]
        size = made.size * (1 if tensor.dtype == "int8" else 4)
        steps.append(_Step(operator.inputs, operator.output, size))
    return _most_alive(steps), macs
