"""Operators of the integer graph as operations of a TFLite file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np

from ..base.errors import ExportError
from ..integer.graph import IntegerGraph
from ..integer.operators.base import Operator
from ..integer.operators.concat import Concat
from ..integer.operators.convolution import Convolution
from ..integer.operators.linear import Linear
from ..integer.operators.log_mel import LogMel
from ..integer.operators.matrix_product import MatrixProduct
from ..integer.operators.max_pool import MaxPool
from ..integer.operators.reshape import Reshape
from ..integer.operators.softmax_pool import SoftmaxPool
from ..integer.operators.sum import Sum
from ..integer.operators.transpose import Transpose
from .file import Builder, DType, TfliteModel, Value

_SOFTMAX_SCALE = 1 / 2**15
"""Step of a softmax in 16 bits, fixed by its kernel."""

_NHWC = (0, 2, 3, 1)


class Converter(Builder):
    """A model that becomes a file, operator by operator."""

    def __init__(self, integer_graph: IntegerGraph, frames: int) -> None:
        super().__init__(integer_graph)
        self.frames = frames

    def convert(self) -> TfliteModel:
        """Convert all operators."""
        for operator in self.graph.operators:
            self.values[operator.output] = self._convert(operator)
        value = self.as_type(self.values[self.graph.output], "float32")
        value = self.arrange(value, tuple(range(len(value.logical))))
        return TfliteModel(self.tensors, self.operations, 0, self.store(value))

    @singledispatchmethod
    def _convert(self, operator: Operator) -> Value:
        raise self.fail(operator, "one that the kernels of TFLite Micro can express")

    @_convert.register
    def _(self, operator: LogMel) -> Value:
        shape = (1, self.frames, len(operator.front_end.mel), 1)
        target = self.graph.tensors[operator.output]
        scale = np.array([target.scale])
        tensor = self.add(
            "log_mel", "int8", shape, scale=scale, zero_point=target.zero_point
        )
        return Value(tensor, shape, _NHWC)

    @_convert.register
    def _(self, operator: Convolution) -> Value:
        value = self.arrange(self.values[operator.inputs[0]], _NHWC)
        outputs, inputs, *kernel = operator.weight.shape
        depthwise = operator.groups > 1
        if depthwise and (operator.groups != value.shape[3] or inputs != 1):
            raise self.fail(operator, "a convolution of one group or a depthwise one")
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
            Value(-1, (1, height, width, outputs), _NHWC),
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            Padding=padding,
            StrideH=operator.strides[0],
            StrideW=operator.strides[1],
            DilationHFactor=operator.dilations[0],
            DilationWFactor=operator.dilations[1],
        )

    @_convert.register
    def _(self, operator: Linear) -> Value:
        value = self.values[operator.inputs[0]]
        rank = len(value.logical)
        if self.dtype(value) == "float32":
            return self._float_linear(operator)
        if rank not in (2, 3):
            raise self.fail(operator, "a product of a matrix with one or many rows")
        # A convolution with a kernel of 1 has a scale for each output
        # everywhere; FULLY_CONNECTED has it in the newest kernels alone.
        axes = (0, 1, None, 2) if rank == 3 else (0, None, None, 1)
        value = self.arrange(value, axes)
        return self._layer(
            operator,
            value,
            operator.weight[:, None, None, :],
            Value(-1, (*value.shape[:3], len(operator.weight)), axes),
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
        value: Value,
        weight: np.ndarray,
        result: Value,
        code: str,
        **fields: Any,
    ) -> Value:
        """Convolution of 8 bits by 8, or of 16 by 8 for more than 8 bits after."""
        source = self.graph.tensors[operator.inputs[0]]
        target = self.graph.tensors[operator.output]
        dtype: DType = "int8" if target.dtype == "int8" else "int16"
        if self.dtype(value) != "int8":
            raise self.fail(operator, "a layer of an int8 map")
        if dtype == "int16":
            value = self.as_type(value, "int16")
        scale = self._weight_scale(operator)
        step = np.float64(np.float32(source.scale)) * scale
        bias = operator.bias
        if dtype == "int16":
            bias = np.rint(bias * target.scale / step).astype(np.int64)
        channel_axis = 3 if code == "DEPTHWISE_CONV_2D" else 0
        output = self.result(operator, dtype, result.shape)
        options = {
            "CONV_2D": "Conv2DOptions",
            "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
        }[code]
        if code == "DEPTHWISE_CONV_2D":
            fields["DepthMultiplier"] = weight.shape[3] // value.shape[3]
        self.emit(
            code,
            (
                self.store(value),
                self.constant(
                    f"{target.name}/weight",
                    weight,
                    "int8",
                    scale=scale,
                    channel_axis=channel_axis,
                ),
                self.constant(
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
        return Value(output, result.shape, result.axes)

    def _weight_scale(self, operator: Convolution | Linear) -> np.ndarray:
        """Scale of each output's weights, float32."""
        source = self.graph.tensors[operator.inputs[0]]
        target = self.graph.tensors[operator.output]
        factor = operator.rescale.factor.astype(np.float64) * target.scale
        scale = np.float32(factor / source.scale)
        return np.broadcast_to(scale, len(operator.weight))

    def _float_linear(self, operator: Linear) -> Value:
        (value,) = self.float_inputs(operator)
        target = self.graph.tensors[operator.output]
        order = tuple(range(len(value.logical)))
        value = self.arrange(value, order)
        outputs, inputs = operator.weight.shape
        rows = math.prod(value.shape) // inputs
        weight = operator.weight * self._weight_scale(operator)[:, None]
        output = self.emit(
            "FULLY_CONNECTED",
            (
                self.store(Value(value.tensor, (rows, inputs), (0, 1))),
                self.constant(f"{target.name}/weight", weight, "float32"),
                self.constant(
                    f"{target.name}/bias", operator.bias * target.scale, "float32"
                ),
            ),
            self.result(operator, "float32", (rows, outputs)),
            "FullyConnectedOptions",
        )
        return Value(output, (*value.shape[:-1], outputs), order)

    @_convert.register
    def _(self, operator: MaxPool) -> Value:
        value = self.arrange(self.values[operator.inputs[0]], _NHWC)
        value, padding, (height, width) = self._bordered(
            operator, value, operator.kernel, -128
        )
        shape = (1, height, width, value.shape[3])
        output = self.emit(
            "MAX_POOL_2D",
            (self.store(value),),
            self.result(operator, "int8", shape),
            "Pool2DOptions",
            Padding=padding,
            StrideH=operator.strides[0],
            StrideW=operator.strides[1],
            FilterHeight=operator.kernel[0],
            FilterWidth=operator.kernel[1],
        )
        return Value(output, shape, _NHWC)

    def _bordered(
        self,
        operator: Convolution | MaxPool,
        value: Value,
        kernel: Sequence[int],
        border: int | None,
    ) -> tuple[Value, str, tuple[int, int]]:
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
            # only the part of the lower border that is read is needed
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
        source = self.store(value)
        output = self.like(source, "padded", shape)
        name = self.tensors[output].name
        pairs = [(0, 0), (before[0], needed[0]), (before[1], needed[1]), (0, 0)]
        inputs = [source, self.constant(f"{name}/pads", np.array(pairs), "int32")]
        zero_point = self.tensors[source].zero_point
        if border is None or border == zero_point:
            self.emit("PAD", inputs, output, "PadOptions")
        else:
            constant = self.constant(
                f"{name}/border",
                np.array([border]),
                "int8",
                scale=self.tensors[source].scale,
                zero_point=zero_point,
            )
            self.emit("PADV2", (*inputs, constant), output, "PadV2Options")
        return Value(output, shape, value.axes), "VALID", result

    @_convert.register
    def _(self, operator: Sum) -> Value:
        left, right = (self.values[name] for name in operator.inputs)
        dtypes = {self.dtype(left), self.dtype(right)}
        target = self.graph.tensors[operator.output]
        if {*dtypes, target.dtype} != {"int8"} or left.logical != right.logical:
            raise self.fail(operator, "a sum of two int8 maps of one shape")
        right = self.arrange(right, left.axes)
        output = self.emit(
            "ADD",
            (self.store(left), self.store(right)),
            self.result(operator, "int8", left.shape),
            "AddOptions",
        )
        return Value(output, left.shape, left.axes)

    @_convert.register
    def _(self, operator: Transpose) -> Value:
        value = self.values[operator.inputs[0]]
        axes = tuple(
            None if axis is None else operator.axes.index(axis) for axis in value.axes
        )
        return Value(value.tensor, value.shape, axes)

    @_convert.register
    def _(self, operator: Reshape) -> Value:
        value = self.values[operator.inputs[0]]
        old = value.logical
        value = self.arrange(value, tuple(range(len(old))))
        shape = [size or old[axis] for axis, size in enumerate(operator.shape)]
        if -1 in shape:
            shape[shape.index(-1)] = math.prod(old) // -math.prod(shape)
        return Value(value.tensor, tuple(shape), tuple(range(len(shape))))

    @_convert.register
    def _(self, operator: SoftmaxPool) -> Value:
        # A product of value and weight in 16 bits would round to nothing,
        # for a weight is about 1 / frames: BATCH_MATMUL adds them up in 64.
        value, score = (
            self._time_last(operator, self.values[name]) for name in operator.inputs
        )
        if {self.dtype(value), self.dtype(score)} != {"int16"}:
            raise self.fail(operator, "a pooling of what a layer of int8 makes")
        name = self.graph.tensors[operator.output].name
        weight = self.add(
            f"{name}/softmax",
            "int16",
            score.shape,
            scale=np.array([_SOFTMAX_SCALE]),
        )
        self.emit("SOFTMAX", (self.store(score),), weight, "SoftmaxOptions", Beta=1.0)
        rows = value.shape[1]
        pooled = self.add(
            f"{name}/int16",
            "int16",
            (1, rows, 1, 1),
            scale=self.tensors[value.tensor].scale,
        )
        self.emit(
            "BATCH_MATMUL",
            (self.store(value), weight),
            pooled,
            "BatchMatMulOptions",
            AdjX=False,
            AdjY=True,
        )
        old = self.values[operator.inputs[0]].logical
        shape = tuple(size for axis, size in enumerate(old) if axis != operator.axis)
        result = self.result(operator, "float32", (1, rows, 1, 1))
        self.emit("DEQUANTIZE", (pooled,), result, "DequantizeOptions")
        return Value(result, shape, tuple(range(len(shape))))

    def _time_last(self, operator: SoftmaxPool, value: Value) -> Value:
        """View ``(1, rows, 1, frames)``."""
        time = operator.axis
        rest = [axis for axis in range(len(value.logical)) if axis != time]
        axes = (*rest, None, time) if None in value.axes else (*rest, time)
        value = self.arrange(value, axes)
        frames = value.shape[-1]
        shape = (1, math.prod(value.shape) // frames, 1, frames)
        return Value(value.tensor, shape, (0, 1, None, 2))

    @_convert.register
    def _(self, operator: MatrixProduct) -> Value:
        left, right = self.float_inputs(operator)
        rank = len(left.logical)
        order = tuple(range(rank))
        left = self.arrange(left, order)
        # the second one the other way round, as the kernels want it
        right = self.arrange(right, (*order[:-2], order[-1], order[-2]))
        shape = (*left.shape[:-1], right.shape[-2])
        output = self.emit(
            "BATCH_MATMUL",
            (self.store(left), self.store(right)),
            self.result(operator, "float32", shape),
            "BatchMatMulOptions",
            AdjX=False,
            AdjY=True,
        )
        return Value(output, shape, order)

    @_convert.register
    def _(self, operator: Concat) -> Value:
        values = self.float_inputs(operator)
        order = tuple(range(len(values[0].logical)))
        values = [self.arrange(value, order) for value in values]
        shape = list(values[0].shape)
        shape[operator.axis] = sum(value.shape[operator.axis] for value in values)
        output = self.emit(
            "CONCATENATION",
            [self.store(value) for value in values],
            self.result(operator, "float32", shape),
            "ConcatenationOptions",
            Axis=operator.axis,
        )
        return Value(output, tuple(shape), order)
