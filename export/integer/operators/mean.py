"""Mean over axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..rescale import Rescale
from ..scales import Scales
from .base import Operator, Sums, Traits, reduction_axes

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


def _mean(a: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    dim = reduction_axes(a, axes)
    dim = list(range(x.ndim)) if dim is None else dim
    return x.mean(dim=dim, keepdim=bool(a.get("keepdims", 1)))


@dataclass(frozen=True, eq=False)
class Mean(Operator):
    """Mean over axes."""

    ONNX = ("GlobalAveragePool", "ReduceMean")
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "GlobalAveragePool": Traits(
            "averages", lambda a, x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)
        ),
        "ReduceMean": Traits("averages", _mean),
    }
    COUNTS_ROWS = True

    axes: tuple[int, ...]
    """Axes that the mean is taken over, ascending."""

    keep: bool
    """Whether they stay, with length 1."""

    fraction: int
    """Bits by which the sum is shifted left before it is divided."""

    rescale: Rescale
    """From the input's step over ``2 ** fraction`` to the output's."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a mean over constant axes."""
        if reading.nodes[index].op_type == "GlobalAveragePool":
            axes, keep = tuple(range(2, reading.rank(index))), True
        else:
            keep = bool(reading.attributes(index).get("keepdims", 1))
            axes = reading.axes(index)
        source = reading.tensor(index)
        output = reading.nodes[index].output[0]
        tensor, nodes = reading.target(output, source.bound, [index])
        largest = math.ceil(source.bound / source.scale)
        fraction = max(0, 30 - largest.bit_length())
        factor = np.float32(source.scale) / np.float32(tensor.scale)
        rescale = reading.rescale(index, factor * np.float32(2.0**-fraction), 2.0**30)
        return [cls((source.name,), tensor.name, nodes, axes, keep, fraction, rescale)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Add up, divide and rescale."""
        sums = _MeanSums(self, scales)
        sums.push(*inputs)
        return sums.result()

    def pools(self, time: int) -> bool:
        """Whether time is one of the axes."""
        return time in self.axes

    def sums(self, scales: Scales, shape: tuple[int, ...]) -> Sums:
        """Begin a mean over time."""
        return _MeanSums(self, scales)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Move the axis of time to the front by as many axes as go before it."""
        return time if self.keep else time - sum(axis < time for axis in self.axes)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a pool that adds each number of a row to its sum."""
        (view,) = views
        if lowering.shape is None or not lowering.pooling:
            lowering.fail("which stands where none is expected")
        rows = lowering.make(self.output, lowering.shape)
        kept = np.arange(rows.count).reshape(
            [1 if i in self.axes else size for i, size in enumerate(view.shape)]
        )
        target = np.broadcast_to(kept, view.shape).reshape(-1)[view.order]
        source = lowering.tensors[self.inputs[0]]
        numbers = {
            "count": rows.count,
            "numbers": view.rows.count,
            "zero_in": source.zero_point,
            "fraction": self.fraction,
            "wide_in": int(source.wide),
            **lowering.single(self.rescale),
            **lowering.output(self.output),
        }
        lowering.append(
            "mean",
            views,
            rows,
            numbers,
            {"target": target.astype(np.uint16)},
            work=8 * rows.count,
            sums=rows.count,
        )


class _MeanSums:
    """Sum of a mean and how many numbers it has."""

    bytes_each: ClassVar[int] = 8

    def __init__(self, operator: Mean, scales: Scales) -> None:
        self.operator, self.scales = operator, scales
        self.total = np.zeros((), np.int64)
        self.count = 0

    def push(self, *rows: np.ndarray) -> None:
        (x,) = rows
        axes = self.operator.axes
        centred = self.scales.centred(x)
        self.total = self.total + centred.sum(axis=axes, keepdims=self.operator.keep)
        self.count += math.prod(x.shape[axis] for axis in axes)

    def result(self) -> np.ndarray:
        shifted = self.total << self.operator.fraction
        mean = (shifted + self.count // 2) // self.count
        return self.scales.finish(mean, self.operator.rescale)

    def forget(self, decay: int) -> None:
        self.operator.forgetting(decay)
