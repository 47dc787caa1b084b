"""Stages that make rows of rows, or add them up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...base.errors import ExportError
from ..front_end import log_mel
from ..front_end.constants import CENTRED, FrontEnd
from ..operators.base import Operator, Window
from ..operators.log_mel import LogMel
from ..pooling import decay_of
from ..reference import ReferenceModel
from ..tensor import BYTES, Tensor
from .line import Line, pace_together, rows_together
from .pace import Pace

if TYPE_CHECKING:
    from .detector import Detector


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

    def __init__(self, name: str, operator: LogMel, tensor: Tensor) -> None:
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
        self.covered = 0
        self.last_heard: bool | None = None
        """Whether the last frame of a push had a row; None if there was no frame."""

    def push(
        self,
        samples: np.ndarray,
        detector: Detector | None = None,
        *,
        covered: bool = False,
    ) -> np.ndarray:
        """Rows of the frames that samples complete.

        Args:
            samples: integers of them
            detector: what says which frames have a row, and which of these are
                speech and are returned; None to return all
            covered: whether something else is heard in these samples, so that frames
                with one of them are left out as if they had never been

        """
        self.count += len(samples)
        # a hop longer than the window leaves samples out
        waiting = np.concatenate([self.waiting, samples])[self.skip :]
        self.skip -= min(self.skip, len(self.waiting) + len(samples))
        if covered:
            self.covered = len(waiting)
        starts, logarithms = self._logarithms(waiting)
        rows, self.sums = self._rows(logarithms[starts >= self.covered], detector)
        used = len(starts) * self.constants.hop_length
        self.waiting = waiting[used:]
        self.skip += max(0, used - len(waiting))
        if len(starts):
            speech = detector is None or detector.left > 0
            self.last_heard = bool(starts[-1] >= self.covered) and speech
        else:
            self.last_heard = None
        self.covered = max(0, self.covered - used)
        return rows

    def flush(self, detector: Detector | None = None) -> np.ndarray:
        """Rows of the frames that end behind the signal; changes nothing.

        There are none where a sample that is waiting is covered, or without speech.
        """
        before, after = self.constants.padding
        needed = max(1, self.constants.window_length - before - after)
        if self.count < needed:
            raise ExportError(
                f"signal must have at least {needed} samples, got {self.count}: "
                "push more of them"
            )
        if self.covered or (detector is not None and not detector.left):
            return self.output.filled(0)
        waiting = np.concatenate([self.waiting, np.zeros(after, np.int64)])
        _, logarithms = self._logarithms(waiting[self.skip :])
        return self._rows(logarithms)[0]

    def _logarithms(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where all whole frames begin, and their logarithms."""
        constants = self.constants
        if len(samples) < constants.window_length:
            empty = np.zeros((0, len(constants.mel)), np.int64)
            return np.zeros(0, np.int64), empty
        logarithms = log_mel.frame_logarithms(constants, samples << CENTRED)
        return np.arange(len(logarithms)) * constants.hop_length, logarithms

    def _rows(
        self, logarithms: np.ndarray, detector: Detector | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of frames, and the sums that the next ones need."""
        sums = self.sums.tolist()
        made = []
        for logarithm in logarithms:
            heard = detector is None or detector.wants
            # a frame that is left out counts with the level of the one before
            sums.append(int(logarithm.sum()) if heard else sums[-1])
            if self.constants.past_frames is not None:
                past = sums[-self.constants.past_frames :]
                count = len(past) * len(logarithm)
                level = (2 * sum(past) + count) // (2 * count)
                logarithm = logarithm - level
            row = log_mel.to_int8(self.constants, logarithm)[None, None, None]
            if detector is None or detector.hear(row if heard else None):
                made.append(row)
        kept = max(1, (self.constants.past_frames or 1) - 1)
        rows = np.concatenate([self.output.filled(0), *made], axis=2)
        return rows, np.array(sums[-kept:], np.int64)


class WindowStage(Stage):
    """Convolution or maximum over ``reach`` rows, at steps of ``stride``."""

    kind = "window"

    def __init__(
        self,
        name: str,
        operator: Operator,
        window: Window,
        source: Line,
        reference: ReferenceModel,
    ) -> None:
        self.name, self.operator, self.window = name, operator, window
        self._read([source], [window.reach - 1])
        # rows of border come as rows
        self.compute = _computation(reference, operator.without_border())
        row = self.compute([source.filled(window.reach)])
        self.macs = operator.count_macs(source.shape, row.size)
        pace = source.pace
        gained = window.top + window.bottom - window.reach + window.stride
        pace = Pace(
            pace.period * window.stride,
            pace.delay + pace.period * (window.reach - 1 - window.top),
            pace.extra + pace.period * gained,
        )
        tensor = reference.graph.tensors[operator.output]
        self._make(Line(tensor, row.shape, source.axis, pace))

    def push(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows whose window new rows complete."""
        known = self.inputs[0].known(new[0])
        reach, stride, top = self.window.reach, self.window.stride, self.window.top
        return self._rows(new[0], known, (known + top - reach) // stride)

    def flush(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows that are left, with border behind the new rows."""
        known = self.inputs[0].known(new[0])
        window = self.window
        padded = known + window.top + window.bottom
        if padded < window.reach:
            raise ExportError(
                f"signal must be longer, got {known} rows for {self.name}, which "
                f"needs {window.reach - window.top - window.bottom}: push more samples"
            )
        return self._rows(new[0], known, (padded - window.reach) // window.stride)

    def _rows(self, new: np.ndarray, known: int, last: int) -> np.ndarray:
        """Rows that were not made yet, up to the last one."""
        first = self.output.count
        if last < first:
            return self.output.filled(0)
        (source,) = self.inputs
        window = self.window
        start = first * window.stride - window.top
        stop = last * window.stride - window.top + window.reach
        rows = [
            source.filled(max(0, -start), window.border),
            source.rows(max(0, start), min(stop, known), new),
            source.filled(max(0, stop - known), window.border),
        ]
        return self.compute([np.concatenate(rows, source.axis)])


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
        pace, back = pace_together(name, inputs)
        self._read(inputs, back)
        self.compute = _computation(reference, operator)
        row = self.compute([line.filled(1) for line in inputs])
        self.macs = operator.count_macs(inputs[0].shape, row.size)
        tensor = reference.graph.tensors[operator.output]
        self._make(Line(tensor, row.shape, axis, pace))

    def push(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Rows for which all inputs are there."""
        rows = rows_together(self.inputs, new, self.output.count)
        if not rows[0].shape[self.inputs[0].axis]:
            return self.output.filled(0)
        return self.compute(rows)

    flush = push


class PoolStage(Stage):
    """Pooling over time: rows are added to sums, of which a result is made."""

    kind = "pool"

    def __init__(
        self,
        name: str,
        operator: Operator,
        inputs: Sequence[Line],
        reference: ReferenceModel,
        hop_length: int,
    ) -> None:
        self.name, self.operator = name, operator
        self.pace, back = pace_together(name, inputs)
        self.row_samples = self.pace.period * hop_length
        """Samples from row to row."""
        self._read(inputs, back)
        row = _computation(reference, operator)([line.filled(1) for line in inputs])
        target = reference.graph.tensors[operator.output]
        self.shape = row.shape
        """Shape of the result."""
        self.row_bytes = row.size * BYTES[target.dtype]
        self.macs = operator.count_macs(inputs[0].shape, row.size)
        self._empty = operator.sums(reference.scales(operator), row.shape)
        self.state_bytes = row.size * self._empty.bytes_each
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self.count = 0
        self.sums = copy.deepcopy(self._empty)
        self.waiting: list[np.ndarray] | None = None
        """Row of the last frame, which is added up when the next one comes."""

    def forget(self, seconds: float | None, sampling_rate: int) -> None:
        """Let older rows weigh less from now on, in the next signal as well."""
        decay = decay_of(seconds, self.row_samples, sampling_rate)
        self.sums.forget(decay)
        self._empty.forget(decay)

    def push(self, new: Sequence[np.ndarray], frames: int) -> None:
        """Add the rows for which all inputs are there, but for the last frame's.

        Args:
            new: new rows of the inputs, at least those of one frame
            frames: frames so far

        """
        rows = rows_together(self.inputs, new, self.count)
        axis = self.inputs[0].axis
        known = self.count + rows[0].shape[axis]
        last = self.pace.rows(frames) - self.pace.rows(frames - 1)
        if last:
            self.waiting = [row.take([-1], axis) for row in rows]
            rows = [row.take(range(row.shape[axis] - 1), axis) for row in rows]
        if rows[0].shape[axis]:
            self.sums.push(*rows)
        self.count = known

    def settle(self) -> None:
        """Add the row of the last frame."""
        if self.waiting is not None:
            self.sums.push(*self.waiting)
        self.waiting = None

    def latest(self) -> np.ndarray:
        """Result of the rows so far.

        Raises:
            ExportError: if there are none

        """
        if not self.count - (self.waiting is not None):
            raise ExportError(
                f"signal must be longer, got no row for {self.name} yet: push more "
                "samples"
            )
        return self.sums.result()

    def flush(self, new: Sequence[np.ndarray]) -> np.ndarray:
        """Result of all rows and the new ones, which are not added."""
        self.settle()
        sums = copy.deepcopy(self.sums)
        rows = rows_together(self.inputs, new, self.count)
        if rows[0].shape[self.inputs[0].axis]:
            sums.push(*rows)
        return sums.result()


def _computation(
    reference: ReferenceModel, operator: Operator
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda values: reference.apply(
        operator, dict(zip(operator.inputs, values, strict=True))
    )
