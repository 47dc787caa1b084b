"""``x`` where it is above 0, and a slope of each channel times it below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..rescale import Rescale
from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


def _prelu(a: Mapping[str, Any], x: Tensor, slope: Tensor) -> Tensor:
    return x.clamp(min=0) + slope * x.clamp(max=0)


@dataclass(frozen=True, eq=False)
class Prelu(Operator):
    """``x`` where it is above 0, and a slope times it below."""

    ONNX = ("PRelu",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "PRelu": Traits("pointwise", _prelu, in_place=True)
    }

    above: Rescale
    """From the input's step to the output's."""

    below: Rescale
    """The same times the absolute slope of each channel, or of all."""

    signs: np.ndarray
    """Sign of each slope, int64: -1, 0 or 1."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a PRelu with constant slopes."""
        source = reading.tensor(index)
        node = reading.nodes[index]
        slope = reading.graph.array(node.input[1])
        if slope is None or slope.dtype != np.float32 or not np.isfinite(slope).all():
            reading.fail(index, "a rectifier with constant slopes")
        # broadcast from the last axis on: one for each of axis 1, or one for all
        by_channel = slope.ndim == reading.rank(index) - 1 and slope.size > 0
        if slope.size != 1 and not (by_channel and len(slope) == slope.size):
            reading.fail(
                index, f"a rectifier with channels' slopes and not {slope.shape}"
            )
        slopes = slope.reshape(-1)
        bound = source.bound * max(1.0, float(np.abs(slopes).max()))
        tensor, nodes = reading.target(node.output[0], bound, [index])
        factor = np.float32(source.scale) / np.float32(tensor.scale)
        largest = math.ceil(source.bound / source.scale)
        # what is multiplied by 0 may be rescaled by anything
        sizes = np.where(slopes == 0, np.float32(1), np.abs(slopes))
        return [
            cls(
                (source.name,),
                tensor.name,
                nodes,
                reading.rescale(index, factor, largest),
                reading.rescale(index, sizes * factor, largest),
                np.sign(slopes).astype(np.int64),
            )
        ]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Rescale both sides by themselves."""
        (x,) = inputs
        last = np.moveaxis(scales.centred(x), 1, -1)
        above = scales.finish(last, self.above)
        below = scales.finish(last * self.signs, self.below)
        return np.moveaxis(np.where(last >= 0, above, below), -1, 1)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Leave the axis of time in its place, unless frames have their own slopes."""
        return None if time == 1 and len(self.signs) > 1 else time

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on single numbers, channels side by side."""
        (view,) = views
        channels = len(self.signs)
        if channels > 1 and len(view.shape) == 4:
            view = lowering.map(view)
        elif channels > 1:
            view = lowering.plain(view)
            if math.prod(view.shape) != channels:
                lowering.fail("with slopes of other than maps and vectors")
        source = lowering.tensors[self.inputs[0]]
        numbers = {
            "channels": channels,
            "zero_in": source.zero_point,
            "wide_in": int(source.wide),
            **lowering.single(self.above),
            "below_before": self.below.before,
            **lowering.output(self.output),
        }
        tables: dict[str, np.ndarray] = {
            "below": self.below.multiplier.astype(np.int32),
            "below_shift": self.below.shift.astype(np.uint8),
            "sign": self.signs.astype(np.int8),
        }
        lowering.same("prelu", self.output, [view], numbers, tables)
