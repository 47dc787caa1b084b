"""Compute what depends on no input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..base.errors import ExportError, one_line
from . import topology

_MOST_VALUES = 2**26
"""Values of a constant; a damaged shape may ask for more than any memory holds."""

_BARRIERS = {
    "DequantizeLinear",
    "RandomNormal",
    "RandomUniform",
}
"""Operators that are no constants even where all of their inputs are:
a dequantised weight is the 8-bit weight that it is made of."""


def expand_constants(model: ModelProto) -> ModelProto:
    """Compute every tensor that depends on no input and store it.

    The kernels that :func:`wav2small.export.model.compact.compact` wrote as formulas
    become initializers again.

    Args:
        model: ONNX model without external data; it is not changed

    Returns:
        model whose constants are all initializers

    Raises:
        ExportError: if the model is invalid,
            or an operator has a sub-graph or is not of ONNX itself

    """
    _check_flat(model)
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
        stored += _computed(copy, constant, made)
    del graph.node[:]
    graph.node.extend(rest)
    del graph.initializer[:]
    graph.initializer.extend(stored)
    del graph.value_info[:]
    return topology.load(copy)


def _check_flat(model: ModelProto) -> None:
    """Refuse what is no plain graph of ONNX operators."""
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


def _computed(
    model: ModelProto, nodes: Sequence[NodeProto], made: Sequence[str]
) -> list[TensorProto]:
    """Values of constants that nodes make.

    Args:
        model: model whose initializers the nodes read
        nodes: nodes that depend on no input
        made: names of the wanted constants

    """
    folding = helper.make_model(
        helper.make_graph(
            nodes,
            "constants",
            [],
            [onnx.ValueInfoProto(name=name) for name in made],
            model.graph.initializer,
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
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
            f"{one_line(error)}: export the model again"
        ) from error
    return [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(made, values, strict=True)
    ]
