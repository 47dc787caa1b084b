"""Interpreter of the integer graph in NumPy: the norm of what a model computes.

Every operator says itself what it computes,
see :mod:`wav2small.export.integer.operators`;
``docs/arithmetic.md`` states it for other languages.
Code that gives the same integers is right, whatever its speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..base.errors import ExportError
from .graph import IntegerGraph
from .operators.base import Operator
from .reader import read
from .scales import Rounding, Scales


class ReferenceModel:
    """A model in integers, one signal at a time.

    Shape:
        signals: sequence of ``(time,)``, int16, or float where 1 is full scale
        scores: ``(signals, scores)``, float32

    """

    def __init__(
        self,
        source: IntegerGraph | ModelProto | bytes | str | Path,
        rounding: Rounding = "integer",
    ) -> None:
        self.graph = source if isinstance(source, IntegerGraph) else read(source)
        self.rounding: Rounding = rounding

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """Compute every tensor for a signal.

        Args:
            signal: ``(time,)``, int16, or float where 1 is full scale

        Returns:
            integers of each tensor by its name, int8 or int64

        Raises:
            ExportError: if the signal is too short or too long

        """
        front = self.graph.operators[0]
        scales = Scales([], self.graph.tensors[front.output], self.rounding)
        values = {front.output: front.compute(scales, signal)}
        for operator in self.graph.operators[1:]:
            values[operator.output] = self.apply(operator, values)
        return values

    def scales(self, operator: Operator) -> Scales:
        """Scales and rounding of an operator behind the front end."""
        tensors = self.graph.tensors
        sources = [tensors[name] for name in operator.inputs]
        return Scales(sources, tensors[operator.output], self.rounding)

    def apply(self, operator: Operator, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Compute one operator from the integers of its inputs."""
        inputs = [values[name] for name in operator.inputs]
        try:
            return operator.compute(self.scales(operator), *inputs)
        except ExportError:
            raise
        except ValueError as error:  # lengths that depend on the signal's
            shapes = ", ".join(str(value.shape) for value in inputs)
            raise ExportError(
                f"shapes must fit, got {shapes} for {self.graph.label(operator)}: "
                "give a signal of the length that the model was made for"
            ) from error

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals."""
        output = self.graph.tensors[self.graph.output]
        zero_point = np.int64(output.zero_point)
        return np.stack(
            [
                ((self.run(signal)[output.name] - zero_point) * output.scale)
                .reshape(-1)
                .astype(np.float32)
                for signal in signals
            ]
        )
