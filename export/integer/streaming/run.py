"""Run an integer graph frame by frame, with the whole clip's integers.

Shape:
    samples: ``(time,)``, int16, or float where 1 is full scale
    scores: ``(scores,)``, float32

"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto

from ...base.errors import ExportError
from ..front_end import log_mel
from ..graph import IntegerGraph
from ..reader import read
from .schedule import schedule
from .stages import Stage

_HOPS = 64
"""Hops that :meth:`Stream.push` takes at once; more would need more memory."""


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

    def forget(self, seconds: float | None) -> None:
        """Let what is heard weigh less with time, from now on and after a reset.

        Args:
            seconds: time in which a weight falls to 1 / e, in whole milliseconds;
                None to forget nothing

        Raises:
            ExportError: if the time has less than 1 ms or more than 2 ** 32 - 1 ms,
                or the model has a pooling that cannot forget

        """
        for pool in self.schedule.pools:
            pool.forget(seconds, self.graph.sampling_rate)

    def push(self, samples: np.ndarray) -> None:
        """Hear samples, any number of them."""
        signal = log_mel.samples(samples)
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
            ExportError: if the signal is too short

        """
        plan = self.schedule
        rows = {plan.front.operator.output: plan.front.flush()}
        for stage in plan.stages:
            rows[stage.operator.output] = stage.flush(_of(stage, rows))
        return self._head(
            {pool.operator.output: pool.flush(_of(pool, rows)) for pool in plan.pools}
        )

    def latest_integers(self) -> np.ndarray:
        """Integers of the scores of what has been heard with its look-ahead.

        Raises:
            ExportError: if that is nothing yet

        """
        pools = self.schedule.pools
        return self._head({pool.operator.output: pool.latest() for pool in pools})

    def result(self) -> np.ndarray:
        """Scores if the signal ended here; changes nothing.

        Raises:
            ExportError: if the signal is too short

        """
        return self._scores(self.integers())

    def latest(self) -> np.ndarray:
        """Scores of what has been heard with its look-ahead; changes nothing.

        They are those of :meth:`result` but for the last moment,
        for a small part of its work.

        Raises:
            ExportError: if that is nothing yet

        """
        return self._scores(self.latest_integers())

    def _head(self, values: dict[str, np.ndarray]) -> np.ndarray:
        for operator in self.schedule.head:
            values[operator.output] = self.schedule.reference.apply(operator, values)
        return values[self.graph.output]

    def _scores(self, integers: np.ndarray) -> np.ndarray:
        output = self.graph.tensors[self.graph.output]
        centred = integers - np.int64(output.zero_point)
        return (centred * output.scale).reshape(-1).astype(np.float32)


def _of(stage: Stage, rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [rows[name] for name in stage.operator.inputs]
