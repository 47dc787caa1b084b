"""What each constant of a graph is for."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from .topology import Topology

_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
_PARAMETERS = ("values", "scale", "zero point")
"""Inputs of quantisation and dequantisation."""
_NUMBERS = {"float": "float32", "double": "float64"}


def stored_tensor(node: NodeProto) -> TensorProto | None:
    """Tensor that a node stores, None if it stores none."""
    if operator_name(node) == "Constant":
        for attribute in node.attribute:
            if attribute.HasField("t"):
                return attribute.t
    return None


def operator_name(node: NodeProto) -> str:
    """Operator, with its domain if it is not one of ONNX itself."""
    plain = node.domain in ("", "ai.onnx")
    return node.op_type if plain else f"{node.domain}.{node.op_type}"


class Role(NamedTuple):
    """What a constant is for."""

    reader: int
    """Index of the node that reads it in the end."""

    text: str
    kind: str


class RoleGraph(Topology):
    """A graph that knows what each constant is for."""

    def __init__(self, model: ModelProto) -> None:
        super().__init__(model)
        self.versions = {entry.domain: entry.version for entry in model.opset_import}
        self.operators = [operator_name(node) for node in self.nodes]
        self.constant: set[int] = set()
        self.labels: dict[int, str] = {}
        known = {"", *self.initializers}
        counts: Counter[str] = Counter()
        for index, (node, operator) in enumerate(
            zip(self.nodes, self.operators, strict=True)
        ):
            if known.issuperset(node.input) and (
                any(node.input) or operator == "Constant"
            ):
                self.constant.add(index)
                known.update(node.output)
            else:
                counts[operator] += 1
                self.labels[index] = f"{operator} {counts[operator]}"
        self._trace()
        self._divide()

    def _trace(self) -> None:
        """Find out what each constant is for, from the readers back."""
        end = len(self.nodes)
        self.roles: dict[str, set[Role]] = {
            name: {Role(end, f"output '{name}'", "constants")} for name in self.outputs
        }
        for index in reversed(range(end)):
            node = self.nodes[index]
            for position, name in enumerate(node.input):
                found = self.roles.setdefault(name, set())
                if index not in self.constant:
                    found.add(self._role(index, position))
                    continue
                if found and self.operators[index] == "Mul":
                    continue  # a scale with a use of its own, and a factor of another
                made = [self.roles.get(output, set()) for output in node.output]
                for role in set().union(*made):
                    if self.operators[index] == "DequantizeLinear" and position:
                        text = f"{_PARAMETERS[position]} of {role.text}"
                        role = Role(role.reader, text, "scales")
                    found.add(role)

    def _role(self, index: int, position: int) -> Role:
        """What a node reads at a place."""
        node, label = self.nodes[index], self.labels[index]
        operator = self.operators[index]
        if operator in _QUANTIZERS and position:
            text = f"{_PARAMETERS[position]} of {self._source(index)}"
            return Role(index, text, "scales")
        if operator in _LINEAR:
            if position == 2:
                return Role(index, f"bias of {label}", "biases")
            return Role(index, f"weight of {label}", "weights")
        if operator == "Add":
            other = self.producer.get(node.input[1 - position], -1)
            if self.labels.get(other, "").startswith("MatMul "):
                return Role(index, f"bias of {self.labels[other]}", "biases")
        text = f"{self._input_name(index, position)} of {label}"
        return Role(index, text, "constants")

    def _source(self, index: int) -> str:
        """Tensor that goes through quantisation."""
        while self.operators[index] in _QUANTIZERS:
            name = self.nodes[index].input[0]
            if name not in self.producer:
                return f"'{name}'"
            index = self.producer[name]
        return f"output of {self.labels.get(index, self.operators[index])}"

    def _input_name(self, index: int, position: int) -> str:
        node = self.nodes[index]
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = self.versions.get(domain, self.versions.get("ai.onnx", 1))
        try:
            inputs = onnx.defs.get_schema(node.op_type, version, domain).inputs
        except onnx.defs.SchemaError:  # not an operator of ONNX
            return f"input {position + 1}"
        return inputs[min(position, len(inputs) - 1)].name

    def describe(self, name: str, tensor: TensorProto) -> tuple[str, str, str]:
        """Name, kind and detail of a stored tensor."""
        number = TensorProto.DataType.Name(tensor.data_type).lower()
        shape = "x".join(map(str, tensor.dims)) or "scalar"
        detail = f"{_NUMBERS.get(number, number)} {shape}, '{name}'"
        roles = sorted(self.roles.get(name, ()))
        if not roles:
            return f"tensor '{name}'", "constants", detail
        texts = list(dict.fromkeys(role.text for role in roles))
        text, kind = texts[0], roles[0].kind
        if texts[1:]:
            text += f" and {len(texts) - 1} more"
        helper = self._helper(name)
        if helper:
            text += f" ({helper})"
            # numbers of a formula, not the values that it unpacks
            scalar = all(length == 1 for length in tensor.dims)
            wide = tensor.data_type in (TensorProto.INT64, TensorProto.DOUBLE)
            if kind != "scales" and (scalar or wide):
                kind = "formulas"
        return text, kind, detail

    def _helper(self, name: str) -> str:
        """Operator and input through which a constant makes another one."""
        readers = self.consumers.get(name, [])
        if any(
            self.operators[i] in _QUANTIZERS and self.nodes[i].input[1] == name
            for i in readers
        ):
            return ""  # a scale, whatever else it is a factor of
        for index in readers:
            operator = self.operators[index]
            if index in self.constant and operator != "DequantizeLinear":
                if operator == "Cast":
                    (reader, *_) = self.consumers.get(self.nodes[index].output[0], [-1])
                    if reader in self.constant:
                        name, index = self.nodes[index].output[0], reader
                position = list(self.nodes[index].input).index(name)
                return f"{self.operators[index]} {self._input_name(index, position)}"
        return ""

    def _divide(self) -> None:
        """Tell front end, body and tail apart, as the quantiser does."""
        linear = [i for i in self.labels if self.operators[i] in _LINEAR]
        convolutions = [i for i in linear if self.operators[i].startswith("Conv")]
        transform = self.upstream(
            index
            for index in self.upstream(convolutions)
            if self.operators[index] == "Log"
        )
        self._learned = self.downstream(i for i in linear if i not in transform)
        self._before_tail = self.upstream(i for i in convolutions if i in self._learned)

    def group(self, index: int) -> str:
        """Group of nodes that a node belongs to."""
        if self.operators[index] in _QUANTIZERS:
            return "quantisation"
        if index in self.constant:
            return "generated constants"
        if index not in self._learned:
            return "front end"
        return "body" if index in self._before_tail else "tail"
