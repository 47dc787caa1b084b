"""Changes of a recording that should not change the emotion that is heard.

Each is a function of a signal, what it needs, and a generator if it draws.
None clips to full scale unless clipping is what it does.

Shape:
    signal: ``(time,)``, float at 16 kHz
    result: ``(time,)``, float32, of the same length unless said otherwise
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import soxr

from ..adv import SAMPLING_RATE
from ..data import add_at_snr, fit

LINE_RATE = 8000
"""Sampling rate of a phone line in Hz."""

Coding = Literal["mu-law", "modulated noise"]
"""How a phone line codes."""


def append(signal: np.ndarray, samples: int) -> np.ndarray:
    """Put zeros behind a signal; longer by them."""
    return _float32(np.pad(signal, (0, samples)))


def prepend(signal: np.ndarray, samples: int) -> np.ndarray:
    """Put zeros before a signal; longer by them."""
    return _float32(np.pad(signal, (samples, 0)))


def crop_start(signal: np.ndarray, samples: int) -> np.ndarray:
    """Cut samples off the start, at most half of the signal."""
    return _float32(signal[min(samples, len(signal) // 2) :])


def crop_end(signal: np.ndarray, samples: int) -> np.ndarray:
    """Cut samples off the end, at most half of the signal."""
    return _float32(signal[: len(signal) - min(samples, len(signal) // 2)])


def gain(signal: np.ndarray, decibels: float) -> np.ndarray:
    """Change the level."""
    return _float32(signal * 10 ** (decibels / 20))


def clip(signal: np.ndarray, share: float) -> np.ndarray:
    """Clip the loudest samples, a share of all in 0..1."""
    limit = np.quantile(np.abs(signal), 1 - share)
    return _float32(np.clip(signal, -limit, limit))


def tone(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add a tone of 5 to 7 kHz at a ratio of powers in dB."""
    angle = 2 * np.pi * rng.uniform(5000, 7000) / SAMPLING_RATE
    wave = np.sin(angle * np.arange(len(signal)) + rng.uniform(0, 2 * np.pi))
    return _float32(add_at_snr(_float64(signal), wave, snr))


def white_noise(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise at a ratio of powers in dB."""
    return _float32(add_at_snr(_float64(signal), rng.normal(size=len(signal)), snr))


def pink_noise(signal: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise whose power falls as 1 / f, at a ratio of powers in dB."""
    spectrum = np.fft.rfft(rng.normal(size=len(signal)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, len(signal))
    return _float32(add_at_snr(_float64(signal), noise, snr))


def recording(
    signal: np.ndarray,
    noises: Sequence[np.ndarray],
    snr: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add one of some recordings, cropped or repeated, at a ratio of powers in dB."""
    noise = fit(noises[int(rng.integers(len(noises)))], len(signal), rng)
    return _float32(add_at_snr(_float64(signal), _float64(noise), snr))


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
    sound = _float64(sounds[int(rng.integers(len(sounds)))])
    samples = min(SAMPLING_RATE, len(sound), len(signal))
    start = int(np.abs(sound).argmax()) - samples // 2
    start = max(0, min(start, len(sound) - samples))
    sound = sound[start : start + samples]
    scale = np.sqrt(np.mean(_float64(signal) ** 2) / np.mean(sound**2))
    result = _float64(signal)
    place = int(rng.integers(len(signal) - samples + 1))
    result[place : place + samples] += sound * scale * 10 ** (-snr / 20)
    return _float32(result)


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
        voice = _float64(fit(voices[int(item)], len(signal), rng))
        total += voice / max(float(np.std(voice)), 1e-6)
    return _float32(add_at_snr(_float64(signal), total, snr))


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
    return _float32(np.fft.irfft(spectrum, samples)[: len(signal)])


def high_pass(signal: np.ndarray, cutoff: float) -> np.ndarray:
    """Analogue Butterworth filter of second order, cutoff in Hz."""
    return filtered(signal, lambda f: (1j * f / cutoff) ** 2 * _butterworth(f / cutoff))


def low_pass(signal: np.ndarray, cutoff: float) -> np.ndarray:
    """Analogue Butterworth filter of second order, cutoff in Hz."""
    return filtered(signal, lambda f: _butterworth(f / cutoff))


def _butterworth(frequency: np.ndarray) -> np.ndarray:
    s = 1j * frequency
    return 1 / (s**2 + np.sqrt(2) * s + 1)


def tilt(signal: np.ndarray, slope: float) -> np.ndarray:
    """Tilt the spectrum by dB per octave, around 1 kHz; the level stays."""
    return _at_level_of(
        signal,
        filtered(
            signal,
            lambda f: 10 ** (slope * np.log2(np.maximum(f, 50.0) / 1000) / 20),
        ),
    )


def reverberate(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Play a signal in a room.

    The direct sound keeps its place in time, the level stays,
    what sounds on after the end is cut off.

    Args:
        signal: what is played
        response: impulse response ``(time,)`` at 16 kHz

    """
    delay = int(np.abs(response).argmax())
    samples = 1 << (len(signal) + len(response)).bit_length()
    spectrum = np.fft.rfft(signal, samples) * np.fft.rfft(response, samples)
    wet = np.fft.irfft(spectrum, samples)[delay : delay + len(signal)]
    return _at_level_of(signal, wet)


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
    power = np.convolve(_float64(signal) ** 2, window / window.sum(), "same")
    peak = float(power.max())
    if not peak:
        return _float32(signal)
    above = 10 * np.log10(np.maximum(power / peak, 1e-12)) + below_peak
    decibels = -(1 - 1 / ratio) * np.maximum(above, 0)
    return _at_level_of(signal, signal * 10 ** (decibels / 20))


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
        _float64(compress(signal)), SAMPLING_RATE, LINE_RATE, quality="HQ"
    )
    line = _telephone_band(line)
    if coding == "mu-law":
        line = mu_law(line)
    else:
        line = line * (1 + 10 ** (-25 / 20) * rng.normal(size=len(line)))
    line = pink_noise(_telephone_band(line), 35, rng)
    wide = soxr.resample(_float64(line), LINE_RATE, SAMPLING_RATE, quality="HQ")
    wide = np.pad(wide, (0, max(0, len(signal) - len(wide))))[: len(signal)]
    return _at_level_of(signal, wide)


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


def _at_level_of(signal: np.ndarray, changed: np.ndarray) -> np.ndarray:
    power = np.mean(_float64(changed) ** 2)
    scale = np.sqrt(np.mean(_float64(signal) ** 2) / power) if power else 1.0
    return _float32(changed * scale)


def _float64(signal: np.ndarray) -> np.ndarray:
    return np.array(signal, np.float64)


def _float32(signal: np.ndarray) -> np.ndarray:
    return np.asarray(signal, np.float32)
