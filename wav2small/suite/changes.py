"""Changes of a recording that should not change the emotion that is heard.

Each is a function of a signal, what it needs, and a generator if it draws.
None clips to full scale unless clipping is what it does.

Shape:
    signal: ``(time,)``, float at 16 kHz
    result: ``(time,)``, float32, of the same length unless said otherwise
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..acoustics.signals import (
    add_at_snr,
    as_float32,
    as_float64,
    crop_or_repeat,
    filtered,
)
from ..adv import SAMPLING_RATE


def append(signal: np.ndarray, samples: int) -> np.ndarray:
    """Put zeros behind a signal; longer by them."""
    return as_float32(np.pad(signal, (0, samples)))


def prepend(signal: np.ndarray, samples: int) -> np.ndarray:
    """Put zeros before a signal; longer by them."""
    return as_float32(np.pad(signal, (samples, 0)))


def crop_start(signal: np.ndarray, samples: int) -> np.ndarray:
    """Cut samples off the start, at most half of the signal."""
    return as_float32(signal[min(samples, len(signal) // 2) :])


def crop_end(signal: np.ndarray, samples: int) -> np.ndarray:
    """Cut samples off the end, at most half of the signal."""
    return as_float32(signal[: len(signal) - min(samples, len(signal) // 2)])


def gain(signal: np.ndarray, decibels: float) -> np.ndarray:
    """Change the level."""
    return as_float32(signal * 10 ** (decibels / 20))


def clip(signal: np.ndarray, share: float) -> np.ndarray:
    """Clip the loudest samples, a share of all in 0..1."""
    limit = np.quantile(np.abs(signal), 1 - share)
    return as_float32(np.clip(signal, -limit, limit))


def tone(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add a tone of 5 to 7 kHz at a ratio of powers in dB."""
    angle = 2 * np.pi * rng.uniform(5000, 7000) / SAMPLING_RATE
    wave = np.sin(angle * np.arange(len(signal)) + rng.uniform(0, 2 * np.pi))
    return as_float32(add_at_snr(as_float64(signal), wave, snr))


def white_noise(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise at a ratio of powers in dB."""
    return as_float32(add_at_snr(as_float64(signal), rng.normal(size=len(signal)), snr))


def recording(
    signal: np.ndarray,
    noises: Sequence[np.ndarray],
    snr: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add one of some recordings, cropped or repeated, at a ratio of powers in dB."""
    noise = crop_or_repeat(noises[int(rng.integers(len(noises)))], len(signal), rng)
    return as_float32(add_at_snr(as_float64(signal), as_float64(noise), snr))


def event(
    signal: np.ndarray,
    sounds: Sequence[np.ndarray],
    snr: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add one short sound somewhere.

    Of the recording that is drawn, up to a second around its peak is taken.
    The ratio in dB is of the powers of the whole signal and of the sound.
    """
    sound = as_float64(sounds[int(rng.integers(len(sounds)))])
    samples = min(SAMPLING_RATE, len(sound), len(signal))
    start = int(np.abs(sound).argmax()) - samples // 2
    start = max(0, min(start, len(sound) - samples))
    sound = sound[start : start + samples]
    scale = np.sqrt(np.mean(as_float64(signal) ** 2) / np.mean(sound**2))
    result = as_float64(signal)
    place = int(rng.integers(len(signal) - samples + 1))
    result[place : place + samples] += sound * scale * 10 ** (-snr / 20)
    return as_float32(result)


def high_pass(signal: np.ndarray, cutoff: float) -> np.ndarray:
    """Analogue Butterworth filter of second order, cutoff in Hz."""
    return filtered(signal, lambda f: (1j * f / cutoff) ** 2 * _butterworth(f / cutoff))


def low_pass(signal: np.ndarray, cutoff: float) -> np.ndarray:
    """Analogue Butterworth filter of second order, cutoff in Hz."""
    return filtered(signal, lambda f: _butterworth(f / cutoff))


def _butterworth(frequency: np.ndarray) -> np.ndarray:
    s = 1j * frequency
    return 1 / (s**2 + np.sqrt(2) * s + 1)
