"""Load ONNX safely and see who makes and who reads each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ..base.errors import ExportError

if TYPE_CHECKING:
    import onnxruntime


def load(source: ModelProto | bytes | str | Path) -> ModelProto:
    """Load and check a model that is whole in itself.

    Args:
        source: model, its bytes or its file

    Returns:
        the model, not a copy where it already is one

    Raises:
        ExportError: if it is missing, corrupt, invalid
            or has weights in other files

    """
    if isinstance(source, ModelProto):
        model, where = source, "model"
    else:
        where = "model" if isinstance(source, bytes) else f"'{source}'"
        try:
            data = source if isinstance(source, bytes) else Path(source).read_bytes()
            model = onnx.load_from_string(data)
        except (OSError, DecodeError) as error:
            raise ExportError(
                f"{where} must be an ONNX file, got {one_line(error)}: "
                "check the path and the file"
            ) from error
    _refuse_external_data(model, where)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker has no common base class
        raise ExportError(
            f"{where} must be a valid ONNX model, got {one_line(error)}: "
            "export it again"
        ) from error
    for tensor in model.graph.initializer:
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:  # of many kinds, by the type of the tensor
            raise ExportError(
                f"constant '{tensor.name}' must have the bytes of its shape "
                f"{list(tensor.dims)}, got {one_line(error)}: export it again"
            ) from error
    return model


def _refuse_external_data(model: ModelProto, where: str) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ExportError(
                f"{where} must hold all of its weights, got external data for "
                f"'{tensor.name}': save it as one file"
            )


def _tensors(graph: onnx.GraphProto) -> Iterable[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _tensors(inner)


def one_line(error: BaseException) -> str:
    """Say an error of another library in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def session(
    model: ModelProto, execution: Literal["default", "exact"] = "default"
) -> onnxruntime.InferenceSession:
    """Open a model in onnxruntime on one thread of the CPU.

    Args:
        model: ONNX model without external data
        execution: ``default`` as users run it,
            ``exact`` with every optimisation off,
            so that each operator runs as it is written

    Raises:
        ExportError: if it has external data or onnxruntime refuses it

    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if execution == "exact":
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        )
    _refuse_external_data(model, "model")
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no common base class
        raise ExportError(
            f"model must run in onnxruntime, got {one_line(error)}: "
            "check its operators and opset"
        ) from error


def opset(model: ModelProto) -> int:
    """Version of the ONNX operators that a model is written in."""
    return next(
        entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")
    )


class Topology:
    """Who makes and who reads each tensor of a graph.

    A snapshot: it does not follow later changes of the graph.
    Nodes are given by their index in the graph,
    which is in topological order.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = list(graph.node)
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.producer: dict[str, int] = {}
        self.consumers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in node.output:
                self.producer[name] = index
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(index)

    def array(self, name: str) -> np.ndarray | None:
        """Value of an initializer, None if there is none of this name."""
        tensor = self.initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def size(self, name: str) -> int:
        """Number of values of an initializer."""
        return math.prod(self.initializers[name].dims)

    def parents(self, index: int) -> list[int]:
        """Nodes whose outputs this node reads."""
        names = self.nodes[index].input
        return [self.producer[name] for name in names if name in self.producer]

    def children(self, index: int) -> list[int]:
        """Nodes that read this node's outputs."""
        names = self.nodes[index].output
        return [child for name in names for child in self.consumers.get(name, [])]

    def upstream(self, indices: Iterable[int]) -> set[int]:
        """These nodes and all that they depend on."""
        return self._closure(indices, self.parents)

    def downstream(self, indices: Iterable[int]) -> set[int]:
        """These nodes and all that depend on them."""
        return self._closure(indices, self.children)

    @staticmethod
    def _closure(indices: Iterable[int], step: Callable[[int], list[int]]) -> set[int]:
        found: set[int] = set()
        waiting = list(indices)
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting.extend(step(index))
        return found


def label(node: NodeProto) -> str:
    """Name a node for a message: operator and name, or output if it has none."""
    return f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
