"""Softmax pooling of a row, as :class:`wav2small.export.integer.pooling.PoolState`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import TensorProto

from ..integer.operators.softmax_pool import SoftmaxPool
from ..integer.pooling import EXP_TABLE, FRACTION, FULL, LOWEST
from .layers import rescaled
from .numbers import Integers, Nodes

PARTS = ("reference", "numerator", "denominator", "age")
"""What is remembered: the reference above that before any row, sums, and the age."""


def added(
    builder: Nodes,
    operator: SoftmaxPool,
    before: Mapping[str, Integers],
    rows: Sequence[Integers],
    decay: int,
) -> dict[str, Integers]:
    """Add a row.

    Args:
        builder: graph so far
        operator: the pooling
        before: what is remembered, by :data:`PARTS`
        rows: value and score, with time of length 1
        decay: how far weights fall from row to row, in ``2 ** -24`` octaves

    Returns:
        what is remembered after it

    """
    value, score = (builder.node("Squeeze", row, [operator.axis]) for row in rows)
    age = before["age"] + decay
    logarithm = rescaled(operator.logarithm, score, []) + (age >> (FRACTION - 16))
    reference = before["reference"] + LOWEST
    full = (before["denominator"] >= FULL + 1).cast(TensorProto.INT64)
    needed = (-((-logarithm) >> 16)).at_least(reference + full)
    below = needed * 2**16 - logarithm
    place, part = (below >> 8) % 2**8, below % 2**8
    high = builder.look_up(EXP_TABLE, place)
    low = builder.look_up(EXP_TABLE, place + 1)
    weight = high - ((high - low) * part).rounded_shift(8)
    weight = weight.rounded_shift_by((below >> 16).at_most(62))
    drop = (needed - reference).at_most(62)
    return {
        "numerator": before["numerator"].rounded_shift_by(drop) + weight * value,
        "denominator": before["denominator"].rounded_shift_by(drop) + weight,
        "reference": needed - (age >> FRACTION) - LOWEST,
        "age": age % 2**FRACTION,
    }


def result(numerator: Integers, denominator: Integers) -> Integers:
    """Weighted mean of the rows so far, 0 of none."""
    count = denominator.at_least(1)
    return (numerator + denominator // 2) // count
