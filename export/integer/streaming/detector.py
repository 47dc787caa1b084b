"""Whether what is heard is speech, row by row, and which rows are heard for it.

Of every ``period`` frames the detector reads the row of the first.
Speech begins with a row whose log-odds are not below 0
and goes on for ``hold`` rows of the detector after the last of these.
What is not speech costs little: of the frames that the detector does not read
only those of speech have a row at all.
"""

from __future__ import annotations

import numpy as np

from ...base.errors import ExportError
from ..graph import IntegerGraph
from ..reference import ReferenceModel
from .line import Line
from .stages import RowStage, WindowStage

HOLD_SECONDS = 0.3
"""How long speech goes on after the last row that is like speech."""


class Detector:
    """Detector of speech on rows of the log-mel map.

    Args:
        graph: detector of a model, whose output are log-odds
        stages: its stages
        source: rows that the first one reads
        output: rows that the last one makes
        hop_length: samples from frame to frame

    Raises:
        ExportError: if it needs rows that are still to come,
            or of the log-mel map more than the newest row

    """

    def __init__(
        self,
        graph: IntegerGraph,
        stages: tuple[WindowStage | RowStage, ...],
        source: Line,
        output: Line,
        hop_length: int,
    ) -> None:
        if output.pace.delay or source.keep or np.prod(output.shape) != 1:
            raise ExportError(
                "detector of speech must make one number of the newest row and what "
                "it keeps of its own, got one that needs others: train it again"
            )
        self.graph, self.stages, self.source = graph, stages, source
        self.lines = tuple(stage.output for stage in stages)
        """Rows that it makes."""
        self.reference = ReferenceModel(graph)
        self.tensor = graph.tensors[graph.output]
        """The log-odds."""
        self.period = output.pace.period
        """Frames from one of its rows to the next."""
        seconds = self.period * hop_length / graph.sampling_rate
        self.hold = max(1, round(HOLD_SECONDS / seconds))
        """Rows that speech lasts, the one that began it included."""
        self.reset()

    def reset(self) -> None:
        """Begin with no speech."""
        self.clock = 0
        """Frames so far, up to a multiple of the period."""
        self.left = 0
        """Rows that speech still lasts."""
        self.odds: int | None = None
        """Log-odds of the last row, in steps of the output."""
        for line in (self.source, *self.lines):
            line.reset()

    @property
    def reads(self) -> bool:
        """Whether it will read the row of the next frame."""
        return self.clock == 0

    @property
    def wants(self) -> bool:
        """Whether the next frame has a row."""
        return self.reads or self.left > 0

    def hear(self, row: np.ndarray | None) -> bool:
        """Go on by a frame.

        Args:
            row: its row of the log-mel map, None if it is left out

        Returns:
            whether the row is speech

        """
        if self.reads:
            assert row is not None
            rows = {self.stages[0].operator.inputs[0]: row}
            for stage in self.stages:
                made = stage.push([rows[name] for name in stage.operator.inputs])
                rows[stage.operator.output] = made
            for stage, line in zip(self.stages, self.lines, strict=True):
                line.push(rows[stage.operator.output])
            # the rows in between are not needed
            self.source.count += self.period
            self.odds = int(rows[self.graph.output].item())
            speech = self.odds >= self.tensor.zero_point
            self.left = self.hold if speech else max(0, self.left - 1)
        self.clock = (self.clock + 1) % self.period
        return self.left > 0
