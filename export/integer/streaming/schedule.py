"""An integer graph frame by frame, in constant memory, with the whole clip's integers.

:func:`schedule` turns the operators before the pooling over time into stages.
A stage makes a row, what a tensor holds for one place in time,
as soon as the rows that it is made of are there:

* the **front end** keeps the samples of one window;
* a **window** (convolution, maximum) of ``reach`` rows waits for its last one;
  before the signal and behind it the rows are border;
* a stage by **row** works on rows of the same place,
  of which one may have come earlier than the other (a residual connection);
* a **pool** adds a row to sums and forgets it.

What has to be remembered of a tensor is a :class:`Line`:
as many of its last rows as the reader needs that looks furthest back.
All its readers share it.
The operators behind the pooling, the **head**, run once for each result.

A result in the middle is that of a signal that ends there.
The rows that are still to come, with border behind the signal,
are computed from the lines layer by layer; neither lines nor sums change.

Shape:
    samples: ``(time,)``, int16, or float where 1 is full scale
    scores: ``(scores,)``, float32

"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NoReturn, TypeGuard

import numpy as np
from onnx import ModelProto

from ..base.errors import ExportError
from . import front_end, graph
from .front_end import FrontEnd
from .graph import IntegerGraph, Operator, Tensor
from .reader import read
from .reference import MOST_FRAMES, PoolState, ReferenceModel

_BYTES = {"int8": 1, "int32": 4}
_HOPS = 64
"""Hops that :meth:`Stream.push` takes at once; more would need more memory."""


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


class Line:
    """Rows of one tensor as they come, the last ones kept."""

    def __init__(
        self, tensor: Tensor, shape: tuple[int, ...], axis: int, pace: Pace
    ) -> None:
        self.tensor = tensor
        self.shape = shape
        """Shape of one row; the axis of time has length 1."""
        self.axis = axis
        """Axis of time."""
        self.pace = pace
        self.keep = 0
        """Rows that are kept from one push to the next."""
        self.reset()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * _BYTES[self.tensor.dtype]

    def filled(self, rows: int, value: int = 0) -> np.ndarray:
        """Rows that hold one number."""
        shape = list(self.shape)
        shape[self.axis] = rows
        dtype = np.int8 if self.tensor.dtype == "int8" else np.int64
        return np.full(shape, value, dtype)

    def reset(self) -> None:
        """Forget all rows."""
        self.count = 0
        self.kept = self.filled(0)

    def known(self, new: np.ndarray) -> int:
        """Rows that have come, the new ones included."""
        return self.count + new.shape[self.axis]

    def rows(self, start: int, stop: int, new: np.ndarray) -> np.ndarray:
        """Rows from one number up to another, of those kept and the new ones."""
        first = self.count - self.kept.shape[self.axis]
        together = np.concatenate([self.kept, new], self.axis)
        places = [slice(None)] * self.axis
        return together[(*places, slice(start - first, stop - first))]

    def push(self, new: np.ndarray) -> None:
        """Take new rows; the oldest go."""
        count = self.known(new)
        self.kept = self.rows(max(0, count - self.keep), count, new)
        self.count = count


class Stage:
    """Figures that all stages have."""

    kind: ClassVar[str]
    """``front end``, ``window``, ``row`` or ``pool``."""

    name: str
    """Kind of the operator and its place among that kind."""

    operator: Operator
    """What it computes."""

    inputs: tuple[Line, ...] = ()
    """Rows that it reads."""

    back: tuple[int, ...] = ()
    """How many rows before the newest it reads, of each input."""

    pace: Pace
    """When its rows come, or those that it adds up."""

    row_bytes: int
    """Bytes of a row that it makes; of the result for a pool."""

    macs: int = 0
    """Multiply-accumulates for each row;
    operations on single numbers, tables and maxima have none."""

    state_bytes: int = 0
    """Bytes that it keeps itself; lines are not among them."""

    work_bytes: int = 0
    """Bytes that it needs while it works; rows are not among them."""

    def _read(self, lines: Sequence[Line], back: Sequence[int]) -> None:
        self.inputs, self.back = tuple(lines), tuple(back)
        for line, rows in zip(lines, back, strict=True):
            line.keep = max(line.keep, rows)

    def _make(self, line: Line) -> None:
        self.output = line
        self.pace, self.row_bytes = line.pace, line.row_bytes


class FrontEndStage(Stage):
    """Samples to rows of the log-mel map.

    It keeps the samples of a window, the sum of each frame whose level still counts,
    their total, and counters of samples and frames.
    """

    kind = "front end"

    def __init__(self, name: str, operator: graph.LogMel, tensor: Tensor) -> None:
        self.name, self.operator = name, operator
        self.constants: FrontEnd = operator.front_end
        mels = len(self.constants.mel)
        self._make(Line(tensor, (1, 1, 1, mels), 2, Pace(1, 0, 0)))
        self.macs = int(self.constants.multiplications)
        # int16 samples and two counters
        self.state_bytes = 2 * self.constants.window_length + 2 * 4
        past = self.constants.past_frames
        if past is not None:
            # no power lies as far above 1 as the floor lies below it
            sums_fit = mels * abs(self.constants.log_floor) < 2**31
            self.state_bytes += (4 if sums_fit else 8) * past + 8
        # int32: a frame that is transformed in place, and its logarithms
        self.work_bytes = 4 * self.constants.length + 4 * mels
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.count = 0
        self.waiting = np.zeros(self.constants.padding[0], np.int64)
        self.skip = 0
        self.sums = np.zeros(0, np.int64)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Rows of the frames that samples complete."""
        self.count += len(samples)
        # a hop longer than the window leaves samples out
        waiting = np.concatenate([self.waiting, samples])[self.skip :]
        self.skip -= min(self.skip, len(self.waiting) + len(samples))
        rows, self.sums = self._rows(waiting)
        used = rows.shape[2] * self.constants.hop_length
        self.waiting = waiting[used:]
        self.skip += max(0, used - len(waiting))
        return rows

    def flush(self) -> np.ndarray:
        """Rows of the frames that end behind the signal; changes nothing."""
        before, after = self.constants.padding
        needed = max(1, self.constants.window_length - before - after)
        if self.count < needed:
            raise ExportError(
                f"signal must have at least {needed} samples, got {self.count}: "
                "push more of them"
            )
        waiting = np.concatenate([self.waiting, np.zeros(after, np.int64)])
        return self._rows(waiting[self.skip :])[0]

    def _rows(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all whole frames, and the sums that the next ones need."""
        constants = self.constants
        if len(samples) < constants.window_length:
            return self.output.filled(0), self.sums
        logarithms = front_end.frame_logarithms(constants, samples << front_end.CENTRED)
        sums = self.sums
        if constants.past_frames is not None:
            sums = np.concatenate([sums, logarithms.sum(axis=1)])
            for row in range(len(logarithms)):
                last = len(self.sums) + row + 1
                past = sums[max(0, last - constants.past_frames) : last]
                count = len(past) * logarithms.shape[1]
                logarithms[row] -= (2 * past.sum() + count) // (2 * count)
            sums = sums[max(0, len(sums) - constants.past_frames + 1) :]
        return front_end.to_int8(constants, logarithms)[None, None], sums


class WindowStage(Stage):
    """Convolution or maximum over ``reach`` rows, at steps of ``stride``."""

    kind = "window"

    def __init__(
        self,
        name: str,
        operator: graph.Convolution | graph.MaxPool,
        source: Line,
        reference: ReferenceModel,
    ) -> None:
        self.name, self.operator = name, operator
        self.top, left, self.bottom, right = operator.pads
        self.stride = operator.strides[0]
        if isinstance(operator, graph.Convolution):
            self.reach = operator.dilations[0] * (operator.weight.shape[2] - 1) + 1
            self.border = source.tensor.zero_point
        else:
            self.reach = operator.kernel[0]
            self.border = -128  # never wins
        self._read([source], [self.reach - 1])
        # rows of border come as rows
        inner = replace(operator, pads=(0, left, 0, right))
        self.compute = _computation(reference, inner)
        row = self.compute([source.filled(self.reach)])
        self.macs = count_macs(operator, source.shape, row.size)
        pace = source.pace
        gained = self.top + self.bottom - self.reach + self.stride
        pace = Pace(
            pace.period * self.stride,
            pace.delay + pace.period * (self.reach - 1 - self.top),
            pace.extra + pace.period * gained,
        )
        tensor = reference.graph.tensors[operator.output]
        self._make(Line(tensor, row.shape, source.axis, pace))

    def push(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows whose window new rows complete."""
        known = self.inputs[0].known(new[0])
        return self._rows(new[0], known, (known + self.top - self.reach) // self.stride)

    def flush(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows that are left, with border behind the new rows."""
        known = self.inputs[0].known(new[0])
        padded = known + self.top + self.bottom
        if padded < self.reach:
            raise ExportError(
                f"signal must be longer, got {known} rows for {self.name}, which "
                f"needs {self.reach - self.top - self.bottom}: push more samples"
            )
        return self._rows(new[0], known, (padded - self.reach) // self.stride)

    def _rows(self, new: np.ndarray, known: int, last: int) -> np.ndarray:
        """Rows that were not made yet, up to the last one."""
        first = self.output.count
        if last < first:
            return self.output.filled(0)
        (source,) = self.inputs
        start = first * self.stride - self.top
        stop = last * self.stride - self.top + self.reach
        window = [
            source.filled(max(0, -start), self.border),
            source.rows(max(0, start), min(stop, known), new),
            source.filled(max(0, stop - known), self.border),
        ]
        return self.compute([np.concatenate(window, source.axis)])


class RowStage(Stage):
    """Operator on rows of the same place in time."""

    kind = "row"

    def __init__(
        self,
        name: str,
        operator: Operator,
        inputs: Sequence[Line],
        axis: int,
        reference: ReferenceModel,
    ) -> None:
        self.name, self.operator = name, operator
        pace, back = _together(name, inputs)
        self._read(inputs, back)
        self.compute = _computation(reference, operator)
        row = self.compute([line.filled(1) for line in inputs])
        self.macs = count_macs(operator, inputs[0].shape, row.size)
        tensor = reference.graph.tensors[operator.output]
        self._make(Line(tensor, row.shape, axis, pace))

    def push(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows for which all inputs are there."""
        rows = _aligned(self.inputs, new, self.output.count)
        if not rows[0].shape[self.inputs[0].axis]:
            return self.output.filled(0)
        return self.compute(rows)

    flush = push


class _SoftmaxSums:
    """Sums of a softmax pooling."""

    bytes_each = 8 + 8 + 4
    """Numerator and denominator of 64 bits, reference of 32."""

    def __init__(self, operator: graph.SoftmaxPool, shape: tuple[int, ...]):
        self.operator = operator
        self.frames = 0
        self.pool = PoolState(shape)

    def push(self, value: np.ndarray, score: np.ndarray) -> None:
        axis = self.operator.axis
        self.frames += score.shape[axis]
        if self.frames > MOST_FRAMES:
            raise ExportError(
                f"signal must have at most {MOST_FRAMES} frames to pool, got "
                f"{self.frames}: reset the stream before"
            )
        logarithm = self.operator.logarithm(score)
        self.pool.push(np.moveaxis(value, axis, 0), np.moveaxis(logarithm, axis, 0))

    def result(self) -> np.ndarray:
        return self.pool.result()


class _MeanSums:
    """Sum of a mean and how many numbers it has."""

    bytes_each = 8

    def __init__(self, operator: graph.Mean, source: Tensor, target: Tensor):
        self.operator = operator
        self.source, self.target = source, target
        self.total = np.zeros((), np.int64)
        self.count = 0

    def push(self, x: np.ndarray) -> None:
        axes = self.operator.axes
        centred = x.astype(np.int64) - self.source.zero_point
        self.total = self.total + centred.sum(axis=axes, keepdims=self.operator.keep)
        self.count += math.prod(x.shape[axis] for axis in axes)

    def result(self) -> np.ndarray:
        shifted = self.total << self.operator.fraction
        mean = self.operator.rescale((shifted + self.count // 2) // self.count)
        if self.target.dtype == "int32":
            return mean
        return np.clip(mean + self.target.zero_point, -128, 127).astype(np.int8)


class PoolStage(Stage):
    """Pooling over time: rows are added to sums, of which a result is made."""

    kind = "pool"

    def __init__(
        self,
        name: str,
        operator: graph.SoftmaxPool | graph.Mean,
        inputs: Sequence[Line],
        reference: ReferenceModel,
    ) -> None:
        self.name, self.operator = name, operator
        self.pace, back = _together(name, inputs)
        self._read(inputs, back)
        row = _computation(reference, operator)([line.filled(1) for line in inputs])
        target = reference.graph.tensors[operator.output]
        self.shape = row.shape
        """Shape of the result."""
        self.row_bytes = row.size * _BYTES[target.dtype]
        self.macs = count_macs(operator, inputs[0].shape, row.size)
        self._empty: _SoftmaxSums | _MeanSums
        if isinstance(operator, graph.SoftmaxPool):
            self._empty = _SoftmaxSums(operator, row.shape)
        else:
            self._empty = _MeanSums(operator, inputs[0].tensor, target)
        self.state_bytes = row.size * self._empty.bytes_each
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self.count = 0
        self.sums = copy.deepcopy(self._empty)

    def push(self, new: Sequence[np.ndarray]) -> None:
        """Add the rows for which all inputs are there."""
        self.count += self._add(self.sums, new)

    def flush(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Result of all rows and the new ones; changes nothing."""
        sums = copy.deepcopy(self.sums)
        self._add(sums, new)
        return sums.result()

    def _add(self, sums: _SoftmaxSums | _MeanSums, new: Sequence[np.ndarray]) -> int:
        rows = _aligned(self.inputs, new, self.count)
        count = rows[0].shape[self.inputs[0].axis]
        if count:
            sums.push(*rows)
        return count


def count_macs(operator: Operator, source: tuple[int, ...], outputs: int) -> int:
    """Multiply-accumulates of an operator behind the front end.

    Args:
        operator: the operator
        source: shape of its first input
        outputs: numbers that it makes

    """
    match operator:
        case graph.Convolution(weight=weight) | graph.Linear(weight=weight):
            return outputs * weight[0].size
        case graph.MatrixProduct():
            return outputs * source[-1]
        case graph.SoftmaxPool():
            return outputs
    return 0


def _together(name: str, inputs: Sequence[Line]) -> tuple[Pace, list[int]]:
    """Pace of rows made of several, and how far back each of them lies."""
    paces = [line.pace for line in inputs]
    if len({(pace.period, pace.extra) for pace in paces}) > 1:
        raise ExportError(
            f"rows must come at the same pace, got {name} of tensors that differ in "
            "stride or border: export a model that streams, like wav2small-rt"
        )
    last = max(paces, key=lambda pace: pace.delay)
    return last, [-((pace.delay - last.delay) // pace.period) for pace in paces]


def _aligned(
    inputs: Sequence[Line], new: Sequence[np.ndarray], start: int
) -> list[np.ndarray]:
    """Rows from a number on of all inputs, as far as all of them are there."""
    pairs = list(zip(inputs, new, strict=True))
    stop = min(line.known(rows) for line, rows in pairs)
    return [line.rows(start, stop, rows) for line, rows in pairs]


def _computation(
    reference: ReferenceModel, operator: Operator
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda values: reference.apply(
        operator, dict(zip(operator.inputs, values, strict=True))
    )


@dataclass(frozen=True, eq=False)
class Schedule:
    """Stages of an integer graph, in the order of execution."""

    front: FrontEndStage
    """Samples to rows."""

    stages: tuple[WindowStage | RowStage, ...]
    """Rows to rows."""

    pools: tuple[PoolStage, ...]
    """Rows to numbers for the whole signal."""

    head: tuple[Operator, ...]
    """Operators on those, once for each result."""

    lines: dict[str, Line]
    """Rows of each tensor by its name."""

    reference: ReferenceModel
    """Arithmetic of the operators."""

    @property
    def obstacle(self) -> str | None:
        """Why no stream gives what the whole clip gives, None if one does."""
        if self.front.constants.power_floor is None:
            return None
        return (
            "normalises each signal by the mean and power of all of it, "
            "which are not known before it ends"
        )


def schedule(model: IntegerGraph) -> Schedule:
    """Turn an integer graph into stages.

    Raises:
        ExportError: if an operator needs more than the past and a fixed look-ahead

    """
    return _Scheduler(model).schedule()


class _Scheduler:
    def __init__(self, model: IntegerGraph) -> None:
        self.model = model
        self.reference = ReferenceModel(model)
        self.lines: dict[str, Line] = {}
        self.whole: dict[str, str] = {}  # of the whole signal, and what pooled it
        self.stages: list[WindowStage | RowStage] = []
        self.pools: list[PoolStage] = []
        self.head: list[Operator] = []

    def schedule(self) -> Schedule:
        first, *rest = self.model.operators
        assert isinstance(first, graph.LogMel)
        name = self.model.label(first)
        front = FrontEndStage(name, first, self.model.tensors[first.output])
        self.lines[first.output] = front.output
        for operator in rest:
            self._add(operator)
        if self.model.output not in self.whole:
            raise ExportError(
                "model must pool over time before its output, got scores for each "
                "frame: export a model with pooling"
            )
        return Schedule(
            front,
            tuple(self.stages),
            tuple(self.pools),
            tuple(self.head),
            self.lines,
            self.reference,
        )

    def _add(self, operator: Operator) -> None:
        name = self.model.label(operator)
        pooled = [self.whole[entry] for entry in operator.inputs if entry in self.whole]
        if len(pooled) == len(operator.inputs):
            self.head.append(operator)
            self.whole[operator.output] = pooled[0]
            return
        if pooled:
            self._fail(name, f"which needs {pooled[0]} of the whole signal")
        lines = [self.lines[entry] for entry in operator.inputs]
        time = lines[0].axis
        if any(
            (line.axis, len(line.shape)) != (time, len(lines[0].shape))
            for line in lines
        ):
            self._fail(name, "whose inputs have time on different axes")
        stage: WindowStage | RowStage
        if isinstance(operator, graph.Convolution | graph.MaxPool):
            if time != 2:
                self._fail(name, f"with time on axis {time} of its map and not 2")
            stage = WindowStage(name, operator, lines[0], self.reference)
        elif _pools(operator, time):
            self.pools.append(PoolStage(name, operator, lines, self.reference))
            self.whole[operator.output] = name
            return
        else:
            axis = _time_axis(operator, lines[0])
            if axis is None:
                self._fail(name, "which joins frames")
            stage = RowStage(name, operator, lines, axis, self.reference)
        self.stages.append(stage)
        self.lines[operator.output] = stage.output

    def _fail(self, name: str, reason: str) -> NoReturn:
        raise ExportError(
            f"operators must need the past and a fixed look-ahead alone, got {name}, "
            f"{reason}: choose a model that streams, like wav2small-rt"
        )


def _pools(operator: Operator, time: int) -> TypeGuard[graph.SoftmaxPool | graph.Mean]:
    """Whether an operator pools over time."""
    if isinstance(operator, graph.SoftmaxPool):
        return operator.axis == time
    return isinstance(operator, graph.Mean) and time in operator.axes


def _time_axis(operator: Operator, source: Line) -> int | None:
    """Axis of time behind an operator on rows, None if it needs several of them."""
    time, rank = source.axis, len(source.shape)
    match operator:
        case graph.Linear() if time == rank - 1:
            return None
        case graph.MatrixProduct() if time >= rank - 2:
            return None
        case graph.Concat(axis=axis) if axis == time:
            return None
        case graph.Transpose(axes=axes):
            return axes.index(time)
        case graph.Reshape(shape=shape):
            return _regrouped_axis(shape, source)
        case graph.Mean(axes=axes, keep=keep):
            return time if keep else time - sum(axis < time for axis in axes)
        case graph.SoftmaxPool(axis=axis):
            return time - (axis < time)
        case _:
            return time


def _regrouped_axis(shape: tuple[int, ...], source: Line) -> int | None:
    """Axis of time in a new shape, None if it is not an axis of its own there."""
    made = []
    for rows in (2, 3):
        before = source.filled(rows)
        sizes = [size or before.shape[axis] for axis, size in enumerate(shape)]
        try:
            made.append(np.shape(before.reshape(sizes)))
        except ValueError:  # a length that is fixed
            return None
    outer = math.prod(source.shape[: source.axis])
    for axis, lengths in enumerate(zip(*made, strict=True)):
        if lengths == (2, 3) and math.prod(made[0][:axis]) == outer:
            return axis
    return None


class Stream:
    """A model that hears a signal piece by piece.

    Shape:
        samples: ``(time,)``, int16, or float where 1 is full scale
        scores: ``(scores,)``, float32

    Raises:
        ExportError: if the model cannot be computed frame by frame

    """

    def __init__(self, source: IntegerGraph | ModelProto | bytes | str | Path) -> None:
        model = source if isinstance(source, IntegerGraph) else read(source)
        self.schedule = schedule(model)
        if self.schedule.obstacle:
            raise ExportError(
                "model must need the past alone to stream, got one that "
                f"{self.schedule.obstacle}: choose a model that streams, "
                "like wav2small-rt"
            )
        self.graph = model

    def reset(self) -> None:
        """Begin a new signal."""
        self.schedule.front.reset()
        for line in self.schedule.lines.values():
            line.reset()
        for pool in self.schedule.pools:
            pool.reset()

    def push(self, samples: np.ndarray) -> None:
        """Hear samples, any number of them.

        Raises:
            ExportError: if the signal has more frames than pooling can add up

        """
        signal = front_end.samples(samples)
        step = _HOPS * self.schedule.front.constants.hop_length
        for start in range(0, len(signal), step):
            self._push(signal[start : start + step])

    def _push(self, samples: np.ndarray) -> None:
        plan = self.schedule
        row = plan.front.push(samples)
        if not row.size:
            return
        rows = {plan.front.operator.output: row}
        for stage in plan.stages:
            rows[stage.operator.output] = stage.push(_of(stage, rows))
        for pool in plan.pools:
            pool.push(_of(pool, rows))
        for name, line in plan.lines.items():
            line.push(rows[name])

    def integers(self) -> np.ndarray:
        """Integers of the scores if the signal ended here; changes nothing.

        Raises:
            ExportError: if the signal is too short or too long

        """
        plan = self.schedule
        rows = {plan.front.operator.output: plan.front.flush()}
        for stage in plan.stages:
            rows[stage.operator.output] = stage.flush(_of(stage, rows))
        values = {
            pool.operator.output: pool.flush(_of(pool, rows)) for pool in plan.pools
        }
        for operator in plan.head:
            values[operator.output] = plan.reference.apply(operator, values)
        return values[self.graph.output]

    def result(self) -> np.ndarray:
        """Scores if the signal ended here; changes nothing.

        Raises:
            ExportError: if the signal is too short or too long

        """
        output = self.graph.tensors[self.graph.output]
        centred = self.integers() - np.int64(output.zero_point)
        return (centred * output.scale).reshape(-1).astype(np.float32)


def _of(stage: Stage, rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [rows[name] for name in stage.operator.inputs]
