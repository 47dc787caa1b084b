"""What an aid does to sound: microphone, converters, compression, feedback.

Levels are those of an aid that takes speech at 65 dB SPL:
a signal's own power stands for that level, whatever its scale is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import soxr

from ..adv import SAMPLING_RATE
from .signals import (
    add_at_snr,
    as_float32,
    as_float64,
    at_level_of,
    filtered,
    shifted,
)

SPEECH_LEVEL = 65.0
"""Level in dB SPL that a signal's power stands for: a partner at 1 m."""

BLOCK = 16
"""Samples of a block of an aid's processing: 1 ms."""

Place = Literal["behind the ear", "in the canal"]
"""Where the microphone is."""


def microphone(
    signal: np.ndarray, place: Place, rng: np.random.Generator
) -> np.ndarray:
    """Hear with the microphone of an aid, from a random direction.

    Behind the ear the head reflects what comes from its side (up to 4 dB above 1 kHz),
    and shadows what comes from the other (up to 12 dB).
    In the canal's entrance the concha resonates,
    by 6 to 12 dB at 4 to 5.5 kHz, an octave wide.
    Both microphones lose what is below 80 to 200 Hz, 6 dB per octave,
    and have a resonance of their own above 5 kHz.

    Args:
        signal: what arrives at the head
        place: where the microphone is
        rng: source of the direction and of the specimen

    References:
        Shaw 1974, Transformation of sound pressure level from the free field
        to the eardrum in the horizontal plane, JASA 56(6), 1848-1861,
        for concha and head. The ranges are our simplification,
        those of the specimen are usual, not measured here.

    """
    corner = rng.uniform(80, 200)
    own_peak, own_height = rng.uniform(5000, 7000), rng.uniform(0, 5)
    if place == "in the canal":
        peak, height, shelf = rng.uniform(4000, 5500), rng.uniform(6, 12), 0.0
    else:
        peak, height, shelf = 4000.0, 0.0, rng.uniform(-12, 4)

    def response(frequencies: np.ndarray) -> np.ndarray:
        f = np.maximum(frequencies, 1.0)
        decibels = -10 * np.log10(1 + (corner / f) ** 2)
        decibels += height * np.exp(-((np.log2(f / peak) / 0.5) ** 2))
        decibels += own_height * np.exp(-((np.log2(f / own_peak) / 0.3) ** 2))
        decibels += shelf / (1 + (1500 / f) ** 2)
        return 10 ** (decibels / 20)

    return at_level_of(signal, filtered(signal, response))


def own_voice_path(signal: np.ndarray) -> np.ndarray:
    """Turn speech before a mouth to what the talker's own aid hears.

    High frequencies leave the mouth forwards: towards the ear
    3 dB per octave are lost above 1 kHz.

    References:
        Cornelisse, Gagné & Seewald 1991, Ear level recordings
        of the long-term average spectrum of speech, Ear and Hearing 12(1), 47-54:
        less above 1 kHz at the talker's ear; the slope is rounded.

    """
    return at_level_of(
        signal,
        filtered(
            signal,
            lambda f: 10 ** (-3 * np.log2(np.maximum(f, 1000.0) / 1000) / 20),
        ),
    )


def digital_path(
    signal: np.ndarray, *, bits: int, rate: int, headroom: float = 12.0
) -> np.ndarray:
    """Convert to a number of bits at a rate and back.

    Args:
        signal: what is converted
        bits: of the converter, full scale is ``headroom`` dB above the peak
        rate: sampling rate of the aid in Hz, 16000 or more
        headroom: how far the signal's peak stays below full scale, in dB

    """
    other = as_float64(signal)
    if rate != SAMPLING_RATE:
        other = soxr.resample(other, SAMPLING_RATE, rate, quality="HQ")
    scale = float(np.abs(other).max()) * 10 ** (headroom / 20)
    if scale:
        steps = 2.0 ** (bits - 1)
        other = np.round(other / scale * steps) / steps * scale
    if rate != SAMPLING_RATE:
        other = soxr.resample(other, rate, SAMPLING_RATE, quality="HQ")
    other = np.pad(other, (0, max(0, len(signal) - len(other))))[: len(signal)]
    return as_float32(other)


def saturate(signal: np.ndarray, *, below_peak: float) -> np.ndarray:
    """Clip at a level in dB below the peak; the level stays."""
    limit = float(np.abs(signal).max()) * 10 ** (-below_peak / 20)
    return at_level_of(signal, np.clip(signal, -limit, limit))


@dataclass(frozen=True)
class Compression:
    """Wide dynamic range compression in several bands."""

    ratio: float = 2.0
    """Dynamics in over dynamics out above the knee, 1.5 to 3."""

    attack: float = 0.005
    """Time constant in seconds with which a rising level is followed."""

    release: float = 0.1
    """Time constant in seconds with which a falling level is followed."""

    knee: float = 45.0
    """Level of a band in dB SPL above which its gain falls."""

    edges: tuple[float, ...] = (500.0, 1000.0, 2000.0, 4000.0)
    """Where the bands meet, in Hz: one more band than edges."""


def compress(signal: np.ndarray, settings: Compression) -> np.ndarray:
    """Compress a signal's bands as an aid does; the level stays.

    A band's level is that of blocks of 1 ms, smoothed in dB:
    it follows fast upwards and slowly downwards.

    Args:
        signal: speech of :data:`SPEECH_LEVEL`
        settings: what the aid is set to

    References:
        Kates 2008, Digital Hearing Aids, Plural Publishing, chapter 8:
        the two-way follower. Ratios, times and knee are those usual in
        wide dynamic range compression: Kuk 1996, Theoretical and practical
        considerations in compression hearing aids, Trends in Amplification 1(1).

    """
    power = float(np.mean(as_float64(signal) ** 2))
    if not power:
        return as_float32(signal)
    bands = split_bands(signal, settings.edges)
    blocks = -(-len(signal) // BLOCK)
    padded = np.pad(bands, ((0, 0), (0, blocks * BLOCK - len(signal))))
    levels = np.mean(padded.reshape(len(bands), blocks, BLOCK) ** 2, axis=2)
    decibels = 10 * np.log10(np.maximum(levels / power, 1e-12)) + SPEECH_LEVEL
    followed = _follow(decibels, settings.attack, settings.release)
    gain = -(1 - 1 / settings.ratio) * np.maximum(followed - settings.knee, 0)
    middles = (np.arange(blocks) + 0.5) * BLOCK
    time = np.arange(len(signal))
    total = np.zeros(len(signal))
    for band, row in zip(bands, gain, strict=True):
        total += band * 10 ** (np.interp(time, middles, row) / 20)
    return at_level_of(signal, total)


def split_bands(signal: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    """Split a signal into bands that add up to it.

    Neighbours fade into each other within a third of an octave to each side of an edge.

    Args:
        signal: what is split
        edges: where bands meet, in Hz

    Returns:
        array of shape ``(len(edges) + 1, time)``, float64

    """
    samples = 1 << (len(signal) + SAMPLING_RATE // 10).bit_length()
    octave = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLING_RATE), 1.0))
    above = [np.ones_like(octave)]
    for edge in edges:
        place = np.clip((octave - np.log2(edge)) * 1.5 + 0.5, 0, 1)
        above.append(0.5 - 0.5 * np.cos(np.pi * place))
    above.append(np.zeros_like(octave))
    shares = -np.diff(np.stack(above), axis=0)
    spectrum = np.fft.rfft(as_float64(signal), samples)
    return np.fft.irfft(shares * spectrum, samples)[:, : len(signal)]


def _follow(levels: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Smooth levels ``(bands, blocks)`` in dB: fast upwards, slowly downwards."""
    up, down = (
        1 - np.exp(-BLOCK / SAMPLING_RATE / constant) for constant in (attack, release)
    )
    state = levels[:, 0]
    followed = np.empty_like(levels)
    for block, level in enumerate(levels.T):
        step = level - state
        state = state + np.where(step > 0, up, down) * step
        followed[:, block] = state
    return followed


def feedback(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let the aid whistle: a tone of 1.5 to 5 kHz grows, is suppressed, and dies away.

    It grows from -60 dB in 0.1 to 1 s to between 20 and 5 dB below the speech,
    stays as long at most, and dies three times as fast.

    References:
        Kates 2008, Digital Hearing Aids, chapter 4, for where and why;
        the times are our choice.

    """
    time = np.arange(len(signal)) / SAMPLING_RATE
    growth = rng.uniform(0.1, 1.0)
    held = rng.uniform(0, growth)
    start = rng.uniform(-growth / 2, max(time[-1] - growth, 0) if len(time) else 0)
    loudest = -rng.uniform(5, 20)
    points = start + np.array([0, growth, growth + held, growth * 4 / 3 + held])
    level = np.interp(time, points, [-60, loudest, loudest, -60], left=-120, right=-120)
    frequency = rng.uniform(1500, 5000)
    wave = np.sin(2 * np.pi * (frequency * time + rng.random())) * 10 ** (level / 20)
    scale = np.sqrt(2 * np.mean(as_float64(signal) ** 2))
    return as_float32(signal + scale * wave)


def canceller_residue(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave what a feedback canceller does not catch: a late, shifted copy.

    The copy comes 4 to 10 ms late, 10 to 20 dB below, above 1 kHz alone,
    and 5 to 20 Hz too high, as cancellers shift frequencies to tell
    the feedback from the speech; its level sways with a few Hz.

    References:
        Kates 2008, Digital Hearing Aids, chapter 4. Ranges are our choice.

    """
    late = int(rng.uniform(0.004, 0.010) * SAMPLING_RATE)
    copy = shifted(np.pad(signal, (late, 0))[: len(signal)], rng.uniform(5, 20))
    copy = filtered(copy, lambda f: 1 / (1 + (1000 / np.maximum(f, 1.0)) ** 4))
    turn = 2 * np.pi * (rng.uniform(1, 6) / SAMPLING_RATE * np.arange(len(signal)))
    copy = copy * (1 + 0.8 * np.sin(turn + 2 * np.pi * rng.random()))
    return as_float32(add_at_snr(as_float64(signal), copy, rng.uniform(10, 20)))


def reduce_noise(
    signal: np.ndarray, *, floor: float = -10.0, oversubtraction: float = 2.0
) -> np.ndarray:
    """Subtract the spectrum of what is taken for noise: musical noise is left.

    The noise of a band is estimated as the power that a fifth of its frames stay below.

    Args:
        signal: speech
        floor: least gain in dB, -6 to -15 in aids
        oversubtraction: how many times the noise is subtracted

    References:
        Berouti, Schwartz & Makhoul 1979, Enhancement of speech corrupted by
        acoustic noise, ICASSP, 208-211.

    """
    window = np.sqrt(np.hanning(257)[:-1])
    padded = np.pad(as_float64(signal), (256, 512))
    count = (len(padded) - 256) // 128 + 1
    index = 128 * np.arange(count)[:, None] + np.arange(256)
    spectrum = np.fft.rfft(padded[index] * window, axis=1)
    power = np.abs(spectrum) ** 2
    heard = power[power.sum(1) > 0]
    if not len(heard):
        return as_float32(signal)
    # a fifth of the frames of noise stay below -ln(0.8) of its mean power
    noise = np.quantile(heard, 0.2, axis=0) / -np.log(0.8)
    left = 1 - oversubtraction * noise / np.maximum(power, 1e-20)
    gain = np.sqrt(np.maximum(left, 10 ** (floor / 10)))
    frames = np.fft.irfft(spectrum * gain, axis=1) * window
    total = np.zeros(len(padded))
    for offset in (0, 128):  # frames of one parity do not overlap
        part = frames[offset // 128 :: 2].ravel()
        total[offset : offset + len(part)] += part
    return at_level_of(signal, total[256 : 256 + len(signal)])
