"""Make an ONNX file small without changing what it computes.

Names, annotations and repeated constants go;
the frozen kernels of the log-mel that the metadata state are written as formulas,
mostly empty matrices (mel filters) as their few values,
blocks in a frame of zeros as the block,
scales of biases as the products that they are
and integers of 4 bits two to a byte.
:func:`wav2small.export.model.constants.expand_constants` is the way back.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator

import onnx
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    version_converter,
)

from ..base.errors import ExportError, one_line
from ..base.log_mel import ENTRY, read_settings
from . import topology
from .constants import expand_constants
from .formulas import (
    FOUR_BIT_OPSET,
    derive_bias_scales,
    shrink_constants,
    use_four_bit_type,
)
from .topology import opset


def compact(model: ModelProto) -> ModelProto:
    """Write a model with as few bytes as its values allow.

    Node names, documentation, shape annotations and metadata are dropped
    (but the settings of the log-mel, which say what the graph computes),
    tensors get short names (inputs and outputs keep theirs),
    equal constants and equal nodes are merged.
    Constants stay what they are to the last bit,
    but Fourier kernels, which are generated to within 1e-7.

    Args:
        model: ONNX model without external data

    Returns:
        new model with the same inputs, outputs and values

    Raises:
        ExportError: if the model is invalid,
            or an operator has a sub-graph or is not of ONNX itself

    """
    model = expand_constants(model)
    settings = read_settings({e.key: e.value for e in model.metadata_props})
    graph = model.graph
    if opset(model) >= FOUR_BIT_OPSET:
        use_four_bit_type(graph)
    shrink_constants(graph, settings)
    _merge(graph)
    derive_bias_scales(graph)
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
    if settings is not None:
        slim.metadata_props.add(key=ENTRY, value=settings.to_text())
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
            f"{one_line(error)}: keep opset {opset(model)}"
        ) from error
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)
    converted.ir_version = helper.find_min_ir_version_for(converted.opset_import)
    return compact(converted)


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
