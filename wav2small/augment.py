"""What may happen to a signal before a student or a teacher is given it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr

from .acoustics.signals import add_at_snr, crop_or_repeat
from .acoustics.way import to_the_ear
from .adv import SAMPLING_RATE
from .config import AugmentConfig, VariationConfig


def vary(
    clips: Sequence[np.ndarray],
    item: int,
    samples: int,
    rng: np.random.Generator,
    config: AugmentConfig,
    noises: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Crop a clip and change its speed, its colour and what is heard beside it.

    Args:
        clips: all clips
        item: which of them
        samples: length of the result
        rng: source of all randomness
        config: what is varied how much
        noises: recordings of noise, float32 at 16 kHz

    Returns:
        array of shape ``(samples,)``, float32

    """
    signal = clips[item]
    if config.speed:
        factor = 1 + rng.uniform(-config.speed, config.speed)
        wanted = int(samples * factor) + 16
        signal = soxr.resample(
            crop_or_repeat(signal, wanted, rng),
            SAMPLING_RATE * factor,
            SAMPLING_RATE,
            "LQ",
        )
    signal = crop_or_repeat(signal, samples, rng)
    if rng.random() < config.mix_probability:
        if rng.random() < 0.5:
            other = crop_or_repeat(clips[int(rng.integers(len(clips)))], samples, rng)
        else:
            other = background(samples, rng, noises)
        snr = rng.uniform(config.snr_low, config.snr_high)
        signal = add_at_snr(signal, other, snr)
    if rng.random() < config.filter_probability:
        length = 1 << (samples - 1).bit_length()
        level = np.interp(
            octaves(length), np.arange(9), rng.normal(0, config.filter_spread, 9)
        )
        spectrum = np.fft.rfft(signal, length) * 10 ** (level / 20)
        signal = np.fft.irfft(spectrum, length)[:samples]
    return signal.astype(np.float32)


def variation(
    clips: Sequence[np.ndarray],
    item: int,
    turn: int,
    config: VariationConfig,
    noises: Sequence[np.ndarray] = (),
    chapter: int = 0,
) -> np.ndarray:
    """Make one of the seeded variations of a clip: the same one whenever it is asked.

    Args:
        clips: all clips of the chapter
        item: which of them
        turn: number of the variation
        config: seed, length and what is varied how much
        noises: recordings of noise, float32 at 16 kHz
        chapter: number of the chapter

    Returns:
        array of shape ``(samples,)``, float32

    """
    # the first chapter has the crops of a corpus that needs no chapters
    words = [config.seed, item, turn, *([chapter] if chapter else [])]
    samples = round(config.crop_seconds * SAMPLING_RATE)
    rng = np.random.default_rng(words)
    return vary(clips, item, samples, rng, config.augment, noises)


def octaves(length: int) -> np.ndarray:
    """Frequencies of a transform of this length, as octaves above 31.25 Hz."""
    return np.log2(np.linspace(1, 256, length // 2 + 1))


def degrade(
    signal: np.ndarray,
    rng: np.random.Generator,
    config: AugmentConfig,
    noises: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Pass speech through a random channel: band, room, noise, silence, gain.

    Args:
        signal: array of shape ``(samples,)``
        rng: source of all randomness
        config: what is done how often and how much
        noises: recordings of noise, float32 at 16 kHz

    Returns:
        array of the same shape, float32

    """
    # without aids nothing is drawn, so that a seed gives what it always gave
    if config.aid_probability and rng.random() < config.aid_probability:
        signal = to_the_ear(signal, rng, noises=noises)
    else:
        signal = _to_a_microphone(signal, rng, config, noises)
    if rng.random() < config.silence_probability:
        silent = int(rng.integers(SAMPLING_RATE // 5))
        signal = np.array(signal)
        if rng.random() < 0.5:
            signal[:silent] = 0
        else:
            signal[len(signal) - silent :] = 0
    gain = 10 ** (rng.uniform(-config.gain, config.gain) / 20)
    # full scale is where a recording would clip; stay below it
    gain = min(gain, 0.99 / max(float(np.abs(signal).max()), 1e-6))
    return (signal * gain).astype(np.float32)


def _to_a_microphone(
    signal: np.ndarray,
    rng: np.random.Generator,
    config: AugmentConfig,
    noises: Sequence[np.ndarray],
) -> np.ndarray:
    """Lose bands, come through a room, and be mixed with noise."""
    samples = len(signal)
    banded = rng.random() < config.band_probability
    in_room = rng.random() < config.room_probability
    if banded or in_room:
        # the tail of the room must not wrap around to the beginning
        length = 1 << (samples + in_room * SAMPLING_RATE - 1).bit_length()
        spectrum = np.fft.rfft(signal, length)
        if banded:
            spectrum *= 10 ** (band(octaves(length), rng) / 20)
        if in_room:
            spectrum *= np.fft.rfft(room(rng), length)
        signal = np.fft.irfft(spectrum, length)[:samples]
    if rng.random() < config.noise_probability:
        snr = rng.uniform(config.snr_low, config.snr_high)
        signal = add_at_snr(signal, background(samples, rng, noises), snr)
    return signal


def band(octaves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Level in dB of a random high-pass or low-pass, or of both.

    Args:
        octaves: frequencies as octaves above 31.25 Hz
        rng: source of all randomness

    """
    low, high = np.log2(np.array([40, 3000]) / 31.25) + rng.random(2) * np.log2(
        [400 / 40, 8000 / 3000]
    )
    kind = rng.integers(3)
    steepness = rng.uniform(12, 48)
    level = np.zeros_like(octaves)
    if kind != 0:
        level -= steepness * np.maximum(low - octaves, 0)
    if kind != 1:
        level -= steepness * np.maximum(octaves - high, 0)
    return np.maximum(level, -100)


def room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a random room: a direct sound and decaying noise.

    Returns:
        array of shape ``(time,)``, at most 1 s at 16 kHz

    """
    decay = 0.15 * 8 ** rng.random()  # seconds until it has fallen by 60 dB
    ratio = rng.uniform(-5, 15)  # of direct sound to the rest, in dB
    time = np.arange(int(min(decay, 1.0) * SAMPLING_RATE)) / SAMPLING_RATE
    tail = rng.standard_normal(len(time), dtype=np.float32) * 10 ** (-3 * time / decay)
    # the first reflections take a few milliseconds
    tail[: int(rng.uniform(0.001, 0.01) * SAMPLING_RATE)] = 0
    tail *= 10 ** (-ratio / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def background(
    samples: int, rng: np.random.Generator, noises: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Return noise: a piece of a recording if there are any, else white or pink."""
    if len(noises) and rng.random() < 0.75:
        return crop_or_repeat(noises[int(rng.integers(len(noises)))], samples, rng)
    noise: np.ndarray = rng.standard_normal(samples, dtype=np.float32)
    if rng.random() < 0.5:  # pink: power falls as 1 / f
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(
            spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), samples
        )
    return noise


def without_speech(
    samples: int, rng: np.random.Generator, noises: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Noise or silence alone, float32, at -80 to -5 dB of full scale."""
    if rng.random() < 0.1:
        return np.zeros(samples, np.float32)
    noise = background(samples, rng, noises)
    level = 10 ** (rng.uniform(-80, -5) / 20)
    scale = level / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
    noise = np.clip(noise * scale, -1, 1)
    # rounded to 16-bit samples, in which quiet noise is coarse
    return (np.round(noise * 32768) / 32768).clip(-1, 1).astype(np.float32)
