"""What an execution costs in multiplications and in flash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from wav2small.export.integer.operators import TRAITS
from wav2small.export.integer.operators.base import Shape

from .onnx_graph import Graph, TensorType
from .operations import ELEMENTWISE, WindowOperation, WindowProgram
from .transforms import find_transforms


@dataclass(frozen=True)
class StepCost:
    """Cost of one operation."""

    macs: int | None
    """Multiply-accumulates, None if the operator has no count."""

    elements: int
    """Elements that it writes."""

    weight_bytes: int
    """Bytes of the constants that it is the first to read."""


@dataclass(frozen=True)
class Flash:
    """Bytes that must be stored, without the code of kernels and runtime."""

    stored_bytes: int
    """Constants that operations read as the file stores them."""

    generated_bytes: int
    """Constants that the graph computes from others,
    stored as the tables that they are after that,
    and the tables of Fourier transforms."""

    structure_bytes: int
    """The file without the contents of its tensors: what an interpreter needs."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.stored_bytes + self.generated_bytes + self.structure_bytes


@dataclass(frozen=True)
class Cost:
    """Cost of a program."""

    steps: tuple[StepCost, ...]
    """Cost of each operation."""

    integer_macs: int
    """Multiply-accumulates on tensors of 8 bits or less, per execution."""

    float_macs: int
    """Multiply-accumulates on all other tensors, per execution."""

    uncounted: tuple[str, ...]
    """Operations whose multiply-accumulates are not known."""

    flash: Flash
    """Bytes to be stored."""

    transforms: tuple[str, ...] = ()
    """Pairs of operations that are counted as fast Fourier transforms."""

    @property
    def macs(self) -> int:
        """All multiply-accumulates that are known, per execution."""
        return self.integer_macs + self.float_macs


_Count = Callable[[Sequence[Shape], Shape, Mapping[str, Any]], int]
"""From shapes of inputs and output and the attributes to the number."""


def _quantised(kind: str) -> _Count:
    """Count of an operator whose second input comes after scales and zero points."""
    return lambda inputs, output, a: _KNOWN[kind]([inputs[0], *inputs[3:]], output, a)


def _transposed_convolution(
    inputs: Sequence[Shape], output: Shape, attributes: Mapping[str, Any]
) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _recurrent(
    inputs: Sequence[Shape], output: Shape, attributes: Mapping[str, Any]
) -> int:
    # Time and batch stand in either order; weights are (directions, gates, columns).
    steps = math.prod(inputs[0][:2])
    return steps * (math.prod(inputs[1]) + math.prod(inputs[2]))


_KNOWN: dict[str, _Count] = {
    name: traits.macs for name, traits in TRAITS.items() if traits.macs is not None
}
_COUNTS: dict[str, _Count] = _KNOWN | {
    "ConvInteger": _KNOWN["Conv"],
    "ConvTranspose": _transposed_convolution,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MatMulInteger": _KNOWN["MatMul"],
    "QLinearConv": _quantised("Conv"),
    "QLinearMatMul": _quantised("MatMul"),
    "RNN": _recurrent,
}

_WITHOUT = (ELEMENTWISE | set(TRAITS) - set(_KNOWN)) | {
    "And",
    "ArgMax",
    "ArgMin",
    "AveragePool",
    "Compress",
    "ConstantOfShape",
    "CumSum",
    "DepthToSpace",
    "DynamicQuantizeLinear",
    "Equal",
    "Expand",
    "Gather",
    "GatherElements",
    "GatherND",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "Less",
    "LessOrEqual",
    "LpNormalization",
    "Mean",
    "Not",
    "Or",
    "Pad",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
    "Resize",
    "ReverseSequence",
    "ScatterElements",
    "ScatterND",
    "SpaceToDepth",
    "Split",
    "Tile",
    "TopK",
    "Trilu",
    "Xor",
}
"""Operators with no sum of products, or with one that is small beside them."""


def count_cost(graph: Graph, program: WindowProgram) -> Cost:
    """Count multiply-accumulates and the bytes to be stored.

    A multiply-accumulate is a product that is added to a sum;
    element-wise operations, pooling and activations have none.
    A product with zero padding counts.
    Convolutions that are a Fourier transform count as a fast one,
    see :mod:`wav2small.firmware_bench.plan.transforms`.
    """
    transforms = find_transforms(graph, program)

    def size(name: str) -> int:
        return transforms.table_bytes.get(name, program.constants[name].type.bytes)

    paid: set[str] = set()
    steps = []
    for operation in program.operations:
        new = [name for name in operation.constants if name not in paid]
        paid.update(new)
        steps.append(
            StepCost(
                macs=transforms.macs.get(
                    operation.node.output[0], _macs(operation, program)
                ),
                elements=sum(
                    program.buffers[name].elements for name in operation.outputs
                ),
                weight_bytes=sum(map(size, new)),
            )
        )

    def total(integer: bool) -> int:
        return sum(
            step.macs or 0
            for step, operation in zip(steps, program.operations, strict=True)
            if operation.integer == integer
        )

    def table_bytes(generated: bool) -> int:
        return sum(
            size(name)
            for name, constant in program.constants.items()
            if (constant.generated or name in transforms.table_bytes) == generated
        )

    return Cost(
        steps=tuple(steps),
        integer_macs=total(True),
        float_macs=total(False),
        uncounted=tuple(
            operation.name
            for step, operation in zip(steps, program.operations, strict=True)
            if step.macs is None
        ),
        flash=Flash(table_bytes(False), table_bytes(True), graph.structure_bytes),
        transforms=transforms.names,
    )


def _macs(operation: WindowOperation, program: WindowProgram) -> int | None:
    node = operation.node
    if node.op_type in _WITHOUT:
        return 0
    if node.op_type not in _COUNTS or node.domain not in ("", "ai.onnx"):
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    nothing = TensorType((), "float32")
    inputs = [program.tensors.get(name, nothing).shape for name in node.input]
    # the shape that the operator computes, before views changed it
    output = program.tensors[next(name for name in node.output if name)].shape
    return _COUNTS[node.op_type](inputs, output, attributes)
