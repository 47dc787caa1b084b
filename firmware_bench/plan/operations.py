"""From ONNX nodes to what a firmware executes.

A graph holds three things that firmware neither executes nor stores:

* **Constants that are computed.** What depends only on stored tensors and static
  shapes is computed before the first run. An operation that reads the result
  finds it in flash, as a *generated* table of its full size.
* **Views.** Reshape and similar operators, and a transposition that only moves axes
  of length one, give the same bytes another name.
* **DequantizeLinear and QuantizeLinear around an operation.** An operation that
  reads a dequantised tensor reads the integers, and one whose result is
  quantised at once writes integers. The floats between them never exist.
  A rectifier on the way belongs to the operation.

What remains are operations that read and write buffers.

Scratch inside a kernel, for instance for a row of a softmax, is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import onnx
from onnx import NodeProto, numpy_helper

from wav2small.export.base.errors import BenchError
from wav2small.export.integer.operators import TRAITS

from .onnx_graph import Graph, TensorType

ELEMENTWISE = frozenset(
    {
        "Abs",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Cos",
        "DequantizeLinear",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "Log",
        "LogSoftmax",
        "Max",
        "Min",
        "Neg",
        "PRelu",
        "Pow",
        "QuantizeLinear",
        "Reciprocal",
        "Round",
        "Selu",
        "Sign",
        "Sin",
        "Softplus",
        "Sqrt",
        "Sub",
        "Sum",
        "Where",
    }
) | {name for name, traits in TRAITS.items() if traits.in_place}
"""Operators that may write over an input of the same size.

Softmax is one of them:
each of its passes writes an element only after it has read it for the last time.
"""

_ALIASES = {
    "Dropout",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
}
_RECTIFIERS = {"Clip", "Relu"}
_SMALL_INTEGERS = {"int4", "int8", "uint4", "uint8"}
_SHAPES = {"Shape", "Size"}
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}


class WindowConstant(NamedTuple):
    """A table that operations read."""

    type: TensorType
    """Its shape and type."""

    generated: bool
    """Whether the graph computes it from other constants
    instead of storing it."""


@dataclass(frozen=True)
class WindowOperation:
    """One step of the execution."""

    name: str
    """Operator and index, or the name that the model gives."""

    operators: tuple[str, ...]
    """ONNX operators that it combines, the main one first."""

    node: NodeProto
    """Node of the main operator."""

    inputs: tuple[str, ...]
    """Buffers that it reads."""

    outputs: tuple[str, ...]
    """Buffers that it writes."""

    constants: tuple[str, ...]
    """Constants that it reads."""

    in_place: bool
    """Whether it may write over an input of the same size."""

    integer: bool
    """Whether all tensors that it multiplies are integers of 8 bits or less."""


@dataclass(frozen=True)
class WindowProgram:
    """Operations in the order of execution, and what they read and write."""

    operations: tuple[WindowOperation, ...]
    """The steps."""

    buffers: dict[str, TensorType]
    """Activations that exist in memory."""

    constants: dict[str, WindowConstant]
    """Tables that the operations read."""

    inputs: tuple[str, ...]
    """Buffers that are filled before the first step."""

    outputs: tuple[str, ...]
    """Buffers that are read after the last step."""

    tensors: dict[str, TensorType]
    """Every tensor of the graph, including those that never exist in memory."""


def lower_window(graph: Graph) -> WindowProgram:
    """Turn the nodes of a graph into operations.

    Raises:
        BenchError: if nothing is computed from the input
            or a tensor would be empty

    """
    return _Lowering(graph).program()


class _View(NamedTuple):
    buffer: str
    steps: tuple[str, ...] | None
    """Scale and zero point if the values are dequantised, else None."""


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors = graph.tensors
        stored = graph.model.graph.initializer
        self.stored = {t.name: t for t in stored if t.name in self.tensors}
        # value -> the tables that stand for it
        self.roots: dict[str, tuple[str, ...]] = {n: (n,) for n in self.stored}
        self.constants = {
            name: WindowConstant(self.tensors[name], False) for name in self.stored
        }
        self.views = {graph.input: _View(graph.input, None)}
        self.buffers = {graph.input: self._activation(graph.input)}
        self.operations: list[WindowOperation] = []
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.fused: set[str] = set()  # outputs of nodes that are done already

    def program(self) -> WindowProgram:
        for node in self.graph.nodes:
            if self._is_constant(node):
                self._fold(node)
            elif node.output[0] not in self.fused:
                self._lower(node)
        outputs = []
        for name in self.graph.outputs:
            if name in self.roots:
                continue
            view = self.views[name]
            if view.steps is not None:
                self._dequantize(name, view)
            outputs.append(self.views[name].buffer)
        if not self.operations:
            raise BenchError(
                "model must compute something from its input, got no operation: "
                "check its outputs"
            )
        used = {name for step in self.operations for name in step.constants}
        return WindowProgram(
            operations=tuple(self.operations),
            buffers=self.buffers,
            constants={n: c for n, c in self.constants.items() if n in used},
            inputs=(self.graph.input,),
            outputs=tuple(dict.fromkeys(outputs)),
            tensors=self.tensors,
        )

    def _activation(self, name: str) -> TensorType:
        kind = self.tensors[name]
        if not kind.elements:
            raise BenchError(
                f"tensor '{name}' must have elements, got shape {list(kind.shape)}: "
                "take a longer window"
            )
        return kind

    def _is_constant(self, node: NodeProto) -> bool:
        if node.op_type in _SHAPES:
            return True  # the window is fixed, and with it every shape
        inputs = [name for name in node.input if name]
        return node.op_type not in _RANDOM and all(n in self.roots for n in inputs)

    def _fold(self, node: NodeProto) -> None:
        moved = node.op_type in _ALIASES | {"Transpose"}
        for name in filter(None, node.output):
            if moved:
                self.roots[name] = self.roots[node.input[0]]
            elif node.op_type == "DequantizeLinear":
                parts = (self.roots[part] for part in node.input if part)
                self.roots[name] = tuple(root for roots in parts for root in roots)
            else:
                self.roots[name] = (name,)
                self.constants[name] = WindowConstant(
                    self.tensors[name], node.op_type != "Constant"
                )

    def _lower(self, node: NodeProto) -> None:
        source = self.views.get(node.input[0]) if node.input else None
        if source is not None:
            if node.op_type in _ALIASES or self._moves_nothing(node):
                self.views[node.output[0]] = source
                return
            steps = self._steps(node)
            kind = self.buffers[source.buffer].dtype
            if node.op_type == "DequantizeLinear" and source.steps is None and steps:
                self.views[node.output[0]] = _View(source.buffer, steps)
                return
            if (
                node.op_type == "QuantizeLinear"
                and steps
                and source.steps == steps
                and self.tensors[node.output[0]].dtype == kind
            ):
                self.views[node.output[0]] = _View(source.buffer, None)
                return
        self._operation(node)

    def _moves_nothing(self, node: NodeProto) -> bool:
        if node.op_type != "Transpose":
            return False
        shape = self.tensors[node.input[0]].shape
        order = list(reversed(range(len(shape))))
        for attribute in node.attribute:
            if attribute.name == "perm":
                order = list(attribute.ints)
        long = [axis for axis in order if shape[axis] > 1]
        return long == sorted(long)

    def _steps(self, node: NodeProto) -> tuple[str, ...] | None:
        """Scale and zero point as text, the same for the same values.

        None if they are computed from the input.
        """
        if not all(name in self.roots for name in node.input[1:] if name):
            return None
        steps = ["0", "0"]  # no zero point means zero
        for position, name in enumerate(node.input[1:3]):
            value = self.stored.get(name)
            if value is not None and self.tensors[name].elements == 1:
                steps[position] = repr(numpy_helper.to_array(value).item())
            elif name:
                # along an axis, which a view may have moved: unlike any other
                steps[position] = f"{name} {node.output[0]}"
        return tuple(steps)

    def _operation(self, node: NodeProto) -> None:
        operators = [node.op_type]
        nodes = [node]
        outputs: list[str] = []
        for output in filter(None, node.output):
            ends = [output]
            if len([name for name in node.output if name]) == 1:
                ends = self._epilogue(output, operators, nodes)
            for end in ends:
                self.views[end] = _View(end, None)
                self.buffers[end] = self._activation(end)
            outputs += ends
        inputs = [self.views[name].buffer for name in node.input if name in self.views]
        constants = [
            root
            for part in nodes
            for name in part.input
            if name in self.roots
            for root in self.roots[name]
        ]
        self._append(node, operators, inputs, outputs, constants)

    def _append(
        self,
        node: NodeProto,
        operators: list[str],
        inputs: list[str],
        outputs: list[str],
        constants: list[str],
    ) -> None:
        self.operations.append(
            WindowOperation(
                name=node.name or f"{node.op_type}_{len(self.operations)}",
                operators=tuple(dict.fromkeys(operators)),
                node=node,
                inputs=tuple(dict.fromkeys(inputs)),
                outputs=tuple(outputs),
                constants=tuple(dict.fromkeys(constants)),
                in_place=set(operators) <= ELEMENTWISE and len(outputs) == 1,
                integer=self._is_integer(node),
            )
        )

    def _epilogue(
        self, output: str, operators: list[str], nodes: list[NodeProto]
    ) -> list[str]:
        """Follow a result to where it is stored; combine the operators until there."""
        value = output
        while value not in self.graph.outputs:
            readers = self.readers.get(value, [])
            quantizers = [
                reader
                for reader in readers
                if reader.op_type == "QuantizeLinear"
                and reader.input[0] == value
                and all(n in self.roots for n in reader.input[1:] if n)
            ]
            if quantizers and quantizers == readers:
                nodes += quantizers
                ends = [reader.output[0] for reader in quantizers]
                self.fused.update(ends)
                return ends
            if len(readers) != 1 or readers[0].input[0] != value:
                break
            (reader,) = readers
            if reader.op_type in _RECTIFIERS and all(
                name in self.roots for name in reader.input[1:] if name
            ):
                operators.append(reader.op_type)
                nodes.append(reader)
            elif not (reader.op_type in _ALIASES or self._moves_nothing(reader)):
                break
            value = reader.output[0]
            self.fused.add(value)
        return [value]

    def _dequantize(self, name: str, view: _View) -> None:
        """Write an output of the model as the floats that it consists of."""
        node = onnx.helper.make_node("DequantizeLinear", [view.buffer], [name])
        self.views[name] = _View(name, None)
        self.buffers[name] = self._activation(name)
        self._append(node, [node.op_type], [view.buffer], [name], [])

    def _is_integer(self, node: NodeProto) -> bool:
        # these operators have scale and zero point of the first input in between
        second = 3 if node.op_type.startswith("QLinear") else 1
        kinds = []
        for name in node.input[0:1] + node.input[second : second + 1]:
            if name in self.views:
                kinds.append(self.buffers[self.views[name].buffer].dtype)
            elif name in self.roots:
                kinds.append(self.constants[self.roots[name][0]].type.dtype)
        return bool(kinds) and set(kinds) <= _SMALL_INTEGERS
