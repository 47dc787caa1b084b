"""Maximum of 0 and an int32 tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, View
    from ..reading import Reading


@dataclass(frozen=True, eq=False)
class Relu(Operator):
    """Maximum of 0 and an int32 tensor; the scale stays."""

    ONNX = ("Relu",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Relu": Traits("rectifies", lambda a, x: x.relu(), in_place=True),
    }

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a Relu of int32; of int8 it is a table."""
        if not reading.tensor(index).wide:
            return None
        return [cls(*reading.moved(index))]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Turn what is below 0 into 0."""
        (x,) = inputs
        return np.maximum(x, 0)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on single numbers."""
        lowering.same("relu", self.output, views, {})
