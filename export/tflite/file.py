"""What a TFLite file holds, and how a network is put into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..base.errors import ExportError
from ..integer.graph import IntegerGraph
from ..integer.operators.base import Operator

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


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """A tensor of the file."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    scale: np.ndarray | None = None  # one, or one for each channel
    zero_point: int = 0
    channel_axis: int = 0
    data: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of the file, with what its kernel is told."""

    code: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: str
    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class TfliteModel:
    """All of the file but its metadata."""

    tensors: list[TfliteTensor]
    operations: list[Operation]
    input: int
    output: int


@dataclass(frozen=True)
class Value:
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


class Builder:
    """Tensors and operations of a file so far."""

    def __init__(self, integer_graph: IntegerGraph) -> None:
        self.graph = integer_graph
        self.tensors: list[TfliteTensor] = []
        self.operations: list[Operation] = []
        self.made: dict[tuple[Any, ...], int] = {}
        self.values: dict[str, Value] = {}

    def fail(self, operator: Operator, expected: str) -> ExportError:
        """Error that refuses an operator."""
        nodes = self.graph.model.graph.node
        kinds = {nodes[index].op_type for index in operator.nodes}
        kinds -= {"DequantizeLinear", "QuantizeLinear"}
        return ExportError(
            f"operator must be {expected}, got {self.graph.label(operator)} "
            f"({', '.join(sorted(kinds))}): take the ONNX or the C of this model"
        )

    def add(self, name: str, dtype: DType, shape: Sequence[int], **rest: Any) -> int:
        """Enter a tensor and return its number."""
        self.tensors.append(TfliteTensor(name, dtype, tuple(shape), **rest))
        return len(self.tensors) - 1

    def constant(self, name: str, array: np.ndarray, dtype: DType, **rest: Any) -> int:
        """Enter a constant and return its number."""
        data = np.ascontiguousarray(array, dtype)
        return self.add(name, dtype, data.shape, data=data, **rest)

    def emit(
        self, code: str, inputs: Sequence[int], output: int, options: str, **fields: Any
    ) -> int:
        """Enter an operation and return the number of what it makes."""
        version = _VERSIONS[code][self.tensors[inputs[0]].dtype]
        self.operations.append(
            Operation(code, version, tuple(inputs), output, options, fields)
        )
        return output

    def dtype(self, value: Value) -> DType:
        """Type of the tensor that holds a value."""
        return self.tensors[value.tensor].dtype

    def like(self, tensor: int, suffix: str, shape: Sequence[int]) -> int:
        """Tensor of the same type and scale."""
        old = self.tensors[tensor]
        return self.add(
            f"{old.name}/{suffix}",
            old.dtype,
            shape,
            scale=old.scale,
            zero_point=old.zero_point,
        )

    def store(self, value: Value) -> int:
        """Tensor of the shape of the view."""
        if self.tensors[value.tensor].shape == value.shape:
            return value.tensor
        key = ("RESHAPE", value.tensor, value.shape)
        if key not in self.made:
            output = self.like(value.tensor, "view", value.shape)
            shape = self.constant(
                f"{self.tensors[output].name}/shape", np.array(value.shape), "int32"
            )
            self.made[key] = self.emit(
                "RESHAPE",
                (value.tensor, shape),
                output,
                "ReshapeOptions",
                NewShape=value.shape,
            )
        return self.made[key]

    def arrange(self, value: Value, axes: tuple[int | None, ...]) -> Value:
        """Bring the axes into an order; None puts one of length 1."""
        wanted = [axis for axis in axes if axis is not None]
        sizes = dict(zip(value.axes, value.shape, strict=True))
        shape = tuple(1 if axis is None else sizes[axis] for axis in axes)
        if wanted == [axis for axis in value.axes if axis is not None]:
            return Value(value.tensor, shape, axes)
        source = value.axes
        if source.count(None) != axes.count(None):
            source = tuple(axis for axis in source if axis is not None)
            source += (None,) * axes.count(None)
            value = self.arrange(value, source)
        free = [place for place, axis in enumerate(source) if axis is None]
        order = [free.pop(0) if axis is None else source.index(axis) for axis in axes]
        tensor = self.store(value)
        key = ("TRANSPOSE", tensor, tuple(order))
        if key not in self.made:
            output = self.like(tensor, "turned", shape)
            permutation = self.constant(
                f"{self.tensors[output].name}/axes", np.array(order), "int32"
            )
            self.made[key] = self.emit(
                "TRANSPOSE", (tensor, permutation), output, "TransposeOptions"
            )
        return Value(self.made[key], shape, axes)

    def as_type(self, value: Value, dtype: Literal["int16", "float32"]) -> Value:
        """Same numbers with more bits."""
        old = self.tensors[value.tensor]
        if old.dtype == dtype:
            return value
        tensor = self.store(value)
        key = (dtype, tensor)
        if key not in self.made:
            name = f"{old.name}/{dtype}"
            if dtype == "int16":
                output = self.add(name, dtype, value.shape, scale=old.scale)
                self.emit("QUANTIZE", (tensor,), output, "QuantizeOptions")
            else:
                output = self.add(name, dtype, value.shape)
                self.emit("DEQUANTIZE", (tensor,), output, "DequantizeOptions")
            self.made[key] = output
        return Value(self.made[key], value.shape, value.axes)

    def result(
        self, operator: Operator, dtype: DType, shape: Sequence[int], suffix: str = ""
    ) -> int:
        """Tensor that an operator makes, with the scale that the graph gives it."""
        target = self.graph.tensors[operator.output]
        if dtype == "float32":
            return self.add(target.name + suffix, dtype, shape)
        if dtype == "int16":
            scale = np.array([max(target.bound, 1e-30) / (2**15 - 1)])
            return self.add(target.name + suffix, dtype, shape, scale=scale)
        return self.add(
            target.name + suffix,
            dtype,
            shape,
            scale=np.array([target.scale]),
            zero_point=target.zero_point,
        )

    def float_inputs(self, operator: Operator) -> list[Value]:
        """Inputs of an operator that is only done in float."""
        values = [self.values[name] for name in operator.inputs]
        target = self.graph.tensors[operator.output]
        if target.dtype != "int32" or {self.dtype(v) for v in values} != {"float32"}:
            raise self.fail(operator, "one that stands after the pooling")
        return values

    # -- operators -------------------------------------------------------
