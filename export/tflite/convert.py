"""Integer graph to a TFLite file, for runtimes that take nothing else.

The convolutions keep the integers of
:class:`wav2small.export.integer.graph.IntegerGraph`:
weights, biases, scales and zero points are the same.
What it holds in int32 has no counterpart in TFLite's kernels and becomes

* int16 as long as there is an axis of time:
  weights of 8 bits, activations of 16, softmax and weighted sum of 16
* float32 after the pooling, where a few hundred numbers are left

Every operator is one that TensorFlow Lite Micro has a kernel for.
The scores are not bit for bit those of :mod:`wav2small.export.integer.reference`:
the head has 16 bits where that has 30, and each runtime rounds in its own way,
some of them twice, which is off by one step in a few of a thousand integers.

The log-mel front end is not part of the file:
its int8 map is the input, see :func:`wav2small.export.integer.front_end.log_mel`.

Shape:
    input ``log_mel``: ``(1, frames, mels, 1)``, int8
    output ``logits``: ``(1, 3)``, float32
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Any, Literal

import numpy as np

from .base.errors import ExportError
from .integer.graph import IntegerGraph
from .integer.operators.base import Operator
from .integer.operators.concat import Concat
from .integer.operators.convolution import Convolution
from .integer.operators.linear import Linear
from .integer.operators.log_mel import LogMel
from .integer.operators.matrix_product import MatrixProduct
from .integer.operators.max_pool import MaxPool
from .integer.operators.reshape import Reshape
from .integer.operators.softmax_pool import SoftmaxPool
from .integer.operators.sum import Sum
from .integer.operators.transpose import Transpose

DType = Literal["int8", "int16", "int32", "int64", "float32"]

_VERSIONS: dict[str, dict[DType, int]] = {
    "ADD": {"int8": 2},
    "BATCH_MATMUL": {"int16": 3, "float32": 1},
    "CONCATENATION": {"float32": 1},
    "CONV_2D": {"int8": 3, "int16": 4},
    "DEPTHWISE_CONV_2D": {"int8": 3, "int16": 5},
    "DEQUANTIZE": {"int8": 2, "int16": 3},
    "FULLY_CONNECTED": {"float32": 1},
    "MAX_POOL_2D": {"int8": 2},
    "PAD": {"int8": 2, "int16": 3},
    "PADV2": {"int8": 2},
    "QUANTIZE": {"int8": 2},
    "RESHAPE": {"int8": 1, "int16": 1, "float32": 1},
    "SOFTMAX": {"int16": 3},
    "TRANSPOSE": {"int8": 2, "int16": 5, "float32": 1},
}
"""Operators that are written, and the version that has the type of the input;
source: tensorflow/lite/tools/versioning/op_version.cc."""

_ALIGNMENT = 16
"""Bytes that constants are aligned to, for loads of whole vectors."""

_SOFTMAX_SCALE = 1 / 2**15
"""Step of a softmax in 16 bits, fixed by its kernel."""


def write_tflite(
    integer_graph: IntegerGraph,
    frames: int,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Write an integer graph as a TFLite file for maps of one length.

    The runtime holds whole maps, so its memory grows with the frames;
    code that keeps a few rows of each map needs a constant amount.
    A softmax in steps of ``2 ** -15`` is fine for signals of some seconds
    and gets coarse where each frame's weight is but a few of them.

    The same arguments give the same bytes.

    Args:
        integer_graph: graph of an exported model
        frames: length of the log-mel map in frames, see :func:`count_frames`
        metadata: what the file shall say of itself,
            for instance labels, sampling rate, licence;
            each entry is a text in UTF-8 under its name

    Returns:
        the file

    Raises:
        ExportError: if the package tflite is not installed,
            the frames are too few for the network,
            an operator has no counterpart,
            or the metadata is not text

    """
    try:
        import flatbuffers  # noqa: F401
        import tflite  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "tflite must be installed to write a TFLite file, got none: "
            "pip install 'wav2small[tflite]'"
        ) from error
    if frames < 1:
        raise ExportError(
            f"frames must be at least 1, got {frames}: take those of a signal"
        )
    entries = dict(sorted((metadata or {}).items()))
    for key, value in entries.items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ExportError(
                f"metadata must map text to text, got {value!r} for {key!r}: "
                "write it as text"
            )
    model = _Converter(integer_graph, frames).convert()
    return _serialise(model, entries)


def count_frames(integer_graph: IntegerGraph, samples: int) -> int:
    """Count the frames of the log-mel map of a signal.

    Args:
        integer_graph: graph of an exported model
        samples: length of the signal

    Returns:
        frames, 0 if the signal is shorter than a window

    """
    (front_end,) = (
        operator.front_end
        for operator in integer_graph.operators
        if isinstance(operator, LogMel)
    )
    rest = samples + sum(front_end.padding) - front_end.window_length
    return max(0, rest // front_end.hop_length + 1)


# -- what a file holds -----------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Tensor:
    name: str
    dtype: DType
    shape: tuple[int, ...]
    scale: np.ndarray | None = None  # one, or one for each channel
    zero_point: int = 0
    channel_axis: int = 0
    data: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Operation:
    code: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: str
    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Model:
    tensors: list[_Tensor]
    operations: list[_Operation]
    input: int
    output: int


@dataclass(frozen=True)
class _Value:
    """A tensor of the integer graph and how the file holds it.

    Changes of shape and of the order of axes wait here
    until an operator cannot do without them: most never happen.
    """

    tensor: int
    shape: tuple[int, ...]  # a view of the tensor, elements in the same order
    axes: tuple[int | None, ...]  # axis in the ONNX of each, None for one of length 1

    @property
    def logical(self) -> tuple[int, ...]:
        """Shape in the ONNX."""
        sizes = dict(zip(self.axes, self.shape, strict=True))
        return tuple(sizes[axis] for axis in range(len(sizes) - (None in sizes)))


_NHWC = (0, 2, 3, 1)


class _Converter:
    def __init__(self, integer_graph: IntegerGraph, frames: int) -> None:
        self.graph = integer_graph
        self.frames = frames
        self.tensors: list[_Tensor] = []
        self.operations: list[_Operation] = []
        self.values: dict[str, _Value] = {}
        self.made: dict[tuple[Any, ...], int] = {}

    def convert(self) -> _Model:
        for operator in self.graph.operators:
            self.values[operator.output] = self._convert(operator)
        value = self._as_type(self.values[self.graph.output], "float32")
        value = self._arrange(value, tuple(range(len(value.logical))))
        return _Model(self.tensors, self.operations, 0, self._store(value))

    # -- helpers ---------------------------------------------------------

    def _fail(self, operator: Operator, expected: str) -> ExportError:
        nodes = self.graph.model.graph.node
        kinds = {nodes[index].op_type for index in operator.nodes}
        kinds -= {"DequantizeLinear", "QuantizeLinear"}
        return ExportError(
            f"operator must be {expected}, got {self.graph.label(operator)} "
            f"({', '.join(sorted(kinds))}): take the ONNX or the C of this model"
        )

    def _add(self, name: str, dtype: DType, shape: Sequence[int], **rest: Any) -> int:
        self.tensors.append(_Tensor(name, dtype, tuple(shape), **rest))
        return len(self.tensors) - 1

    def _constant(self, name: str, array: np.ndarray, dtype: DType, **rest: Any) -> int:
        data = np.ascontiguousarray(array, dtype)
        return self._add(name, dtype, data.shape, data=data, **rest)

    def _emit(
        self, code: str, inputs: Sequence[int], output: int, options: str, **fields: Any
    ) -> int:
        version = _VERSIONS[code][self.tensors[inputs[0]].dtype]
        self.operations.append(
            _Operation(code, version, tuple(inputs), output, options, fields)
        )
        return output

    def _dtype(self, value: _Value) -> DType:
        return self.tensors[value.tensor].dtype

    def _like(self, tensor: int, suffix: str, shape: Sequence[int]) -> int:
        """Tensor of the same type and scale."""
        old = self.tensors[tensor]
        return self._add(
            f"{old.name}/{suffix}",
            old.dtype,
            shape,
            scale=old.scale,
            zero_point=old.zero_point,
        )

    def _store(self, value: _Value) -> int:
        """Tensor of the shape of the view."""
        if self.tensors[value.tensor].shape == value.shape:
            return value.tensor
        key = ("RESHAPE", value.tensor, value.shape)
        if key not in self.made:
            output = self._like(value.tensor, "view", value.shape)
            shape = self._constant(
                f"{self.tensors[output].name}/shape", np.array(value.shape), "int32"
            )
            self.made[key] = self._emit(
                "RESHAPE",
                (value.tensor, shape),
                output,
                "ReshapeOptions",
                NewShape=value.shape,
            )
        return self.made[key]

    def _arrange(self, value: _Value, axes: tuple[int | None, ...]) -> _Value:
        """Bring the axes into an order; None puts one of length 1."""
        wanted = [axis for axis in axes if axis is not None]
        sizes = dict(zip(value.axes, value.shape, strict=True))
        shape = tuple(1 if axis is None else sizes[axis] for axis in axes)
        if wanted == [axis for axis in value.axes if axis is not None]:
            return _Value(value.tensor, shape, axes)
        source = value.axes
        if source.count(None) != axes.count(None):
            source = tuple(axis for axis in source if axis is not None)
            source += (None,) * axes.count(None)
            value = self._arrange(value, source)
        free = [place for place, axis in enumerate(source) if axis is None]
        order = [free.pop(0) if axis is None else source.index(axis) for axis in axes]
        tensor = self._store(value)
        key = ("TRANSPOSE", tensor, tuple(order))
        if key not in self.made:
            output = self._like(tensor, "turned", shape)
            permutation = self._constant(
                f"{self.tensors[output].name}/axes", np.array(order), "int32"
            )
            self.made[key] = self._emit(
                "TRANSPOSE", (tensor, permutation), output, "TransposeOptions"
            )
        return _Value(self.made[key], shape, axes)

    def _as_type(self, value: _Value, dtype: Literal["int16", "float32"]) -> _Value:
        """Same numbers with more bits."""
        old = self.tensors[value.tensor]
        if old.dtype == dtype:
            return value
        tensor = self._store(value)
        key = (dtype, tensor)
        if key not in self.made:
            name = f"{old.name}/{dtype}"
            if dtype == "int16":
                output = self._add(name, dtype, value.shape, scale=old.scale)
                self._emit("QUANTIZE", (tensor,), output, "QuantizeOptions")
            else:
                output = self._add(name, dtype, value.shape)
                self._emit("DEQUANTIZE", (tensor,), output, "DequantizeOptions")
            self.made[key] = output
        return _Value(self.made[key], value.shape, value.axes)

    def _result(
        self, operator: Operator, dtype: DType, shape: Sequence[int], suffix: str = ""
    ) -> int:
        """Tensor that an operator makes, with the scale that the graph gives it."""
        target = self.graph.tensors[operator.output]
        if dtype == "float32":
            return self._add(target.name + suffix, dtype, shape)
        if dtype == "int16":
            scale = np.array([max(target.bound, 1e-30) / (2**15 - 1)])
            return self._add(target.name + suffix, dtype, shape, scale=scale)
        return self._add(
            target.name + suffix,
            dtype,
            shape,
            scale=np.array([target.scale]),
            zero_point=target.zero_point,
        )

    def _float_inputs(self, operator: Operator) -> list[_Value]:
        """Inputs of an operator that is only done in float."""
        values = [self.values[name] for name in operator.inputs]
        target = self.graph.tensors[operator.output]
        if target.dtype != "int32" or {self._dtype(v) for v in values} != {"float32"}:
            raise self._fail(operator, "one that stands after the pooling")
        return values

    # -- operators -------------------------------------------------------

    @singledispatchmethod
    def _convert(self, operator: Operator) -> _Value:
        raise self._fail(operator, "one that the kernels of TFLite Micro can express")

    @_convert.register
    def _(self, operator: LogMel) -> _Value:
        shape = (1, self.frames, len(operator.front_end.mel), 1)
        target = self.graph.tensors[operator.output]
        scale = np.array([target.scale])
        tensor = self._add(
            "log_mel", "int8", shape, scale=scale, zero_point=target.zero_point
        )
        return _Value(tensor, shape, _NHWC)

    @_convert.register
    def _(self, operator: Convolution) -> _Value:
        value = self._arrange(self.values[operator.inputs[0]], _NHWC)
        outputs, inputs, *kernel = operator.weight.shape
        depthwise = operator.groups > 1
        if depthwise and (operator.groups != value.shape[3] or inputs != 1):
            raise self._fail(operator, "a convolution of one group or a depthwise one")
        reach = [
            step * (taps - 1) + 1
            for step, taps in zip(operator.dilations, kernel, strict=True)
        ]
        value, padding, (height, width) = self._bordered(operator, value, reach, None)
        weight = operator.weight.transpose(1, 2, 3, 0)
        if not depthwise:
            weight = operator.weight.transpose(0, 2, 3, 1)
        return self._layer(
            operator,
            value,
            weight,
            _Value(-1, (1, height, width, outputs), _NHWC),
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            Padding=padding,
            StrideH=operator.strides[0],
            StrideW=operator.strides[1],
            DilationHFactor=operator.dilations[0],
            DilationWFactor=operator.dilations[1],
        )

    @_convert.register
    def _(self, operator: Linear) -> _Value:
        value = self.values[operator.inputs[0]]
        rank = len(value.logical)
        if self._dtype(value) == "float32":
            return self._float_linear(operator)
        if rank not in (2, 3):
            raise self._fail(operator, "a product of a matrix with one or many rows")
        # A convolution with a kernel of 1 has a scale for each output
        # everywhere; FULLY_CONNECTED has it in the newest kernels alone.
        axes = (0, 1, None, 2) if rank == 3 else (0, None, None, 1)
        value = self._arrange(value, axes)
        return self._layer(
            operator,
            value,
            operator.weight[:, None, None, :],
            _Value(-1, (*value.shape[:3], len(operator.weight)), axes),
            "CONV_2D",
            Padding="VALID",
            StrideH=1,
            StrideW=1,
            DilationHFactor=1,
            DilationWFactor=1,
        )

    def _layer(
        self,
        operator: Convolution | Linear,
        value: _Value,
        weight: np.ndarray,
        result: _Value,
        code: str,
        **fields: Any,
    ) -> _Value:
        """Convolution of 8 bits by 8, or of 16 by 8 for more than 8 bits after."""
        source = self.graph.tensors[operator.inputs[0]]
        target = self.graph.tensors[operator.output]
        dtype: DType = "int8" if target.dtype == "int8" else "int16"
        if self._dtype(value) != "int8":
            raise self._fail(operator, "a layer of an int8 map")
        if dtype == "int16":
            value = self._as_type(value, "int16")
        scale = self._weight_scale(operator)
        step = np.float64(np.float32(source.scale)) * scale
        bias = operator.bias
        if dtype == "int16":
            bias = np.rint(bias * target.scale / step).astype(np.int64)
        channel_axis = 3 if code == "DEPTHWISE_CONV_2D" else 0
        output = self._result(operator, dtype, result.shape)
        options = {
            "CONV_2D": "Conv2DOptions",
            "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        }[code]
        if code == "DEPTHWISE_CONV_2D":
            fields["DepthMultiplier"] = weight.shape[3] // value.shape[3]
        self._emit(
            code,
            (
                self._store(value),
                self._constant(
                    f"{target.name}/weight",
                    weight,
                    "int8",
                    scale=scale,
                    channel_axis=channel_axis,
                ),
                self._constant(
                    f"{target.name}/bias",
                    bias,
                    "int32" if dtype == "int8" else "int64",
                    scale=step,
                ),
            ),
            output,
            options,
            **fields,
        )
        return _Value(output, result.shape, result.axes)

    def _weight_scale(self, operator: Convolution | Linear) -> np.ndarray:
        """Scale of each output's weights, float32."""
        source = self.graph.tensors[operator.inputs[0]]
        target = self.graph.tensors[operator.output]
        factor = operator.rescale.factor.astype(np.float64) * target.scale
        scale = np.float32(factor / source.scale)
        return np.broadcast_to(scale, len(operator.weight))

    def _float_linear(self, operator: Linear) -> _Value:
        (value,) = self._float_inputs(operator)
        target = self.graph.tensors[operator.output]
        order = tuple(range(len(value.logical)))
        value = self._arrange(value, order)
        outputs, inputs = operator.weight.shape
        rows = math.prod(value.shape) // inputs
        weight = operator.weight * self._weight_scale(operator)[:, None]
        output = self._emit(
            "FULLY_CONNECTED",
            (
                self._store(_Value(value.tensor, (rows, inputs), (0, 1))),
                self._constant(f"{target.name}/weight", weight, "float32"),
                self._constant(
                    f"{target.name}/bias", operator.bias * target.scale, "float32"
                ),
            ),
            self._result(operator, "float32", (rows, outputs)),
            "FullyConnectedOptions",
        )
        return _Value(output, (*value.shape[:-1], outputs), order)

    @_convert.register
    def _(self, operator: MaxPool) -> _Value:
        value = self._arrange(self.values[operator.inputs[0]], _NHWC)
        value, padding, (height, width) = self._bordered(
            operator, value, operator.kernel, -128
        )
        shape = (1, height, width, value.shape[3])
        output = self._emit(
            "MAX_POOL_2D",
            (self._store(value),),
            self._result(operator, "int8", shape),
            "Pool2DOptions",
            Padding=padding,
            StrideH=operator.strides[0],
            StrideW=operator.strides[1],
            FilterHeight=operator.kernel[0],
            FilterWidth=operator.kernel[1],
        )
        return _Value(output, shape, _NHWC)

    def _bordered(
        self,
        operator: Convolution | MaxPool,
        value: _Value,
        kernel: Sequence[int],
        border: int | None,
    ) -> tuple[_Value, str, tuple[int, int]]:
        """Map with the border that TFLite's paddings do not give, and theirs.

        A border of None is the zero point.
        """
        before = operator.pads[:2]
        needed, same, sizes = [], [], []
        for axis in range(2):
            size = value.shape[1 + axis]
            reach = size + operator.pads[axis] + operator.pads[2 + axis]
            count = (reach - kernel[axis]) // operator.strides[axis] + 1
            if count < 1:
                raise ExportError(
                    f"map must be at least {tuple(kernel)}, got {value.shape[1:3]} "
                    f"at {self.graph.label(operator)}: take more frames"
                )
            read = (count - 1) * operator.strides[axis] + kernel[axis]
            # what is read of the border after, the rest need not be there
            needed.append(max(0, read - before[axis] - size))
            same.append(
                count == math.ceil(size / operator.strides[axis])
                and before[axis] == max(0, read - size) // 2
            )
            sizes.append(count)
        result = sizes[0], sizes[1]
        if not any((*before, *needed)):
            return value, "VALID", result
        if all(same):
            return value, "SAME", result
        shape = (
            1,
            *(value.shape[1 + i] + before[i] + needed[i] for i in range(2)),
            value.shape[3],
        )
        source = self._store(value)
        output = self._like(source, "padded", shape)
        name = self.tensors[output].name
        pairs = [(0, 0), (before[0], needed[0]), (before[1], needed[1]), (0, 0)]
        inputs = [source, self._constant(f"{name}/pads", np.array(pairs), "int32")]
        zero_point = self.tensors[source].zero_point
        if border is None or border == zero_point:
            self._emit("PAD", inputs, output, "PadOptions")
        else:
            constant = self._constant(
                f"{name}/border",
                np.array([border]),
                "int8",
                scale=self.tensors[source].scale,
                zero_point=zero_point,
            )
            self._emit("PADV2", (*inputs, constant), output, "PadV2Options")
        return _Value(output, shape, value.axes), "VALID", result

    @_convert.register
    def _(self, operator: Sum) -> _Value:
        left, right = (self.values[name] for name in operator.inputs)
        dtypes = {self._dtype(left), self._dtype(right)}
        target = self.graph.tensors[operator.output]
        if {*dtypes, target.dtype} != {"int8"} or left.logical != right.logical:
            raise self._fail(operator, "a sum of two int8 maps of one shape")
        right = self._arrange(right, left.axes)
        output = self._emit(
            "ADD",
            (self._store(left), self._store(right)),
            self._result(operator, "int8", left.shape),
            "AddOptions",
        )
        return _Value(output, left.shape, left.axes)

    @_convert.register
    def _(self, operator: Transpose) -> _Value:
        value = self.values[operator.inputs[0]]
        axes = tuple(
            None if axis is None else operator.axes.index(axis) for axis in value.axes
        )
        return _Value(value.tensor, value.shape, axes)

    @_convert.register
    def _(self, operator: Reshape) -> _Value:
        value = self.values[operator.inputs[0]]
        old = value.logical
        value = self._arrange(value, tuple(range(len(old))))
        shape = [size or old[axis] for axis, size in enumerate(operator.shape)]
        if -1 in shape:
            shape[shape.index(-1)] = math.prod(old) // -math.prod(shape)
        return _Value(value.tensor, tuple(shape), tuple(range(len(shape))))

    @_convert.register
    def _(self, operator: SoftmaxPool) -> _Value:
        # A product of value and weight in 16 bits would round to nothing,
        # for a weight is about 1 / frames: BATCH_MATMUL adds them up in 64.
        value, score = (
            self._time_last(operator, self.values[name]) for name in operator.inputs
        )
        if {self._dtype(value), self._dtype(score)} != {"int16"}:
            raise self._fail(operator, "a pooling of what a layer of int8 makes")
        name = self.graph.tensors[operator.output].name
        weight = self._add(
            f"{name}/softmax",
            "int16",
            score.shape,
            scale=np.array([_SOFTMAX_SCALE]),
        )
        self._emit("SOFTMAX", (self._store(score),), weight, "SoftmaxOptions", Beta=1.0)
        rows = value.shape[1]
        pooled = self._add(
            f"{name}/int16",
            "int16",
            (1, rows, 1, 1),
            scale=self.tensors[value.tensor].scale,
        )
        self._emit(
            "BATCH_MATMUL",
            (self._store(value), weight),
            pooled,
            "BatchMatMulOptions",
            AdjX=False,
            AdjY=True,
        )
        old = self.values[operator.inputs[0]].logical
        shape = tuple(size for axis, size in enumerate(old) if axis != operator.axis)
        result = self._result(operator, "float32", (1, rows, 1, 1))
        self._emit("DEQUANTIZE", (pooled,), result, "DequantizeOptions")
        return _Value(result, shape, tuple(range(len(shape))))

    def _time_last(self, operator: SoftmaxPool, value: _Value) -> _Value:
        """View ``(1, rows, 1, frames)``."""
        time = operator.axis
        rest = [axis for axis in range(len(value.logical)) if axis != time]
        axes = (*rest, None, time) if None in value.axes else (*rest, time)
        value = self._arrange(value, axes)
        frames = value.shape[-1]
        shape = (1, math.prod(value.shape) // frames, 1, frames)
        return _Value(value.tensor, shape, (0, 1, None, 2))

    @_convert.register
    def _(self, operator: MatrixProduct) -> _Value:
        left, right = self._float_inputs(operator)
        rank = len(left.logical)
        order = tuple(range(rank))
        left = self._arrange(left, order)
        # the second one the other way round, as the kernels want it
        right = self._arrange(right, (*order[:-2], order[-1], order[-2]))
        shape = (*left.shape[:-1], right.shape[-2])
        output = self._emit(
            "BATCH_MATMUL",
            (self._store(left), self._store(right)),
            self._result(operator, "float32", shape),
            "BatchMatMulOptions",
            AdjX=False,
            AdjY=True,
        )
        return _Value(output, shape, order)

    @_convert.register
    def _(self, operator: Concat) -> _Value:
        values = self._float_inputs(operator)
        order = tuple(range(len(values[0].logical)))
        values = [self._arrange(value, order) for value in values]
        shape = list(values[0].shape)
        shape[operator.axis] = sum(value.shape[operator.axis] for value in values)
        output = self._emit(
            "CONCATENATION",
            [self._store(value) for value in values],
            self._result(operator, "float32", shape),
            "ConcatenationOptions",
            Axis=operator.axis,
        )
        return _Value(output, tuple(shape), order)


# -- bytes -----------------------------------------------------------------


def _serialise(model: _Model, metadata: Mapping[str, str]) -> bytes:
    """Write the flatbuffer of a model."""
    import flatbuffers
    import tflite

    builder = flatbuffers.Builder(1024)

    def table(kind: str, **fields: Any) -> int:
        getattr(tflite, f"{kind}Start")(builder)
        for field, value in fields.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{field}")(builder, value)
        return int(getattr(tflite, f"{kind}End")(builder))

    def vector(data: np.ndarray, alignment: int = 0) -> int:
        size = data.dtype.itemsize
        raw = _little_endian(data)
        builder.StartVector(size, data.size, alignment or size)
        builder.head -= len(raw)
        builder.Bytes[builder.head : builder.head + len(raw)] = raw
        return int(builder.EndVector())

    def offsets(entries: Sequence[int]) -> int:
        builder.StartVector(4, len(entries), 4)
        for entry in reversed(entries):
            builder.PrependUOffsetTRelative(entry)
        return int(builder.EndVector())

    contents = [b""]  # the first one is that of all tensors without constants
    places: list[int] = []
    for tensor in model.tensors:
        content = b"" if tensor.data is None else _little_endian(tensor.data)
        if content not in contents:
            contents.append(content)
        places.append(contents.index(content))
    names = []
    for key, text in metadata.items():
        names.append((key, len(contents)))
        contents.append(text.encode())

    buffers = []
    for content in contents:
        data = np.frombuffer(content, np.uint8)
        buffers.append(
            table("Buffer", Data=vector(data, _ALIGNMENT) if content else None)
        )

    tensors = []
    for tensor, place in zip(model.tensors, places, strict=True):
        quantization = None
        if tensor.scale is not None:
            scale = np.asarray(tensor.scale, np.float32)
            quantization = table(
                "QuantizationParameters",
                Scale=vector(scale),
                ZeroPoint=vector(np.full(scale.size, tensor.zero_point, np.int64)),
                QuantizedDimension=tensor.channel_axis,
            )
        tensors.append(
            table(
                "Tensor",
                Name=builder.CreateString(tensor.name),
                Type=getattr(tflite.TensorType, tensor.dtype.upper()),
                Shape=vector(np.array(tensor.shape, np.int32)),
                Buffer=place,
                Quantization=quantization,
            )
        )

    codes: list[tuple[str, int]] = []
    operators = []
    for operation in model.operations:
        if (operation.code, operation.version) not in codes:
            codes.append((operation.code, operation.version))
        fields = dict(operation.fields)
        if "Padding" in fields:
            fields["Padding"] = getattr(tflite.Padding, fields["Padding"])
        if "NewShape" in fields:
            fields["NewShape"] = vector(np.array(fields["NewShape"], np.int32))
        operators.append(
            table(
                "Operator",
                Inputs=vector(np.array(operation.inputs, np.int32)),
                Outputs=vector(np.array([operation.output], np.int32)),
                BuiltinOptions=table(operation.options, **fields),
                OpcodeIndex=codes.index((operation.code, operation.version)),
                BuiltinOptionsType=getattr(tflite.BuiltinOptions, operation.options),
            )
        )

    def code_table(name: str, version: int) -> int:
        number = getattr(tflite.BuiltinOperator, name)
        return table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, 127),
            Version=version,
            BuiltinCode=number,
        )

    subgraph = table(
        "SubGraph",
        Name=builder.CreateString("main"),
        Tensors=offsets(tensors),
        Inputs=vector(np.array([model.input], np.int32)),
        Outputs=vector(np.array([model.output], np.int32)),
        Operators=offsets(operators),
    )
    entries = [
        table("Metadata", Name=builder.CreateString(name), Buffer=place)
        for name, place in names
    ]
    root = table(
        "Model",
        Version=3,
        OperatorCodes=offsets([code_table(*code) for code in codes]),
        Subgraphs=offsets([subgraph]),
        Buffers=offsets(buffers),
        Metadata=offsets(entries) if entries else None,
    )
    builder.Finish(root, b"TFL3")
    return bytes(builder.Output())


def _little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
