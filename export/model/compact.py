"""Make an ONNX file small without changing what it computes.

Names, annotations and repeated constants go;
the frozen kernels of a Fourier transform are written as the formula they are,
mostly empty matrices (mel filters) as their few values,
blocks in a frame of zeros as the block
and integers of 4 bits two to a byte.
:func:`expand_constants` is the way back.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    version_converter,
)

from ..base.errors import ExportError
from . import topology
from .topology import opset

FOUR_BIT_OPSET = 21
"""First version of the operators with a 4-bit type for weights;
before it, packed bytes are taken apart by the graph itself."""

_MOST_VALUES = 2**26
"""Values of a constant; a damaged shape may ask for more than any memory holds."""

_BARRIERS = {
    "DequantizeLinear",
    "RandomNormal",
    "RandomUniform",
}
"""Operators that are no constants even where all of their inputs are:
a dequantised weight is the 8-bit weight that it is made of."""


def compact(model: ModelProto) -> ModelProto:
    """Write a model with as few bytes as its values allow.

    Node names, documentation, shape annotations and metadata are dropped,
    tensors get short names (inputs and outputs keep theirs),
    equal constants and equal nodes are merged.
    Constants stay what they are to the last bit,
    but Fourier kernels, which are generated to within 1e-7.

    Args:
        model: ONNX model without external data

    Returns:
        new model, the argument stays as it is

    Raises:
        ExportError: if the model is invalid,
            or an operator has a sub-graph or is not of ONNX itself

    """
    model = expand_constants(model)
    graph = model.graph
    if opset(model) >= FOUR_BIT_OPSET:
        _use_four_bit_type(graph)
    _shrink_constants(graph)
    _merge(graph)
    _remove_unused(graph)
    _rename(graph)
    slim = helper.make_model(
        helper.make_graph(
            [_slim_node(node, opset(model)) for node in graph.node],
            "model",
            [_slim_value(value) for value in graph.input],
            [_slim_value(value) for value in graph.output],
            sorted(graph.initializer, key=lambda tensor: tensor.name),
        ),
        opset_imports=[helper.make_opsetid("", opset(model))],
    )
    # the oldest that knows the operators: old runtimes refuse a newer one
    slim.ir_version = helper.find_min_ir_version_for(slim.opset_import)
    return topology.load(slim)


def convert_opset(model: ModelProto, version: int) -> ModelProto:
    """Write a model in a later version of the operators.

    Raises:
        ExportError: if the model is invalid or an operator has no such version

    """
    if opset(model) >= version:
        return model
    try:
        converted = version_converter.convert_version(expand_constants(model), version)
    except Exception as error:  # the converter has no common base class
        raise ExportError(
            f"model must be one that opset {version} can express, got "
            f"{topology.one_line(error)}: keep opset {opset(model)}"
        ) from error
    converted.ir_version = helper.find_min_ir_version_for(converted.opset_import)
    return compact(converted)


def expand_constants(model: ModelProto) -> ModelProto:
    """Compute every tensor that depends on no input and store it.

    The kernels that :func:`compact` wrote as formulas
    become initializers again.

    Args:
        model: ONNX model without external data

    Returns:
        new model, the argument stays as it is

    Raises:
        ExportError: if the model is invalid,
            or an operator has a sub-graph or is not of ONNX itself

    """
    topology.load(model)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"model must consist of ONNX operators, got {topology.label(node)} "
                f"of '{node.domain}': export it without custom operators"
            )
        if any(
            attribute.HasField("g") or attribute.graphs for attribute in node.attribute
        ):
            raise ExportError(
                f"model must be a plain graph, got a sub-graph in "
                f"{topology.label(node)}: export it without branches and loops"
            )
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    known = {tensor.name for tensor in graph.initializer} | {""}
    constant: list[NodeProto] = []
    rest: list[NodeProto] = []
    for node in graph.node:
        if node.op_type not in _BARRIERS and known.issuperset(node.input):
            known.update(node.output)
            constant.append(node)
        else:
            rest.append(node)
    if not constant:
        return copy
    needed = {name for node in rest for name in node.input}
    needed |= {value.name for value in graph.output}
    made = [name for node in constant for name in node.output if name in needed]
    stored = [tensor for tensor in graph.initializer if tensor.name in needed]
    if made:
        folding = helper.make_model(
            helper.make_graph(
                constant,
                "constants",
                [],
                [onnx.ValueInfoProto(name=name) for name in made],
                graph.initializer,
            ),
            opset_imports=copy.opset_import,
            ir_version=copy.ir_version,
        )
        inferred = onnx.shape_inference.infer_shapes(folding, data_prop=True)
        types = {value.name: value for value in inferred.graph.value_info}
        types |= {value.name: value for value in inferred.graph.output}
        for name, value in types.items():
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            if math.prod(sizes) > _MOST_VALUES:
                raise ExportError(
                    f"constants must have at most {_MOST_VALUES} values, got {sizes} "
                    f"for '{name}': export the model again"
                )
        del folding.graph.output[:]
        folding.graph.output.extend(
            helper.make_tensor_value_info(
                name, types[name].type.tensor_type.elem_type, None
            )
            for name in made
        )
        session = topology.session(folding, "exact")
        try:
            values = session.run(made, {})
        except Exception as error:  # onnxruntime's have no common base class
            raise ExportError(
                f"constants must be made by nodes that run, got "
                f"{topology.one_line(error)}: export the model again"
            ) from error
        stored += [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(made, values, strict=True)
        ]
    del graph.node[:]
    graph.node.extend(rest)
    del graph.initializer[:]
    graph.initializer.extend(stored)
    del graph.value_info[:]
    return topology.load(copy)


class _Writer:
    """Collect the nodes and constants that make another constant."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names = (f"{prefix}/{index}" for index in itertools.count())

    def constant(self, value: np.ndarray | np.float64) -> str:
        name = next(self._names)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = next(self._names)
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], **attributes)
        )
        return name

    def finish(self, name: str) -> None:
        self.nodes[-1].output[0] = name

    def byte_size(self) -> int:
        sizes = [node.ByteSize() for node in self.nodes]
        sizes += [tensor.ByteSize() for tensor in self.constants]
        return sum(sizes)


def _shrink_constants(graph: onnx.GraphProto) -> None:
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        writer = None
        if value.dtype == np.float32 and value.size >= 256:
            if tensor.name in kernels:
                writer = _fourier_kernel(value, tensor.name)
            writer = writer or _sparse(value, tensor.name)
        if value.dtype == np.int8:
            writer = _packed(value, tensor.name)
        if writer is None and value.dtype in (np.float32, np.int8) and value.ndim:
            writer = _padded(value, tensor.name)
        if writer is None:
            constants.append(tensor)
        else:
            nodes += writer.nodes
            constants += writer.constants
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _fourier_kernel(value: np.ndarray, name: str) -> _Writer | None:
    """Generate a kernel if it is a Hann-windowed cosine or negative sine."""
    bins, window_length = value.shape[0], value.shape[-1]
    if value.ndim != 3 or value.shape[1] != 1 or bins < 2:
        return None
    step = np.pi / (bins - 1)  # from one bin and sample to the next
    time = np.arange(window_length)
    hann = np.sin(np.pi / window_length * time) ** 2
    angle = step * np.outer(np.arange(bins), time)
    for phase in (np.pi / 2, np.pi):
        generated = np.sin(angle + phase) * hann
        if np.abs(generated - value[:, 0]).max() <= 1e-7:
            break
    else:
        return None
    # In double precision, so that the rounding to float32 is the only one.
    writer = _Writer(name)
    zero, one = writer.constant(np.float64(0)), writer.constant(np.float64(1))

    def count(stop: int) -> str:
        return writer.node("Range", zero, writer.constant(np.float64(stop)), one)

    def times(tensor: str, factor: float) -> str:
        return writer.node("Mul", tensor, writer.constant(np.float64(factor)))

    samples = count(window_length)
    root = writer.node("Sin", times(samples, np.pi / window_length))
    window = writer.node("Mul", root, root)
    column = writer.constant(np.array([1, 2], np.int64))
    rows = writer.node("Unsqueeze", times(count(bins), step), column)
    turn = writer.node("Mul", rows, samples)
    shifted = writer.node("Add", turn, writer.constant(np.float64(phase)))
    wave = writer.node("Mul", writer.node("Sin", shifted), window)
    writer.node("Cast", wave, to=TensorProto.FLOAT)
    writer.finish(name)
    return writer


def _sparse(value: np.ndarray, name: str) -> _Writer | None:
    """Scatter the values of a mostly empty matrix, if that is smaller."""
    flat = value.reshape(-1)
    # by bits: a negative zero is a value
    (places,) = np.nonzero(flat.view(np.uint32))
    index_type = np.uint16 if flat.size <= 2**16 else np.uint32
    writer = _Writer(name)
    zeros = writer.node(
        "ConstantOfShape", writer.constant(np.array([flat.size], np.int64))
    )
    where = writer.node(
        "Cast", writer.constant(places.astype(index_type)), to=TensorProto.INT64
    )
    filled = writer.node("ScatterElements", zeros, where, writer.constant(flat[places]))
    writer.node("Reshape", filled, writer.constant(np.array(value.shape, np.int64)))
    writer.finish(name)
    return writer if writer.byte_size() < value.nbytes // 2 else None


def _use_four_bit_type(graph: onnx.GraphProto) -> None:
    """Give dequantised int8 constants whose values allow it the type int4."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    zeros: list[TensorProto] = []
    for tensor in graph.initializer:
        nodes = readers.get(tensor.name, [])
        if tensor.data_type != TensorProto.INT8 or any(
            node.op_type != "DequantizeLinear" or node.input[0] != tensor.name
            for node in nodes
        ):
            continue
        value = numpy_helper.to_array(tensor)
        if not _fits_four_bits(value):
            continue
        tensor.CopyFrom(
            helper.make_tensor(
                tensor.name, TensorProto.INT4, value.shape, value.reshape(-1)
            )
        )
        for node in nodes:
            if len(node.input) > 2:
                (zero,) = (t for t in graph.initializer if t.name == node.input[2])
                node.input[2] = f"{tensor.name}/zero"
                values = numpy_helper.to_array(zero).reshape(-1)
                zeros.append(
                    helper.make_tensor(
                        node.input[2], TensorProto.INT4, zero.dims, values
                    )
                )
    graph.initializer.extend(zeros)


def _fits_four_bits(value: np.ndarray) -> bool:
    return value.size >= 1024 and bool(value.min() >= -8 and value.max() <= 7)


def _packed(value: np.ndarray, name: str) -> _Writer | None:
    """Store integers of 4 bits two to a byte."""
    if not _fits_four_bits(value):
        return None
    flat = np.append(value.reshape(-1), np.zeros(value.size % 2, np.int8)) + 8
    low, high = np.split(flat.astype(np.uint8), 2)
    writer = _Writer(name)
    both = writer.constant(low | high << 4)
    four = writer.constant(np.array(4, np.uint8))
    upper = writer.node("BitShift", both, four, direction="RIGHT")
    shifted = writer.node("BitShift", both, four, direction="LEFT")
    lower = writer.node("BitShift", shifted, four, direction="RIGHT")
    bits = writer.node("Concat", lower, upper, axis=0)
    if value.size % 2:
        start, stop = writer.constant(np.array([0])), np.array([value.size])
        bits = writer.node("Slice", bits, start, writer.constant(stop))
    wide = writer.node("Cast", bits, to=TensorProto.INT32)
    signed = writer.node("Sub", wide, writer.constant(np.array(8, np.int32)))
    narrow = writer.node("Cast", signed, to=TensorProto.INT8)
    writer.node("Reshape", narrow, writer.constant(np.array(value.shape, np.int64)))
    writer.finish(name)
    return writer


def _padded(value: np.ndarray, name: str) -> _Writer | None:
    """Pad a block with the zeros that end every axis, if that is smaller."""
    filled = np.nonzero(value.view(np.uint32 if value.itemsize == 4 else np.uint8))
    shape = [int(places.max(initial=0)) + 1 for places in filled]
    block = value[tuple(slice(length) for length in shape)]
    pads = [0] * value.ndim + [
        whole - length for whole, length in zip(value.shape, shape, strict=True)
    ]
    writer = _Writer(name)
    writer.node(
        "Pad",
        writer.constant(np.ascontiguousarray(block)),
        writer.constant(np.array(pads, np.int64)),
    )
    writer.finish(name)
    return writer if writer.byte_size() < value.nbytes else None


def _merge(graph: onnx.GraphProto) -> None:
    """Merge equal constants, then equal nodes on equal inputs."""
    same: dict[str, str] = {}
    first: dict[bytes, str] = {}
    constants: list[TensorProto] = []
    for tensor in graph.initializer:
        # raw bytes whatever field the values came in
        plain = numpy_helper.from_array(numpy_helper.to_array(tensor))
        plain.data_type = tensor.data_type
        key = plain.SerializeToString(deterministic=True)
        if key in first:
            same[tensor.name] = first[key]
        else:
            first[key] = plain.name = tensor.name
            constants.append(plain)
    kept = {value.name for value in graph.output}
    nodes: list[NodeProto] = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        bare = NodeProto()
        bare.CopyFrom(node)
        del bare.output[:]
        bare.name = ""
        key = bare.SerializeToString(deterministic=True)
        if len(node.output) != 1 or node.output[0] in kept:
            nodes.append(node)
        elif key in first:
            same[node.output[0]] = first[key]
        else:
            first[key] = node.output[0]
            nodes.append(node)
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.node[:]
    graph.node.extend(nodes)


def _remove_unused(graph: onnx.GraphProto) -> None:
    used = {value.name for value in graph.output}
    nodes: list[NodeProto] = []
    for node in reversed(list(graph.node)):
        if used.intersection(node.output):
            used.update(node.input)
            nodes.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _short_names() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_letters, repeat=length):
            yield "".join(letters)


def _rename(graph: onnx.GraphProto) -> None:
    """Give short names in the order in which the nodes use them."""
    fixed = {value.name for value in (*graph.input, *graph.output)} | {""}
    short = (name for name in _short_names() if name not in fixed)
    names = {name: name for name in fixed}
    for node in graph.node:
        for field in (node.input, node.output):
            for position, name in enumerate(field):
                if name not in names:
                    names[name] = next(short)
                field[position] = names[name]
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]


def _slim_node(node: NodeProto, version: int) -> NodeProto:
    slim = NodeProto(op_type=node.op_type, input=node.input, output=node.output)
    # of this opset: the default axis of Softmax changed, for one
    defaults = onnx.defs.get_schema(node.op_type, version).attributes
    for attribute in sorted(node.attribute, key=lambda entry: entry.name):
        attribute.doc_string = ""
        default = defaults.get(attribute.name)
        if default is None or not _is_default(attribute, default.default_value):
            slim.attribute.append(attribute)
    return slim


def _is_default(attribute: onnx.AttributeProto, default: onnx.AttributeProto) -> bool:
    if default.type == onnx.AttributeProto.UNDEFINED:
        return False
    return helper.get_attribute_value(attribute) == helper.get_attribute_value(default)


def _slim_value(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    slim = onnx.ValueInfoProto(name=value.name)
    slim.type.CopyFrom(value.type)
    return slim
