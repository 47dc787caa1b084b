"""Where the bytes of an ONNX file go.

Every byte of the file is counted once:
a stored tensor with its name, type and shape,
the nodes in a few groups, each entry of the metadata,
and what the format itself takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ..base import escape
from ..base.errors import ExportError
from . import topology
from .topology import Topology

KINDS = (
    "weights",
    "biases",
    "scales",
    "constants",
    "formulas",
    "nodes",
    "metadata",
    "framing",
)
"""Kinds of parts.

``scales`` are scales and zero points,
``constants`` are axes, limits and other numbers that nodes read,
``formulas`` are numbers that other constants are generated or unpacked with,
``framing`` is the rest: inputs, outputs, versions and the file format.
"""

_LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
_PARAMETERS = ("values", "scale", "zero point")
"""Inputs of quantisation and dequantisation."""
_NUMBERS = {"float": "float32", "double": "float64"}
_STRING, _MESSAGE = 9, 10
"""Types of fields whose value has a length, as protobuf counts them."""


@dataclass(frozen=True)
class Part:
    """A part of a file."""

    name: str
    """What it is for, for instance ``weight of Conv 3``.
    Nodes are counted by operator, from 1, in the order of the graph;
    those that only compute constants are not counted."""

    kind: str
    """One of :data:`KINDS`."""

    bytes: int
    """Bytes in the file, header included."""

    share: float
    """Share of the file, 0..1."""

    detail: str = ""
    """Type, shape and name of a tensor, or how many of what."""


@dataclass(frozen=True)
class SizeCheck:
    """Whether a file keeps a limit."""

    bytes: int
    """Bytes of the file."""

    limit: int
    """Bytes that it may have."""

    @property
    def fits(self) -> bool:
        """Whether it has no more bytes than it may have."""
        return self.bytes <= self.limit


def check(model: ModelProto | bytes | str | Path, max_bytes: int) -> SizeCheck:
    """Compare the size of a model with a limit.

    Args:
        model: model, its bytes or its file
        max_bytes: largest size in bytes

    Returns:
        the figures; a model that does not fit is a result, not an error

    Raises:
        ExportError: if the model is not valid or has external data,
            which the size of its file would not count,
            or the limit is not positive

    """
    if max_bytes < 1:
        raise ExportError(
            f"max_bytes must be at least 1, got {max_bytes}: give a size in bytes"
        )
    _, data = _load(model)
    return SizeCheck(bytes=len(data), limit=max_bytes)


def byte_budget(model: ModelProto | bytes | str | Path) -> list[Part]:
    """Attribute every byte of a model to what it is for.

    A weight that is padded, scattered, unpacked or dequantised
    belongs to the node that reads it in the end.

    Args:
        model: model, its bytes or its file

    Returns:
        parts, the largest first, that sum to the size of the file

    Raises:
        ExportError: if the model is not valid or has external data

    """
    loaded, data = _load(model)
    graph = _Graph(loaded)
    sizes: Counter[tuple[str, str, str]] = Counter()  # by name, kind and detail
    groups: Counter[str] = Counter()  # bytes of nodes
    counts: Counter[str] = Counter()
    nodes = iter(range(len(graph.nodes)))

    def rest(name: str, start: int, end: int) -> None:
        sizes[name, "framing", ""] += end - start

    for field in _fields(data, 0, len(data), ModelProto):
        if field.name == "metadata_props":
            entry = onnx.StringStringEntryProto.FromString(data[field.body : field.end])
            sizes[f"metadata '{entry.key}'", "metadata", ""] += field.end - field.start
        elif field.name != "graph":
            rest(field.name, field.start, field.end)
        else:
            rest("graph", field.start, field.body)
            for inner in _fields(data, field.body, field.end, onnx.GraphProto):
                size = inner.end - inner.start
                if inner.name == "initializer":
                    tensor = TensorProto.FromString(data[inner.body : inner.end])
                    sizes[graph.describe(tensor.name, tensor)] += size
                elif inner.name == "node":
                    index = next(nodes)
                    stored = _stored(graph.nodes[index])
                    if stored is None:
                        groups[graph.group(index)] += size
                        counts[graph.group(index)] += 1
                    else:
                        name = graph.nodes[index].output[0]
                        sizes[graph.describe(name, stored)] += size
                else:
                    rest(inner.name, inner.start, inner.end)
    for group, size in groups.items():
        sizes[f"nodes: {group}", "nodes", f"{counts[group]} nodes"] += size
    parts = [
        Part(name, kind, size, size / len(data), detail)
        for (name, kind, detail), size in sizes.items()
    ]
    return sorted(parts, key=_order)


def group_small(parts: Sequence[Part], smallest: int = 256) -> list[Part]:
    """Put the small parts of each kind together.

    Args:
        parts: parts of a file
        smallest: bytes from which a part stands alone

    Returns:
        parts of the same sum, the largest first;
        the only small one of its kind stays as it is

    """
    small: dict[str, list[Part]] = {}
    grouped = [part for part in parts if part.bytes >= smallest]
    for part in parts:
        if part.bytes < smallest:
            small.setdefault(part.kind, []).append(part)
    for kind, members in small.items():
        if len(members) == 1:
            grouped += members
        else:
            size = sum(part.bytes for part in members)
            share = sum(part.share for part in members)
            grouped.append(
                Part(f"small {kind}", kind, size, share, f"{len(members)} parts")
            )
    return sorted(grouped, key=_order)


def to_markdown(parts: Sequence[Part], smallest: int = 256) -> str:
    """Write parts as a table, the largest first, and their sum.

    Args:
        parts: parts of a file
        smallest: bytes from which a part has a row of its own

    """
    rows = [
        "| part | kind | stored as | bytes | share |",
        "|---|---|---|---:|---:|",
    ]
    for part in group_small(parts, smallest):
        texts = [_cell(text) for text in (part.name, part.kind, part.detail)]
        rows.append(
            f"| {' | '.join(texts)} | {part.bytes:,} | {100 * part.share:.1f} % |"
        )
    rows.append(f"| **total** | | | **{sum(p.bytes for p in parts):,}** | 100.0 % |")
    return "\n".join(rows) + "\n"


def _order(part: Part) -> tuple[int, list[str], str]:
    """Largest first, those of equal size in the order of the graph."""
    # texts and numbers take turns; 12 digits are more than any count has
    words = re.split(r"(\d+)", part.name)
    return (
        -part.bytes,
        [w.zfill(12) if w.isdecimal() else w for w in words],
        part.detail,
    )


def _cell(text: str) -> str:
    """Text that stays within its cell, whatever a file calls its things."""
    text = " ".join(text.split())
    return escape.markdown(text if len(text) <= 80 else text[:77] + "...")


def _load(model: ModelProto | bytes | str | Path) -> tuple[ModelProto, bytes]:
    loaded = topology.load(model, only_look=True)
    if isinstance(model, bytes):
        return loaded, model
    if isinstance(model, ModelProto):
        return loaded, model.SerializeToString(deterministic=True)
    return loaded, Path(model).read_bytes()


@dataclass(frozen=True)
class _Field:
    """A field of a message in its serialised form."""

    name: str
    start: int
    body: int
    """Where the value starts, after tag and length."""

    end: int


def _fields(data: bytes, start: int, end: int, message: type) -> Iterator[_Field]:
    """Walk over the fields of a serialised message.

    The wire is read and not the parsed message,
    because the same message may be written in more than one way.
    """
    names = message.DESCRIPTOR.fields_by_number  # type: ignore[attr-defined]
    while start < end:
        tag, body = _varint(data, start)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            length, body = _varint(data, body)
            stop = body + length
        elif wire == 0:
            _, stop = _varint(data, body)
        elif wire in (1, 5):
            stop = body + (8 if wire == 1 else 4)
        else:
            raise ExportError(
                f"model must be written without groups, got one at byte {start}: "
                "export it again"
            )
        known = number in names and (
            wire == 2 or names[number].cpp_type not in (_STRING, _MESSAGE)
        )
        name = names[number].name if known else "unknown fields"
        yield _Field(name, start, body, stop)
        start = stop


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Integer at a place in a serialised message, and where it ends."""
    value = shift = 0
    while True:
        byte = data[start]
        value |= (byte & 127) << shift
        start += 1
        shift += 7
        if byte < 128:
            return value, start


def _stored(node: NodeProto) -> TensorProto | None:
    """Tensor that a node stores, None if it stores none."""
    if _operator(node) == "Constant":
        for attribute in node.attribute:
            if attribute.HasField("t"):
                return attribute.t
    return None


def _operator(node: NodeProto) -> str:
    """Operator, with its domain if it is not one of ONNX itself."""
    plain = node.domain in ("", "ai.onnx")
    return node.op_type if plain else f"{node.domain}.{node.op_type}"


class _Role(NamedTuple):
    """What a constant is for."""

    reader: int
    """Index of the node that reads it in the end."""

    text: str
    kind: str


class _Graph(Topology):
    """A graph that knows what each constant is for."""

    def __init__(self, model: ModelProto) -> None:
        super().__init__(model)
        self.versions = {entry.domain: entry.version for entry in model.opset_import}
        self.operators = [_operator(node) for node in self.nodes]
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
        self.roles: dict[str, set[_Role]] = {
            name: {_Role(end, f"output '{name}'", "constants")} for name in self.outputs
        }
        for index in reversed(range(end)):
            node = self.nodes[index]
            for position, name in enumerate(node.input):
                found = self.roles.setdefault(name, set())
                if index not in self.constant:
                    found.add(self._role(index, position))
                    continue
                made = [self.roles.get(output, set()) for output in node.output]
                for role in set().union(*made):
                    if self.operators[index] == "DequantizeLinear" and position:
                        text = f"{_PARAMETERS[position]} of {role.text}"
                        role = _Role(role.reader, text, "scales")
                    found.add(role)

    def _role(self, index: int, position: int) -> _Role:
        """What a node reads at a place."""
        node, label = self.nodes[index], self.labels[index]
        operator = self.operators[index]
        if operator in _QUANTIZERS and position:
            text = f"{_PARAMETERS[position]} of {self._source(index)}"
            return _Role(index, text, "scales")
        if operator in _LINEAR:
            if position == 2:
                return _Role(index, f"bias of {label}", "biases")
            return _Role(index, f"weight of {label}", "weights")
        if operator == "Add":
            other = self.producer.get(node.input[1 - position], -1)
            if self.labels.get(other, "").startswith("MatMul "):
                return _Role(index, f"bias of {self.labels[other]}", "biases")
        text = f"{self._input_name(index, position)} of {label}"
        return _Role(index, text, "constants")

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
        for index in self.consumers.get(name, []):
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
