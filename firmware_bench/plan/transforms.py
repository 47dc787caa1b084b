"""Find Fourier transforms that a graph computes as convolutions.

A log-mel front end is exported as convolutions, which all runtimes can quantise:
one with windowed cosines, one with windowed sines, and one with the mel weights.
Firmware multiplies by the window instead, runs a fast Fourier transform
and skips the mel weights that are 0, see :mod:`wav2small.export.integer.front_end`.
For a window of 512 samples that is an eightieth of the work
and a five-hundredth of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.front_end.constants import (
    count_multiplications,
    integer_mel,
    mel_bytes,
    transform_bytes,
)
from wav2small.export.integer.front_end.fourier import LENGTHS, find_window
from wav2small.export.model.constants import expand_constants

from .onnx_graph import Graph
from .operations import WindowOperation, WindowProgram


@dataclass(frozen=True)
class Transforms:
    """What the transforms of a graph cost as firmware computes them."""

    names: tuple[str, ...] = ()
    """The two convolutions of each, and its length."""

    macs: dict[str, int] = field(default_factory=dict)
    """Multiplications by the first output of a convolution, per execution."""

    table_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes of the tables that firmware stores instead of a constant."""


def find_transforms(graph: Graph, program: WindowProgram) -> Transforms:
    """Find pairs of convolutions that are a Fourier transform.

    The first of a pair gets the cost of window, transform and squares,
    the second no cost,
    and the convolution with the mel weights the cost of those that are not 0.
    """
    filters = [entry for entry in program.operations if _is_filter(entry, program)]
    pairs = [
        (first, second)
        for first, second in combinations(filters, 2)
        if first.node.input[0] == second.node.input[0]
        and list(first.node.attribute) == list(second.node.attribute)
    ]
    found = Transforms()
    names: list[str] = []
    for pair in pairs:
        first, second = (_kernel_values(graph, entry) for entry in pair)
        if first is None or second is None:
            continue
        recognised = find_window(first[:, 0], second[:, 0])
        if recognised is None or recognised[1] not in LENGTHS:
            continue
        window, length = recognised
        names.append(f"{pair[0].name} and {pair[1].name} ({length} samples)")
        multiplications = count_multiplications(len(window), length, 0)
        size = transform_bytes(window, length)
        for entry, count, table in zip(
            pair, (multiplications, 0), (size, 0), strict=True
        ):
            found.macs[entry.node.output[0]] = count * _count_frames(entry, program)
            found.table_bytes[entry.constants[0]] = table
        for entry in _mel_operations(graph, program, pair):
            mel = _kernel_values(graph, entry)
            if mel is None or not ((mel >= 0) & (mel < np.inf)).all():
                continue
            mel, _ = integer_mel(mel[:, :, 0])
            weights = int(np.count_nonzero(mel))
            frames = _count_frames(entry, program)
            found.macs[entry.node.output[0]] = 2 * weights * frames
            found.table_bytes[entry.constants[0]] = mel_bytes(len(mel), weights)
    return Transforms(tuple(names), found.macs, found.table_bytes)


def _is_filter(operation: WindowOperation, program: WindowProgram) -> bool:
    """Whether an operation filters a signal with constants that only it reads."""
    return (
        _is_plain(operation, program)
        and program.tensors[operation.node.input[1]].shape[1] == 1
    )


def _is_plain(operation: WindowOperation, program: WindowProgram) -> bool:
    """Whether it convolves along time with its own float constants, without bias."""
    node = operation.node
    if node.op_type != "Conv" or len(node.input) != 2 or not operation.constants:
        return False
    kernel = operation.constants[0]
    readers = sum(kernel in entry.constants for entry in program.operations)
    kind = program.tensors[node.input[1]]
    stored = program.constants[kernel].type
    return (
        readers == 1
        and len(kind.shape) == 3
        and kind.dtype == stored.dtype == "float32"
        and kind.elements == stored.elements
    )


def _kernel_values(graph: Graph, operation: WindowOperation) -> np.ndarray | None:
    """Kernel of a convolution, which nodes may compute from other constants.

    None if it cannot be computed before the model runs.
    """
    name = operation.node.input[1]
    wanted = {name}
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    stored = graph.model.graph.initializer
    kind = helper.make_tensor_value_info(
        name, TensorProto.FLOAT, graph.tensors[name].shape
    )
    model = helper.make_model(
        helper.make_graph(
            nodes[::-1],
            "constant",
            [],
            [kind],
            [tensor for tensor in stored if tensor.name in wanted],
        ),
        opset_imports=graph.model.opset_import,
        ir_version=graph.model.ir_version,
    )
    try:
        made = expand_constants(model).graph.initializer
    except ExportError:
        return None
    for tensor in made:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    return None


def _count_frames(operation: WindowOperation, program: WindowProgram) -> int:
    batch, _, frames = program.tensors[operation.node.output[0]].shape
    return batch * frames


def _mel_operations(
    graph: Graph, program: WindowProgram, pair: tuple[WindowOperation, WindowOperation]
) -> Iterator[WindowOperation]:
    """Convolutions of a transform's power with mel weights."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    sums = [
        {
            power.output[0]
            for square in readers.get(entry.node.output[0], [])
            if square.op_type == "Mul" and square.input[0] == square.input[1]
            for power in readers.get(square.output[0], [])
            if power.op_type == "Add"
        }
        for entry in pair
    ]
    for entry in program.operations:
        if entry.node.input[0] in sums[0] & sums[1] and _is_plain(entry, program):
            kernel = program.tensors[entry.node.input[1]].shape
            if kernel[2] == 1:
                yield entry
