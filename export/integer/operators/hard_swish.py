"""``x * clip(x + 3, 0, 6) / 6`` of an int32 tensor."""

from __future__ import annotations

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


def _hard_swish(a: Mapping[str, Any], x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.hardswish(x)


@dataclass(frozen=True, eq=False)
class HardSwish(Operator):
    """``x * clip(x + 3, 0, 6) / 6`` of an int32 tensor."""

    ONNX = ("HardSwish",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "HardSwish": Traits("pointwise", _hard_swish, in_place=True),
    }

    rescale: Rescale
    """From the step of ``x * clip(x + 3, 0, 6)`` to the output's."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a HardSwish of int32; of int8 it is a table."""
        source = reading.tensor(index)
        if not source.wide:
            return None
        output = reading.nodes[index].output[0]
        tensor, nodes = reading.target(output, source.bound, [index])
        factor = source.scale**2 / 6 / tensor.scale
        largest = source.bound * min(6, source.bound + 3) / source.scale**2
        rescale = reading.rescale(index, factor, largest)
        return [cls((source.name,), tensor.name, nodes, rescale)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Multiply, then rescale to the step of the output."""
        (x,) = inputs
        three = _three(scales.sources[0].scale)
        return scales.finish(x * np.clip(x + three, 0, 2 * three), self.rescale)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on single numbers."""
        three = _three(lowering.tensors[self.inputs[0]].scale)
        numbers = {
            "three": three,
            **lowering.single(self.rescale),
            **lowering.output(self.output),
        }
        lowering.same("hard_swish", self.output, views, numbers)


def _three(scale: float) -> int:
    return round(3 / scale)
