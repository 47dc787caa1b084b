"""Change of the order of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


def _permute(a: Mapping[str, Any], x: Tensor) -> Tensor:
    return x.permute(a.get("perm", tuple(range(x.ndim))[::-1]))


@dataclass(frozen=True, eq=False)
class Transpose(Operator):
    """Change of the order of axes."""

    ONNX = ("Transpose",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Transpose": Traits("moves", _permute),
    }

    axes: tuple[int, ...]
    """Axis of the input for each axis of the output."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read the order; without one all axes are reversed."""
        rank = reading.rank(index)
        axes = tuple(reading.attributes(index).get("perm", range(rank)[::-1]))
        return [cls(*reading.moved(index), axes)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Move axes."""
        (x,) = inputs
        return x.transpose(self.axes)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Move the axis of time as the order says."""
        return self.axes.index(time)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """See the same numbers in another order."""
        (view,) = views
        index = np.arange(math.prod(view.shape)).reshape(view.shape)
        index = index.transpose(self.axes)
        place = np.empty(index.size, np.int64)
        place[index.reshape(-1)] = np.arange(index.size)
        lowering.views[self.output] = replace(
            view, shape=index.shape, order=place[view.order]
        )
