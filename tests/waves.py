"""Signals that tests of acoustics share, and their levels."""

from __future__ import annotations

import numpy as np

RATE = 16000
NOISE = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32) * 0.1
OTHERS = [np.random.default_rng(n).normal(size=RATE).astype(np.float32) for n in (1, 2)]


def wave(frequency: float, samples: int = 2 * RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)


def tone(seconds: float, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    samples = round(RATE * seconds)
    return (level * wave(frequency, samples)).astype(np.float32)


def decibels(part: np.ndarray, whole: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(part)) / np.mean(np.square(whole))))


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def power_between(signal: np.ndarray, low: float, high: float) -> float:
    """Mean power of the lines of a band in Hz, in dB."""
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    frequencies = np.fft.rfftfreq(len(signal), 1 / RATE)
    chosen = (frequencies >= low) & (frequencies < high)
    return float(10 * np.log10(spectrum[chosen].mean()))
