"""The pitch of a voice, accurate enough to tell low from high voices.

``librosa.pyin`` puts voices into the same groups and takes thirty times as long,
which would show: a warm-up by views needs the pitch of every crop of every step.
"""

from __future__ import annotations

import numpy as np

from ..adv import SAMPLING_RATE

LOWEST, HIGHEST = 60.0, 500.0
"""Range of pitches in Hz."""

_FRAME, _HOP = 800, 320
"""Samples of a frame, three periods of the lowest pitch, and between frames."""

_VOICED = 0.6
"""Least autocorrelation of a voiced frame."""


def median_pitch(signal: np.ndarray) -> float:
    """Median of :func:`voiced_pitches`, NaN if fewer than three frames are voiced."""
    pitches = voiced_pitches(signal)
    return float(np.median(pitches)) if len(pitches) >= 3 else float("nan")


def voiced_pitches(signal: np.ndarray) -> np.ndarray:
    """Fundamental frequency of each of a signal's voiced frames.

    The highest peak of the autocorrelation of each frame of 50 ms,
    corrected for the window;
    the shortest of peaks about as high, against octave errors.
    Frames 30 dB below the loudest do not count.

    Args:
        signal: shape ``(time,)`` at 16 kHz

    Returns:
        frequencies in Hz, shape ``(voiced frames,)``

    References:
        Boersma 1993, Accurate short-term analysis of the fundamental frequency
        and the harmonics-to-noise ratio of a sampled sound,
        IFA Proceedings 17, 97-110.

    """
    if len(signal) < _FRAME:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(
        np.asarray(signal, np.float64), _FRAME
    )[::_HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    powers = (frames**2).mean(axis=1)
    frames = frames[powers > max(powers.max() * 1e-3, 1e-12)]
    window = np.hanning(_FRAME)
    own = _autocorrelation(window[None])
    likeness = _autocorrelation(frames * window) / np.maximum(own, 1e-6)
    first = int(SAMPLING_RATE / HIGHEST)
    last = int(SAMPLING_RATE / LOWEST)
    pitches = []
    for row in likeness:
        inside = row[first - 1 : last + 2]
        middle = inside[1:-1]
        peaks = np.flatnonzero((middle >= inside[:-2]) & (middle > inside[2:]))
        if not len(peaks) or middle[peaks].max() < _VOICED:
            continue
        best = peaks[middle[peaks] > 0.9 * middle[peaks].max()][0]
        left, top, right = inside[best : best + 3]
        # the top of a parabola through three points may lie between samples
        shift = 0.5 * (left - right) / (left - 2 * top + right)
        pitches.append(SAMPLING_RATE / (first + best + shift))
    return np.array(pitches)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Return the autocorrelation of each row, divided by its value at lag 0."""
    spectrum = np.abs(np.fft.rfft(frames, 2 * _FRAME)) ** 2
    result = np.fft.irfft(spectrum)[:, :_FRAME]
    return result / result[:, :1]


def pitch_group(signal: np.ndarray) -> str | None:
    """Say whether a voice is low, middle or high; None if nothing is voiced.

    The borders are 145 and 190 Hz.
    """
    pitch = median_pitch(signal)
    if np.isnan(pitch):
        return None
    return "low" if pitch <= 145 else "middle" if pitch <= 190 else "high"
