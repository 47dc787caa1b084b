"""Operators of the integer graph on the rows of one hop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from onnx import TensorProto

from ..base.errors import ExportError
from ..integer.operators.base import Operator
from ..integer.operators.convolution import Convolution
from ..integer.operators.linear import Linear
from ..integer.operators.max_pool import MaxPool
from ..integer.operators.relu import Relu
from ..integer.operators.reshape import Reshape
from ..integer.operators.sum import Sum
from ..integer.operators.table import Table
from ..integer.operators.transpose import Transpose
from ..integer.rescale import Rescale
from ..integer.scales import Scales, exact_float
from .numbers import Integers

Shape = tuple[int, ...]


@singledispatch
def apply(
    operator: Operator, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    """Compute an operator, as its own ``compute`` does.

    Args:
        operator: one that is entered below
        scales: of it
        inputs: integers of its inputs; of a window its rows, one for each tap
        shape: of the result

    Raises:
        ExportError: if there is no such operator here

    """
    known = sorted(kind.__name__ for kind in apply.registry if kind is not object)
    raise ExportError(
        f"operator must be one of {', '.join(known)}, got {type(operator).__name__}: "
        "take the C of this model, or wav2small.Stream"
    )


def centred(scales: Scales, value: Integers, position: int = 0) -> Integers:
    """Integers of an input less its zero point."""
    return value - int(scales.sources[position].zero_point)


def rescaled(rescale: Rescale, integers: Integers, shape: Sequence[int]) -> Integers:
    """Rescale integers; the factor's axis is where the shape has -1."""

    def spread(numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers, np.int64)
        return numbers.reshape(shape) if numbers.ndim else numbers

    if rescale.before:
        integers = integers.rounded_shift(rescale.before)
    return (integers * spread(rescale.multiplier)).rounded_shift(spread(rescale.shift))


def saturated(scales: Scales, integers: Integers) -> Integers:
    """Add the output's zero point and keep to int8."""
    shifted = integers + int(scales.target.zero_point)
    return shifted.at_least(-128).at_most(127)


def _finish(
    scales: Scales,
    sums: Integers,
    rescale: Rescale,
    bias: np.ndarray | int,
    shape: Sequence[int],
) -> Integers:
    """Integers of the output from sums, as :meth:`Scales.finish`."""
    spread = np.reshape(bias, shape) if np.ndim(bias) else np.asarray(bias)
    if scales.target.wide:
        return rescaled(rescale, sums, shape) + spread
    return saturated(scales, rescaled(rescale, sums + spread, shape))


@apply.register
def _(
    operator: Convolution, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    if exact_float(operator.weight) != np.float32:
        raise ExportError(
            "sums of a convolution must fit 24 bits to be exact in float32, got "
            f"weights of shape {operator.weight.shape} with larger ones"
        )
    (x,) = inputs
    _, left, _, right = operator.pads
    sums = x.builder.node(
        "Conv",
        centred(scales, x).cast(TensorProto.FLOAT),
        operator.weight.astype(np.float32),
        strides=[1, operator.strides[1]],
        dilations=[1, operator.dilations[1]],
        pads=[0, left, 0, right],
        group=operator.groups,
    ).cast(TensorProto.INT64)
    return _finish(scales, sums, operator.rescale, operator.bias, [1, -1, 1, 1])


@apply.register
def _(
    operator: MaxPool, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    (x,) = inputs
    _, left, _, right = operator.pads
    return x.builder.node(
        "MaxPool",
        x.cast(TensorProto.FLOAT),
        kernel_shape=list(operator.kernel),
        strides=[1, operator.strides[1]],
        pads=[0, left, 0, right],
    ).cast(TensorProto.INT64)


@apply.register
def _(
    operator: Linear, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    (x,) = inputs
    weight = operator.weight.T.astype(np.int64)
    sums = x.builder.node("MatMul", centred(scales, x), weight)
    return _finish(scales, sums, operator.rescale, operator.bias, [-1])


@apply.register
def _(
    operator: Sum, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    first, second = (centred(scales, value, i) for i, value in enumerate(inputs))
    left, right = map(int, operator.multipliers)
    total = (first * left + second * right).rounded_shift(operator.shift)
    return total if scales.target.wide else saturated(scales, total)


@apply.register
def _(
    operator: Relu, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    return inputs[0].at_least(0)


@apply.register
def _(
    operator: Table, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    return inputs[0].builder.look_up(operator.table, inputs[0] + 128)


@apply.register
def _(
    operator: Reshape, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    return inputs[0].reshape(shape)


@apply.register
def _(
    operator: Transpose, scales: Scales, inputs: Sequence[Integers], shape: Shape
) -> Integers:
    return inputs[0].builder.node("Transpose", inputs[0], perm=list(operator.axes))
