"""From 16-bit samples to the int8 log-mel map, step by step: the norm."""

from __future__ import annotations

import numpy as np

from ...base.errors import ExportError
from ..rescale import shift_right
from . import fourier
from .constants import CENTRED, FRACTION, WINDOW, WINDOWED, FrontEnd

LOG_TABLE = np.rint(np.log2(1 + np.arange(257) / 256) * 2**FRACTION).astype(np.int64)
"""``log2(1 + i / 256)`` in steps of ``2 ** -FRACTION``."""

LOUDNESS = 30
"""Bits of the sum of the absolute values that are transformed."""

_NUMBERS = 2**17
"""Numbers that are transformed at once, so that they stay in the cache."""


def samples(signal: np.ndarray) -> np.ndarray:
    """Signal as 16-bit samples.

    Args:
        signal: ``(time,)``, int16, or float where 1 is full scale

    """
    signal = np.asarray(signal)
    if signal.dtype == np.int16:
        return signal.astype(np.int64)
    scaled = np.rint(signal.astype(np.float64) * 2**15)
    return np.clip(scaled, -(2**15), 2**15 - 1).astype(np.int64)


def log2(value: int) -> int:
    """Logarithm of a positive integer in steps of ``2 ** -20``.

    The bits after the leading one are cut to 24,
    the first 8 look up the table, the other 16 interpolate.
    """
    exponent = value.bit_length() - 1
    if exponent >= 24:
        rest = (value >> (exponent - 24)) - 2**24
    else:
        rest = (value << (24 - exponent)) - 2**24
    place, part = rest >> 16, rest & 0xFFFF
    low, high = int(LOG_TABLE[place]), int(LOG_TABLE[place + 1])
    return (exponent << FRACTION) + low + (((high - low) * part + 2**15) >> 16)


def _log2_array(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """:func:`log2` of ``high * 2 ** 32 + low``, all at once."""
    # 56 bits are plenty for the 24 that count, and int64 holds them.
    excess = np.maximum(np.frexp(high.astype(np.float64))[1].astype(np.int64) - 24, 0)
    values = (high << (32 - excess)) + (low >> excess)
    exponent = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    # a value just below a power of two rounds up to it in float
    exponent -= values < (np.int64(1) << exponent)
    rest = np.where(
        exponent >= 24,
        values >> np.maximum(exponent - 24, 0),
        values << np.maximum(24 - exponent, 0),
    )
    place, part = (rest >> 16) & 0xFF, rest & 0xFFFF
    lower, upper = LOG_TABLE[place], LOG_TABLE[place + 1]
    mantissa = lower + (((upper - lower) * part + 2**15) >> 16)
    return ((exponent + excess) << FRACTION) + mantissa


def _spectra(constants: FrontEnd, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of frames ``(bins, frames)`` and its exponents ``(frames,)``."""
    length = constants.length
    shift = CENTRED + WINDOW - WINDOWED
    windowed = shift_right(constants.window[:, None] * frames.T, shift)
    loudness = np.abs(windowed).sum(axis=0)
    exponent = LOUDNESS - np.frexp(loudness.astype(np.float64))[1].astype(np.int64)
    windowed <<= np.maximum(exponent, 0)
    values = np.zeros((length, len(frames)), np.int64)
    values[: len(windowed)] = shift_right(windowed, np.maximum(-exponent, 0))
    values = values[fourier.plan(length)[0]]
    fourier.transform(values)
    values *= values
    power = values[: length // 2 + 1]
    power[1:-1] += values[: length // 2 : -1]
    return power, exponent


def frame_logarithms(
    constants: FrontEnd, centred: np.ndarray, gain: int = 0
) -> np.ndarray:
    """Logarithms of the mel powers of all whole frames.

    Args:
        constants: of the front end
        centred: samples ``(time,)``, int64, with zeros before and after,
            without mean and times ``2 ** CENTRED``; at least a window
        gain: logarithm of the power that the samples are divided by

    Returns:
        logarithms to base 2 in steps of ``2 ** -20``, ``(frames, mels)``, int64

    """
    frames = np.lib.stride_tricks.sliding_window_view(centred, constants.window_length)[
        :: constants.hop_length
    ]
    step = max(1, _NUMBERS // constants.length)
    return np.concatenate(
        [
            _logarithms(constants, frames[start : start + step], gain)
            for start in range(0, len(frames), step)
        ]
    )


def _logarithms(constants: FrontEnd, frames: np.ndarray, gain: int) -> np.ndarray:
    power, exponent = _spectra(constants, frames)
    # in two halves, whose weighted sums fit 64 bits
    low = (constants.mel @ (power & 0xFFFFFFFF)).T
    high = (constants.mel @ (power >> 32)).T + (low >> 32)
    low &= 0xFFFFFFFF
    heard = (high > 0) | (low > 0)
    low[~heard] = 1
    logarithm = _log2_array(high, low) - constants.log_offset
    logarithm -= (2 * exponent << FRACTION)[:, None] + gain
    return np.where(
        heard, np.maximum(logarithm, constants.log_floor), constants.log_floor
    )


def to_int8(constants: FrontEnd, logarithms: np.ndarray) -> np.ndarray:
    """Cells of the log-mel map, int8, from logarithms relative to the past's level."""
    scaled = logarithms * constants.multiplier + constants.offset
    return np.clip(shift_right(scaled, constants.shift), -128, 127).astype(np.int8)


def log_mel(constants: FrontEnd, signal: np.ndarray) -> np.ndarray:
    """Compute the int8 log-mel map of a signal.

    Args:
        constants: of the front end
        signal: ``(time,)``, int16 or float

    Returns:
        map ``(1, 1, frames, mels)``, int8

    Raises:
        ExportError: if the signal is shorter than a window

    """
    x = samples(signal)
    count = len(x)
    before, after = constants.padding
    if count == 0 or count + before + after < constants.window_length:
        raise ExportError(
            f"signal must have at least {constants.window_length - before - after} "
            f"samples, got {count}: give a longer one"
        )
    total = int(x.sum())
    mean = 0
    gain = 0  # logarithm of the power that a sample is divided by
    if constants.power_floor is not None:
        mean = ((total << (CENTRED + 1)) + count) // (2 * count)
        energy = 2**8 * (count * int((x * x).sum()) - total**2)
        energy += constants.power_floor * count**2
        gain = log2(energy) - 2 * log2(count) - (8 + 2 * 15) * 2**FRACTION
    centred = np.pad((x << CENTRED) - mean, (before, after))
    logarithm = frame_logarithms(constants, centred, gain)
    if constants.past_frames is not None:
        logarithm -= _past_level(logarithm, constants.past_frames)[:, None]
    return to_int8(constants, logarithm)[None, None]


def _past_level(logarithm: np.ndarray, past_frames: int) -> np.ndarray:
    """Mean logarithm of each frame and those before it, halves up, ``(frames,)``."""
    frames, mels = logarithm.shape
    total = np.cumsum(np.concatenate([[0], logarithm.sum(axis=1)]))
    last = np.arange(1, frames + 1)
    first = np.maximum(last - past_frames, 0)
    count = (last - first) * mels
    return (2 * (total[last] - total[first]) + count) // (2 * count)
