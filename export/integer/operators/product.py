"""Element-wise product of two tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..rescale import Rescale
from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, View
    from ..reading import Reading


@dataclass(frozen=True, eq=False)
class Product(Operator):
    """Element-wise product of two tensors."""

    ONNX = ("Mul",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Mul": Traits("float", lambda a, x, y: x * y, in_place=True),
    }

    shifts: tuple[int, int]
    """Bits that each input is shifted right by first."""

    rescale: Rescale
    """From the product of the steps to the output's."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a Mul of two computed tensors, none of which is a softmax."""
        if any(name in reading.begun for name in reading.nodes[index].input):
            return None
        return [cls(*read_product(reading, index, 1))]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Multiply, then rescale to the step of the output."""
        left, right = scales.narrowed(inputs, self.shifts)
        return scales.finish(left * right, self.rescale)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on numbers at the same place."""
        numbers = {
            "shifts": self.shifts,
            **lowering.single(self.rescale),
            **lowering.sources(self.inputs),
            **lowering.output(self.output),
        }
        lowering.same("product", self.output, views, numbers)


def read_product(
    reading: Reading, index: int, terms: int
) -> tuple[tuple[str, str], str, tuple[int, ...], tuple[int, int], Rescale]:
    """Inputs, output, nodes, shifts and rescaling of sums of so many products."""
    left, right = reading.tensor(index, 0), reading.tensor(index, 1)
    bound = left.bound * right.bound * terms
    output = reading.nodes[index].output[0]
    tensor, nodes = reading.target(output, bound, [index])
    # 23 bits each leave room for the sum of their products
    shifts = (7 if left.wide else 0, 7 if right.wide else 0)
    steps = [
        np.float32(source.scale * 2**bits)
        for source, bits in zip((left, right), shifts, strict=True)
    ]
    step = steps[0] * steps[1]
    largest = bound / float(step) if step > 0 else math.inf
    rescale = reading.rescale(index, step / np.float32(tensor.scale), largest)
    return (left.name, right.name), tensor.name, nodes, shifts, rescale
