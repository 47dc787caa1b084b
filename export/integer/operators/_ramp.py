"""A ramp over time that is added to scores, as exported models write it.

``Shape -> ConstantOfShape (ones) -> CumSum -> Mul (slope)``,
or a constant where the signal has a fixed length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import numpy_helper

from ..pooling import FRACTION, MOST_DECAY
from ..reading import Reading

ONNX = ("Add", "ConstantOfShape", "CumSum", "Mul")
"""Operators that are part of one."""


class Ramp(NamedTuple):
    """Numbers 1, 2, 3, .. times a slope along an axis."""

    source: str = ""
    """Tensor that has as many along it; none for a constant."""

    axis: int | None = None
    """The axis, None before numbers are counted."""

    slope: float | None = None
    """Slope, None before they are multiplied."""


class Forgetting(NamedTuple):
    """Scores with a ramp."""

    axis: int
    """Axis that it rises along."""

    decay: int
    """How much, in steps of ``2 ** -24`` octaves."""


def ones(a: Mapping[str, Any], shape: Any) -> Any:
    """Compute ConstantOfShape in torch."""
    import torch

    value = numpy_helper.to_array(a["value"]) if "value" in a else np.zeros(1, "f4")
    return torch.full(shape.tolist(), value.item())


def read_ramp(reading: Reading, index: int) -> bool:
    """Take a node that is part of a ramp, or adds one; tell whether it is."""
    node = reading.nodes[index]
    made: Ramp | Forgetting | None = None
    match node.op_type:
        case "ConstantOfShape":
            value = numpy_helper.to_array(reading.attributes(index)["value"])
            source = reading.behind(node.input[0], "Shape")
            if source is None or value.dtype != np.float32 or value.item() != 1:
                reading.fail(index, "ones, as many as a tensor has numbers")
            made = Ramp(reading.nodes[source].input[0])
        case "CumSum":
            made = _counted(reading, index)
        case "Mul":
            made = _multiplied(reading, index)
        case _:
            made = _added(reading, index)
    if made is None:
        return False
    reading.begun[node.output[0]] = made
    return True


def _counted(reading: Reading, index: int) -> Ramp:
    node = reading.nodes[index]
    begun = reading.begun.get(node.input[0])
    axis = reading.graph.array(node.input[1])
    attributes = reading.attributes(index)
    if (
        not isinstance(begun, Ramp)
        or begun.axis is not None
        or axis is None
        or axis.size != 1
        or attributes.get("reverse", 0)
        or attributes.get("exclusive", 0)
    ):
        reading.fail(index, "the count of rows of a ramp")
    return begun._replace(axis=int(axis.item()))


def _multiplied(reading: Reading, index: int) -> Ramp | None:
    for name, factor in (
        reading.nodes[index].input,
        reading.nodes[index].input[::-1],
    ):
        begun, slope = reading.begun.get(name), reading.graph.array(factor)
        if isinstance(begun, Ramp) and begun.axis is not None and slope is not None:
            if begun.slope is None and slope.size == 1:
                return begun._replace(slope=float(slope.item()))
            reading.fail(index, "a ramp times one number")
    return None


def _added(reading: Reading, index: int) -> Forgetting | None:
    """Read the sum of scores and a ramp, which stands for the scores from now on."""
    node = reading.nodes[index]
    for name, other in (node.input, node.input[::-1]):
        if name not in reading.names:
            continue
        rank = reading.rank(index, list(node.input).index(name))
        ramp, array = reading.begun.get(other), reading.graph.array(other)
        if array is not None:
            ramp = _constant(array, rank)
        if not isinstance(ramp, Ramp):
            continue
        if (
            ramp.axis is None
            or ramp.slope is None
            or (ramp.source and not _fits(reading, ramp, name, rank))
        ):
            reading.fail(index, "the sum of scores and a ramp over all their rows")
        readers = reading.graph.consumers.get(node.output[0], [])
        if [reading.nodes[reader].op_type for reader in readers] != ["Softmax"] or (
            node.output[0] in reading.graph.outputs
        ):
            reading.fail(index, "a sum with a ramp that a softmax alone reads")
        decay = ramp.slope * math.log2(math.e) * 2**FRACTION
        if not 0 <= decay <= MOST_DECAY:
            reading.fail(index, f"a ramp that rises by 0 to 177 and not {ramp.slope:g}")
        reading.names[node.output[0]] = reading.names[name]
        return Forgetting(ramp.axis % rank, round(decay))
    return None


def _constant(array: np.ndarray, rank: int) -> Ramp | None:
    """Ramp that a constant holds."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    if array.ndim != rank or array.dtype != np.float32 or len(axes) != 1:
        return None
    values = array.reshape(-1)
    count = np.arange(1, len(values) + 1, dtype=np.float32)
    if not np.array_equal(values, count * values[0]):
        return None
    return Ramp("", axes[0], float(values[0]))


def _fits(reading: Reading, ramp: Ramp, score: str, rank: int) -> bool:
    """Whether a ramp has as many rows as the scores."""
    index = reading.behind(ramp.source, "Slice")
    if index is None or ramp.axis is None:
        return ramp.source == score
    node = reading.nodes[index]
    axes = reading.graph.array(node.input[3]) if len(node.input) > 3 else None
    return (
        node.input[0] == score
        and axes is not None
        and ramp.axis % rank not in {int(axis) % rank for axis in axes}
    )
