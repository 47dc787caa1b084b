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

from dataclasses import dataclass

from onnx import ModelProto

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

    def label(self, operator: Operator) -> str:
        """Name an operator by its kind and its place among that kind."""
        kind = type(operator)
        same = [entry for entry in self.operators if type(entry) is kind]
        return f"{kind.__name__} {same.index(operator) + 1}"
