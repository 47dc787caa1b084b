"""Find the log-mel that a model states among its convolutions.

A log-mel front end is exported as convolutions, which all runtimes can quantise:
one with windowed cosines, one with windowed sines, and one with the mel weights.
Firmware multiplies by the window instead, runs a fast Fourier transform
and skips the mel weights that are 0, see :mod:`wav2small.export.integer.front_end`.
For a window of 512 samples that is an eightieth of the work
and a five-hundredth of the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from wav2small.export.base import log_mel
from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.integer.front_end.constants import (
    count_multiplications,
    integer_mel,
    mel_bytes,
    transform_bytes,
)
from wav2small.export.integer.front_end.fourier import LENGTHS
from wav2small.export.integer.front_end.reading import float_front_end
from wav2small.export.model.constants import expand_constants

from .onnx_graph import Graph
from .operations import WindowOperation, WindowProgram

_KERNEL_ERROR = 1e-6
"""Largest distance of a kernel in float32 to what the settings make."""


@dataclass(frozen=True)
class Transforms:
    """What the transforms of a graph cost as firmware computes them."""

    names: tuple[str, ...] = ()
    """The two convolutions of the Fourier transform, and its length."""

    macs: dict[str, int] = field(default_factory=dict)
    """Multiplications by the first output of a convolution, per execution."""

    table_bytes: dict[str, int] = field(default_factory=dict)
    """Bytes of the tables that firmware stores instead of a constant."""


def find_transforms(graph: Graph, program: WindowProgram) -> Transforms:
    """Find the convolutions that are the log-mel which a model states.

    That with the cosines gets the cost of window, transform and squares,
    that with the sines no cost,
    and that with the mel weights the cost of those that are not 0.
    In a model that states no log-mel all count as they stand.

    Raises:
        BenchError: if the model states a log-mel and has other constants

    """
    settings = log_mel.read_settings(graph.metadata, BenchError)
    if settings is None or settings.n_fft not in LENGTHS:
        return Transforms()
    numbers = float_front_end(settings)
    wanted = (*settings.waves(), numbers.mel)
    plain = [entry for entry in program.operations if _is_plain(entry, program)]
    parts = [_with_kernel(graph, program, plain, kernel) for kernel in wanted]
    if None in parts:
        raise BenchError(
            "model must hold the kernels of the log-mel that its metadata state, got "
            "other ones: export the model again"
        )
    mel, _ = integer_mel(numbers.mel)
    weights = int(np.count_nonzero(mel))
    length = settings.n_fft
    costs = (
        (
            count_multiplications(len(numbers.window), length, 0),
            transform_bytes(numbers.window, length),
        ),
        (0, 0),
        (2 * weights, mel_bytes(len(mel), weights)),
    )
    macs, tables = {}, {}
    for entry, (multiplications, table) in zip(parts, costs, strict=True):
        assert entry is not None
        macs[entry.node.output[0]] = multiplications * _count_frames(entry, program)
        tables[entry.constants[0]] = table
    names = " and ".join(entry.name for entry in parts[:2] if entry)
    return Transforms((f"{names} ({length} samples)",), macs, tables)


def _with_kernel(
    graph: Graph,
    program: WindowProgram,
    operations: Sequence[WindowOperation],
    kernel: np.ndarray,
) -> WindowOperation | None:
    """Convolution that has the numbers of a kernel ``(outputs, taps)``."""
    rows, columns = kernel.shape
    for entry in operations:
        shape = program.tensors[entry.node.input[1]].shape
        if shape not in ((rows, 1, columns), (rows, columns, 1)):
            continue
        values = _kernel_values(graph, entry)
        if values is None:
            continue
        if np.abs(values.reshape(kernel.shape) - kernel).max() <= _KERNEL_ERROR:
            return entry
    return None


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
