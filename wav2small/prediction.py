"""Scores of files, over time if wanted; what is not speech gets none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from . import audio
from .adv import SAMPLING_RATE
from .errors import InputError
from .gate import SpeechGate
from .models import OnnxModel
from .teachers.base import Model


@dataclass(frozen=True)
class Prediction:
    """Scores of a stretch of a file."""

    file: str
    """The file as it was named."""

    start: float
    """Start of the stretch in seconds."""

    end: float
    """End of the stretch in seconds."""

    kind: str
    """``speech``, ``silence`` or ``non-speech``."""

    scores: tuple[float, float, float] | None
    """Arousal, dominance, valence in about 0..1; None unless it is speech."""

    categories: Mapping[str, float] | None = None
    """How likely each category is, empty unless it is speech;
    None if the model does not say it."""

    doubts: tuple[float, ...] | None = None
    """How far each score may be off, a mean absolute error; None as for categories,
    and unless it is speech."""


Windows: TypeAlias = Iterator[tuple[float, np.ndarray]]
"""Start in seconds and signal, ``(time,)``, of each stretch."""


def windows(source: audio.Source, window_seconds: float, hop_seconds: float) -> Windows:
    """Cut a source into windows while it is read.

    A last window that is not full is given
    if it holds what no other window does.

    Yields:
        start in seconds and signal ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: as of :func:`wav2small.audio.stream`
        InputError: if window or hop are less than a sample,
            or the hop is above the window

    """
    window = round(window_seconds * SAMPLING_RATE)
    hop = round(hop_seconds * SAMPLING_RATE)
    if not 1 <= hop <= window:
        raise InputError(
            "hop must be at least a sample and at most the window of "
            f"{window_seconds:g} s, got {hop_seconds:g} s: change it"
        )
    first = round((source.start or 0.0) * SAMPLING_RATE)
    held = np.zeros(0, np.float32)
    position, seen = 0, 0
    for block in audio.stream(source.path, start=source.start or 0.0, end=source.end):
        held = np.concatenate([held, block])
        seen += len(block)
        while len(held) >= window:
            yield (first + position) / SAMPLING_RATE, held[:window]
            held = held[hop:]
            position += hop
    covered = position - hop + window if position else 0
    if seen > covered and len(held):
        yield (first + position) / SAMPLING_RATE, held


def read_ahead(
    sources: Sequence[audio.Source],
    window_seconds: float = 10.0,
    hop_seconds: float | None = None,
) -> Iterator[tuple[audio.Source, Windows]]:
    """Cut sources into windows; another thread reads where the next source begins.

    Args:
        sources: files
        window_seconds: length of a window in seconds; a shorter file is one window
        hop_seconds: seconds from one window to the next, those of the window if None

    Yields:
        a source and its windows, of which the first is read by then or soon;
        what goes wrong with the source is raised where they are asked for

    """

    def begin(source: audio.Source) -> tuple[list[tuple[float, np.ndarray]], Windows]:
        pieces = windows(source, window_seconds, hop_seconds or window_seconds)
        return list(islice(pieces, 1)), pieces

    def follow(
        begun: Future[tuple[list[tuple[float, np.ndarray]], Windows]],
    ) -> Windows:
        first, rest = begun.result()
        yield from first
        yield from rest

    with ThreadPoolExecutor(1) as pool:
        begun = [pool.submit(begin, source) for source in sources[:1]]
        for number, source in enumerate(sources):
            begun += [
                pool.submit(begin, one) for one in sources[number + 1 : number + 2]
            ]
            yield source, follow(begun.pop(0))


def predict(
    model: Model, gate: SpeechGate, source: audio.Source, pieces: Windows
) -> Iterator[Prediction]:
    """Score a file window by window.

    Args:
        model: what scores
        gate: what tells speech from other sounds
        source: the file
        pieces: its windows, of :func:`read_ahead` or :func:`windows`

    Raises:
        AudioError: as of :func:`wav2small.audio.stream`

    """
    for start, signal in pieces:
        kind = gate.classify(signal)
        scores = None
        says = isinstance(model, OnnxModel) and bool(model.categories)
        categories: Mapping[str, float] | None = {} if says else None
        doubts = None
        if kind == "speech":
            arousal, dominance, valence = map(float, model.predict([signal])[0])
            scores = arousal, dominance, valence
            if isinstance(model, OnnxModel) and says:
                categories, doubts = model.further(signal)
        end = start + len(signal) / SAMPLING_RATE
        name = source.given or str(source.path)
        yield Prediction(name, start, end, kind, scores, categories, doubts)
