"""Signal to int8 log-mel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..front_end import log_mel
from ..front_end.constants import FrontEnd
from ..front_end.reading import read_front_end
from ..scales import Scales
from .base import Operator

if TYPE_CHECKING:
    from ..reading import Reading


@dataclass(frozen=True, eq=False)
class LogMel(Operator):
    """Signal to int8 log-mel, see :mod:`wav2small.export.integer.front_end`."""

    front_end: FrontEnd
    """Its constants."""

    @classmethod
    def read_front_end(cls, reading: Reading) -> LogMel:
        """Read the front end of a model: all up to its first QuantizeLinear."""
        first = next(
            i
            for i, node in enumerate(reading.nodes)
            if node.op_type == "QuantizeLinear"
        )
        before = reading.graph.upstream([first])
        scale, zero_point = reading.activation_parameters(first)
        constants = read_front_end(
            reading.model, reading.graph, first, scale, zero_point
        )
        node = reading.nodes[first]
        name = node.input[0]
        if len(reading.graph.consumers[name]) != 1 or name in reading.graph.outputs:
            reading.fail(first, "all that reads the log-mel")
        tensor = reading.add(node.output[0], name, scale=scale, zero_point=zero_point)
        reading.done |= before
        signal = reading.model.graph.input[0].name
        return cls((signal,), tensor.name, tuple(sorted(before)), constants)

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Compute the map of a signal."""
        (signal,) = inputs
        return log_mel.log_mel(self.front_end, signal)
