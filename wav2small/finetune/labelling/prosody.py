"""How something is said, in a few numbers and in words."""

from __future__ import annotations

import numpy as np

from ...adv import SAMPLING_RATE
from ...suite.pitch import median_pitch, voiced_pitches

FEATURES = (
    "level", "level_deviation", "pitch", "voiced", "rate",
    "centroid", "centroid_deviation", "slope",
)  # fmt: skip
"""Names of the numbers of :func:`prosody`."""

_FRAME, _HOP = 400, 160


def prosody(signal: np.ndarray) -> np.ndarray:
    """Describe how a signal is said; a handful of what eGeMAPS has.

    Args:
        signal: shape ``(time,)`` at 16 kHz

    Returns:
        :data:`FEATURES`, float32, each about -1..1 for speech:
        mean and deviation of the level of frames (20 dB, around -30 dB),
        median pitch (octaves above 150 Hz, 0 if nothing is voiced),
        whether it is voiced,
        energy bursts (per 5 s, speech has about as many as syllables),
        mean and deviation of the spectral centroid (octaves, around 1 kHz),
        energy above 1 kHz to that below (20 dB)

    """
    signal = np.asarray(signal, np.float64)
    signal = np.pad(signal, (0, max(0, _FRAME - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), 512)) ** 2 + 1e-12
    hertz = np.fft.rfftfreq(512, 1 / SAMPLING_RATE)
    level = 10 * np.log10((frames**2).mean(1) + 1e-9)
    loud = level > level.max() - 30
    centroid = np.log2((power @ hertz / power.sum(1)).clip(1) / 1000)[loud]
    high, low = power[:, hertz > 1000].sum(), power[:, hertz <= 1000].sum()
    pitch = median_pitch(signal)
    voiced = not np.isnan(pitch)
    values = [
        (level[loud].mean() + 30) / 20,
        level[loud].std() / 20,
        np.log2(pitch / 150) if voiced else 0.0,
        float(voiced),
        speaking_rate(signal) / 5,
        centroid.mean(),
        centroid.std(),
        10 * np.log10(high / low) / 20,
    ]
    return np.array(values, np.float32)


def speaking_rate(signal: np.ndarray) -> float:
    """Bursts of energy per second, about as many as syllables.

    Peaks of the smoothed envelope that are above its mean
    and 100 ms from a higher one.

    Args:
        signal: shape ``(time,)`` at 16 kHz

    """
    hop = SAMPLING_RATE // 100
    count = len(signal) // hop
    if count < 12:
        return 0.0
    envelope = np.sqrt(
        (np.asarray(signal[: count * hop]).reshape(count, hop) ** 2).mean(1)
    )
    envelope = np.convolve(envelope, np.hanning(9) / np.hanning(9).sum(), "same")
    around = np.lib.stride_tricks.sliding_window_view(np.pad(envelope, 10), 21)
    peaks = (envelope >= around.max(1)) & (envelope > max(envelope.mean(), 1e-5))
    return float(peaks.sum() / (count / 100))


def words(signal: np.ndarray) -> str:
    """Say how something is said, with numbers and words.

    Level, pitch and its range, bursts of energy per second, how much the level
    changes, how bright the voice is, how much of the time is pause.

    Args:
        signal: shape ``(time,)`` at 16 kHz

    """
    level = 10 * np.log10(np.mean(np.asarray(signal, np.float64) ** 2) + 1e-9)
    pitches, rate = voiced_pitches(signal), speaking_rate(signal)
    loudness = _word(level, (-35, -20), ("quiet", "of usual level", "loud"))
    phrases = [f"{loudness} ({level:.0f} dB of full scale)"]
    if len(pitches) < 3:
        phrases.append("without a pitch")
    else:
        pitch = float(np.median(pitches))
        low, high = np.quantile(pitches, [0.1, 0.9])
        span = float(12 * np.log2(high / low))
        melody = _word(span, (4, 9), ("monotonous", "of usual melody", "lively"))
        phrases += [
            f"{_word(pitch, (145, 190), ('low', 'middle', 'high'))} pitch "
            f"({pitch:.0f} Hz)",
            f"{melody} (a range of {span:.1f} semitones)",
        ]
    speed = _word(rate, (2.5, 4.5), ("slow", "of usual rate", "fast"))
    phrases.append(f"{speed} ({rate:.1f} bursts per second)")
    known = dict(zip(FEATURES, prosody(signal).tolist(), strict=True))
    change, bright = 20 * known["level_deviation"], 1000 * 2 ** known["centroid"]
    accent = _word(
        change, (5, 8), ("even", "with usual accents", "with strong accents")
    )
    colour = _word(bright, (600, 1400), ("dark", "of usual colour", "bright"))
    phrases += [
        f"{accent} (the level changes by {change:.1f} dB)",
        f"{colour} (spectral centroid {bright:.0f} Hz)",
        f"{pauses(signal):.0%} of it pause",
        f"{len(signal) / SAMPLING_RATE:.1f} s long",
    ]
    return ", ".join(phrases)


def pauses(signal: np.ndarray) -> float:
    """Share of the frames of 25 ms that are 30 dB or more below the loudest.

    Args:
        signal: shape ``(time,)`` at 16 kHz

    """
    count = len(signal) // _FRAME
    if not count:
        return 0.0
    frames = np.asarray(signal[: count * _FRAME], np.float64).reshape(count, _FRAME)
    power = (frames**2).mean(1)
    return float((power <= power.max() * 1e-3).mean())


def _word(value: float, borders: tuple[float, float], names: tuple[str, ...]) -> str:
    return names[int(value > borders[0]) + int(value > borders[1])]
