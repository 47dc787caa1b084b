"""Tests of sounds without speech: silence and noise must not read as emotion."""

from __future__ import annotations

import zlib

import numpy as np

from wav2small.export.base.progress import Progress

from ..adv import SAMPLING_RATE
from ..gate import SpeechGate
from ..teachers.base import Model
from .rows import Heading, SuiteRows, Threshold, at_most
from .sounds import Sounds

STRONG = (0.3, 0.7)
"""A score at or beyond either of these reads as strong emotion."""

QUIET_THRESHOLD, NOISE_THRESHOLD = 0.0, 0.05
"""Largest share of silence and white noise, and of recordings of noise,
that may read as strong emotion."""

GROUP = "non-speech"


def add_non_speech(
    rows: SuiteRows,
    model: Model,
    sounds: Sounds,
    *,
    seed: int,
    progress: Progress,
) -> None:
    """Add rows of what reads as strong emotion, with and without the speech gate.

    Args:
        rows: gets the new rows
        model: what is tested
        sounds: recordings of noise
        seed: seed of the white noise
        progress: called after each sound

    """
    if not sounds.noises:
        rows.skip(GROUP, "recordings", "no recordings of noise: --noise")
    parts = _sounds_and_thresholds(sounds, seed)
    gate = SpeechGate()
    # a recording counts in two rows, but needs to be scored only once
    found: dict[int, tuple[np.ndarray, bool]] = {}
    total = len({id(s) for signals, _ in parts.values() for s in signals})
    for name, (signals, threshold) in parts.items():
        for signal in signals:
            if id(signal) not in found:
                score = model.predict([signal])[0]
                strong = (score <= STRONG[0]) | (score >= STRONG[1])
                found[id(signal)] = strong, gate.classify(signal) == "speech"
                progress("non-speech", len(found), total, {})
        strong = np.array([found[id(s)][0] for s in signals])
        passed = np.array([found[id(s)][1] for s in signals])
        for figure, hits in (
            ("share strong, model alone", strong),
            ("share strong, behind the gate", strong & passed[:, None]),
        ):
            for axis in range(3):
                heading = Heading(GROUP, name, figure, axis, threshold)
                rows.add_share(heading, hits[:, axis])


def _sounds_and_thresholds(
    sounds: Sounds, seed: int
) -> dict[str, tuple[list[np.ndarray], Threshold | None]]:
    """Return the sounds of each row, and what share may read as strong."""
    rng = np.random.default_rng([seed, zlib.crc32(GROUP.encode())])
    lengths = [int(seconds * SAMPLING_RATE) for seconds in (0.5, 1, 2, 4, 8)]
    quiet = at_most(QUIET_THRESHOLD)
    parts: dict[str, tuple[list[np.ndarray], Threshold | None]] = {
        "digital silence": ([np.zeros(n, np.float32) for n in lengths], quiet)
    }
    for title, level in (
        ("silence with noise at -70 dB", -70),
        ("white noise at -10 dB", -10),
    ):
        parts[title] = [_white(rng, n, level) for n in lengths], quiet
    if sounds.noises:
        every = [noise for noises in sounds.noises.values() for noise in noises]
        parts["recordings"] = every, at_most(NOISE_THRESHOLD)
        for category, noises in sounds.noises.items():
            parts[f"recordings: {category}"] = noises, None
    return parts


def _white(rng: np.random.Generator, samples: int, level: float) -> np.ndarray:
    """Return white noise at a level in dB of full scale."""
    return (rng.normal(size=samples) * 10 ** (level / 20)).astype(np.float32)
