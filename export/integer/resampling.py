"""From another sampling rate to that of a model, in integers.

A sample is the sum of the newest samples of the input times a filter of its phase,
rounded once: ``clamp((sum(filter[phase][k] * x[newest - k]) + 2 ** 14) >> 15)``.
The filter is a sinc under a Kaiser window; each phase sums up to ``2 ** 15``.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ..base.errors import InputError

RATES = (16000, 20000, 20480, 22050, 24000, 32000, 44100, 48000)
"""Sampling rates that a model's input may have, in Hz."""

_CROSSINGS = 10
_CUT_OFF = 0.46
_BETA = 6.0
_BITS = 15


class Resampler:
    """Samples of one rate as they come, to those of another.

    Args:
        input_rate: sampling rate of the input, one of :data:`RATES`
        output_rate: sampling rate of the model

    Raises:
        InputError: if it is another rate

    """

    def __init__(self, input_rate: int, output_rate: int = 16000) -> None:
        self.filters = make_filters(input_rate, output_rate)
        """Shape ``(phases, taps)``."""
        common = math.gcd(input_rate, output_rate)
        self.up, self.down = output_rate // common, input_rate // common
        self.reset()

    def reset(self) -> None:
        """Begin a signal."""
        self.kept = np.zeros(self.filters.shape[1] - 1, np.int64)
        self.place = 0
        """Where the next sample lies behind the kept ones, in parts of a sample."""

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Resample int16 numbers, any number of them, ``(time,)``."""
        known = np.concatenate([self.kept, samples.astype(np.int64)])
        places = np.arange(self.place, len(samples) * self.up, self.down)
        newest = places // self.up + len(self.kept)
        taps = np.arange(self.filters.shape[1])
        sums = (self.filters[places % self.up] * known[newest[:, None] - taps]).sum(1)
        self.place += len(places) * self.down - len(samples) * self.up
        self.kept = known[len(samples) :]
        rounded = (sums + (1 << (_BITS - 1))) >> _BITS
        return np.clip(rounded, -32768, 32767).astype(np.int16)


@cache
def make_filters(input_rate: int, output_rate: int = 16000) -> np.ndarray:
    """Filter of each phase, int64, shape ``(phases, taps)``.

    Raises:
        InputError: if there is none for the rate

    """
    if input_rate not in RATES or output_rate != RATES[0]:
        listed = ", ".join(map(str, RATES))
        raise InputError(
            f"input rate must be one of {listed} Hz for a model of {RATES[0]} Hz, got "
            f"{input_rate} for one of {output_rate}: resample to one of them"
        )
    common = math.gcd(input_rate, output_rate)
    phases = output_rate // common
    if input_rate == output_rate:
        return np.array([[1 << _BITS]], np.int64)
    taps = 2 * math.ceil(_CROSSINGS * input_rate / output_rate)
    time = np.arange(phases)[:, None] / phases + np.arange(taps) - taps / 2
    shape = np.sinc(2 * _CUT_OFF * output_rate / input_rate * time)
    inside = np.sqrt(np.maximum(0, 1 - (2 * time / taps) ** 2))
    real = shape * np.i0(_BETA * inside)
    real *= (1 << _BITS) / real.sum(axis=1, keepdims=True)
    made = np.rint(real).astype(np.int64)
    # what rounding leaves goes to the largest
    rows = np.arange(phases)
    made[rows, made.argmax(axis=1)] += (1 << _BITS) - made.sum(axis=1)
    assert np.abs(made).max() < 2**15
    # sums of 16-bit samples fit 32 bits
    assert np.abs(made).sum(axis=1).max() < 2**16 - 1
    return made
