"""Write constants as the formula that makes them, in fewer bytes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..base.log_mel import LogMelSettings

_KERNEL_ERROR = 1e-7
"""Largest distance of a kernel to its formula: the rounding to float32."""

FOUR_BIT_OPSET = 21
"""First version of the operators with a 4-bit type for weights;
before it, packed bytes are taken apart by the graph itself."""


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


def shrink_constants(graph: onnx.GraphProto, settings: LogMelSettings | None) -> None:
    """Put nodes in place of the constants that they make in fewer bytes.

    Args:
        graph: graph, which is changed
        settings: log-mel whose kernels have a formula, None if there is none

    """
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        writer = None
        if value.dtype == np.float32 and value.size >= 256:
            if settings is not None and tensor.name in kernels:
                writer = _fourier_kernel(value, tensor.name, settings)
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


def _fourier_kernel(
    value: np.ndarray, name: str, settings: LogMelSettings
) -> _Writer | None:
    """Generate a kernel if it is the log-mel's windowed cosine or negative sine."""
    bins, window_length = settings.bins, settings.window_length
    if value.shape != (bins, 1, window_length):
        return None
    cosines, sines = (
        bool(np.abs(wave - value[:, 0]).max() <= _KERNEL_ERROR)
        for wave in settings.waves()
    )
    if not (cosines or sines):
        return None
    phase = np.pi / 2 if cosines else np.pi
    step = 2 * np.pi / settings.n_fft  # from one bin and sample to the next
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


def derive_bias_scales(graph: onnx.GraphProto) -> None:
    """Let the scale of each bias be the product that it is: of input and weight.

    One node takes a fraction of the bytes of a scale for each channel.
    """
    scales = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node}
    products: dict[str, NodeProto] = {}
    for layer in graph.node:
        sources = [made.get(name) for name in layer.input]
        if len(sources) != 3 or any(
            source is None or source.op_type != "DequantizeLinear" for source in sources
        ):
            continue
        names = [source.input[1] for source in sources if source is not None]
        bias = names.pop()
        if bias in products or not scales.keys() >= {bias, *names}:
            continue
        signal, weight, stored = (
            numpy_helper.to_array(scales[name]) for name in (*names, bias)
        )
        product = np.asarray(signal * weight)
        node = helper.make_node("Mul", names, [bias])
        if (
            product.dtype == stored.dtype
            and product.shape == stored.shape
            and np.array_equal(product, stored)
            and node.ByteSize() < scales[bias].ByteSize()
        ):
            products[bias] = node
    nodes = [*products.values(), *graph.node]
    constants = [t for t in graph.initializer if t.name not in products]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


def use_four_bit_type(graph: onnx.GraphProto) -> None:
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
