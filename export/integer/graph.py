"""Integer graph: what an exported int8 model computes, without a float in it.

An exported ONNX says with QuantizeLinear and DequantizeLinear
which tensors are integers and leaves the arithmetic between them to the runtime.
:func:`wav2small.export.integer.reader.read` turns it into operators,
each with everything that its arithmetic needs;
:mod:`wav2small.export.integer.reference` runs them,
and ``docs/arithmetic.md`` states them.

Two kinds of tensors exist:

* **int8**, with the scale and zero point that the ONNX gives them
* **int32** where the ONNX goes on in float:
  a scale that is a power of two and a zero point of 0.
  The scale follows from the largest value that the weights allow at all,
  so no input overflows one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from ..base.errors import ExportError
from ..base.escape import line
from .operators.base import Operator
from .tensor import Tensor


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """An exported model as operators on integers, in the order of execution."""

    tensors: dict[str, Tensor]
    """All tensors by name; the signal is not among them."""

    operators: tuple[Operator, ...]
    """Operators; the first makes the log-mel map."""

    output: str
    """Name of the scores."""

    model: ModelProto
    """The ONNX that it was read from, constants expanded."""

    digest: str = ""
    """SHA-256 of the ONNX file as this project writes it, 64 hexadecimal digits;
    empty for a graph that was not read."""

    detector: IntegerGraph | None = None
    """Detector of speech on the same log-mel map, None if the model has none.

    Its output is the log-odds of each of its rows."""

    part: str = ""
    """What the names of its operators begin with, where it is a part of a model."""

    further: Mapping[str, str] = field(default_factory=dict)
    """Names of the tensors of :data:`wav2small.export.base.outputs.FURTHER`,
    as far as the model has them."""

    @property
    def sampling_rate(self) -> int:
        """Samples per second, as the model states them.

        Raises:
            ExportError: if it states none that can be

        """
        metadata = {entry.key: entry.value for entry in self.model.metadata_props}
        stated = metadata.get("sampling_rate", "16000")
        if not re.fullmatch("[1-9][0-9]{2,5}", stated):
            raise ExportError(
                "metadata entry 'sampling_rate' must be a whole number of Hz, got "
                f"'{line(stated)[:40]}': export the model again"
            )
        return int(stated)

    def label(self, operator: Operator) -> str:
        """Name an operator by its kind and its place among that kind."""
        kind = type(operator)
        same = [entry for entry in self.operators if type(entry) is kind]
        return f"{self.part}{kind.__name__} {same.index(operator) + 1}"
