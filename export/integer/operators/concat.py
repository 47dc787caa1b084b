"""Tensors one after the other along an axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..rescale import shift_right
from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


def _concatenate(a: Mapping[str, Any], *parts: Tensor) -> Tensor:
    import torch

    return torch.cat(parts, dim=a["axis"])


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """Tensors one after the other along an axis."""

    ONNX = ("Concat",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Concat": Traits("float", _concatenate),
    }

    axis: int
    """That axis."""

    shifts: tuple[int, ...]
    """Bits that each input is shifted right by."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a Concat of numbers; one of lengths is part of a Reshape."""
        node = reading.nodes[index]
        if not all(reading.is_integer(index, i) for i in range(len(node.input))):
            return None
        sources = [reading.tensor(index, i) for i in range(len(node.input))]
        bound = max(source.bound for source in sources)
        tensor, nodes = reading.target(node.output[0], bound, [index])
        if not all(source.wide for source in (tensor, *sources)):
            reading.fail(index, "a concatenation of int32 tensors")
        axis = reading.attributes(index)["axis"] % reading.rank(index)
        shifts = tuple(
            # a tensor of zeros has a scale of its own
            min(62, max(0, round(math.log2(tensor.scale / source.scale))))
            for source in sources
        )
        names = tuple(source.name for source in sources)
        return [cls(names, tensor.name, nodes, axis, shifts)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Shift the inputs to one step and join them."""
        shifted = [
            shift_right(value, bits)
            for value, bits in zip(inputs, self.shifts, strict=True)
        ]
        return np.concatenate(shifted, axis=self.axis)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Leave the axis of time in its place, unless it is the one that is joined."""
        return None if self.axis == time else time

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage that copies."""
        views = [lowering.plain(view) for view in views]
        shape = list(views[0].shape)
        shape[self.axis] = sum(view.shape[self.axis] for view in views)
        rows = lowering.make(self.output, tuple(shape))
        inner = [math.prod(view.shape[self.axis :]) for view in views]
        lowering.append(
            "concat",
            views,
            rows,
            {"inputs": len(views), "outer": math.prod(shape[: self.axis])},
            {
                "inner": np.array(inner, np.uint16),
                "shifts": np.array(self.shifts, np.uint8),
            },
        )
