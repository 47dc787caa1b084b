"""Load ONNX safely and see who makes and who reads each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from ..base import allowed, onnx_file
from ..base.errors import ExportError
from ..base.escape import line

if TYPE_CHECKING:
    import onnxruntime


def load(
    source: ModelProto | bytes | str | Path, *, only_look: bool = False
) -> ModelProto:
    """Load and check a model that is whole in itself.

    Args:
        source: model, its bytes or its file
        only_look: see :func:`wav2small.export.base.onnx_file.parse`

    Returns:
        the model, not a copy where it already is one

    Raises:
        ExportError: if it is missing, corrupt, invalid or holds
            what :mod:`wav2small.export.base.allowed` does not list

    """
    if isinstance(source, ModelProto):
        model, where = source, "model"
        allowed.check(model, where, ExportError, only_look=only_look)
    elif isinstance(source, bytes):
        where = "model"
        model = onnx_file.parse(source, where, ExportError, only_look=only_look)
    else:
        where = f"'{line(source)}'"
        data = onnx_file.read(source, ExportError)
        model = onnx_file.parse(data, where, ExportError, only_look=only_look)
        if not only_look:
            onnx_file.try_out(data, where, ExportError)
    onnx_file.check_valid(model, where, ExportError, infers=True)
    return model


def session(
    model: ModelProto, execution: onnx_file.Execution = "default"
) -> onnxruntime.InferenceSession:
    """Open a model in onnxruntime, see :func:`wav2small.export.base.onnx_file.session`.

    Raises:
        ExportError: if it holds what is not allowed or onnxruntime refuses it

    """
    return onnx_file.session(model, execution, ExportError)


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
