"""Clips for training: decoded once, cropped and augmented on the fly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from wav2small.export.base.errors import one_line
from wav2small.export.base.files import atomic_write, sha256
from wav2small.export.base.progress import Progress
from wav2small.export.base.reading import MOST_IN_MEMORY, open_file, read_json

from . import audio
from .acoustics.signals import add_at_snr, fit
from .acoustics.way import to_the_ear
from .adv import SAMPLING_RATE
from .config import AugmentConfig
from .errors import InputError

if TYPE_CHECKING:
    from .annotation.store import Labels


class Clips(Sequence[np.ndarray]):
    """Clips in one memory-mapped file of 16-bit samples.

    Decoding costs more than a training step of a small student,
    so it is done once.

    Shape:
        item: ``(time,)``, float32 in [-1, 1] at 16 kHz

    """

    def __init__(self, folder: Path) -> None:
        try:
            index = read_json(folder / "clips.json", most=MOST_IN_MEMORY)
            self.sources: list[list[Any]] = index["sources"]
            self.places: list[tuple[int, int]] = index["places"]
            with open_file(folder / "clips.int16") as file:
                self.samples = np.memmap(file, dtype="<i2", mode="r")
            rows = zip(self.sources, self.places, strict=True)
            if not all(
                len(source) == 4 and 0 <= offset <= offset + n <= len(self.samples)
                for source, (offset, n) in rows
            ):
                raise ValueError("clips beyond the samples")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"clips must be a folder of decoded audio, got {one_line(error)}: "
                f"{folder}: remove it"
            ) from error

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> np.ndarray:  # type: ignore[override]
        offset, length = self.places[item]
        return self.samples[offset : offset + length].astype(np.float32) / 32768

    def check_same(self, names: Sequence[str], digests: Sequence[str]) -> None:
        """See to it that the audio is what was labelled.

        Args:
            names: file of each clip
            digests: SHA-256 that the labels have of it; empty where unknown

        Raises:
            InputError: if a file has other bytes

        """
        others = {
            name
            for name, wanted, (*_, found) in zip(
                names, digests, self.sources, strict=True
            )
            if wanted and found and wanted != found
        }
        if others:
            raise InputError(
                f"audio must be what was labelled, got {len(others)} files with other "
                f"bytes, as {min(others)}: label them again with --resume"
            )

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
        progress: Progress | None = None,
    ) -> tuple[Clips, list[tuple[int, str]]]:
        """Decode clips into a folder, or find them there from an earlier call.

        They are found again only where the sources are the same, byte by byte.

        Args:
            sources: path, start and end (seconds) of each clip
            folder: where ``clips.int16`` and ``clips.json`` go
            progress: called after each clip

        Returns:
            the clips,
            and index and error of each source that could not be read;
            such a source has a clip of no samples

        """
        folder.mkdir(parents=True, exist_ok=True)
        digests = _digests({path for path, _, _ in sources})
        named = [[str(path), start, end, digests[path]] for path, start, end in sources]
        with suppress(InputError):  # damaged, or not there yet
            clips = cls(folder)
            if _are_same(named, clips.sources):
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
                    progress("decode", number + 1, len(sources), {})
            if not offset:  # an empty file cannot be mapped
                file.write(bytes(2))
        with atomic_write(folder / "clips.json") as file:
            file.write(json.dumps({"sources": named, "places": index}).encode())
        return cls(folder), errors


def decode_labels(
    labels: Labels,
    root: Path,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> tuple[Clips, set[int]]:
    """Decode the audio of labelled rows, or find it decoded by an earlier call.

    Args:
        labels: file, start, end and checksum of each row
        root: folder that the files are below
        folder: where the decoded clips go
        progress: called after each clip

    Returns:
        the clips, and the numbers of the rows that cannot be read

    Raises:
        InputError: if no row can be read,
            or audio is not what it was when it was labelled

    """
    rows = zip(labels.names, labels.starts, labels.ends, strict=True)
    sources = [
        (root / name, float(start), None if np.isinf(end) else float(end))
        for name, start, end in rows
    ]
    clips, errors = Clips.decode(sources, folder, progress=progress)
    if len(errors) == len(clips):
        raise InputError(
            f"audio of the labels cannot be read below {root}: {errors[0][1]}: "
            "pass --audio-root"
        )
    clips.check_same(labels.names, labels.sha256)
    return clips, {item for item, _ in errors}


def _are_same(now: list[list[Any]], before: list[list[Any]]) -> bool:
    """Tell whether sources are those of before; who is gone has not changed."""
    return len(now) == len(before) and all(
        ours[:3] == theirs[:3] and ours[3] in (None, *theirs[3:])
        for ours, theirs in zip(now, before, strict=True)
    )


def _digests(paths: set[Path]) -> dict[Path, str | None]:
    """Return the SHA-256 of files, None of those that cannot be read."""

    def digest(path: Path) -> str | None:
        try:
            return sha256(path)
        except OSError:
            return None

    with ThreadPoolExecutor(8) as pool:
        order = sorted(paths)
        return dict(zip(order, pool.map(digest, order), strict=True))


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
            fit(signal, wanted, rng), SAMPLING_RATE * factor, SAMPLING_RATE, "LQ"
        )
    signal = fit(signal, samples, rng)
    if rng.random() < config.mix_probability:
        if rng.random() < 0.5:
            other = fit(clips[int(rng.integers(len(clips)))], samples, rng)
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
    # nothing is drawn where there are no aids: a seed gives what it always gave
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
        # a tail must not come round to the beginning
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
        return fit(noises[int(rng.integers(len(noises)))], samples, rng)
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
    # as 16-bit samples: what is quiet is coarse
    return (np.round(noise * 32768) / 32768).clip(-1, 1).astype(np.float32)


def read_noises(folder: Path | None, *, seconds: float = 10.0) -> list[np.ndarray]:
    """Read the recordings of a folder, file or manifest, to use as noise.

    Args:
        folder: where they are; None for none
        seconds: at most this much of each recording is kept

    Raises:
        InputError: if there is no audio, or none of it can be used

    """
    if folder is None:
        return []
    _, sources = audio.find([folder])
    noises, reason = [], "it is silent"
    for source in sources:
        try:
            noise = audio.beginning(source, seconds)
        except audio.AudioError as error:
            reason = str(error)
            continue
        if len(noise) and np.mean(noise**2) > 1e-10:
            noises.append(noise)
    if not noises:
        raise InputError(
            f"noise must be recordings that can be heard, got none of {len(sources)} "
            f"in {folder}: {reason}: name others"
        )
    return noises


def identity(noises: Sequence[np.ndarray]) -> dict[str, Any]:
    """Say which recordings these are: their number and a SHA-256 of their samples."""
    digest = hashlib.sha256()
    for noise in noises:
        digest.update(len(noise).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(noise, "<f4").tobytes())
    return {"recordings": len(noises), "sha256": digest.hexdigest()}
