"""Which tensors and weights of a float model become int8.

Three regions are told apart, see :mod:`wav2small.export.quantise.steps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper

from ..base.errors import ExportError
from ..integer.operators import TRAITS
from ..model import topology
from ..model.topology import Topology


def _with_role(role: str) -> set[str]:
    return {name for name, traits in TRAITS.items() if traits.role == role}


_LINEAR = _with_role("layer")
_MOVES = {"Identity"} | _with_role("moves")
"""Operators that only pick values: same scale before and after."""
_RECTIFIERS = _with_role("rectifies")
_MEANS = {"AveragePool"} | _with_role("averages")
_POINTWISE = _with_role("pointwise")
_FLOAT = _with_role("float") | {
    "Abs",
    "BatchNormalization",
    "Cast",
    "Div",
    "Exp",
    "Log",
    "Max",
    "Min",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMax",
    "Sqrt",
    "Sub",
}
"""Operators that stay as they are; those without integers are the front end's."""
SUPPORTED = sorted(_LINEAR | _MOVES | _RECTIFIERS | _MEANS | _POINTWISE | _FLOAT)
"""Operators that a model may consist of."""


class PlannedLayer(NamedTuple):
    """A convolution or matrix product that gets int8 weights."""

    node: int
    """Index of its node."""

    weight: str
    """Name of its weight."""

    axis: int
    """Axis of the weight that counts outputs."""

    output: str
    """Tensor that it gives, after a rectifier that the range can express."""

    integer_input: bool
    """Whether its input is int8."""


@dataclass(frozen=True)
class Plan:
    """What is to be quantised in a float model whose constants are stored."""

    layers: tuple[PlannedLayer, ...]
    """Layers with int8 weights, in the order of the graph."""

    activations: dict[str, str]
    """Tensors that become int8 and the one whose scale each has:
    its own, or that of the tensor whose values it only picks from."""

    @property
    def measured(self) -> list[str]:
        """Activations that have a scale of their own."""
        return [name for name, source in self.activations.items() if name == source]


def plan(model: ModelProto) -> Plan:
    """Decide which tensors and weights of a float model become int8.

    Args:
        model: model from :func:`wav2small.export.model.constants.expand_constants`

    Raises:
        ExportError: if an operator is not supported
            or there is no learned layer

    """
    return _Planner(model).plan()


class _Planner:
    def __init__(self, model: ModelProto) -> None:
        self.graph = graph = Topology(model)
        self.nodes = graph.nodes
        self._check(model)
        every = range(len(self.nodes))
        convolutions = [i for i in every if self.nodes[i].op_type == "Conv"]
        before_convolution = graph.upstream(convolutions)
        logarithms = [i for i in before_convolution if self.nodes[i].op_type == "Log"]
        front_end = graph.upstream(logarithms)
        self.linear = [
            i for i in every if i not in front_end and self._has_learned_weight(i)
        ]
        if not self.linear:
            raise ExportError(
                "model must have a layer with constant weights to quantise, got "
                "none: give a model with convolutions or matrix products"
            )
        body_convolutions = [i for i in self.linear if i in set(convolutions)]
        self.learned = graph.downstream(self.linear)
        self.tail = (
            self.learned - graph.upstream(body_convolutions) - set(body_convolutions)
        )

    def _check(self, model: ModelProto) -> None:
        if len(model.graph.input) != 1 or len(model.graph.output) != 1:
            raise ExportError(
                f"model must have one input and one output, got "
                f"{len(model.graph.input)} and {len(model.graph.output)}: "
                "export it with the signal alone"
            )
        version = topology.opset(model)
        if version < 13:
            raise ExportError(
                f"model must be written in opset 13 or later, got {version}: "
                "export it again with opset 17"
            )
        for node in self.nodes:
            if node.op_type not in SUPPORTED:
                raise ExportError(
                    f"model must consist of operators that can be quantised, got "
                    f"{topology.label(node)}: supported are {', '.join(SUPPORTED)}"
                )
            if node.op_type == "Conv" and self.graph.array(node.input[1]) is None:
                raise ExportError(
                    f"weights must be constant, got computed ones in "
                    f"{topology.label(node)}: export the model with fixed weights"
                )

    def _has_learned_weight(self, index: int) -> bool:
        node = self.nodes[index]
        if node.op_type not in _LINEAR:
            return False
        weight = self.graph.array(node.input[1])
        if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
            return False
        plain = node.op_type == "Conv" or weight.ndim == 2
        return plain and all(
            attribute.name not in ("alpha", "beta", "transA")
            or helper.get_attribute_value(attribute)
            == (0 if attribute.name == "transA" else 1)
            for attribute in node.attribute
        )

    def plan(self) -> Plan:
        """Walk the graph once for layers and once for residual sums."""
        wanted: set[str] = set()
        layers: list[PlannedLayer] = []
        for index in self.linear:
            node = self.nodes[index]
            for name in node.input[1:]:
                value = self.graph.array(name)
                if value is not None and not np.isfinite(value).all():
                    raise ExportError(
                        f"weights must be finite, got NaN or Inf in "
                        f"{topology.label(node)}: train the model again"
                    )
            source = self._source(node.input[0])
            integer_input = index not in self.tail or self._gives_integers(source)
            if integer_input:
                wanted.add(node.input[0])
            output = self._rectified(index)
            if index not in self.tail and self._readers_take_integers(output):
                wanted.add(output)
            axis = 0 if node.op_type == "Conv" or _transposed(node) else 1
            # onnxruntime turns other products of float activations
            # with int8 weights into ones that quantise the activations.
            if integer_input or node.op_type == "Conv" or _gemm_form(node):
                layers.append(
                    PlannedLayer(index, node.input[1], axis, output, integer_input)
                )
        for index, node in enumerate(self.nodes):
            if node.op_type == "Add" and index in self.learned - self.tail:
                sources = [self._source(name) for name in node.input]
                if all(
                    source in wanted or self._gives_integers(source)
                    for source in sources
                ):
                    wanted.update(node.input)
                    wanted.add(self._rectified(index))
        activations: dict[str, str] = {}
        for name in sorted(wanted, key=self._order):
            path = self._path(name)
            for step in reversed(path):
                activations.setdefault(step, path[-1])
        return Plan(
            tuple(layers),
            dict(sorted(activations.items(), key=lambda item: self._order(item[0]))),
        )

    def _order(self, name: str) -> tuple[int, str]:
        return self.graph.producer.get(name, -1), name

    def _path(self, name: str) -> list[str]:
        """Tensors from this one back to the one whose values it picks from."""
        path = [name]
        while True:
            index = self.graph.producer.get(path[-1])
            # before the body, moving integers instead of floats gains nothing
            if index is None or index not in self.learned:
                return path
            if self.nodes[index].op_type not in _MOVES:
                return path
            path.append(self.nodes[index].input[0])

    def _source(self, name: str) -> str:
        return self._path(name)[-1]

    def _gives_integers(self, name: str) -> bool:
        """Whether a tensor comes from a body layer or residual sum."""
        index = self.graph.producer.get(name)
        if index is None or (index in self.tail and not self._is_rectifier(index)):
            return False
        if self._is_rectifier(index):
            index = self.graph.producer.get(self.nodes[index].input[0])
        if index is None or index in self.tail or index not in self.learned:
            return False
        return index in self.linear or self.nodes[index].op_type == "Add"

    def _is_rectifier(self, index: int) -> bool:
        return rectifier_limit(self.graph, self.nodes[index]) is not None

    def _rectified(self, index: int) -> str:
        """Output of a layer, or of the rectifier that alone reads it."""
        (output,) = self.nodes[index].output
        readers = self.graph.consumers.get(output, [])
        if len(readers) == 1 and output not in self.graph.outputs:
            reader = readers[0]
            if self._is_rectifier(reader) and self.nodes[reader].input[0] == output:
                return self.nodes[reader].output[0]
        return output

    def _readers_take_integers(self, name: str) -> bool:
        """Whether no reader in the tail needs more than 8 bits."""
        if name in self.graph.outputs:
            return False
        for index in self.graph.consumers.get(name, []):
            node = self.nodes[index]
            if index not in self.tail or index in self.linear:
                continue
            if node.op_type in _MOVES:
                if not self._readers_take_integers(node.output[0]):
                    return False
            elif node.op_type not in _MEANS | _POINTWISE:
                return False
        return True


def rectifier_limit(graph: Topology, node: NodeProto) -> float | None:
    """Upper limit of max(0, x) or min(max(0, x), limit), None for another node."""
    if node.op_type == "Relu":
        return np.inf
    if node.op_type != "Clip" or len(node.input) < 2:
        return None
    bounds = [graph.array(name) for name in node.input[1:]]
    if bounds[0] is None or float(bounds[0]) != 0:
        return None
    if len(bounds) < 2 or not node.input[2]:
        return np.inf
    return None if bounds[1] is None else float(bounds[1])


def _transposed(node: NodeProto) -> bool:
    return any(entry.name == "transB" and entry.i for entry in node.attribute)


def _gemm_form(node: NodeProto) -> bool:
    return node.op_type == "Gemm" and _transposed(node)
