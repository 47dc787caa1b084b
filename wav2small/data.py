"""Clips for training: decoded once, cropped and augmented on the fly."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from . import audio
from .adv import SAMPLING_RATE
from .files import atomic_write


class Clips(Sequence[np.ndarray]):
    """Clips in one memory-mapped file of 16-bit samples.

    Decoding costs more than a training step of a small student,
    so it is done once.

    Shape:
        item: ``(time,)``, float32 in [-1, 1] at 16 kHz

    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "clips.json").read_text())
        self.sources: list[list[str | float | None]] = index["sources"]
        self.places: list[tuple[int, int]] = index["places"]
        self.samples = np.memmap(folder / "clips.int16", dtype="<i2", mode="r")

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> np.ndarray:  # type: ignore[override]
        offset, length = self.places[item]
        return self.samples[offset : offset + length].astype(np.float32) / 32768

    @property
    def seconds(self) -> float:
        """Length of all clips in seconds."""
        return sum(length for _, length in self.places) / SAMPLING_RATE

    @classmethod
    def decode(
        cls,
        sources: Sequence[tuple[Path, float, float | None]],
        folder: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Clips, list[tuple[int, str]]]:
        """Decode clips into a folder, or find them there from an earlier call.

        They are found again only where the sources are the same.

        Args:
            sources: path, start and end (seconds) of each clip
            folder: where ``clips.int16`` and ``clips.json`` go
            progress: called with the clips done and in all

        Returns:
            the clips,
            and index and error of each source that could not be read;
            such a source has a clip of no samples

        """
        folder.mkdir(parents=True, exist_ok=True)
        named = [[str(path), start, end] for path, start, end in sources]
        if (folder / "clips.json").exists():
            clips = cls(folder)
            if clips.sources == named:
                broken = [i for i, (_, n) in enumerate(clips.places) if not n]
                return clips, [(i, "could not be read") for i in broken]
        errors, index, offset = [], [], 0
        # an index must never stand beside the samples of other sources
        (folder / "clips.json").unlink(missing_ok=True)
        with atomic_write(folder / "clips.int16") as file:
            for number, (path, start, end) in enumerate(sources):
                length = 0
                try:
                    for block in audio.stream(path, start=start, end=end):
                        scaled = np.clip(np.round(block * 32768), -32768, 32767)
                        file.write(scaled.astype("<i2").tobytes())
                        length += len(block)
                except audio.AudioError as error:
                    errors.append((number, str(error)))
                index.append(
                    (offset, 0 if errors and errors[-1][0] == number else length)
                )
                offset += length
                if progress:
                    progress(number + 1, len(sources))
            if not offset:  # an empty file cannot be mapped
                file.write(bytes(2))
        with atomic_write(folder / "clips.json") as file:
            file.write(json.dumps({"sources": named, "places": index}).encode())
        return cls(folder), errors


@dataclass(frozen=True)
class AugmentConfig:
    """How clips are varied; probabilities in 0..1."""

    speed: float = 0.15
    """Largest relative change of speed and pitch together, e.g. 0.15.
    Used only where the teacher hears the result."""

    mix_probability: float = 0.25
    """Share of clips with a second speaker under them.
    Used only where the teacher hears the result."""

    noise_probability: float = 0.5
    """Share of clips with noise: a recording if there are any, else white
    or pink."""

    snr_low: float = 5.0
    """Least ratio of speech to noise or second speaker in dB."""

    snr_high: float = 35.0
    """Largest ratio of speech to noise or second speaker in dB."""

    filter_probability: float = 0.5
    """Share of clips with a random smooth filter."""

    filter_spread: float = 4.0
    """Standard deviation of the filter's gain per octave in dB."""

    gain: float = 12.0
    """Largest change of level in dB, up or down."""


def fit(signal: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Crop a signal at random, or repeat it, to a number of samples."""
    if len(signal) > samples:
        start = rng.integers(len(signal) - samples + 1)
        return signal[start : start + samples]
    return np.resize(signal, samples)


def add_at_snr(signal: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    """Add another signal of the same length at a ratio of powers in dB."""
    power, other_power = np.mean(signal**2), np.mean(other**2)
    if other_power < 1e-10:
        return signal
    return signal + other * np.sqrt(power / other_power * 10 ** (-snr / 10))


def colour(signal: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Filter a signal by a random gain per octave, interpolated over log f."""
    spectrum = np.fft.rfft(signal)
    octaves = np.log2(np.linspace(1, 256, len(spectrum)))
    gain = np.interp(octaves, np.arange(9), rng.normal(0, spread, 9))
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(signal))


def augment(
    clips: Sequence[np.ndarray],
    item: int,
    samples: int,
    rng: np.random.Generator,
    config: AugmentConfig,
    *,
    noises: Sequence[np.ndarray] = (),
    relabelled: bool = True,
) -> np.ndarray:
    """Crop a clip and vary it.

    Args:
        clips: all clips
        item: which of them
        samples: length of the result
        rng: source of all randomness
        config: what is varied how much
        noises: recordings of noise, float32 at 16 kHz
        relabelled: whether the result gets a label of its own;
            otherwise only what keeps a label is done

    Returns:
        array of shape ``(samples,)``, float32

    """
    signal = clips[item]
    if relabelled and config.speed:
        factor = 1 + rng.uniform(-config.speed, config.speed)
        wanted = int(samples * factor) + 16
        signal = soxr.resample(
            fit(signal, wanted, rng), SAMPLING_RATE * factor, SAMPLING_RATE, "LQ"
        )
    signal = fit(signal, samples, rng)
    if relabelled and rng.random() < config.mix_probability:
        other = fit(clips[int(rng.integers(len(clips)))], samples, rng)
        snr = rng.uniform(config.snr_low, config.snr_high)
        signal = add_at_snr(signal, other, snr)
    if rng.random() < config.filter_probability:
        signal = colour(signal, config.filter_spread, rng)
    if rng.random() < config.noise_probability:
        if len(noises) and rng.random() < 0.75:
            noise = fit(noises[int(rng.integers(len(noises)))], samples, rng)
        else:
            noise = rng.normal(size=samples)
            if rng.random() < 0.5:  # pink: power falls as 1 / f
                spectrum = np.fft.rfft(noise)
                noise = np.fft.irfft(
                    spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), samples
                )
        snr = rng.uniform(config.snr_low, config.snr_high)
        signal = add_at_snr(signal, noise, snr)
    gain = 10 ** (rng.uniform(-config.gain, config.gain) / 20)
    # full scale is where a recording would clip; stay below it
    gain = min(gain, 0.99 / max(float(np.abs(signal).max()), 1e-6))
    return (signal * gain).astype(np.float32)


def read_noises(folder: Path | None, *, seconds: float = 10.0) -> list[np.ndarray]:
    """Read the recordings of a folder, file or manifest, to use as noise.

    Args:
        folder: where they are; None for none
        seconds: at most this much of each recording is kept

    Raises:
        InputError: if there is no audio

    """
    if folder is None:
        return []
    _, sources = audio.find([folder])
    noises = []
    for source in sources:
        try:
            noises.append(audio.beginning(source, seconds))
        except audio.AudioError:
            continue
    return [noise for noise in noises if len(noise) and np.mean(noise**2) > 1e-10]
