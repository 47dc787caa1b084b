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

    def push(self, samples: np.ndarray) -> None:
        """Hear samples, any number of them.

        Raises:
            ExportError: if the signal has more frames than pooling can add up

        """
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
