"""Scenes that a detector learns from: speech with pauses, or none, in noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import scipy.signal
import soxr

from ..acoustics.rooms import ROOMS, room_response
from ..acoustics.signals import crop_or_repeat
from ..adv import SAMPLING_RATE

SECONDS = 10
SAMPLES = SECONDS * SAMPLING_RATE
LABEL = SAMPLING_RATE // 100
"""Samples of a label."""
SPEECH, NONE, UNCLEAR = 1, 0, -1
"""Labels: where it is unclear a detector is neither taught nor tested."""

SYNTHETIC = ("white", "pink", "brown", "tone", "chord", "sweep", "clicks")
"""Kinds of sounds that are made."""


@dataclass
class Side:
    """Speech and noise of training, development or test."""

    speech: list[np.ndarray] = field(default_factory=list)
    noises: list[np.ndarray] = field(default_factory=list)


def labels_of(signal: np.ndarray) -> np.ndarray:
    """Label of each 10 ms of a clip without noise.

    Within 22 dB of its loud parts there is speech, 40 dB below them there is none, and
    gaps between sounds of up to .25 s are unclear.
    """
    count = len(signal) // LABEL
    power = np.mean(signal[: count * LABEL].reshape(count, LABEL) ** 2, axis=1)
    level = 10 * np.log10(np.convolve(power, np.ones(3) / 3, "same") + 1e-10)
    top = np.percentile(level, 95)
    labels = np.where(level > top - 22, SPEECH, UNCLEAR)
    labels[level < top - 40] = NONE
    ends = np.flatnonzero(np.diff(labels == SPEECH)) + 1
    for start, stop in itertools.pairwise(ends):
        if labels[start] != SPEECH and stop - start < 25:
            labels[start:stop] = UNCLEAR
    return labels


class Scenes:
    """Scenes of one side."""

    def __init__(self, side: Side, rng: np.random.Generator, *, varied: bool) -> None:
        """Take a side.

        Args:
            side: speech and noise
            rng: what decides all that is random
            varied: whether to filter, to put speech into rooms and to change the speed

        """
        self.side, self.rng, self.varied = side, rng, varied

    def speech(self) -> tuple[np.ndarray, np.ndarray]:
        """Clips with pauses, power 1 where there is speech, and labels."""
        rng = self.rng
        signal, labels = np.zeros(SAMPLES), np.full(SAMPLES // LABEL, NONE)
        at = int(rng.uniform(0, 3) * SAMPLING_RATE)
        while at < SAMPLES - SAMPLING_RATE // 2:
            clip = self.side.speech[int(rng.integers(len(self.side.speech)))]
            if len(clip) > 5 * SAMPLING_RATE:
                clip = crop_or_repeat(
                    clip, int(rng.uniform(1.5, 5) * SAMPLING_RATE), rng
                )
            clip = self._at_other_speed(clip, 0.1)
            at = at // LABEL * LABEL
            size = min(len(clip), SAMPLES - at)
            signal[at : at + size] = clip[:size]
            found = labels_of(clip)[: len(labels) - at // LABEL]
            labels[at // LABEL : at // LABEL + len(found)] = found
            pause = rng.uniform(0.2, 0.8) if rng.random() < 0.5 else rng.uniform(0.8, 4)
            at += len(clip) + int(pause * SAMPLING_RATE)
        if self.varied:
            if rng.random() < 0.3:
                room = list(ROOMS.values())[int(rng.integers(len(ROOMS)))]
                signal = scipy.signal.fftconvolve(signal, room_response(room))[:SAMPLES]
            signal = colour(signal, 4, rng)
        heard = np.repeat(labels == SPEECH, LABEL)
        power = np.mean(signal[heard] ** 2) if heard.any() else 1.0
        return signal / np.sqrt(max(power, 1e-12)), labels

    def noise(self) -> np.ndarray:
        """Noise of power 1: a recording or a made sound, or two of them."""
        rng = self.rng
        sound = self._sound()
        if self.varied and rng.random() < 0.4:
            # another one comes and goes
            start, stop = np.sort(rng.integers(0, SAMPLES, 2))
            gain = 10 ** (rng.uniform(-15, 15) / 20)
            sound[start:stop] += gain * self._sound()[start:stop]
        if self.varied and rng.random() < 0.3:
            places = np.sort(rng.integers(0, SAMPLES, 5))
            level = np.interp(np.arange(SAMPLES), places, rng.uniform(-15, 0, 5))
            sound = sound * 10 ** (level / 20)
        return sound / max(float(np.std(sound)), 1e-9)

    def mixed(
        self, speech: np.ndarray | None, noise: np.ndarray, snr: float
    ) -> np.ndarray:
        """Speech in noise at a ratio in dB, or noise alone, at any level, int16."""
        rng = self.rng
        signal = noise if speech is None else speech + noise * 10 ** (-snr / 20)
        target = 10 ** (rng.uniform(-58, -14) / 20)
        signal = signal * (target / max(float(np.std(signal)), 1e-9))
        return np.clip(np.round(signal * 32768), -32768, 32767).astype(np.int16)

    def any(self) -> tuple[np.ndarray, np.ndarray]:
        """A scene of the training, and its labels."""
        rng = self.rng
        noise = self.noise()
        if rng.random() < 0.55:
            speech, labels = self.speech()
            snr = rng.uniform(-4, 25) if rng.random() < 0.9 else 50.0
            return self.mixed(speech, noise, snr), labels
        if rng.random() < 0.1:
            noise[: int(rng.integers(SAMPLES))] = 0
        return self.mixed(None, noise, 0), np.full(SAMPLES // LABEL, NONE)

    def _sound(self) -> np.ndarray:
        rng = self.rng
        if rng.random() < 0.75:
            sound = self.side.noises[int(rng.integers(len(self.side.noises)))]
            sound = crop_or_repeat(sound, int(1.5 * SAMPLES), rng).astype(np.float64)
            if self.varied and rng.random() < 0.3:
                sound = sound[::-1]
            sound = crop_or_repeat(self._at_other_speed(sound, 0.4), SAMPLES, rng)
        else:
            kind = str(rng.choice(SYNTHETIC))
            sound = synthetic(kind, SAMPLES, rng)
        if self.varied:
            sound = colour(sound, 4, rng)
        return sound / max(float(np.std(sound)), 1e-9)

    def _at_other_speed(self, signal: np.ndarray, most: float) -> np.ndarray:
        if not self.varied:
            return signal
        factor = self.rng.uniform(1 - most, 1 + most)
        return soxr.resample(signal, SAMPLING_RATE * factor, SAMPLING_RATE, "QQ")


def synthetic(kind: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Make a sound that no one says."""
    seconds = np.arange(samples) / SAMPLING_RATE
    if kind in ("white", "pink", "brown"):
        spectrum = np.fft.rfft(rng.normal(size=samples))
        slope = {"white": 0, "pink": 0.5, "brown": 1}[kind]
        return np.fft.irfft(
            spectrum / np.arange(1, len(spectrum) + 1) ** slope, samples
        )
    if kind == "clicks":
        train = np.zeros(samples)
        period = int(rng.uniform(0.02, 0.6) * SAMPLING_RATE)
        train[int(rng.integers(min(period, samples))) :: period] = 1
        decay = np.exp(-seconds[:800] / rng.uniform(2e-4, 1e-2))
        click = decay * rng.normal(size=800)
        return np.convolve(train, click)[:samples]
    if kind == "sweep":
        low, high = np.exp(rng.uniform(np.log(50), np.log(7500), 2))
        frequency = low * (high / low) ** (seconds / seconds[-1])
        return np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLING_RATE)
    voices = 1 if kind == "tone" else int(rng.integers(2, 6))
    signal = np.zeros(samples)
    for frequency in np.exp(rng.uniform(np.log(50), np.log(6000), voices)):
        harmonics = int(rng.integers(1, 9))
        for k in range(1, harmonics + 1):
            if k * frequency < SAMPLING_RATE / 2:
                phase = rng.uniform(0, 2 * np.pi)
                signal += np.sin(2 * np.pi * k * frequency * seconds + phase) / k
    if rng.random() < 0.5:  # notes instead of one long sound
        rate, depth = rng.uniform(0.5, 8), rng.uniform(0.2, 1)
        signal *= 1 - depth * (np.sin(2 * np.pi * rate * seconds) > 0)
    return signal


def colour(signal: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Filter a signal by a random gain per octave, interpolated over log f."""
    spectrum = np.fft.rfft(signal)
    octaves = np.log2(np.linspace(1, 256, len(spectrum)))
    gain = np.interp(octaves, np.arange(9), rng.normal(0, spread, 9))
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(signal))
