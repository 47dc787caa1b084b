"""Mixing, filtering and levels of signals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..adv import SAMPLING_RATE


def crop_or_repeat(
    signal: np.ndarray, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Crop a signal at random, or repeat it, to a number of samples."""
    if len(signal) > samples:
        start = rng.integers(len(signal) - samples + 1)
        return signal[start : start + samples]
    return np.resize(signal, samples)


def add_at_snr(signal: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    """Add another signal of the same length at a ratio of powers in dB."""
    power, other_power = np.mean(signal**2), np.mean(other**2)
    if other_power < 1e-10:
        return signal
    return signal + other * np.sqrt(power / other_power * 10 ** (-snr / 10))


def at_level_of(signal: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Bring a changed signal to the power of the signal that it was made from."""
    power = np.mean(as_float64(changed) ** 2)
    scale = np.sqrt(np.mean(as_float64(signal) ** 2) / power) if power else 1.0
    return as_float32(changed * scale)


def filtered(
    signal: np.ndarray, response: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Filter a signal.

    Args:
        signal: what is filtered
        response: complex gain at frequencies in Hz;
            what it smears beyond 0.1 s wraps around

    """
    samples = 1 << (len(signal) + SAMPLING_RATE // 10).bit_length()
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLING_RATE)
    spectrum = np.fft.rfft(signal, samples) * response(frequencies)
    return as_float32(np.fft.irfft(spectrum, samples)[: len(signal)])


def tilt(signal: np.ndarray, slope: float) -> np.ndarray:
    """Tilt the spectrum by dB per octave, around 1 kHz; the level stays."""
    return at_level_of(
        signal,
        filtered(
            signal,
            lambda f: 10 ** (slope * np.log2(np.maximum(f, 50.0) / 1000) / 20),
        ),
    )


def shifted(signal: np.ndarray, hertz: float) -> np.ndarray:
    """Move all frequencies up by some Hz; what passes 8 kHz is lost.

    A single side band: the analytic signal, turned.
    """
    samples = 1 << (len(signal) + SAMPLING_RATE // 10).bit_length()
    spectrum = np.fft.fft(signal, samples)
    frequencies = np.fft.fftfreq(samples, 1 / SAMPLING_RATE)
    spectrum[(frequencies < 0) | (frequencies > SAMPLING_RATE / 2 - hertz)] = 0
    analytic = 2 * np.fft.ifft(spectrum)[: len(signal)]
    turn = np.exp(2j * np.pi * hertz * np.arange(len(signal)) / SAMPLING_RATE)
    return as_float32((analytic * turn).real)


def as_float64(signal: np.ndarray) -> np.ndarray:
    """Copy a signal to float64."""
    return np.array(signal, np.float64)


def as_float32(signal: np.ndarray) -> np.ndarray:
    """Bring a signal to float32."""
    return np.asarray(signal, np.float32)
