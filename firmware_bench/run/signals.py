"""Signals that firmware is run on, bit for bit the same on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

_RATE = 16000
_SYLLABLE = 4000
_VOICED, _HISS = 2600, 3400
_PITCHES = (110, 128, 97, 182, 210, 164)
_VOWELS = (
    ((730, 90), (1090, 110), (2440, 170)),
    ((270, 60), (2290, 100), (3010, 170)),
    ((300, 60), (870, 90), (2240, 170)),
    ((530, 70), (1840, 100), (2480, 170)),
)
"""Formants: frequency and bandwidth in Hz."""
_LEVELS = (6, 3, 5, 2, 4, 1)
"""Loudness of syllables: bits by which samples are shifted down."""


def voice(length: int) -> np.ndarray:
    """Something like speech: pulses through formants, hiss and pauses.

    It is computed in whole numbers, so that all machines round in the same way.

    Args:
        length: samples at 16 kHz

    Returns:
        signal, shape ``(length,)``, int16

    """
    return np.fromiter(_voice(length), np.int16, length)


def _voice(length: int) -> Iterator[int]:
    noise, wait, pitch, last = _noise(1), 0, 0, 0
    memory = [[0, 0] for _ in range(3)]
    for n in range(length):
        syllable, position = divmod(n, _SYLLABLE)
        pulse, breath, hiss = 0, 0, next(noise)
        if position < _VOICED:
            if not wait:
                pulse = 1 << 14
                pitch = _PITCHES[syllable % len(_PITCHES)]
                wait = _RATE * 8 // (pitch * (8 + position * 2 // _VOICED))
            wait -= 1
            pulse += hiss >> 8
        elif position < _HISS:
            breath = (hiss - last) >> 2
        last = hiss
        value = breath
        for at, (a, b) in enumerate(_filters(syllable)):
            old = memory[at]
            filtered = pulse + ((a * old[0] - b * old[1]) >> 14)
            memory[at] = [filtered, old[0]]
            value += filtered >> at
        yield max(-32768, min(32767, value >> _LEVELS[syllable % len(_LEVELS)]))


def _filters(syllable: int) -> list[tuple[int, int]]:
    """Coefficients of the formants' filters in steps of 2 ** -14."""
    found = []
    for frequency, width in _VOWELS[syllable % len(_VOWELS)]:
        radius = math.exp(-math.pi * width / _RATE)
        angle = 2 * math.pi * frequency / _RATE
        a, b = 2 * radius * math.cos(angle), radius**2
        found.append((round(a * 2**14), round(b * 2**14)))
    return found


def _noise(state: int) -> Iterator[int]:
    while True:
        state = (state * 1664525 + 1013904223) % 2**32
        yield (state >> 16) - 32768


def clipped_noise(length: int) -> np.ndarray:
    """Noise of which half is clipped, int16, shape ``(length,)``."""
    noise = _noise(2)
    return np.fromiter(
        (max(-32768, min(32767, 2 * next(noise))) for _ in range(length)),
        np.int16,
        length,
    )


def near_silence(length: int) -> np.ndarray:
    """Silence, then one step up and down, int16, shape ``(length,)``."""
    samples = np.zeros(length, np.int16)
    samples[length // 2 :: 3] = 1
    samples[length // 2 :: 5] = -1
    return samples
