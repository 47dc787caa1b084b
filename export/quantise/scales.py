"""Scales of activations and weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from onnx import ModelProto

from ..model.topology import Topology
from .calibrate import activation_ranges
from .config import QuantConfig
from .plan import Plan

LOW, HIGH = -128, 127
"""Integers of an int8 tensor."""

FOUR_BIT_LIMIT = 7
"""Largest absolute integer of a weight of 4 bits."""


class Scale(NamedTuple):
    """How integers stand for numbers: ``(integer - zero_point) * scale``."""

    scale: np.ndarray
    """Step in the tensor's unit, float32;
    no axis for an activation, ``(outputs,)`` for a weight."""

    zero_point: int = 0
    """Integer that stands for 0, in [-128, 127]; 0 for a weight."""


def measure_scales(
    model: ModelProto, plan: Plan, signals: Iterable[np.ndarray]
) -> dict[str, Scale]:
    """Scale of each activation that has one of its own, from its range.

    The range is widened to hold 0,
    and 0 is exactly one of the 256 values.

    Raises:
        ExportError: if a signal cannot be used

    """
    ranges = activation_ranges(model, plan.measured, signals)
    return {name: activation_scale(*extremes) for name, extremes in ranges.items()}


def activation_scale(low: float, high: float) -> Scale:
    """Scale that spreads a range, and 0, over int8."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = np.float32((high - low) / (HIGH - LOW))
    if not step > np.finfo(np.float32).tiny:  # nothing but zeros was seen
        return Scale(np.ones((), np.float32))
    zero_point = int(np.clip(np.round(LOW - low / step), LOW, HIGH))
    return Scale(np.asarray(step, np.float32), zero_point)


def weight_scale(
    weight: np.ndarray,
    axis: int,
    limit: int,
    *,
    bias: np.ndarray | None = None,
    input_scale: float = 1.0,
) -> Scale:
    """Symmetric scale of each output of a weight.

    Args:
        weight: weight
        axis: axis of the outputs
        limit: largest absolute integer
        bias: bias ``(outputs,)`` that must fit 32 bits
            with the step ``input_scale * scale``
        input_scale: step of the layer's input

    """
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    step = largest / limit
    if limit <= FOUR_BIT_LIMIT:
        # with so few steps it pays to clip the largest weights
        step = _least_squares(np.moveaxis(weight, axis, 0), step, limit)
    if bias is not None:
        # A channel of next to no weights would need a larger bias than int32 has.
        step = np.maximum(step, np.abs(bias) / (input_scale * 2**30))
    step[step <= np.finfo(np.float32).tiny] = 1.0
    return Scale(step.astype(np.float32))


def _least_squares(rows: np.ndarray, step: np.ndarray, limit: int) -> np.ndarray:
    """Of some shares of each row's step the one with the least squared error."""
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    step = np.where(step > 0, step, 1.0)
    shares = np.linspace(0.5, 1, 26)
    errors = []
    for share in shares:
        scale = (step * share)[:, None]
        rounded = np.clip(np.rint(rows / scale), -limit, limit) * scale
        errors.append(np.square(rounded - rows).sum(axis=1))
    return step * shares[np.argmin(errors, axis=0)]


def weight_limits(model: ModelProto, plan: Plan, config: QuantConfig) -> dict[str, int]:
    """Largest absolute integer of each planned weight."""
    graph = Topology(model)
    sizes = {layer.weight: graph.size(layer.weight) for layer in plan.layers}
    largest = sorted(sizes, key=lambda name: -sizes[name])
    return dict.fromkeys(sizes, config.weight_limit) | dict.fromkeys(
        largest[: config.four_bit_layers], FOUR_BIT_LIMIT
    )
