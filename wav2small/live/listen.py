"""A model that hears a recording or a microphone while it lasts.

Blocks of a tenth of a second come when they would be heard, each with the time
at which its last sample was, so that what is said of it can be measured against it.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from wav2small.export.base.errors import ToolError, from_extra

from .. import audio
from ..adv import SAMPLING_RATE
from ..api.listening import STEP_SECONDS as BLOCK_SECONDS
from ..api.listening import Moment, follow
from ..errors import InputError
from ..gate import level

_MOST_SILENCE = 5.0
"""Seconds without a block after which a microphone is taken to be gone."""


class HeardBlock(NamedTuple):
    """Sound of a tenth of a second or less."""

    signal: np.ndarray
    """Shape ``(time,)``, float32 at 16 kHz."""

    end: float
    """When its last sample was, in seconds of :func:`time.monotonic`."""


@dataclass(frozen=True)
class Heard:
    """What a model says, and the sound after which it says it."""

    moment: Moment
    """How things stand."""

    level: float
    """Level of the last tenth of a second in dB of full scale."""

    end: float
    """When its last sample was, in seconds of :func:`time.monotonic`."""


def hear(
    blocks: Iterable[HeardBlock], *, model: str, forget_seconds: float | None
) -> Iterator[Heard]:
    """Say how things stand after each tenth of a second.

    Args:
        blocks: of :func:`play` or :func:`microphone`
        model: bundled name or int8 ONNX that streams
        forget_seconds: time in which what was heard falls to 1 / e,
            None to forget nothing

    Raises:
        InputError: if the model does not stream

    """
    last = HeardBlock(np.zeros(0, np.float32), 0.0)

    def signals() -> Iterator[np.ndarray]:
        nonlocal last
        for last in blocks:
            yield last.signal

    for moment in follow(
        signals(), model=model, seconds=BLOCK_SECONDS, forget_seconds=forget_seconds
    ):
        yield Heard(moment, level(last.signal), last.end)


def play(path: Path) -> Iterator[HeardBlock]:
    """Give the blocks of a recording when they would be heard.

    Raises:
        AudioError: if it cannot be read

    """
    end = time.monotonic()
    for signal in audio.stream(path, block_seconds=BLOCK_SECONDS):
        end += len(signal) / SAMPLING_RATE
        time.sleep(max(0.0, end - time.monotonic()))
        yield HeardBlock(signal, end)


@contextmanager
def microphone(device: str | None = None) -> Iterator[Iterator[HeardBlock]]:
    """Open a microphone; the context gives its blocks, without end.

    Args:
        device: number or part of the name, None for the system's own

    Raises:
        ToolError: if the package sounddevice or the library PortAudio is missing
        InputError: if there is no such microphone

    """
    with from_extra():
        sound = _sounddevice()
    blocks: queue.SimpleQueue[HeardBlock] = queue.SimpleQueue()

    def take(samples: np.ndarray, count: int, times: Any, status: object) -> None:
        delay = times.currentTime - times.inputBufferAdcTime - count / rate
        # some systems do not say when sound came
        delay = delay if 0 <= delay < 10 else 0.0
        blocks.put(HeardBlock(samples[:, 0].copy(), time.monotonic() - delay))

    wanted = int(device) if device is not None and device.isdigit() else device
    try:
        rate = float(sound.query_devices(wanted, "input")["default_samplerate"])
        opened = sound.InputStream(
            samplerate=rate,
            blocksize=round(rate * BLOCK_SECONDS),
            device=wanted,
            channels=1,
            dtype="float32",
            callback=take,
        )
    except (sound.PortAudioError, ValueError) as error:
        raise InputError(
            f"microphone must be there, got none: {error}: plug one in, or name a file"
        ) from error
    with opened:
        yield _resampled(blocks, rate)


def _resampled(
    blocks: queue.SimpleQueue[HeardBlock], rate: float
) -> Iterator[HeardBlock]:
    change = soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32", quality="MQ")
    while True:
        try:
            signal, end = blocks.get(timeout=_MOST_SILENCE)
        except queue.Empty as error:
            raise InputError(
                f"microphone must give sound, got none for {_MOST_SILENCE:g} s: "
                "plug it in again"
            ) from error
        if rate != SAMPLING_RATE:
            signal = change.resample_chunk(signal)
        if len(signal):
            yield HeardBlock(signal, end)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise ToolError(
            "library PortAudio must be installed to hear a microphone, got none: "
            "apt-get install libportaudio2, or name a file"
        ) from error
    return sounddevice
