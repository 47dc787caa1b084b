"""Lines: telephone and telecoil."""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr

from ..adv import SAMPLING_RATE
from .outside import hum, pink_noise
from .signals import add_at_snr, as_float32, as_float64, at_level_of, filtered

LINE_RATE = 8000
"""Sampling rate of a phone line in Hz."""

Coding = Literal["mu-law", "modulated noise"]
"""How a phone line codes."""


def compress(
    signal: np.ndarray, *, below_peak: float = 20.0, ratio: float = 3.0
) -> np.ndarray:
    """Reduce the dynamics by a compressor with a window of 20 ms.

    Args:
        signal: what is compressed
        below_peak: the threshold in dB below the loudest 20 ms
        ratio: dB in over dB out above the threshold

    """
    window = np.hanning(SAMPLING_RATE // 50 + 2)[1:-1]
    power = np.convolve(as_float64(signal) ** 2, window / window.sum(), "same")
    peak = float(power.max())
    if not peak:
        return as_float32(signal)
    above = 10 * np.log10(np.maximum(power / peak, 1e-12)) + below_peak
    decibels = -(1 - 1 / ratio) * np.maximum(above, 0)
    return at_level_of(signal, signal * 10 ** (decibels / 20))


def phone(signal: np.ndarray, coding: Coding, rng: np.random.Generator) -> np.ndarray:
    """Send a signal over a phone line.

    A compressor, the band from 300 to 3400 Hz at 8 kHz, a coding,
    and pink noise 35 dB below.
    The codings are 8-bit mu-law as on fixed lines,
    and noise that follows the signal 25 dB below it at every instant,
    by which listeners compare low-rate speech codecs of mobile lines.

    References:
        ITU-T G.711, mu-law (here the continuous curve).
        ITU-T P.810, modulated noise reference unit.

    """
    line = soxr.resample(
        as_float64(compress(signal)), SAMPLING_RATE, LINE_RATE, quality="HQ"
    )
    line = _telephone_band(line)
    if coding == "mu-law":
        line = mu_law(line)
    else:
        line = line * (1 + 10 ** (-25 / 20) * rng.normal(size=len(line)))
    line = pink_noise(_telephone_band(line), 35, rng)
    wide = soxr.resample(as_float64(line), LINE_RATE, SAMPLING_RATE, quality="HQ")
    wide = np.pad(wide, (0, max(0, len(signal) - len(wide))))[: len(signal)]
    return at_level_of(signal, wide)


def mu_law(signal: np.ndarray) -> np.ndarray:
    """Code in 255 steps, fine near zero, of the signal's own peak."""
    peak = float(np.abs(signal).max()) or 1.0
    curve = np.sign(signal) * np.log1p(255 * np.abs(signal) / peak) / np.log(256)
    steps = np.round(curve * 127) / 127
    return np.sign(steps) * (np.power(256.0, np.abs(steps)) - 1) / 255 * peak


def _telephone_band(line: np.ndarray) -> np.ndarray:
    """Keep 300 to 3400 Hz at the rate of the line, with flanks of 100 Hz."""
    spectrum = np.fft.rfft(line)
    frequencies = np.fft.rfftfreq(len(line), 1 / LINE_RATE)
    passed = np.interp(frequencies, [200, 300, 3400, 3500], [0, 1, 1, 0])
    return np.fft.irfft(spectrum * passed, len(line))


def telecoil(
    signal: np.ndarray,
    rng: np.random.Generator,
    *,
    snr: float = 20.0,
    mains: float = 50.0,
) -> np.ndarray:
    """Pick a signal up from a loop: the band of 200 to 3500 Hz, and hum.

    Args:
        signal: what the loop plays
        rng: phases of the hum
        snr: ratio of powers of signal and hum in dB
        mains: frequency of the mains in Hz

    References:
        The band is that of the response of an induction loop that
        IEC 60118-4 asks for (100 to 5000 Hz within 3 dB),
        narrowed to what a coil in an aid makes of it.

    """
    passed = filtered(
        signal,
        lambda f: np.interp(f, [100, 200, 3500, 5000], [0.03, 1, 1, 0.03]),
    )
    noise = hum(len(signal), rng, mains=mains)
    return at_level_of(signal, add_at_snr(as_float64(passed), noise, snr))
