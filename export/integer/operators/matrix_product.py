"""Product of two matrices that are both computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..rescale import Rescale
from ..scales import Scales
from .base import Operator
from .product import read_product

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, View
    from ..reading import Reading


@dataclass(frozen=True, eq=False)
class MatrixProduct(Operator):
    """Product of two matrices that are both computed."""

    ONNX = ("MatMul",)

    shifts: tuple[int, int]
    """Bits that each input is shifted right by first."""

    rescale: Rescale
    """From the product of the steps to the output's."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a MatMul without a constant."""
        if reading.nodes[index].input[1] in reading.constants:
            return None
        length = reading.tensor(index).shape[-1:]
        reading.tensor(index, 1)
        if not length or not isinstance(length[0], int):
            reading.fail(index, "a product over an axis of fixed length")
        return [cls(*read_product(reading, index, length[0]))]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Multiply, add up and rescale."""
        left, right = scales.narrowed(inputs, self.shifts)
        return scales.finish(left @ right, self.rescale)

    def count_macs(self, source: tuple[int, ...], outputs: int) -> int:
        """One for each output and place of the axis that goes."""
        return outputs * source[-1]

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Leave the axis of time in its place, unless it is an axis of a matrix."""
        return None if time >= len(shape) - 2 else time

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage with two matrices."""
        a, b = (lowering.plain(view) for view in views)
        if {*a.shape[:-2], *b.shape[:-2]} - {1}:
            lowering.fail("of more than two matrices")
        rows = lowering.make(self.output, (*a.shape[:-1], b.shape[-1]))
        numbers = {
            "rows": a.shape[-2],
            "terms": a.shape[-1],
            "columns": b.shape[-1],
            "shifts": self.shifts,
            **lowering.single(self.rescale),
            **lowering.sources(self.inputs),
            **lowering.output(self.output),
        }
        lowering.append("matrix_product", [a, b], rows, numbers)
