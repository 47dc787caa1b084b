"""A share of the corpus while it is labelled: it is read, cut and collected.

A shard is the unit that is written, resumed and handed to workers.
Its labels depend on its audio, the teacher and the configuration alone,
not on who labels it, nor on what was labelled before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from wav2small.export.base.files import sha256

from .. import audio
from ..adv import DIMENSIONS, SAMPLING_RATE
from ..config import AnnotateConfig
from ..errors import InputError
from ..gate import SpeechGate
from ..teachers.base import TeacherInfo
from .shard_file import HUMAN, SourceKey, Stretch

MOST_BROKEN = 1 << 30
"""Size in bytes up to which a file that is not audio is hashed."""

LOOK_AHEAD = 4
"""Batches of audio that are held, to be sorted by length."""


class Care(StrEnum):
    """How a shard is labelled."""

    none = "none"
    """Audio is read while other audio is scored."""

    serial = "serial"
    """One step after the other, so that it is clear which file was being processed."""

    alone = "alone"
    """One step after the other, and each clip is a batch of its own."""


@dataclass(frozen=True)
class Shard:
    """A share of the corpus, and how it is to be labelled."""

    number: int
    """Number of its file in the store."""

    sources: tuple[audio.Source, ...]
    """Sorted; those of a file are beside each other."""

    refused: Mapping[str, str] = field(default_factory=dict)
    """Error line of each file that must not be touched, by its name."""

    care: Care = Care.none
    """How much is done at the same time."""

    gated: ClassVar[bool] = True
    """Whether what is no speech is left out, if it is asked for."""

    def clips(self, source: audio.Source, config: AnnotateConfig) -> Iterator[Clip]:
        """Return the clips of a source that get a score each, while it is read."""
        return _clips(source, config)


@dataclass(frozen=True)
class Labelled:
    """What became of a shard."""

    number: int
    """Number of the shard."""

    sources: list[SourceKey]
    """Sources of the shard."""

    rows: list[dict[str, Any]]
    """Values by column of the label store."""

    errors: list[tuple[str, str]]
    """File and error line of each file that gave no row."""

    skipped: list[Stretch]
    """File, start, end and kind of what was no speech."""

    seconds: float
    """Audio that was scored, in seconds."""

    teacher: TeacherInfo
    """The teacher that scored."""

    unlabelled: list[tuple[str, str]]
    """File and SHA-256 of each file that gave no row, as far as it can be read."""


Clip = tuple[dict[str, Any], np.ndarray]
"""Columns that are known before the score, and the signal."""

Announce = Callable[[str, list[str]], None]
"""Called with what is done next, ``read`` or ``score``, and to which files."""

OnScored = Callable[[int, float], None]
"""Called with the number of a shard and how much of it is scored, in seconds."""


class OpenShard:
    """A shard while it is labelled; read by one thread, scored by another.

    Args:
        shard: what is labelled, and how

    """

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.rows: list[dict[str, Any]] = []
        self.errors: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.skipped: list[Stretch] = []
        self.seconds = 0.0
        self.scored = threading.Semaphore(0)
        self.unscored: dict[str, tuple[float, str]] = {}

    def batches(
        self, config: AnnotateConfig, gate: SpeechGate | None, announce: Announce
    ) -> Iterator[list[Clip]]:
        """Read the files and batch their clips.

        A batch is sorted by length and at most ``batch_seconds`` with its padding.
        Clips of a file that fails later may have been given already.
        """
        held: list[Clip] = []
        samples = 0
        limit = (config.batch_seconds or 0.0) * SAMPLING_RATE
        for name, parts in groupby(self.shard.sources, lambda s: s.name):
            if name in self.shard.refused:
                self.errors[name] = self.shard.refused[name]
                self._note_digest(next(parts))
                continue
            announce("read", [name])
            try:
                for clip in self._read_file(list(parts), config, gate, announce):
                    held.append(clip)
                    samples += len(clip[1])
                    while samples > LOOK_AHEAD * limit:
                        batch = _pop_longest(held, limit)
                        samples -= sum(len(signal) for _, signal in batch)
                        yield batch
                        announce("read", [name])
            except Exception as error:  # whatever a decoder may raise
                reason = " ".join(str(error).split())
                if not isinstance(error, InputError | OSError):
                    path = audio.one_line(name)
                    reason = f"audio cannot be used: {path}: {error!r}"
                self.errors[name] = reason
                held = [clip for clip in held if clip[0]["file"] != name]
                samples = sum(len(signal) for _, signal in held)
        while held:
            yield _pop_longest(held, limit)

    def _read_file(
        self,
        parts: list[audio.Source],
        config: AnnotateConfig,
        gate: SpeechGate | None,
        announce: Announce,
    ) -> Iterator[Clip]:
        try:
            audio.check(parts[0].path)
        except audio.AudioError:
            # its digest shows whether it was repaired later,
            # but a file that is not audio may be of any size
            with suppress(OSError):
                if parts[0].path.stat().st_size < MOST_BROKEN:
                    self._note_digest(parts[0])
            raise
        self._note_digest(parts[0])
        name = parts[0].name
        digest = self.digests.get(name) or sha256(parts[0].path)
        for part in parts:
            for row, signal in self.shard.clips(part, config):
                gated = gate if self.shard.gated else None
                kind = gated.classify(signal) if gated else "speech"
                if kind == "speech":
                    yield {"file": name, "sha256": digest, **row}, signal
                else:
                    self._skip((name, row["start"], row["end"], kind))
                    announce("read", [name])

    def _note_digest(self, part: audio.Source) -> None:
        """Note the SHA-256 of a file, whether it is audio or not."""
        with suppress(OSError):
            self.digests[part.name] = sha256(part.path)

    def _skip(self, new: Stretch) -> None:
        """Note what is left out, and join stretches without a gap between them."""
        if self.skipped:
            name, start, end, kind = self.skipped[-1]
            if (name, end, kind) == (new[0], new[1], new[3]):
                self.skipped[-1] = name, start, new[2], kind
                return
        self.skipped.append(new)

    def add_scores(self, clips: list[Clip], scores: list[np.ndarray | str]) -> None:
        """Add the scores of clips, or why there are none."""
        for (row, signal), score in zip(clips, scores, strict=True):
            self.seconds += len(signal) / SAMPLING_RATE
            if isinstance(score, str):
                new = row["start"], score
                self.unscored[row["file"]] = min(
                    new, self.unscored.get(row["file"], new)
                )
                continue
            row |= dict(zip(DIMENSIONS, map(float, score), strict=True))
            self.rows.append(row)

    def result(self, teacher: TeacherInfo) -> Labelled:
        """Return what became of the shard; a file is labelled whole or not."""
        errors = {
            name: f"audio cannot be scored: {audio.one_line(name)}: "
            f"from {start:.3f} s: {reason}"
            for name, (start, reason) in self.unscored.items()
        } | self.errors
        rows = [row for row in self.rows if row["file"] not in errors]
        for row in rows:
            row |= {"teacher": teacher.name, "licence": teacher.licence}
        rows.sort(key=_order)
        labelled = {row["file"] for row in rows}
        return Labelled(
            self.shard.number,
            [source.key for source in self.shard.sources],
            rows,
            sorted(errors.items()),
            [stretch for stretch in self.skipped if stretch[0] not in errors],
            self.seconds,
            teacher,
            [entry for entry in self.digests.items() if entry[0] not in labelled],
        )


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["file"], row["start"], row["end"], row.get("variation", 0)


def _pop_longest(held: list[Clip], limit: float) -> list[Clip]:
    """Remove and return the longest clips whose padded size is within a limit."""
    held.sort(key=lambda clip: len(clip[1]))
    count = max(1, min(len(held), int(limit // len(held[-1][1]))))
    batch = held[-count:]
    del held[-count:]
    return batch


def _clips(source: audio.Source, config: AnnotateConfig) -> Iterator[Clip]:
    """Cut a source into windows while it is read.

    What is left at the end, more than one window and less than two,
    is cut in halves, so that no window is shorter than half of one.
    """
    window = round(config.window_seconds * SAMPLING_RATE)
    base: dict[str, Any] = dict(source.metadata)
    if source.human:
        base |= dict(zip(HUMAN, source.human, strict=True))
    begin = source.start or 0.0
    held = np.zeros(0, np.float32)
    position = 0

    def cut(samples: int) -> Clip:
        nonlocal held, position
        signal, held = held[:samples].copy(), held[samples:]
        start = begin + position / SAMPLING_RATE
        position += samples
        return base | {"start": start, "end": begin + position / SAMPLING_RATE}, signal

    for block in audio.stream(source.path, start=begin, end=source.end):
        held = np.concatenate([held, block])
        while len(held) >= 2 * window:
            yield cut(window)
    if position + len(held) < config.min_seconds * SAMPLING_RATE:
        raise audio.AudioError(
            f"audio is too short: {audio.one_line(source.path)}: "
            f"{len(held) / SAMPLING_RATE:.3f} s, "
            f"at least {config.min_seconds:g} s are needed"
        )
    if len(held) > window:
        yield cut(len(held) // 2)
    if len(held):
        yield cut(len(held))
