"""Round channels up to what the host's integer kernels like."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from ..model.topology import Topology

_PER_CHANNEL = {"Clip", "MaxPool", "Relu"}
_LARGEST_GROWTH = 1.25


def pad_channels(model: ModelProto, nodes: Iterable[int], multiple: int) -> ModelProto:
    """Give convolutions silent channels, up to a multiple.

    The scores stay the same:
    the weights that make and read a silent channel are zero.
    Only convolutions whose output goes to other full convolutions alone,
    at most through rectifiers and maximum pooling, are padded,
    and only if they grow by no more than a quarter.

    Args:
        model: model from :func:`wav2small.export.model.constants.expand_constants`
        nodes: indices of the convolutions that may grow
        multiple: what the numbers of channels shall be multiples of

    Returns:
        new model, the argument stays as it is

    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = Topology(copy)
    arrays: dict[tuple[int, int], np.ndarray] = {}  # by node and input

    def pad(node: int, position: int, axis: int, amount: int) -> None:
        key = (node, position)
        if key not in arrays:
            value = graph.array(graph.nodes[node].input[position])
            assert value is not None
            arrays[key] = value
        widths = [(0, 0)] * arrays[key].ndim
        widths[axis] = (0, amount)
        arrays[key] = np.pad(arrays[key], widths)

    for index in nodes:
        node = graph.nodes[index]
        readers = _reading_convolutions(graph, node.output[0])
        if readers is None or not _is_full_convolution(graph, index):
            continue
        weight = graph.array(node.input[1])
        assert weight is not None
        amount = -len(weight) % multiple
        if not amount or amount > len(weight) * (_LARGEST_GROWTH - 1):
            continue
        pad(index, 1, 0, amount)
        if len(node.input) > 2:
            pad(index, 2, 0, amount)
        for reader in readers:
            pad(reader, 1, 1, amount)
    for (index, position), value in arrays.items():
        name = f"{graph.nodes[index].output[0]}/padded/{position}"
        copy.graph.node[index].input[position] = name
        copy.graph.initializer.append(numpy_helper.from_array(value, name))
    del copy.graph.value_info[:]
    return copy


def _is_full_convolution(graph: Topology, index: int) -> bool:
    """Whether every output reads every input and all weights are constant."""
    node = graph.nodes[index]
    groups = [
        helper.get_attribute_value(a) for a in node.attribute if a.name == "group"
    ]
    if node.op_type != "Conv" or groups not in ([], [1]):
        return False
    weight, *bias = (graph.array(name) for name in node.input[1:])
    return (
        weight is not None
        and weight.ndim > 2
        and all(entry is not None and entry.shape == weight.shape[:1] for entry in bias)
    )


def _reading_convolutions(graph: Topology, name: str) -> list[int] | None:
    """Full convolutions that read a tensor, None if anything else does."""
    if name in graph.outputs:
        return None
    found: list[int] = []
    for index in graph.consumers.get(name, []):
        node = graph.nodes[index]
        if node.op_type in _PER_CHANNEL and len(node.output) == 1:
            readers = _reading_convolutions(graph, node.output[0])
            if readers is None:
                return None
            found += readers
        elif _is_full_convolution(graph, index) and node.input[0] == name:
            found.append(index)
        else:
            return None
    return found
