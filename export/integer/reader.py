"""Read the integer graph out of an exported QDQ model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from ..base.errors import ExportError
from ..model import topology
from ..model.compact import expand_constants
from ..model.topology import Topology
from . import front_end
from .graph import (
    Concat,
    Convolution,
    HardSwish,
    IntegerGraph,
    Linear,
    LogMel,
    MatrixProduct,
    MaxPool,
    Mean,
    Operator,
    Product,
    Relu,
    Reshape,
    SoftmaxPool,
    Sum,
    Table,
    Tensor,
    Transpose,
)
from .rescale import Rescale, fixed_scale


def read(source: ModelProto | bytes | str | Path) -> IntegerGraph:
    """Read the integer graph of an exported int8 model.

    Args:
        source: QDQ model, as :func:`wav2small.export.quantise.quantize.quantize`
            writes it, its bytes or its file

    Raises:
        ExportError: if it is corrupt,
            has an operator, type or layout that has no integer arithmetic here,
            or no log-mel front end

    """
    model = topology.load(source)
    if topology.opset(model) < _OLDEST_OPSET:
        raise ExportError(
            f"model must have opset {_OLDEST_OPSET} or later, got "
            f"{topology.opset(model)}: export it again"
        )
    # what overflows in the constants is refused where it is used
    with np.errstate(all="ignore"):
        return _Reader(expand_constants(model)).read()


_OLDEST_OPSET = 13
"""Before it, Softmax and the reductions are other functions."""

_BIAS_ERROR = 0.05
"""Most steps of the output that rounding a bias to the step of a sum may cost."""

_LARGEST_OUTPUT_STEP = 2.0**-6
"""Above it a score of 0 to 1 has no digits left."""

_LARGEST_SCORE_STEP = 2.0**-8
"""Above it the weights of a softmax are off by more than two of a thousand."""

_LARGEST_SCALE = 2.0**60
"""Scales up to it, and from its inverse on, have products that float32 holds."""


_POINTWISE: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "Clip": lambda x, a: np.clip(x, a["low"], a["high"]),
    "HardSigmoid": lambda x, a: np.clip(
        np.float32(a.get("alpha", 0.2)) * x + np.float32(a.get("beta", 0.5)), 0, 1
    ),
    "HardSwish": lambda x, a: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1),
    "LeakyRelu": lambda x, a: np.where(x < 0, np.float32(a.get("alpha", 0.01)) * x, x),
    "Relu": lambda x, a: np.maximum(x, 0),
    "Sigmoid": lambda x, a: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, a: np.tanh(x),
}
SUPPORTED = sorted(
    {
        "Add",
        "Concat",
        "Conv",
        "DequantizeLinear",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "MatMul",
        "MaxPool",
        "Mul",
        "QuantizeLinear",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Slice",
        "Softmax",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        *_POINTWISE,
    }
)
"""Operators after the front end that have integer arithmetic."""


@dataclass(frozen=True, eq=False)
class _Constant:
    integers: np.ndarray
    scale: np.ndarray
    axis: int
    node: int


class _Reader:
    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.graph = Topology(model)
        self.nodes = self.graph.nodes
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self.names: dict[str, str] = {}  # float tensor to the integer one
        self.constants: dict[str, _Constant] = {}
        self.done: set[int] = set()
        self.softmax: dict[str, int] = {}
        self.weighted: dict[str, tuple[int, int, str]] = {}
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self.shapes = {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in value.type.tensor_type.shape.dim
            )
            for value in (*inferred.graph.value_info, *inferred.graph.output)
        }

    def read(self) -> IntegerGraph:
        self._check()
        self._read_front_end()
        for index, node in enumerate(self.nodes):
            if index in self.done:
                continue
            if node.op_type in _POINTWISE:
                self._read_pointwise(index, node)
            elif node.op_type in SUPPORTED:
                getattr(self, f"_read_{node.op_type}")(index, node)
            else:
                self._fail(index, "an operator with integer arithmetic")
        (output,) = self.model.graph.output
        if output.name not in self.names:
            raise ExportError(
                f"output '{output.name}' must be made of integer tensors, got a float "
                "graph: quantise the model"
            )
        made = self.tensors[self.names[output.name]]
        step = made.scale
        if made.dtype == "int32" and step > _LARGEST_OUTPUT_STEP:
            raise ExportError(
                f"output '{output.name}' must have steps of at most "
                f"{_LARGEST_OUTPUT_STEP}, got {step:.3g} from the largest value that "
                "the weights allow: quantise the model again"
            )
        return IntegerGraph(
            self.tensors, tuple(self.operators), self.names[output.name], self.model
        )

    # -- helpers ---------------------------------------------------------

    def _fail(self, index: int, expected: str) -> NoReturn:
        node = self.nodes[index]
        raise ExportError(
            f"node must be {expected}, got {topology.label(node)}: "
            f"supported after the front end are {', '.join(SUPPORTED)}"
        )

    def _check(self) -> None:
        graph = self.model.graph
        if len(graph.input) != 1 or len(graph.output) != 1:
            raise ExportError(
                f"model must have one input and one output, got {len(graph.input)} and "
                f"{len(graph.output)}: export it with the signal alone"
            )
        signal = graph.input[0].type.tensor_type
        sizes = [dim.dim_value for dim in signal.shape.dim]
        # an open length counts as 0
        if (
            signal.elem_type != TensorProto.FLOAT
            or len(sizes) != 2
            or sizes[0] not in (0, 1)
        ):
            raise ExportError(
                f"input '{graph.input[0].name}' must be float32 of shape (1, time), "
                f"got type {signal.elem_type} and {sizes}: export it again"
            )
        if not any(node.op_type == "QuantizeLinear" for node in self.nodes):
            raise ExportError(
                "model must be quantised, got no QuantizeLinear: export it as int8"
            )

    def _read_front_end(self) -> None:
        first = next(
            i for i, node in enumerate(self.nodes) if node.op_type == "QuantizeLinear"
        )
        before = self.graph.upstream([first])
        constants = front_end.extract(self.model, self.graph, first)
        scale, zero_point = self._activation_parameters(first)
        name = self.nodes[first].input[0]
        if len(self.graph.consumers[name]) != 1 or name in self.graph.outputs:
            self._fail(first, "all that reads the log-mel")
        tensor = self._add(
            self.nodes[first].output[0],
            self.nodes[first].input[0],
            scale=scale,
            zero_point=zero_point,
        )
        self.operators.append(
            LogMel(
                (self.model.graph.input[0].name,),
                tensor.name,
                tuple(sorted(before)),
                constants,
            )
        )
        self.done |= before

    def _add(
        self,
        name: str,
        stands_for: str,
        *,
        bound: float = 0.0,
        scale: float | None = None,
        zero_point: int = 0,
    ) -> Tensor:
        """Enter a tensor; without a scale it is int32, with room for the bound."""
        if scale is not None:
            bound = scale * max(127 - zero_point, 128 + zero_point)
            dtype: Literal["int8", "int32"] = "int8"
        else:
            if not bound < _LARGEST_SCALE:
                raise ExportError(
                    f"tensor '{stands_for}' must hold numbers below 2 ** 60, got up to "
                    f"{bound:.3g}: quantise the model again"
                )
            scale, dtype = fixed_scale(bound), "int32"
        shape = self.shapes.get(stands_for, ())
        tensor = Tensor(name, dtype, scale, zero_point, shape, bound)
        self.tensors[name] = tensor
        self.names[name] = name
        self.names[stands_for] = name
        return tensor

    def _activation_parameters(self, index: int) -> tuple[float, int]:
        node = self.nodes[index]
        scale = self.graph.array(node.input[1])
        zero = self.graph.array(node.input[2]) if len(node.input) > 2 else None
        if scale is None or scale.size != 1 or zero is None or zero.size != 1:
            self._fail(index, "a quantisation with one constant scale and zero point")
        if zero.dtype != np.int8:
            self._fail(index, f"a quantisation to int8 and not {zero.dtype}")
        value = float(scale.reshape(()))
        if not 1 / _LARGEST_SCALE <= value <= _LARGEST_SCALE:
            self._fail(
                index,
                f"a quantisation with a scale in 2 ** -60 .. 2 ** 60 and not {value}",
            )
        return value, int(zero.reshape(()))

    def _target(
        self, name: str, bound: float, covered: list[int]
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Tensor that an operator shall make: int8 if that is all that is read."""
        readers = self.graph.consumers.get(name, [])
        if (
            len(readers) == 1
            and self.nodes[readers[0]].op_type == "QuantizeLinear"
            and name not in self.graph.outputs
        ):
            (reader,) = readers
            scale, zero_point = self._activation_parameters(reader)
            self.done.add(reader)
            tensor = self._add(
                self.nodes[reader].output[0], name, scale=scale, zero_point=zero_point
            )
            covered = [*covered, reader]
        else:
            tensor = self._add(name, name, bound=bound)
        self.done.update(covered)
        return tensor, tuple(sorted(covered))

    def _rescale(
        self, index: int, factor: np.ndarray | np.floating | float, largest: float
    ) -> Rescale:
        try:
            return Rescale.of(factor, largest)
        except ExportError as error:
            self._fail(index, f"quantised with other scales ({error})")

    def _rank(self, index: int, position: int = 0) -> int:
        rank = len(self._tensor(index, position).shape)
        if not rank:
            self._fail(index, "fed with a tensor of known rank")
        return rank

    def _tensor(self, index: int, position: int = 0) -> Tensor:
        name = self.nodes[index].input[position]
        if name not in self.names:
            self._fail(index, f"fed with integer tensors and not '{name}'")
        return self.tensors[self.names[name]]

    def _attributes(self, node: NodeProto) -> dict[str, Any]:
        return {
            entry.name: helper.get_attribute_value(entry) for entry in node.attribute
        }

    def _axes(self, index: int) -> tuple[int, ...]:
        """Axes of a reduction, ascending; an attribute or, later, an input."""
        node = self.nodes[index]
        axes = self._attributes(node).get("axes")
        if axes is None and len(node.input) > 1:
            axes = self.graph.array(node.input[1])
        if axes is None or not np.size(axes):
            self._fail(index, "a reduction with constant axes")
        rank = self._rank(index)
        return tuple(sorted({int(axis) % rank for axis in axes}))

    # -- constants and casts ---------------------------------------------

    def _read_DequantizeLinear(self, index: int, node: NodeProto) -> None:
        integers = self.graph.array(node.input[0])
        if integers is None:
            tensor = self._tensor(index)
            if self._activation_parameters(index) != (tensor.scale, tensor.zero_point):
                self._fail(index, "a cast with the scale that it was made with")
            self.names[node.output[0]] = tensor.name
            return
        scale = self.graph.array(node.input[1])
        zero = self.graph.array(node.input[2]) if len(node.input) > 2 else None
        if scale is None or self._attributes(node).get("block_size", 0):
            self._fail(index, "weights with one constant scale for each output")
        if str(integers.dtype) not in ("int4", "int8", "int16", "int32"):
            self._fail(index, f"signed weights and not {integers.dtype}")
        if zero is not None and np.any(zero.astype(np.int32) != 0):
            self._fail(index, "weights with zero points of 0")
        if not ((scale >= 1 / _LARGEST_SCALE) & (scale <= _LARGEST_SCALE)).all():
            self._fail(index, "weights with scales in 2 ** -60 .. 2 ** 60")
        axis = int(self._attributes(node).get("axis", 1)) % max(1, integers.ndim)
        self.constants[node.output[0]] = _Constant(
            integers.astype(np.int32), scale.astype(np.float32), axis, index
        )

    def _read_QuantizeLinear(self, index: int, node: NodeProto) -> None:
        self._fail(index, "the only reader of a tensor that an operator makes")

    # -- layers ------------------------------------------------------------

    def _weight(self, index: int, axis: int) -> _Constant:
        node = self.nodes[index]
        constant = self.constants.get(node.input[1])
        if constant is None:
            self._fail(index, "a layer with constant integer weights")
        if constant.integers.ndim < 2 or not constant.integers.size:
            self._fail(index, "a layer with a matrix or kernels of weights")
        outputs = constant.integers.shape[axis]
        if constant.integers.min() < -128 or constant.integers.max() > 127:
            self._fail(index, "a layer with weights of at most 8 bits")
        if constant.scale.ndim and (
            constant.scale.shape != (outputs,) or constant.axis != axis
        ):
            self._fail(
                index,
                f"a layer whose weights have one scale for each output (axis {axis}) "
                f"and not {constant.scale.shape} on axis {constant.axis}",
            )
        scale = np.broadcast_to(constant.scale, outputs)
        return replace(constant, scale=scale)

    def _layer(
        self,
        index: int,
        constant: _Constant,
        weight: np.ndarray,
        output: str,
        bias: str,
        covered: list[int],
    ) -> tuple[Tensor, tuple[int, ...], np.ndarray, Rescale]:
        """Output, nodes, bias and rescaling of a layer with ``(outputs, ...)``."""
        source = self._tensor(index)
        step = np.float32(source.scale) * constant.scale
        covered = [*covered, index, constant.node]
        real = np.zeros(len(weight))
        integer: np.ndarray | None = np.zeros(len(weight), np.int64)
        if bias in self.constants:
            entry = self.constants[bias]
            covered.append(entry.node)
            if entry.integers.shape != (len(weight),) or entry.scale.shape not in (
                (),
                (len(weight),),
            ):
                self._fail(index, "a layer with a constant bias for each output")
            real = entry.integers * entry.scale.astype(np.float64)
            # rounding differs in the last bit from one library to the next
            same = np.allclose(entry.scale, step, rtol=1e-6, atol=0)
            integer = entry.integers.astype(np.int64) if same else None
        elif bias:
            array = self.graph.array(bias)
            if array is None or (array.shape[-1:], array.size) != (
                (len(weight),),
                len(weight),
            ):
                self._fail(index, "a layer with a constant bias for each output")
            real, integer = array.astype(np.float64).reshape(-1), None
        largest = max(127 - source.zero_point, 128 + source.zero_point)
        if source.dtype == "int32":
            largest = math.ceil(source.bound / source.scale)
        total = np.abs(weight.reshape(len(weight), -1)).sum(axis=1) * float(largest)
        bound = float((total * step + np.abs(real)).max())
        tensor, nodes = self._target(output, bound, covered)
        if tensor.dtype == "int32":
            integer = np.rint(real / tensor.scale).astype(np.int64)
        elif integer is None:
            steps = np.rint(real / step.astype(np.float64))
            if not np.abs(steps).max() < 2.0**62:
                self._fail(index, "a layer whose sums fit 32 bits")
            integer = steps.astype(np.int64)
            lost = np.abs(real - steps * step).max() / tensor.scale
            if lost > _BIAS_ERROR:
                self._fail(
                    index, f"a layer whose bias keeps its value ({lost:.2g} steps off)"
                )
        sums = float(total.max()) + (
            float(np.abs(integer).max()) if tensor.dtype == "int8" else 0
        )
        if source.dtype == "int8" and sums >= 2**31:
            self._fail(index, "a layer whose sums fit 32 bits")
        rescale = self._rescale(index, step / np.float32(tensor.scale), sums)
        return tensor, nodes, integer, rescale

    def _read_Conv(self, index: int, node: NodeProto) -> None:
        attributes = self._attributes(node)
        constant = self._weight(index, 0)
        weight = constant.integers
        dilations = tuple(attributes.get("dilations", [1, 1]))
        if (
            weight.ndim != 4
            or len(dilations) != 2
            or min(dilations) < 1
            or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
            or self._tensor(index).dtype != "int8"
        ):
            self._fail(index, "a plain convolution of an int8 map in two dimensions")
        strides, pads = self._window(index, weight.shape[2:], dilations)
        groups = attributes.get("group", 1)
        channels = self._channels(index)
        if (
            groups < 1
            or len(weight) % groups
            or channels not in (None, weight.shape[1] * groups)
        ):
            self._fail(index, f"a convolution of {channels} channels")
        bias = node.input[2] if len(node.input) > 2 else ""
        tensor, nodes, integer, rescale = self._layer(
            index, constant, weight, node.output[0], bias, []
        )
        self.operators.append(
            Convolution(
                (self._tensor(index).name,),
                tensor.name,
                nodes,
                weight.astype(np.int8),
                integer,
                rescale,
                strides,
                pads,
                groups,
                dilations,
            )
        )

    def _channels(self, index: int) -> int | None:
        """Channels of the map that a node reads, None if they are open."""
        size = self._tensor(index).shape[1]
        return size if isinstance(size, int) else None

    def _window(
        self, index: int, kernel: tuple[int, ...], dilations: tuple[int, ...] = (1, 1)
    ) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Strides and borders of a window that moves over a map."""
        reach = [
            step * (taps - 1) + 1 for step, taps in zip(dilations, kernel, strict=True)
        ]
        attributes = self._attributes(self.nodes[index])
        strides = tuple(attributes.get("strides", [1, 1]))
        pads = tuple(attributes.get("pads", [0] * 4))
        if (
            self._rank(index) != 4
            or len(strides) != 2
            or len(pads) != 4
            or min(strides) < 1
            or not all(
                0 <= pad < size for pad, size in zip(pads, reach * 2, strict=True)
            )
            or tuple(attributes.get("kernel_shape", kernel)) != kernel
        ):
            self._fail(index, "a window over a map, its border smaller than itself")
        return (strides[0], strides[1]), (pads[0], pads[1], pads[2], pads[3])

    def _linear(
        self, index: int, axis: int, output: str, bias: str, covered: list[int]
    ) -> None:
        constant = self._weight(index, axis)
        if constant.integers.ndim != 2:
            self._fail(index, "a product with a matrix")
        weight = constant.integers if axis == 0 else constant.integers.T
        tensor, nodes, integer, rescale = self._layer(
            index, constant, weight, output, bias, covered
        )
        self.operators.append(
            Linear(
                (self._tensor(index).name,),
                tensor.name,
                nodes,
                np.ascontiguousarray(weight.astype(np.int8)),
                integer,
                rescale,
            )
        )

    def _read_Gemm(self, index: int, node: NodeProto) -> None:
        attributes = self._attributes(node)
        if (
            attributes.get("alpha", 1.0) != 1
            or attributes.get("beta", 1.0) != 1
            or attributes.get("transA", 0)
        ):
            self._fail(index, "a product without factors")
        bias = node.input[2] if len(node.input) > 2 else ""
        axis = 0 if attributes.get("transB", 0) else 1
        self._linear(index, axis, node.output[0], bias, [])

    def _read_MatMul(self, index: int, node: NodeProto) -> None:
        if node.input[1] not in self.constants:
            self._product(index, node, MatrixProduct)
            return
        output, bias, covered = node.output[0], "", []
        readers = self.graph.consumers.get(output, [])
        if len(readers) == 1 and self.nodes[readers[0]].op_type == "Add":
            (reader,) = readers
            others = [name for name in self.nodes[reader].input if name != output]
            if len(others) == 1 and self.graph.array(others[0]) is not None:
                bias, covered = others[0], [reader]
                output = self.nodes[reader].output[0]
        self._linear(index, 1, output, bias, covered)

    # -- picking values --------------------------------------------------

    def _moved(
        self, index: int, kind: Callable[..., Operator], *parameters: Any
    ) -> None:
        """Enter an operator whose output has the integers of its input."""
        node = self.nodes[index]
        source = self._tensor(index)
        tensor, nodes = self._target(node.output[0], source.bound, [index])
        if (tensor.dtype, tensor.scale, tensor.zero_point) != (
            source.dtype,
            source.scale,
            source.zero_point,
        ):
            self._fail(index, "followed by the scale that it is fed with")
        self.operators.append(kind((source.name,), tensor.name, nodes, *parameters))

    def _read_MaxPool(self, index: int, node: NodeProto) -> None:
        attributes = self._attributes(node)
        if (
            len(attributes.get("kernel_shape", [])) != 2
            or set(attributes.get("dilations", [1])) != {1}
            or attributes.get("ceil_mode", 0)
            or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
            or len(node.output) != 1
            or self._tensor(index).dtype != "int8"
        ):
            self._fail(index, "a plain maximum of an int8 map in two dimensions")
        kernel = tuple(attributes["kernel_shape"])
        self._moved(index, MaxPool, kernel, *self._window(index, kernel))

    def _read_Transpose(self, index: int, node: NodeProto) -> None:
        rank = self._rank(index)
        axes = tuple(self._attributes(node).get("perm", range(rank)[::-1]))
        self._moved(index, Transpose, axes)

    def _read_Reshape(self, index: int, node: NodeProto) -> None:
        if self._attributes(node).get("allowzero", 0):
            self._fail(index, "a change of shape where 0 keeps the length")
        self._moved(index, Reshape, self._new_shape(index, node.input[1]))

    def _read_Flatten(self, index: int, node: NodeProto) -> None:
        if self._attributes(node).get("axis", 1) != 1:
            self._fail(index, "a flattening from axis 1 on")
        self._moved(index, Reshape, (0, -1))

    def _read_Unsqueeze(self, index: int, node: NodeProto) -> None:
        self._known_shape(index)

    def _read_Squeeze(self, index: int, node: NodeProto) -> None:
        self._known_shape(index)

    def _known_shape(self, index: int) -> None:
        shape = self.shapes.get(self.nodes[index].output[0], ())
        open_axes = [
            axis for axis, size in enumerate(shape) if not isinstance(size, int)
        ]
        if len(open_axes) > 1:
            self._fail(index, "a change of shape with one open axis")
        self._moved(
            index,
            Reshape,
            tuple(size if isinstance(size, int) else -1 for size in shape),
        )

    def _new_shape(self, index: int, name: str) -> tuple[int, ...]:
        """Shape that a constant gives, or lengths of the input and a constant."""
        array = self.graph.array(name)
        if array is not None:
            return tuple(int(size) for size in array)
        chain = self._behind(name, "Concat")
        if chain is not None:
            concat = self.nodes[chain]
            kept = self._leading_lengths(concat.input[0], self.nodes[index].input[0])
            rest = [self.graph.array(entry) for entry in concat.input[1:]]
            sizes = [int(size) for part in rest if part is not None for size in part]
            if kept and all(part is not None for part in rest):
                return (*[0] * kept, *sizes)
        self._fail(index, "a change to a constant shape")

    def _leading_lengths(self, name: str, source: str) -> int:
        """How many lengths of another tensor, from the first on, a tensor holds."""
        head = self._behind(name, "Slice")
        if head is None:
            return 0
        shape = self._behind(self.nodes[head].input[0], "Shape")
        if (
            shape is None
            or self.nodes[shape].attribute
            or self.names.get(self.nodes[shape].input[0], "") != self.names.get(source)
        ):
            return 0
        arrays = [self.graph.array(entry) for entry in self.nodes[head].input[1:]]
        numbers = [int(a[0]) if a is not None and a.size else -1 for a in arrays]
        # from the first on, along the only axis, in steps of one
        if numbers[0] != 0 or numbers[2:] not in ([], [0], [0, 1]):
            return 0
        return max(0, numbers[1])

    def _behind(self, name: str, operator: str) -> int | None:
        index = self.graph.producer.get(name)
        if index is None or self.nodes[index].op_type != operator:
            return None
        return index

    def _read_Shape(self, index: int, node: NodeProto) -> None:
        """Read by :meth:`_new_shape`."""

    _read_Slice = _read_Shape

    def _read_Concat(self, index: int, node: NodeProto) -> None:
        if any(name not in self.names for name in node.input):
            # lengths of a shape
            if self._behind(node.input[0], "Slice") is None:
                self._fail(index, "fed with integer tensors")
            return
        sources = [self._tensor(index, i) for i in range(len(node.input))]
        bound = max(source.bound for source in sources)
        tensor, nodes = self._target(node.output[0], bound, [index])
        if any(source.dtype != "int32" for source in (tensor, *sources)):
            self._fail(index, "a concatenation of int32 tensors")
        rank = self._rank(index)
        self.operators.append(
            Concat(
                tuple(source.name for source in sources),
                tensor.name,
                nodes,
                self._attributes(node)["axis"] % rank,
                tuple(
                    # a tensor of zeros has a scale of its own
                    min(62, max(0, round(math.log2(tensor.scale / source.scale))))
                    for source in sources
                ),
            )
        )

    # -- pointwise -------------------------------------------------------

    def _read_pointwise(self, index: int, node: NodeProto) -> None:
        source = self._tensor(index)
        attributes = self._attributes(node)
        if node.op_type == "Clip":
            limits = [self.graph.array(name) for name in node.input[1:] if name]
            if len(limits) != 2 or any(
                limit is None or limit.size != 1 for limit in limits
            ):
                self._fail(index, "a clip with two constant limits")
            attributes = dict(zip(("low", "high"), limits, strict=True))
        if source.dtype == "int32" and node.op_type == "Relu":
            self._moved(index, Relu)
            return
        if source.dtype == "int32":
            if node.op_type != "HardSwish":
                self._fail(index, "Relu or HardSwish, fed with more than 8 bits")
            tensor, nodes = self._target(node.output[0], source.bound, [index])
            factor = source.scale**2 / 6 / tensor.scale
            largest = source.bound * min(6, source.bound + 3) / source.scale**2
            self.operators.append(
                HardSwish(
                    (source.name,),
                    tensor.name,
                    nodes,
                    self._rescale(index, factor, largest),
                )
            )
            return
        integers = np.arange(-128, 128)
        numbers = (integers - source.zero_point).astype(np.float32)
        values = _POINTWISE[node.op_type](
            numbers * np.float32(source.scale), attributes
        )
        bound = float(np.abs(values).max())
        if not math.isfinite(bound):
            self._fail(index, "a function with finite values")
        tensor, nodes = self._target(node.output[0], bound, [index])
        table = np.rint(values / np.float32(tensor.scale))
        if tensor.dtype == "int8":
            table = np.clip(table + tensor.zero_point, -128, 127)
        self.operators.append(
            Table((source.name,), tensor.name, nodes, table.astype(np.int32))
        )

    def _read_Add(self, index: int, node: NodeProto) -> None:
        sources = [self._tensor(index, 0), self._tensor(index, 1)]
        bound = sum(source.bound for source in sources)
        tensor, nodes = self._target(node.output[0], bound, [index])
        factors = [
            float(np.float32(source.scale)) / float(np.float32(tensor.scale))
            for source in sources
        ]
        # 2**30 times 2**31 leaves room for the sum of both
        shift = 30 - math.frexp(max(factors))[1]
        if not 1 <= shift <= 62:
            self._fail(index, "a sum with a step in the range of its inputs'")
        multipliers = [round(math.ldexp(factor, shift)) for factor in factors]
        self.operators.append(
            Sum(
                tuple(source.name for source in sources),
                tensor.name,
                nodes,
                (multipliers[0], multipliers[1]),
                shift,
            )
        )

    def _read_Mul(self, index: int, node: NodeProto) -> None:
        for value, weights in (node.input, node.input[::-1]):
            if weights in self.softmax:
                self.weighted[node.output[0]] = (index, self.softmax[weights], value)
                return
        self._product(index, node, Product)

    def _product(
        self, index: int, node: NodeProto, kind: type[Product] | type[MatrixProduct]
    ) -> None:
        left, right = self._tensor(index, 0), self._tensor(index, 1)
        terms = 1
        if kind is MatrixProduct:
            length = left.shape[-1]
            if not isinstance(length, int):
                self._fail(index, "a product over an axis of fixed length")
            terms = length
        bound = left.bound * right.bound * terms
        tensor, nodes = self._target(node.output[0], bound, [index])
        # 23 bits each leave room for the sum of their products
        shifts = tuple(7 if source.dtype == "int32" else 0 for source in (left, right))
        steps = [
            np.float32(source.scale * 2**bits)
            for source, bits in zip((left, right), shifts, strict=True)
        ]
        step = steps[0] * steps[1]
        largest = bound / float(step) if step > 0 else math.inf
        self.operators.append(
            kind(
                (left.name, right.name),
                tensor.name,
                nodes,
                (shifts[0], shifts[1]),
                self._rescale(index, step / np.float32(tensor.scale), largest),
            )
        )

    # -- over time -------------------------------------------------------

    def _read_ReduceMean(self, index: int, node: NodeProto) -> None:
        keep = bool(self._attributes(node).get("keepdims", 1))
        self._mean(index, self._axes(index), keep)

    def _read_GlobalAveragePool(self, index: int, node: NodeProto) -> None:
        self._mean(index, tuple(range(2, self._rank(index))), True)

    def _mean(self, index: int, axes: tuple[int, ...], keep: bool) -> None:
        source = self._tensor(index)
        output = self.nodes[index].output[0]
        tensor, nodes = self._target(output, source.bound, [index])
        largest = math.ceil(source.bound / source.scale)
        fraction = max(0, 30 - largest.bit_length())
        factor = np.float32(source.scale) / np.float32(tensor.scale)
        self.operators.append(
            Mean(
                (source.name,),
                tensor.name,
                nodes,
                axes,
                keep,
                fraction,
                self._rescale(index, factor * np.float32(2.0**-fraction), 2.0**30),
            )
        )

    def _read_Softmax(self, index: int, node: NodeProto) -> None:
        self._tensor(index)
        self.softmax[node.output[0]] = index

    def _read_ReduceSum(self, index: int, node: NodeProto) -> None:
        if node.input[0] not in self.weighted:
            self._fail(index, "the sum that ends a softmax pooling")
        product, softmax, value_name = self.weighted[node.input[0]]
        if value_name not in self.names:
            self._fail(product, "fed with integer tensors")
        value = self.tensors[self.names[value_name]]
        score = self._tensor(softmax)
        axes = self.graph.array(node.input[1]) if len(node.input) > 1 else None
        rank = self._rank(softmax)
        axis = self._attributes(self.nodes[softmax]).get("axis", -1) % rank
        if (
            axes is None
            or [int(entry) % rank for entry in axes] != [axis]
            or self._attributes(node).get("keepdims", 1)
            or value.dtype != "int32"
            or score.dtype != "int32"
            or not _same_shape(value, score)
        ):
            self._fail(index, "the sum over the softmax's axis that ends a pooling")
        tensor, nodes = self._target(
            node.output[0], value.bound, [index, product, softmax]
        )
        if tensor.dtype != "int32":
            self._fail(index, "read in more than 8 bits")
        if score.scale > _LARGEST_SCORE_STEP:
            self._fail(
                softmax,
                f"fed with steps of at most {_LARGEST_SCORE_STEP}, got {score.scale}",
            )
        factor = score.scale * math.log2(math.e) * 2**16
        self.operators.append(
            SoftmaxPool(
                (value.name, score.name),
                tensor.name,
                nodes,
                axis,
                self._rescale(softmax, factor, score.bound / score.scale),
            )
        )


def _same_shape(left: Tensor, right: Tensor) -> bool:
    """Whether shapes are the same as far as they are known."""
    return len(left.shape) == len(right.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(left.shape, right.shape, strict=True)
    )
