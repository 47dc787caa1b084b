"""Constants of the integer log-mel front end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .fourier import LENGTHS, count_blocks, twiddles

FRACTION = 20
"""Bits of a logarithm to base 2 after the point."""

CENTRED = 11
"""Bits of a sample after the point once the mean is removed."""

WINDOW = 30
"""Bits of a window's value after the point."""

WINDOWED = 14
"""Bits of a windowed sample after the point."""

_MEL = 2**16 - 1
"""Largest mel weight of a band."""


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """Constants of the integer log-mel front end."""

    hop_length: int
    """Samples from one frame to the next."""

    padding: tuple[int, int]
    """Zeros before and after the signal, in samples."""

    power_floor: int | None
    """Power that is added to the signal's before it is scaled to unit power,
    in steps of ``2 ** -8`` of a squared 16-bit step;
    None if the signal is not normalised."""

    window: np.ndarray
    """Window ``(window_length,)``, int32, 1 is ``2 ** 30``."""

    length: int
    """Length of the Fourier transform in samples, one of :data:`LENGTHS`;
    zeros follow a window that is shorter."""

    mel: np.ndarray
    """Mel weights ``(mels, bins)``, uint16 in int64;
    the largest of each band is 65,535."""

    log_offset: np.ndarray
    """What the logarithm of each mel sum lies above that of the mel power,
    ``(mels,)``, int64, in steps of ``2 ** -20``."""

    log_floor: int
    """Smallest logarithm of a mel power, in steps of ``2 ** -20``."""

    multiplier: int
    """Rescaling of a logarithm to the int8 step, over ``2 ** shift``."""

    offset: int
    """What is added after the multiplication; holds the zero point."""

    shift: int
    """Bits that the sum is shifted right by."""

    past_frames: int | None = None
    """Frames, the present one included,
    whose mean logarithm over all bands is taken from the present one's;
    None if nothing is taken."""

    @property
    def window_length(self) -> int:
        """Samples in a frame."""
        return len(self.window)

    @property
    def multiplications(self) -> int:
        """Multiplications for each frame, see :func:`count_multiplications`."""
        weights = int(np.count_nonzero(self.mel))
        return count_multiplications(self.window_length, self.length, weights)


def count_multiplications(window_length: int, length: int, weights: int) -> int:
    """Count the multiplications that a frame needs.

    All are of two 32-bit numbers, with a product of 64 bits:
    window, Fourier transform, squares,
    and two for each mel weight, whose power has two words.
    Logarithms, one multiplication for a band and one for a cell, are not among them.

    Args:
        window_length: samples in a frame
        length: length of the Fourier transform in samples, one of :data:`LENGTHS`
        weights: mel weights that are not 0

    """
    transform = sum(
        count_blocks(length // size) * (size - 6) for size in LENGTHS if size <= length
    )
    return window_length + transform + length + 2 * weights


def transform_bytes(window: np.ndarray, length: int) -> int:
    """Bytes of the tables of window and Fourier transform, 32 bits for a number.

    Half of a symmetric window is enough.

    Args:
        window: window ``(window_length,)``
        length: length of the Fourier transform in samples, one of :data:`LENGTHS`

    """
    values = len(window)
    if np.array_equal(window[1:], window[:0:-1]):
        values = values // 2 + 1
    return 4 * (values + twiddles(length).size)


def mel_bytes(bands: int, weights: int) -> int:
    """Bytes of the mel weights that are not 0, and of where they are.

    16 bits for a weight, and for first bin and number of bins of each band.
    """
    return 4 * bands + 2 * weights


def integer_mel(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn mel weights into integers.

    Args:
        mel: weights ``(mels, bins)``, none below 0

    Returns:
        weights ``(mels, bins)``, int64, at most 65,535,
        and what each band was multiplied with, ``(mels,)``

    """
    largest = mel.max(axis=1).astype(np.float64)
    # a band without weights stays as it is
    gains = _MEL / np.where(largest > 0, largest, _MEL)
    return np.rint(mel.astype(np.float64) * gains[:, None]).astype(np.int64), gains


@dataclass(frozen=True, eq=False)
class FloatFrontEnd:
    """What a log-mel front end computes in float."""

    window: np.ndarray
    """Window ``(window_length,)``, at most 1."""

    length: int
    """Length of the Fourier transform in samples."""

    hop_length: int
    """Samples from one frame to the next."""

    padding: tuple[int, int]
    """Zeros before and after the signal, in samples."""

    mel: np.ndarray
    """Mel weights ``(mels, bins)``, none below 0."""

    floor: float
    """Smallest mel power."""

    slope: float
    """Factor of the natural logarithm."""

    intercept: float
    """What is added to it."""

    power_floor: float | None = None
    """Power that is added before a signal is scaled to unit power,
    None if it is not."""

    past_frames: int | None = None
    """Frames whose mean logarithm is taken from the present one's,
    None if nothing is taken."""


def integer_constants(
    numbers: FloatFrontEnd, scale: float, zero_point: int
) -> FrontEnd | None:
    """Turn the numbers of a float front end into integers.

    Args:
        numbers: what it computes
        scale: step of its int8 map
        zero_point: of its int8 map

    Returns:
        constants, None if they do not fit their bits

    """
    weights, gains = integer_mel(numbers.mel)
    # a windowed sample is the signal's times 2 ** (15 + WINDOWED)
    log_offset = np.log2(gains) + 2 * (15 + WINDOWED)
    # one step of a logarithm to base 2 in steps of the int8 tensor
    factor = numbers.slope * math.log(2) / 2**FRACTION / scale
    offset = numbers.intercept / scale + zero_point
    if not (math.isfinite(factor) and math.isfinite(offset)):
        return None
    shift = 30 - math.frexp(factor)[1]
    # logarithms have less than 30 bits
    if factor == 0 or not 1 <= shift <= 62 or abs(offset) >= 2.0 ** (62 - shift):
        return None
    power_floor = numbers.power_floor
    return FrontEnd(
        hop_length=numbers.hop_length,
        padding=numbers.padding,
        power_floor=None if power_floor is None else round(power_floor * 2**38),
        window=np.rint(np.clip(numbers.window, -1, 1) * 2**WINDOW).astype(np.int32),
        length=numbers.length,
        mel=weights,
        log_offset=np.rint(log_offset * 2**FRACTION).astype(np.int64),
        log_floor=round(math.log2(numbers.floor) * 2**FRACTION),
        multiplier=round(math.ldexp(factor, shift)),
        offset=round(math.ldexp(offset, shift)),
        shift=shift,
        past_frames=numbers.past_frames,
    )
