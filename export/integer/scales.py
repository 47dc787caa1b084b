"""What the arithmetic of an operator needs of its tensors: scales and rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .rescale import Rescale, shift_right
from .tensor import Tensor

Rounding = Literal["integer", "float"]
"""How sums become int8: ``integer`` is the norm (see :class:`Rescale`),
``float`` multiplies in float32 and rounds halves to even, as onnxruntime does."""


class Scales:
    """Scales and rounding of one operator."""

    def __init__(
        self, sources: Sequence[Tensor], target: Tensor, rounding: Rounding = "integer"
    ) -> None:
        self.sources = sources
        self.target = target
        self.rounding: Rounding = rounding

    def centred(self, value: np.ndarray, position: int = 0) -> np.ndarray:
        """Integers of an input less its zero point."""
        return value.astype(np.int64) - self.sources[position].zero_point

    def narrowed(
        self, values: Sequence[np.ndarray], shifts: Sequence[int]
    ) -> list[np.ndarray]:
        """Centred inputs with fewer bits."""
        return [
            shift_right(self.centred(value, position), shifts[position])
            for position, value in enumerate(values)
        ]

    def finish(
        self, sums: np.ndarray, rescale: Rescale, bias: np.ndarray | int = 0
    ) -> np.ndarray:
        """Integers of the output from sums whose last axis is the factor's."""
        if self.target.wide:
            return rescale(sums) + bias
        sums = sums + bias
        if self.rounding == "integer":
            return self.saturate(rescale(sums))
        product = sums.astype(np.float32) * rescale.factor
        return self.saturate(np.rint(product).astype(np.int64))

    def saturate(self, integers: np.ndarray) -> np.ndarray:
        """Add the output's zero point and keep to int8."""
        return np.clip(integers + self.target.zero_point, -128, 127).astype(np.int8)


def exact_float(weight: np.ndarray) -> np.dtype[Any]:
    """Float type that holds every sum of int8 inputs times these weights exactly.

    Floating point multiplies faster than integers do.
    """
    rows = np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1)
    return np.dtype(np.float32 if 255 * rows.max(initial=0) < 2**24 else np.float64)
