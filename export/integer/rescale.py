"""Rescaling of integers: one multiplication, one shift, one rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..base.errors import ExportError

_BITS = 38
"""Bits of a sum, sign apart, that a 24-bit multiplier leaves within 64 bits."""


@dataclass(frozen=True, eq=False)
class Rescale:
    """Multiplication of integers by ``multiplier / 2 ** shift``.

    A float32 has 24 significant bits,
    so the factor that onnxruntime uses is held exactly.
    """

    factor: np.ndarray
    """Factor, float32, no axis or ``(outputs,)``."""

    multiplier: np.ndarray
    """Integers in [0, 2 ** 24), int64, shape of the factor."""

    shift: np.ndarray
    """Bits to shift right by, in 1..62, int64, shape of the factor."""

    before: int
    """Bits by which the integer itself is shifted right first;
    0 unless it may have more than 38 bits."""

    @classmethod
    def of(cls, factor: np.ndarray | np.floating | float, largest: float) -> Rescale:
        """Make the rescaling by a factor of integers up to a largest absolute one.

        Raises:
            ExportError: if the integers do not fit 64 bits
                or the factor is not in (0, 2 ** (23 - before))

        """
        factor = np.asarray(factor, np.float32)
        if not (np.isfinite(factor).all() and (factor > 0).all() and factor.size):
            raise _ratio_error(factor, 0)
        if not largest < 2.0**63:
            raise ExportError(
                f"sums must be below 2 ** 63, got up to {largest:.3g}: "
                "quantise the model again"
            )
        before = max(0, math.frexp(max(1.0, largest))[1] - _BITS)
        mantissa, exponent = np.frexp(factor.astype(np.float64) * 2.0**before)
        multiplier = np.rint(mantissa * 2**24).astype(np.int64)
        shift = 24 - exponent.astype(np.int64)
        if (shift < 1).any():
            raise _ratio_error(factor, before)
        # a factor so small loses bits that no sum of 38 bits can make felt
        excess = np.maximum(0, shift - 62)
        return cls(factor, multiplier >> np.minimum(excess, 63), shift - excess, before)

    def __call__(self, integers: np.ndarray) -> np.ndarray:
        """Rescale integers whose last axis, if any, is that of the factor.

        Rounds to the nearest, halves up.
        """
        integers = shift_right(np.asarray(integers, np.int64), self.before)
        half = np.int64(1) << (self.shift - 1)
        return (integers * self.multiplier + half) >> self.shift


def _ratio_error(factor: np.ndarray, before: int) -> ExportError:
    low, high = (factor.min(), factor.max()) if factor.size else (0, 0)
    return ExportError(
        f"scales must stand in ratios above 0 and below 2 ** {23 - before}, "
        f"got {low:.3g} to {high:.3g}: quantise the model again"
    )


def shift_right(integers: np.ndarray, bits: int | np.ndarray) -> np.ndarray:
    """Divide integers by a power of two, rounding to the nearest, halves up."""
    bits = np.asarray(bits, np.int64)
    half = (np.int64(1) << bits) >> 1
    return (np.asarray(integers, np.int64) + half) >> bits


def fixed_scale(bound: float) -> float:
    """Power of two with which numbers up to a bound have 30 bits, sign apart."""
    return 2.0 ** (math.frexp(bound)[1] - 30) if bound > 0 else 2.0**-30
