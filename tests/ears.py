"""Teachers that other processes can load, and decoders that misbehave there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from wav2small import audio
from wav2small.errors import InputError
from wav2small.teachers.base import TeacherInfo

EVIL = 0.75
"""Level of a constant signal that no teacher survives."""

PUZZLING = -0.75
"""Level of a constant signal that teachers score as NaN."""


class Ear:
    """A teacher that computes its scores from the signal."""

    def __init__(self, *, revision: str = "1") -> None:
        self.info = TeacherInfo("ear", revision, "MIT", "none")
        self.batches: list[list[int]] = []

    def predict(self, signals: list[np.ndarray]) -> np.ndarray:
        self.batches.append([len(signal) for signal in signals])
        return np.stack([hear(signal) for signal in signals])


def hear(signal: np.ndarray) -> np.ndarray:
    """Level, share of zero crossings and slope of a signal."""
    level = np.sqrt(np.mean(signal**2))
    crossings = np.mean(np.diff(np.signbit(signal)))
    return np.array([level, crossings, np.mean(np.abs(np.diff(signal)))], np.float32)


class Slow(Ear):
    """A teacher that takes its time and keeps a log, a line for each batch."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def predict(self, signals: list[np.ndarray]) -> np.ndarray:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        return super().predict(signals)


def slow(log: Path, seconds: float = 0.02) -> partial[Slow]:
    return partial(Slow, log, seconds)


class Mortal(Ear):
    """A teacher that a signal can kill."""

    def predict(self, signals: list[np.ndarray]) -> np.ndarray:
        scores = super().predict(signals)
        for signal, row in zip(signals, scores, strict=True):
            if np.allclose(signal, EVIL, atol=1e-3):
                os.abort()
            if np.allclose(signal, PUZZLING, atol=1e-3):
                row[1] = np.nan
        return scores


class MortalAndSlow(Slow, Mortal):
    """Both."""


def mortal() -> Mortal:
    """Make a teacher, and decoding dangerous: the name of a file says how."""
    _make_dangerous()
    return Mortal()


def mortal_and_slow(log: Path, seconds: float) -> partial[MortalAndSlow]:
    return partial(_mortal_and_slow, log, seconds)


def _mortal_and_slow(log: Path, seconds: float) -> MortalAndSlow:
    _make_dangerous()
    return MortalAndSlow(log, seconds)


def _make_dangerous() -> None:
    decode = audio.stream

    def stream(path: Path, **options: float | None) -> Iterator[np.ndarray]:
        if "abort" in path.name:
            os.abort()
        if "hang" in path.name:
            time.sleep(1000)
        if "exit" in path.name:
            os._exit(3)
        if "greedy" in path.name:
            held = []
            while True:
                held.append(np.ones(1 << 23))
                time.sleep(0.02)
        if "raise" in path.name:
            raise RuntimeError("no idea")
        return decode(path, **options)

    audio.stream = stream


def refuse() -> Ear:
    raise InputError("teacher must be polite, got none: find another")


def stumble() -> Ear:
    raise RuntimeError("no such weights")


def die() -> Ear:
    os.abort()


def linger() -> Ear:
    """Load with what looks like a program that takes too much memory."""
    held = np.ones(1 << 27)
    time.sleep(1000 * held[0])
    return Ear()


class Reader(Ear):
    """A teacher that reads what is said, and hears who says it."""

    uses_metadata = ("gender", "text")

    def predict(self, signals: list[np.ndarray], *, metadata=()) -> np.ndarray:
        scores = super().predict(signals)
        for row, known in zip(scores, metadata, strict=True):
            assert set(known) == set(self.uses_metadata)
            row[1:] = read(known["gender"], known["text"])
        return scores


def read(gender: str | None, text: str | None) -> tuple[float, float]:
    return float(gender == "female"), len(text or "") / 100
