"""Give the channels between two convolutions ranges that suit one scale.

A channel may be divided by any positive number
if what reads it is multiplied by that number,
as long as everything between is positively homogeneous:
``f(a * x) = a * f(x)`` for ``a > 0``.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wav2small.export.model.topology import Topology

_HOMOGENEOUS = {"MaxPool", "Relu"}
_ROUNDS = 200
_TOLERANCE = 1e-3


def equalize(model: ModelProto) -> ModelProto:
    """Equalise the weights of consecutive convolutions, channel by channel.

    The largest weight that makes a channel becomes that which reads it,
    over and over along a chain of convolutions, until none changes.
    The bias counts as a weight that makes the channel:
    one of next to no weights must not become all bias.
    Only rectifiers without an upper limit and maximum pooling may stand between,
    and no tensor on the way may have another reader.
    A channel that nothing makes or nothing reads stays as it is.

    It is meant for weights that share one scale.
    Where each output has its own,
    as :func:`wav2small.export.quantise.write.write_quantised` gives them,
    it may do harm: compare before use.

    Args:
        model: float model from
            :func:`wav2small.export.model.constants.expand_constants`,
            batch normalisation folded into its convolutions

    Returns:
        new model with the same scores but for rounding in float32,
        the argument stays as it is

    References:
        Nagel et al. 2019, Data-Free Quantization through Weight Equalization
        and Bias Correction, arXiv 1906.04721, section 4.1

    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = Topology(copy)
    pairs = [
        (first, second)
        for first in range(len(graph.nodes))
        if (second := _reader(graph, first)) is not None
    ]
    arrays: dict[tuple[int, int], np.ndarray] = {}  # by node and input
    for index in sorted({index for pair in pairs for index in pair}):
        for position, name in enumerate(graph.nodes[index].input):
            value = graph.array(name)
            if value is not None:
                arrays[index, position] = value.astype(np.float64)
    for _ in range(_ROUNDS):
        change = 0.0
        for first, second in pairs:
            made = _largest(arrays[first, 1], 0)
            if (first, 2) in arrays:
                made = np.maximum(made, np.abs(arrays[first, 2]))
            axis = 0 if _group(graph.nodes[second]) > 1 else 1
            read = _largest(arrays[second, 1], axis)
            both = (made > 0) & (read > 0)
            factor = np.sqrt(np.where(both, made, 1.0) / np.where(both, read, 1.0))
            arrays[first, 1] = arrays[first, 1] / _along(factor, arrays[first, 1], 0)
            if (first, 2) in arrays:
                arrays[first, 2] = arrays[first, 2] / factor
            arrays[second, 1] = arrays[second, 1] * _along(
                factor, arrays[second, 1], axis
            )
            change = max(change, float(np.abs(np.log(factor)).max()))
        if change < _TOLERANCE:
            break
    for (index, position), value in arrays.items():
        # a name of its own: another node may read the same constant
        name = f"{graph.nodes[index].output[0]}/equalized/{position}"
        copy.graph.node[index].input[position] = name
        copy.graph.initializer.append(
            numpy_helper.from_array(value.astype(np.float32), name)
        )
    _remove_unread(copy)
    return copy


def _reader(graph: Topology, index: int) -> int | None:
    """Convolution that alone reads the channels of this one, in their order."""
    node = graph.nodes[index]
    if not _is_constant_convolution(graph, node):
        return None
    channels = graph.initializers[node.input[1]].dims[0]
    while True:
        name = node.output[0]
        readers = graph.consumers.get(name, [])
        if len(readers) != 1 or name in graph.outputs or len(node.output) != 1:
            return None
        node = graph.nodes[readers[0]]
        if node.op_type in _HOMOGENEOUS:
            continue
        if not _is_constant_convolution(graph, node) or node.input[0] != name:
            return None
        inputs = graph.initializers[node.input[1]].dims
        whole = _group(node) == 1
        depthwise = _group(node) == channels == inputs[0]
        return readers[0] if whole or depthwise else None


def _is_constant_convolution(graph: Topology, node: NodeProto) -> bool:
    return node.op_type == "Conv" and all(
        name in graph.initializers for name in node.input[1:]
    )


def _group(node: NodeProto) -> int:
    groups = [
        helper.get_attribute_value(a) for a in node.attribute if a.name == "group"
    ]
    return groups[0] if groups else 1


def _largest(weight: np.ndarray, axis: int) -> np.ndarray:
    others = tuple(index for index in range(weight.ndim) if index != axis)
    return np.abs(weight).max(axis=others)


def _along(factor: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return factor.reshape(shape)


def _remove_unread(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
