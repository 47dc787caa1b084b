"""Softmax pooling as rows come in, which may forget the older ones."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..base.errors import ExportError
from .rescale import shift_right

EXP_TABLE = np.rint(2.0 ** (16 - np.arange(257) / 256)).astype(np.int64)
"""``2 ** (-i / 256)`` in steps of ``2 ** -16``."""

FULL = 131070 << 16
"""Sums are halved before a row is added to a denominator above it."""

LOWEST = -(2**30)
"""Reference before the first row, below that of any row."""

FRACTION = 24
"""Bits of an octave's fraction in a decay."""

MOST_DECAY = 2**32 - 1
"""Largest decay; it forgets 256 octaves from row to row."""

_PIECE = 4096
"""Rows that are added at once; more would need more memory."""


def decay_per_millisecond(row_samples: int, sampling_rate: int) -> int:
    """Decay of a time constant of 1 ms.

    Args:
        row_samples: samples from one row of the pooling to the next
        sampling_rate: samples per second

    """
    octaves = math.log2(math.e) * 1000 * row_samples / sampling_rate
    return min(round(octaves * 2**FRACTION), MOST_DECAY)


def decay_of(seconds: float | None, row_samples: int, sampling_rate: int) -> int:
    """How far a weight falls from row to row, in ``2 ** -24`` octaves.

    Args:
        seconds: time in which the weight of a row falls to 1 / e,
            rounded to milliseconds; None to forget nothing
        row_samples: samples from one row of the pooling to the next
        sampling_rate: samples per second

    Raises:
        ExportError: if the time has less than 1 ms, more than 2 ** 32 - 1 ms
            or is no number

    """
    if seconds is None:
        return 0
    if not 0.001 <= seconds <= 4294967:
        raise ExportError(
            "time constant of forgetting must be .001 to 4,294,967 seconds, or None "
            f"to forget nothing, got {seconds}"
        )
    milliseconds = round(seconds * 1000)
    whole = decay_per_millisecond(row_samples, sampling_rate)
    return (whole + milliseconds // 2) // milliseconds


class PoolState:
    """Softmax pooling as rows come in.

    The running reference of the weights is a whole power of two,
    so that a new one is a shift.
    To forget, the logarithms of the weights rise from row to row:
    against those of newer rows the older ones fall.
    Nothing grows with the number of rows.
    """

    def __init__(self, shape: tuple[int, ...], decay: int = 0) -> None:
        self.decay = decay
        """How far weights fall from row to row, in ``2 ** -24`` octaves."""
        self.age = 0
        """What the fall so far is above whole octaves, in the same unit."""
        self.reference = np.full(shape, LOWEST, np.int64)
        self.numerator = np.zeros(shape, np.int64)
        self.denominator = np.zeros(shape, np.int64)

    def push(self, values: np.ndarray, logarithms: np.ndarray) -> None:
        """Add rows; one at a time or all at once, the result is the same.

        Args:
            values: integers to be averaged, ``(rows, ...)``
            logarithms: logarithm to base 2 of their weights,
                in steps of ``2 ** -16``, same shape

        """
        for start in range(0, len(values), _PIECE):
            piece = slice(start, start + _PIECE)
            rows = len(values[piece])
            # only the first of several rows looks whether the sums are full
            room = FULL - self.denominator.max(initial=0)
            step = rows if (rows - 1) << 16 <= room else 1
            for row in range(start, start + rows, step):
                self._add(values[row : row + step], logarithms[row : row + step])

    def _add(self, values: np.ndarray, logarithms: np.ndarray) -> None:
        ages = self.age + self.decay * np.arange(1, len(values) + 1)
        rise = ages.reshape(-1, *[1] * self.reference.ndim) >> (FRACTION - 16)
        logarithms = logarithms + rise
        needed = -((-logarithms) >> 16)
        full = self.denominator > FULL
        needed[0] = np.maximum(needed[0], self.reference + full)
        needed = np.maximum.accumulate(needed, axis=0)
        below = (needed << 16) - logarithms
        place, part = (below >> 8) & 0xFF, below & 0xFF
        high, low = EXP_TABLE[place], EXP_TABLE[place + 1]
        weights = high - (((high - low) * part + 2**7) >> 8)
        weights = shift_right(weights, np.minimum(below >> 16, 62))
        # rows from one new reference to the next are added up together
        steps = np.diff(needed, axis=0, prepend=self.reference[None])
        changes = np.flatnonzero(steps.reshape(len(steps), -1).any(axis=1))
        bounds = sorted({0, *changes.tolist(), len(steps)})
        for start, stop in itertools.pairwise(bounds):
            drop = np.minimum(steps[start], 62)
            self.numerator = shift_right(self.numerator, drop)
            self.denominator = shift_right(self.denominator, drop)
            weight = weights[start:stop]
            self.numerator += (weight * values[start:stop]).sum(axis=0)
            self.denominator += weight.sum(axis=0)
        # whole octaves leave the age, so that it stays small
        self.reference = needed[-1] - (ages[-1] >> FRACTION)
        self.age = int(ages[-1]) & (2**FRACTION - 1)

    def result(self) -> np.ndarray:
        """Weighted mean of the rows so far."""
        half = self.denominator // 2
        return (self.numerator + half) // self.denominator
