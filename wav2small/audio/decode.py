"""Decode audio: mono, 16 kHz, float32.

Shape:
    signal: ``(time,)``, float32, full scale is 1, at 16 kHz
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from ..adv import SAMPLING_RATE
from ..errors import InputError
from .containers import AudioError, one_line, open_audio
from .sources import Source

MAX_LEVEL = 100.0
"""Largest sample, where full scale is 1: 40 dB of headroom for float files."""

END_TOLERANCE = 0.1
"""Seconds by which a given end may lie behind the end of the audio,
since decoders of lossy formats pad differently."""

CANCELLED = 0.1
"""Share of the power that independent channels would leave of their mean,
below which channels cancel each other, in 0..1."""

_READ_VALUES = 1 << 22
"""Most samples of all channels that one read asks for."""


def stream(
    path: Path,
    *,
    block_seconds: float = 30.0,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """Decode a file in blocks.

    Channels are averaged, and refused if nothing is left of them then,
    other sampling rates are converted without a seam between blocks.
    At most a block is in memory,
    whatever length the header claims.
    A fault in the file may show only when the blocks before it are out,
    so a result counts when the iterator is exhausted.

    Args:
        path: the file
        block_seconds: most audio to decode at a time, in seconds
        start: where to begin, in seconds
        end: where to stop, in seconds, None for the end of the file

    Yields:
        blocks of at least one sample, ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: if the file is missing, no audio, truncated,
            damaged or beyond bounds
        InputError: if an argument is out of range

    """
    if not 0 < block_seconds < math.inf:
        raise InputError(f"block_seconds must be above 0, got {block_seconds}")
    if not 0 <= start < math.inf:
        raise InputError(f"start must be at least 0 seconds, got {start}")
    if end is not None and not start < end < math.inf:
        raise InputError(f"end must be behind start {start} s, got {end} s")
    return _blocks(Path(path), block_seconds, start, end)


def beginning(source: Source, seconds: float) -> np.ndarray:
    """Read at most the first seconds of a source.

    Args:
        source: recording or segment
        seconds: the most that is read

    Returns:
        array of shape ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: as of :func:`stream`

    """
    start = source.start or 0.0
    blocks = stream(source.path, start=start, end=source.end, block_seconds=seconds)
    return next(blocks, np.zeros(0, np.float32))


def load(
    path: Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    max_seconds: float = 600.0,
) -> np.ndarray:
    """Decode a whole file, or a segment of it.

    Args:
        path: the file
        start: where to begin, in seconds
        end: where to stop, in seconds, None for the end of the file
        max_seconds: longest signal to hold in memory, in seconds

    Returns:
        signal of shape ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: if the file cannot be decoded, or is longer
        InputError: if an argument is out of range

    """
    blocks, samples = [], 0
    for block in stream(path, start=start, end=end):
        blocks.append(block)
        samples += len(block)
        if samples > max_seconds * SAMPLING_RATE:
            raise AudioError(
                f"audio must be at most {max_seconds:g} s long: {one_line(path)}: "
                "cut it"
            )
    return np.concatenate(blocks)


def _blocks(
    path: Path, block_seconds: float, start: float, end: float | None
) -> Iterator[np.ndarray]:
    with open_audio(path) as file:
        rate = file.samplerate
        seconds = file.frames / rate
        if start >= seconds or (end is not None and end > seconds + END_TOLERANCE):
            raise AudioError(
                f"segment must lie in the audio of {seconds:.3f} s, got {start} to "
                f"{'its end' if end is None else end}: {one_line(path)}: "
                "correct the table"
            )
        position = round(start * rate)
        last = file.frames if end is None else min(file.frames, round(end * rate))
        size = max(1, min(int(block_seconds * rate), _READ_VALUES // file.channels))
        resampler = (
            None
            if rate == SAMPLING_RATE
            else soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32")
        )
        if position:
            file.seek(position)
        downmix = _Downmix(path, rate, file.channels)
        empty = True
        while position < last:
            wanted = min(size, last - position)
            samples = file.read(wanted, dtype="float32", always_2d=True)
            if len(samples) < wanted:
                raise AudioError(
                    f"audio is truncated: {one_line(path)}: {position + len(samples)} "
                    f"of {file.frames} samples decode: copy or encode it again"
                )
            position += wanted
            # with a NaN among the samples the peak is NaN, which is below no bound
            peak = max(float(samples.max()), -float(samples.min()))
            if not peak <= MAX_LEVEL:
                what = f"reach {peak:g}" if math.isfinite(peak) else "hold NaN or Inf"
                raise AudioError(
                    f"samples must be finite and about -1..1: {one_line(path)}: they "
                    f"{what} before {position / rate:.3f} s: write the file again"
                )
            signal = downmix.mix(samples, last_one=position >= last)
            if resampler:
                signal = resampler.resample_chunk(signal.copy(), position >= last)
            if len(signal):
                empty = False
                yield signal
        if empty:
            raise AudioError(
                f"audio is shorter than one sample: {one_line(path)}: leave it out"
            )


class _Downmix:
    """The mean of channels, and whether they cancel each other.

    A microphone or a cable of the wrong polarity makes speech
    of which the mean is silence.
    """

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self._path, self._rate, self._channels = path, rate, channels
        # number, sum and sum of squares of the mean and of each channel
        self._count = 0
        self._mean, self._each = np.zeros(2), np.zeros((2, channels))

    def mix(self, samples: np.ndarray, *, last_one: bool) -> np.ndarray:
        """Average the channels of a block.

        Args:
            samples: shape ``(time, channels)``
            last_one: whether no other block comes

        Raises:
            AudioError: if the channels cancel each other from the beginning to here

        """
        if self._channels == 1:
            return samples[:, 0]
        signal: np.ndarray = samples.mean(axis=1)
        for total, part in ((self._mean, signal), (self._each, samples)):
            total[0] += part.sum(axis=0, dtype=np.float64)
            total[1] += np.einsum("i...,i...->...", part, part, dtype=np.float64)
        self._count += len(samples)
        if last_one or self._count >= self._rate:  # less may be chance
            self._check()
        return signal

    def _check(self) -> None:
        left, power = (
            float(np.mean(squares / self._count - (sums / self._count) ** 2))
            for sums, squares in (self._mean, self._each)
        )
        # the mean of n independent channels has 1/n of their power
        if power > 1e-10 and left * self._channels < CANCELLED * power:
            raise AudioError(
                f"channels must not cancel each other: {one_line(self._path)}: their "
                f"mean has {abs(left) / power:.2%} of their power, as where one is in "
                "opposite phase: invert it, or keep one channel"
            )
