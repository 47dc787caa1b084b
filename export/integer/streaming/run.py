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
from ...base.outputs import CATEGORIES, DOUBT
from ...model.further import category_names
from ..front_end import log_mel
from ..further import PART_BITS, SHARE_BITS, doubts, shares
from ..graph import IntegerGraph
from ..reader import read
from ..resampling import Resampler
from ..tensor import Tensor
from .detector import Detector
from .schedule import schedule
from .stages import Stage

_HOPS = 64
"""Hops that :meth:`Stream.push` takes at once; more would need more memory."""


class Stream:
    """A model that hears a signal piece by piece.

    Shape:
        samples: ``(time,)``, int16, or float where 1 is full scale
        scores: ``(scores,)``, float32

    Args:
        source: exported int8 model
        input_rate: sampling rate of the samples, one of
            :data:`wav2small.export.integer.resampling.RATES`; None for the model's own

    Raises:
        ExportError: if the model cannot be computed frame by frame
        InputError: if the rate is another one

    """

    def __init__(
        self,
        source: IntegerGraph | ModelProto | bytes | str | Path,
        *,
        input_rate: int | None = None,
    ) -> None:
        model = source if isinstance(source, IntegerGraph) else read(source)
        self.schedule = schedule(model)
        if self.schedule.obstacle:
            raise ExportError(
                "model must need the past alone to stream, got one that "
                f"{self.schedule.obstacle}: choose a model that streams, "
                "like wav2small-rt"
            )
        self.graph = model
        self._resampler = (
            Resampler(input_rate, model.sampling_rate) if input_rate else None
        )
        self._detector: Detector | None = None
        self._covered = False

    def reset(self) -> None:
        """Begin a new signal."""
        self.schedule.front.reset()
        for line in self.schedule.lines.values():
            line.reset()
        for pool in self.schedule.pools:
            pool.reset()
        if self._resampler is not None:
            self._resampler.reset()
        if self._detector is not None:
            self._detector.reset()

    def listen(self, *, speech_alone: bool) -> None:
        """Let scores learn from speech alone, or from all that is heard.

        The layers get the rows of speech one after the other, as if nothing were
        between them; scores stay as they are meanwhile.
        Without a call a stream hears all.

        Args:
            speech_alone: whether it is from speech alone, from the next frame on;
                the detector begins anew

        Raises:
            ExportError: if the model has no detector of speech

        """
        if speech_alone and self.schedule.detector is None:
            raise ExportError(
                "model must have the output 'speech' to listen to speech alone, got "
                f"'{self.graph.output}' alone: choose wav2small-rt or -rt-mini"
            )
        self._detector = self.schedule.detector if speech_alone else None
        if self._detector is not None:
            self._detector.reset()

    def cover(self, covered: bool) -> None:
        """Say that what follows is not to be heard, the wearer's own voice for one.

        A frame with a covered sample in it is left out as if it had never been:
        no level, detector or layer knows of it.
        A reset does not change it.

        Args:
            covered: whether the next samples are

        """
        self._covered = covered

    @property
    def speech(self) -> float | None:
        """Log-odds that the last row of the detector is speech.

        None if there is none yet, or all is heard.
        """
        detector = self._detector
        if detector is None or detector.odds is None:
            return None
        return (detector.odds - detector.tensor.zero_point) * detector.tensor.scale

    @property
    def hears_speech(self) -> bool:
        """Whether scores learn from what is heard now."""
        return self._detector is None or self._detector.left > 0

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
        if self._resampler is not None:
            signal = log_mel.samples(self._resampler.push(signal))
        step = _HOPS * self.schedule.front.constants.hop_length
        for start in range(0, len(signal), step):
            self._push(signal[start : start + step])

    def _push(self, samples: np.ndarray) -> None:
        plan = self.schedule
        row = plan.front.push(samples, self._detector, covered=self._covered)
        if plan.front.last_heard is not None:
            self._settle()
        if not row.size:
            return
        rows = {plan.front.operator.output: row}
        for stage in plan.stages:
            rows[stage.operator.output] = stage.push(_of(stage, rows))
        frames = plan.front.output.known(row)
        for pool in plan.pools:
            pool.push(_of(pool, rows), frames)
        if not plan.front.last_heard:
            self._settle()
        for name, line in plan.lines.items():
            line.push(rows[name])

    def _settle(self) -> None:
        """Add the row of the frame before to the pools, as a new frame is there."""
        for pool in self.schedule.pools:
            pool.settle()

    def integers(self) -> np.ndarray:
        """Integers of the scores if the signal ended here, which may go on after it.

        Raises:
            ExportError: if the signal is too short

        """
        plan = self.schedule
        rows = {plan.front.operator.output: plan.front.flush(self._detector)}
        for stage in plan.stages:
            rows[stage.operator.output] = stage.flush(_of(stage, rows))
        return self._head(
            {pool.operator.output: pool.flush(_of(pool, rows)) for pool in plan.pools}
        )

    def latest_integers(self) -> np.ndarray:
        """Integers of the scores of what has been heard with its look-ahead.

        The last frame counts when the next one is there, or after a result.

        Raises:
            ExportError: if that is nothing yet

        """
        pools = self.schedule.pools
        return self._head({pool.operator.output: pool.latest() for pool in pools})

    def result(self) -> np.ndarray:
        """Scores if the signal ended here, which may go on after it.

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

    def latest_categories(self) -> dict[str, float]:
        """How likely each category is, of what :meth:`latest` is of.

        Raises:
            ExportError: if that is nothing yet, or the model has no categories

        """
        names = category_names(self.graph.model)
        found = shares(*self._further(CATEGORIES)) / 2**SHARE_BITS
        return dict(zip(names, found.tolist(), strict=True))

    def latest_doubts(self) -> np.ndarray:
        """How far each of the scores of :meth:`latest` may be off, a mean error.

        Raises:
            ExportError: if that is nothing yet, or the model does not say it

        """
        return (doubts(*self._further(DOUBT)) / 2**PART_BITS).astype(np.float32)

    def _further(self, name: str) -> tuple[np.ndarray, Tensor]:
        """Integers of a further output, and what they are steps of."""
        tensor = self.graph.further.get(name)
        if tensor is None:
            raise ExportError(
                f"model must have the output '{name}', got "
                f"{', '.join(self.graph.further) or 'none beside the scores'}: "
                "train it with examples/train_categories.py"
            )
        values = {pool.operator.output: pool.latest() for pool in self.schedule.pools}
        self._head(values)
        return values[tensor], self.graph.tensors[tensor]

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
