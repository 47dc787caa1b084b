"""Shares of categories and doubts, from the integers of a model's further outputs."""

from __future__ import annotations

import math

import numpy as np

from .personal import PART_BITS
from .pooling import EXP_TABLE
from .rescale import Rescale, shift_right
from .tensor import Tensor

SHARE_BITS = 15
"""Bits of a share's fraction: all shares together are about ``2 ** 15``."""


def to_octaves(tensor: Tensor) -> Rescale:
    """Rescaling of natural logarithms to steps of ``2 ** -16`` octaves."""
    return Rescale.of(tensor.scale * math.log2(math.e) * 2**16, 2**30)


def shares(integers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """How likely each category is, in steps of ``2 ** -15``.

    Args:
        integers: of the output ``categories``
        tensor: its scale

    Returns:
        integers of the same number, of one axis

    """
    octaves = to_octaves(tensor)(np.ravel(integers))
    weights = _below(octaves.max() - octaves)
    total = int(weights.sum())
    found: np.ndarray = ((weights << SHARE_BITS) + total // 2) // total
    return found


def doubts(integers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """How far each score may be off, in parts of ``2 ** -14``, at most 1.

    Args:
        integers: of the output ``doubt``
        tensor: its scale

    Returns:
        integers of the same number, of one axis

    """
    octaves = to_octaves(tensor)(np.ravel(integers))
    return shift_right(_below(np.maximum(0, -octaves)), 16 - PART_BITS)


def _below(octaves: np.ndarray) -> np.ndarray:
    """``2 ** -octaves`` in steps of ``2 ** -16``, of steps of ``2 ** -16``."""
    place, part = (octaves >> 8) & 0xFF, octaves & 0xFF
    high, low = EXP_TABLE[place], EXP_TABLE[place + 1]
    weights = high - (((high - low) * part + 2**7) >> 8)
    return shift_right(weights, np.minimum(octaves >> 16, 62))
