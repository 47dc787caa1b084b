"""Tensors of integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BYTES = {"int8": 1, "int32": 4}
"""Bytes of a number of each type."""


@dataclass(frozen=True)
class Tensor:
    """An integer tensor: the number is ``(integer - zero_point) * scale``."""

    name: str
    """Its name in the ONNX, of the QuantizeLinear's output for int8."""

    dtype: Literal["int8", "int32"]
    """Integer type."""

    scale: float
    """Step, in the unit of the float tensor."""

    zero_point: int
    """Integer that stands for 0."""

    shape: tuple[int | str | None, ...]
    """Shape; a name or None where it depends on the signal's length."""

    bound: float
    """Largest absolute number that it can hold."""

    @property
    def wide(self) -> bool:
        """Whether it is int32."""
        return self.dtype == "int32"
