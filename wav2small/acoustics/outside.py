"""What is heard beside the speaker: wind, hum, noise, many voices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..adv import SAMPLING_RATE
from .signals import add_at_snr, as_float32, as_float64, crop_or_repeat

CALM = 3.0
"""Wind of this speed in m/s is as loud as soft speech: 15 dB below it."""


def pink_noise(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise whose power falls as 1 / f, at a ratio of powers in dB."""
    spectrum = np.fft.rfft(rng.normal(size=len(signal)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, len(signal))
    return as_float32(add_at_snr(as_float64(signal), noise, snr))


def wind_noise(samples: int, rng: np.random.Generator, *, speed: float) -> np.ndarray:
    """Noise of air that whirls at a microphone.

    Below a corner its power is flat, above it falls by 12 dB per octave;
    the corner goes up with the speed, as a vortex of one size
    passes the microphone faster.
    Gusts, as slow noise of 0.5 to 10 Hz, move its level by 6 dB (deviation).

    Args:
        samples: length at 16 kHz
        rng: source of the noise
        speed: of the air in m/s, 3 to 8 is a gentle to a fresh breeze

    Returns:
        array of shape ``(samples,)``, of unit power

    References:
        Wuttke 1991, Microphones and the wind, JAES 40(10), 809-817:
        flat below 100 Hz, 12 dB per octave above.
        Dillon, Roe & Katsch 1999, Wind noise in hearing aids
        (as cited in EP 1750483): on aids the corner is up to 300 Hz.
        That it lies at 40 Hz times m/s in between is our choice,
        and so are the gusts.

    """
    frequencies = np.fft.rfftfreq(samples, 1 / SAMPLING_RATE)
    corner = 40.0 * speed
    noise = np.fft.irfft(
        np.fft.rfft(rng.normal(size=samples)) / (1 + (frequencies / corner) ** 2),
        samples,
    )
    gusts = np.fft.rfft(rng.normal(size=samples))
    gusts *= (frequencies <= 10) / np.sqrt(1 + (frequencies / 0.5) ** 2)
    gusts[0] = 0
    slow = np.fft.irfft(gusts, samples)
    slow *= 6.0 / max(float(np.std(slow)), 1e-12)
    noise *= 10 ** (slow / 20)
    return noise / max(float(np.sqrt(np.mean(noise**2))), 1e-12)


def wind(signal: np.ndarray, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Add wind of a speed in m/s.

    Its pressure follows the square of the speed: 12 dB for twice the speed.
    It is 15 dB below the speech at :data:`CALM`, which is our choice:
    measured levels differ by 25 dB between aids and directions.

    References:
        Zakis & Hawkins 2015, Wind noise within and across behind-the-ear
        and miniature behind-the-ear hearing aids, JASA 138(4), 2291-2300:
        hardly disturbing to severely, at 3 to 6 m/s.

    """
    snr = 15.0 - 40 * np.log10(speed / CALM)
    noise = wind_noise(len(signal), rng, speed=speed)
    return as_float32(add_at_snr(as_float64(signal), noise, snr))


def hum(samples: int, rng: np.random.Generator, *, mains: float = 50.0) -> np.ndarray:
    """Hum of the mains: its odd harmonics up to 1 kHz, falling as 1 / n."""
    time = np.arange(samples) / SAMPLING_RATE
    orders = np.arange(1, int(1000 / mains) + 1, 2)
    angles = 2 * np.pi * (mains * orders[:, None] * time + rng.random((len(orders), 1)))
    wave = (np.sin(angles) / orders[:, None]).sum(0)
    return wave / np.sqrt(np.sum(0.5 / orders**2))


def babble(
    signal: np.ndarray,
    voices: Sequence[np.ndarray],
    snr: float,
    rng: np.random.Generator,
    *,
    talkers: int = 5,
) -> np.ndarray:
    """Add talkers, each as loud as the other, at a ratio of powers in dB."""
    total = np.zeros(len(signal))
    for item in rng.choice(len(voices), talkers, replace=len(voices) < talkers):
        voice = as_float64(crop_or_repeat(voices[int(item)], len(signal), rng))
        total += voice / max(float(np.std(voice)), 1e-6)
    return as_float32(add_at_snr(as_float64(signal), total, snr))
