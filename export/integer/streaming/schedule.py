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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from ...base.errors import ExportError
from ..graph import IntegerGraph
from ..operators.base import Operator
from ..operators.log_mel import LogMel
from ..reference import ReferenceModel
from .detector import Detector
from .line import Line
from .stages import FrontEndStage, PoolStage, RowStage, WindowStage


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

    detector: Detector | None = None
    """What knows speech from other sounds, if the model has it."""

    @property
    def obstacle(self) -> str | None:
        """Why no stream gives what the whole clip gives, None if one does."""
        if self.front.constants.power_floor is None:
            return None
        return (
            "normalises each signal by the mean and power of all of it, "
            "which are not known before it ends"
        )

    @property
    def min_frames(self) -> int:
        """Fewest frames that give a result."""
        frames = 1
        while not all(line.pace.length(frames) > 0 for line in self.lines.values()):
            frames += 1
        return frames

    @property
    def endless(self) -> bool:
        """Whether a stream may go on for ever."""
        counting = any(pool.operator.COUNTS_ROWS for pool in self.pools)
        return self.obstacle is None and not counting


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
        front = self._stages()
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
            self._detector(),
        )

    def _stages(self) -> FrontEndStage:
        """Enter all operators; return the front end."""
        first, *rest = self.model.operators
        assert isinstance(first, LogMel)
        name = self.model.label(first)
        front = FrontEndStage(name, first, self.model.tensors[first.output])
        self.hop_length = front.constants.hop_length
        self.lines[first.output] = front.output
        for operator in rest:
            self._add(operator)
        return front

    def _detector(self) -> Detector | None:
        graph = self.model.detector
        if graph is None:
            return None
        own = _Scheduler(graph)
        front = own._stages()
        if graph.output not in own.lines:
            raise ExportError(
                "detector of speech must say something of each row, got one that "
                "pools: train it again"
            )
        output = own.lines[graph.output]
        stages = tuple(own.stages)
        return Detector(graph, stages, front.output, output, self.hop_length)

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
        window = operator.window(lines[0].tensor.zero_point)
        if window is not None:
            if time != 2:
                self._fail(name, f"with time on axis {time} of its map and not 2")
            stage = WindowStage(name, operator, window, lines[0], self.reference)
        elif operator.pools(time):
            pool = PoolStage(name, operator, lines, self.reference, self.hop_length)
            self.pools.append(pool)
            self.whole[operator.output] = name
            return
        else:
            axis = operator.time_axis(lines[0].shape, time)
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
