"""Scores of files, over time if wanted; what is not speech gets none."""

from __future__ import annotations

from collections import deque
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
from .processes import usable_cores
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


def predict(
    model: Model,
    gate: SpeechGate,
    sources: Sequence[audio.Source],
    window_seconds: float = 10.0,
    hop_seconds: float | None = None,
) -> Iterator[tuple[audio.Source, Iterator[Prediction]]]:
    """Score files window by window, in their order.

    Files are read ahead, and windows are scored on all cores meanwhile:
    the scores of one depend on no other.

    Args:
        model: what scores
        gate: what tells speech from other sounds
        sources: the files
        window_seconds: length of a window in seconds; a shorter file is one window
        hop_seconds: seconds from one window to the next, those of the window if None

    Yields:
        a file and its predictions, to be taken before the next file; they raise
        :class:`~wav2small.audio.AudioError` where the file cannot be read
        and :class:`~wav2small.errors.InputError` as :func:`windows`

    """
    # onnxruntime lets several threads use a session; other models may hold state
    threads = usable_cores() if isinstance(model, OnnxModel) else 1
    begun: deque[tuple[int, Future[Prediction]]] = deque()

    def begin() -> Iterator[None]:
        """Read windows and have them scored, one each time it is asked."""
        for number, source in enumerate(sources):
            try:
                for start, signal in windows(
                    source, window_seconds, hop_seconds or window_seconds
                ):
                    scored = pool.submit(_score, model, gate, source, start, signal)
                    begun.append((number, scored))
                    yield
            except (audio.AudioError, InputError) as error:
                failed: Future[Prediction] = Future()
                failed.set_exception(error)
                begun.append((number, failed))
                yield

    def finish(number: int) -> Iterator[Prediction]:
        while True:
            while begun and begun[0][0] < number:
                begun.popleft()  # nobody asked for them
            for _ in islice(beginning, threads + 1 - len(begun)):
                pass
            if not begun or begun[0][0] > number:
                return
            if begun[0][0] == number:
                yield begun.popleft()[1].result()

    with ThreadPoolExecutor(threads) as pool:
        beginning = begin()
        for number, source in enumerate(sources):
            yield source, finish(number)


def _score(
    model: Model,
    gate: SpeechGate,
    source: audio.Source,
    start: float,
    signal: np.ndarray,
) -> Prediction:
    """Score a window, ``(time,)``, that begins at ``start`` seconds of a file."""
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
    return Prediction(name, start, end, kind, scores, categories, doubts)
