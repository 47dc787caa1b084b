"""Integer graph: what an exported int8 model computes, without a float in it.

An exported ONNX says with QuantizeLinear and DequantizeLinear
which tensors are integers and leaves the arithmetic between them to the runtime.
:func:`wav2small.export.integer.reader.read` turns it into the operators here,
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
from typing import Literal

import numpy as np
from onnx import ModelProto

from .front_end import FrontEnd
from .rescale import Rescale


@dataclass(frozen=True)
class Tensor:
    """An integer tensor: the number is ``(integer - zero_point) * scale``."""

    name: str
    """Its name in the ONNX, of the QuantizeLinear's output for int8."""

    dtype: Literal["int8", "int32"]
    """Integer type."""

    scale: float
    """Step, in the unit of the float tensor."""

    zero_point: int
    """Integer that stands for 0."""

    shape: tuple[int | str | None, ...]
    """Shape; a name or None where it depends on the signal's length."""

    bound: float
    """Largest absolute number that it can hold."""


@dataclass(frozen=True, eq=False)
class Operator:
    """What all operators have."""

    inputs: tuple[str, ...]
    """Names of the tensors that it reads."""

    output: str
    """Name of the tensor that it makes."""

    nodes: tuple[int, ...]
    """Indices of the ONNX nodes that it stands for, rescaling included."""


@dataclass(frozen=True, eq=False)
class LogMel(Operator):
    """Signal to int8 log-mel, see :mod:`wav2small.export.integer.front_end`."""

    front_end: FrontEnd
    """Its constants."""


@dataclass(frozen=True, eq=False)
class Convolution(Operator):
    """Two-dimensional convolution of an int8 map."""

    weight: np.ndarray
    """Weights ``(outputs, inputs / groups, height, width)``, int8."""

    bias: np.ndarray
    """Bias ``(outputs,)``, int64:
    added to the sum for an int8 output, to the rescaled sum for an int32 one."""

    rescale: Rescale
    """From the step of the sum to the output's, for each output channel."""

    strides: tuple[int, int]
    """Steps in both axes."""

    pads: tuple[int, int, int, int]
    """Border at top, left, bottom and right, filled with the zero point."""

    groups: int
    """Groups of channels."""

    dilations: tuple[int, int] = (1, 1)
    """Places from one tap to the next in both axes."""


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """Product of the last axis with a constant matrix."""

    weight: np.ndarray
    """Weights ``(outputs, inputs)``, int8."""

    bias: np.ndarray
    """Bias ``(outputs,)``, int64, as in :class:`Convolution`."""

    rescale: Rescale
    """From the step of the sum to the output's, for each output."""


@dataclass(frozen=True, eq=False)
class MaxPool(Operator):
    """Maximum over a window; the border never wins."""

    kernel: tuple[int, int]
    """Height and width of the window."""

    strides: tuple[int, int]
    """Steps in both axes."""

    pads: tuple[int, int, int, int]
    """Border at top, left, bottom and right."""


@dataclass(frozen=True, eq=False)
class Transpose(Operator):
    """Change of the order of axes."""

    axes: tuple[int, ...]
    """Axis of the input for each axis of the output."""


@dataclass(frozen=True, eq=False)
class Reshape(Operator):
    """Change of shape."""

    shape: tuple[int, ...]
    """New shape; 0 keeps the length of the axis, -1 takes what is left."""


@dataclass(frozen=True, eq=False)
class Table(Operator):
    """Function of one int8 number."""

    table: np.ndarray
    """Output for each of -128..127, int32."""


@dataclass(frozen=True, eq=False)
class HardSwish(Operator):
    """``x * clip(x + 3, 0, 6) / 6`` of an int32 tensor."""

    rescale: Rescale
    """From the step of ``x * clip(x + 3, 0, 6)`` to the output's."""


@dataclass(frozen=True, eq=False)
class Relu(Operator):
    """Maximum of 0 and an int32 tensor; the scale stays."""


@dataclass(frozen=True, eq=False)
class Sum(Operator):
    """Sum of two tensors; both are rescaled and the sum is rounded once."""

    multipliers: tuple[int, int]
    """Factor of each input over ``2 ** shift``."""

    shift: int
    """Bits that the sum is shifted right by."""


@dataclass(frozen=True, eq=False)
class Product(Operator):
    """Element-wise product of two tensors."""

    shifts: tuple[int, int]
    """Bits that each input is shifted right by first."""

    rescale: Rescale
    """From the product of the steps to the output's."""


@dataclass(frozen=True, eq=False)
class MatrixProduct(Operator):
    """Product of two matrices that are both computed."""

    shifts: tuple[int, int]
    """Bits that each input is shifted right by first."""

    rescale: Rescale
    """From the product of the steps to the output's."""


@dataclass(frozen=True, eq=False)
class Mean(Operator):
    """Mean over axes."""

    axes: tuple[int, ...]
    """Axes that the mean is taken over, ascending."""

    keep: bool
    """Whether they stay, with length 1."""

    fraction: int
    """Bits by which the sum is shifted left before it is divided."""

    rescale: Rescale
    """From the input's step over ``2 ** fraction`` to the output's."""


@dataclass(frozen=True, eq=False)
class SoftmaxPool(Operator):
    """Mean of the first input weighted by the softmax of the second."""

    axis: int
    """Axis of time, which goes."""

    logarithm: Rescale
    """From the step of the scores to ``2 ** -16`` in powers of two."""


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """Tensors one after the other along an axis."""

    axis: int
    """That axis."""

    shifts: tuple[int, ...]
    """Bits that each input is shifted right by."""


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
