"""Sum of two tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..rescale import shift_right
from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, View
    from ..reading import Reading


@dataclass(frozen=True, eq=False)
class Sum(Operator):
    """Sum of two tensors; both are rescaled and the sum is rounded once."""

    ONNX = ("Add",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Add": Traits("float", lambda a, x, y: x + y, in_place=True),
    }

    multipliers: tuple[int, int]
    """Factor of each input over ``2 ** shift``."""

    shift: int
    """Bits that the sum is shifted right by."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read an Add of two computed tensors."""
        sources = [reading.tensor(index, 0), reading.tensor(index, 1)]
        bound = sum(source.bound for source in sources)
        output = reading.nodes[index].output[0]
        tensor, nodes = reading.target(output, bound, [index])
        factors = [
            float(np.float32(source.scale)) / float(np.float32(tensor.scale))
            for source in sources
        ]
        # 2**30 times 2**31 leaves room for the sum of both
        shift = 30 - math.frexp(max(factors))[1]
        if not 1 <= shift <= 62:
            reading.fail(index, "a sum with a step in the range of its inputs'")
        left, right = (round(math.ldexp(factor, shift)) for factor in factors)
        names = tuple(source.name for source in sources)
        return [cls(names, tensor.name, nodes, (left, right), shift)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Multiply both, add and round."""
        centred = [scales.centred(value, i) for i, value in enumerate(inputs)]
        target = scales.target
        if not target.wide and scales.rounding == "float":
            real = sum(
                value.astype(np.float32) * np.float32(source.scale)
                for value, source in zip(centred, scales.sources, strict=True)
            )
            scaled = np.rint(real / np.float32(target.scale))
            return scales.saturate(np.clip(scaled, -512, 512).astype(np.int64))
        left, right = self.multipliers
        total = shift_right(centred[0] * left + centred[1] * right, self.shift)
        return total if target.wide else scales.saturate(total)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on numbers at the same place."""
        tensors = [lowering.tensors[name] for name in (*self.inputs, self.output)]
        offset = 2 ** (self.shift - 1) - sum(
            tensor.zero_point * factor
            for tensor, factor in zip(tensors, self.multipliers, strict=False)
        )
        numbers = {
            "multiplier": self.multipliers,
            "shift": self.shift,
            "offset": offset,
            **lowering.sources(self.inputs),
            **lowering.output(self.output),
        }
        # int8 alone, 8 bits higher, so that upper words are enough
        last = self.shift - 24
        if last in lowering.LAST and not any(tensor.wide for tensor in tensors):
            numbers["last"] = last
        lowering.same("sum", self.output, views, numbers)
