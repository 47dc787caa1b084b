"""What a model says while audio goes on, from blocks of any length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.decisions import Decisions, Event
from wav2small.export.integer.personal import Personal
from wav2small.export.integer.streaming.run import Stream

from ..adv import SAMPLING_RATE
from ..bundled import DEFAULT
from ..errors import InputError
from ..models import find_onnx

STEP_SECONDS = 0.1
"""From one look at the scores to the next."""

_STEP = round(STEP_SECONDS * SAMPLING_RATE)


@dataclass(frozen=True)
class Moment:
    """How things stand after so much audio."""

    seconds: float
    """Audio heard so far."""

    scores: tuple[float, ...] | None
    """Arousal, dominance, valence, smoothed; None before any speech."""

    speech: bool | None
    """Whether speech is heard, None if the model cannot tell."""

    events: tuple[Event, ...]
    """What is so now, such as high arousal, and for how long."""


def follow(
    blocks: Iterable[np.ndarray],
    *,
    model: str | Path = DEFAULT,
    seconds: float = 1.0,
    forget_seconds: float | None = 4.0,
    calibration: Personal | None = None,
    decisions: Decisions | None = None,
) -> Iterator[Moment]:
    """Say how things stand, again and again, while audio comes.

    A stream of the model (:class:`wav2small.Stream`) hears the blocks
    and is looked at each tenth of a second,
    so that how the audio is cut into blocks does not matter.
    If the model has a detector of speech, scores learn from speech alone.

    Args:
        blocks: any iterable of arrays ``(time,)`` at 16 kHz,
            int16, or float where 1 is full scale; of a microphone, a file, a socket
        model: bundled name or int8 ONNX that streams
        seconds: audio from one moment to the next, in whole tenths
        forget_seconds: time in which what was heard falls to 1 / e,
            None to forget nothing
        calibration: of one wearer, see :func:`wav2small.load_calibration`
        decisions: smoothing and rules other than those of :class:`wav2small.Decisions`

    Yields:
        moments, the last one when the audio ends

    Raises:
        InputError: if the model does not stream,
            or a block is no finite array of one axis

    """
    each = round(seconds / STEP_SECONDS)
    if each < 1 or abs(each * STEP_SECONDS - seconds) > 1e-6:
        raise InputError(
            f"seconds must be whole tenths, at least {STEP_SECONDS}, got {seconds}"
        )
    stream = Stream(find_onnx(model))
    stream.forget(forget_seconds)
    detects = stream.schedule.detector is not None
    if detects:
        stream.listen(speech_alone=True)
    decisions = decisions or Decisions(stream.graph)
    if calibration is not None:
        decisions.calibrate(calibration)
    count = heard = 0
    speech: bool | None = None
    for count, step in enumerate(_steps(blocks), 1):
        stream.push(step)
        heard += len(step)
        with contextlib.suppress(ExportError):  # not enough was heard so far
            integers = stream.latest_integers()
            decisions.hear(integers, len(step), speech=stream.hears_speech)
        speech = stream.hears_speech if detects else None
        if count % each == 0:
            yield _moment(decisions, heard, speech)
    if count % each:
        yield _moment(decisions, heard, speech)


def _moment(decisions: Decisions, heard: int, speech: bool | None) -> Moment:
    scores = decisions.scores
    return Moment(
        heard / SAMPLING_RATE,
        None if scores is None else tuple(scores.tolist()),
        speech,
        tuple(decisions.events()),
    )


def _steps(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut blocks of any length into steps of one; the last may be shorter."""
    held: list[np.ndarray] = []
    length = 0
    for block in blocks:
        signal = _checked(np.asarray(block))
        while length + len(signal) >= _STEP:
            taken = _STEP - length
            yield np.concatenate([*held, signal[:taken]])
            held, length, signal = [], 0, signal[taken:]
        if len(signal):
            # whoever hands over the block may use its memory again
            held.append(signal.copy())
            length += len(signal)
    if length:
        yield np.concatenate(held)


def _checked(block: np.ndarray) -> np.ndarray:
    known = block.dtype == np.int16 or block.dtype.kind == "f"
    if block.ndim != 1 or not known:
        raise InputError(
            "block must be int16 or float of shape (time,), got "
            f"{block.dtype} of shape {block.shape}: convert it"
        )
    if not np.isfinite(block).all():
        raise InputError("block must be finite, got NaN or infinity: check its source")
    if block.dtype != np.int16:
        # blocks of both kinds may follow each other
        block = np.clip(np.rint(block.astype(np.float64) * 2**15), -(2**15), 2**15 - 1)
    return block.astype(np.int16, copy=False)
