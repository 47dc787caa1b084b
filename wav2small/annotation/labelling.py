"""What happens to a shard: read, cut, leave out what is not speech, batch, score.

A shard is the unit that is written, resumed and handed to workers.
Its labels depend on its audio, the teacher and the configuration alone,
not on who labels it, nor on what was labelled before.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from wav2small.export.base.files import sha256

from .. import audio
from ..adv import DIMENSIONS, SAMPLING_RATE
from ..config import AnnotateConfig
from ..errors import InputError
from ..gate import SpeechGate, load_gate
from ..teachers.base import Teacher, TeacherError, TeacherInfo, predict_told
from .shard_file import HUMAN, SourceKey, Stretch

MOST_BROKEN = 1 << 30
"""Largest file that is no audio and yet hashed, in bytes."""

LOOK_AHEAD = 4
"""Batches of audio that are held, to be sorted by length."""

FAILURES = 10
"""Files in a row on which a teacher may fail for one reason;
then it is the teacher's fault and no file's, and the run ends."""


class Care(StrEnum):
    """How a shard is labelled."""

    none = "none"
    """Audio is read while other audio is scored."""

    serial = "serial"
    """One thing after the other, so that it is known which file was at work."""

    alone = "alone"
    """In series, and each clip is a batch of its own."""


@dataclass(frozen=True)
class Shard:
    """A share of the corpus."""

    number: int
    """Number of its file in the store."""

    sources: tuple[audio.Source, ...]
    """Sorted; those of a file are beside each other."""


@dataclass(frozen=True)
class Task:
    """A shard and how it is to be labelled."""

    shard: Shard
    """What is to be labelled."""

    refused: Mapping[str, str]
    """Error line by file for those that must not be touched."""

    care: Care = Care.none
    """How."""


@dataclass(frozen=True)
class Labelled:
    """What became of a shard."""

    number: int
    """That of the shard."""

    sources: list[SourceKey]
    """All of the shard."""

    rows: list[dict[str, Any]]
    """Values by column of the label store."""

    errors: list[tuple[str, str]]
    """File and error line of each file that gave no row."""

    skipped: list[Stretch]
    """File, start, end and kind of what was no speech."""

    seconds: float
    """Audio that was scored, in seconds."""

    teacher: TeacherInfo
    """Who scored."""

    unlabelled: list[tuple[str, str]]
    """File and SHA-256 of each file that gave no row, as far as it can be read."""


Clip = tuple[dict[str, Any], np.ndarray]
"""Columns that are known before the score, and the signal."""

Note = Callable[[str, list[str]], None]
"""Called with what is done next, ``read`` or ``score``, and to which files."""

Heard = Callable[[int, float], None]
"""Called with the number of a shard and how much of it was heard, in seconds."""


class Labeller:
    """A teacher with all that it takes to label shards.

    Args:
        teacher: what scores
        config: how audio is cut and batched

    """

    def __init__(self, teacher: Teacher, config: AnnotateConfig) -> None:
        self.teacher = teacher
        self.config = config
        self.gate = load_gate(config.gate)
        self._failed: tuple[str, set[str]] = "", set()

    def label(
        self,
        tasks: Iterator[Task],
        *,
        note: Note = lambda doing, files: None,
        heard: Heard = lambda number, seconds: None,
    ) -> Iterator[Labelled]:
        """Label shards, in their order.

        While a batch is scored a thread reads the next ones,
        beyond the end of a shard as well.

        Args:
            tasks: taken as late as possible
            note: called before a file is touched
            heard: called when a batch is scored

        Raises:
            InputError: if the teacher is of no use

        """
        for job, batch in _ahead(self._batches(tasks, note), 2):
            if batch is None:
                yield job.finish(self.teacher.info)
                continue
            pieces = [[c] for c in batch] if job.task.care is Care.alone else [batch]
            for piece in pieces:
                note("score", sorted({row["file"] for row, _ in piece}))
                scores = self._score(piece)
                self._watch(piece, scores)
                job.take(piece, scores)
            heard(job.task.shard.number, job.seconds)
            job.scored.release()

    def _batches(
        self, tasks: Iterator[Task], note: Note
    ) -> Iterator[tuple[_Job, list[Clip] | None]]:
        """Read shards and batch their clips; None ends a shard."""
        for task in tasks:
            job = _Job(task)
            for batch in job.read(self.config, self.gate, note):
                yield job, batch
                if task.care is not Care.none:
                    job.scored.acquire()
            yield job, None

    def _watch(self, clips: list[Clip], scores: list[np.ndarray | str]) -> None:
        """End where one file after the other fails for the same reason."""
        for (row, _), score in zip(clips, scores, strict=True):
            if not isinstance(score, str):
                self._failed = "", set()
                continue
            # numbers differ from signal to signal, as lengths do
            reason = re.sub(r"\d+", "#", score)
            if reason != self._failed[0]:
                self._failed = reason, set()
            self._failed[1].add(row["file"])
            if len(self._failed[1]) == FAILURES:
                raise TeacherError(
                    f"teacher must score signals, it failed on {FAILURES} files in a "
                    f"row: {score}: check its weights and the memory"
                )

    def _score(self, clips: list[Clip]) -> list[np.ndarray | str]:
        """Return three scores for each clip, or why there are none."""
        name = self.teacher.info.name
        try:
            scores = self._predict(clips)
        except Exception as error:  # whatever a teacher may raise
            if isinstance(error, TeacherError):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            if len(clips) == 1:
                return [f"teacher {name} failed: {reason}"]
            alone = [self._score([clip])[0] for clip in clips]
            files = {row["file"] for row, _ in clips}
            if len(files) > 1 and all(isinstance(score, str) for score in alone):
                raise TeacherError(
                    f"teacher must score signals, {name} failed on each of "
                    f"{len(clips)}: {reason}: check its weights and the memory"
                ) from error
            return alone
        return [
            score
            if np.isfinite(score).all()
            else f"teacher {name} gave scores that are not finite"
            for score in scores
        ]

    def _predict(self, clips: Sequence[Clip]) -> np.ndarray:
        signals = [signal for _, signal in clips]
        with _bfloat16() if self.config.bfloat16 else nullcontext():
            found = predict_told(self.teacher, signals, [row for row, _ in clips])
        scores = np.asarray(found, np.float32)
        if scores.shape != (len(signals), len(DIMENSIONS)):
            raise TeacherError(
                f"teacher must give {len(DIMENSIONS)} scores for each of "
                f"{len(signals)} signals, got {scores.shape} from "
                f"{self.teacher.info.name}: check its weights"
            )
        return scores


def _bfloat16() -> AbstractContextManager[None]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16)


class _Job:
    """A shard while it is labelled; read by one thread, scored by another."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rows: list[dict[str, Any]] = []
        self.errors: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.skipped: list[Stretch] = []
        self.seconds = 0.0
        self.scored = threading.Semaphore(0)
        self.unscored: dict[str, tuple[float, str]] = {}

    def read(
        self, config: AnnotateConfig, gate: SpeechGate | None, note: Note
    ) -> Iterator[list[Clip]]:
        """Read the files and batch their clips.

        A batch is sorted by length and at most ``batch_seconds`` with its padding.
        Clips of a file that fails later may have been given already.
        """
        held: list[Clip] = []
        samples = 0
        limit = (config.batch_seconds or 0.0) * SAMPLING_RATE
        for name, parts in groupby(self.task.shard.sources, lambda s: s.name):
            if name in self.task.refused:
                self.errors[name] = self.task.refused[name]
                self._identify(next(parts))
                continue
            note("read", [name])
            try:
                for clip in self._read_file(list(parts), config, gate, note):
                    held.append(clip)
                    samples += len(clip[1])
                    while samples > LOOK_AHEAD * limit:
                        batch = _take(held, limit)
                        samples -= sum(len(signal) for _, signal in batch)
                        yield batch
                        note("read", [name])
            except Exception as error:  # whatever a decoder may raise
                reason = " ".join(str(error).split())
                if not isinstance(error, InputError | OSError):
                    path = audio.one_line(name)
                    reason = f"audio cannot be used: {path}: {error!r}"
                self.errors[name] = reason
                held = [clip for clip in held if clip[0]["file"] != name]
                samples = sum(len(signal) for _, signal in held)
        while held:
            yield _take(held, limit)

    def _read_file(
        self,
        parts: list[audio.Source],
        config: AnnotateConfig,
        gate: SpeechGate | None,
        note: Note,
    ) -> Iterator[Clip]:
        try:
            audio.check(parts[0].path)
        except audio.AudioError:
            # it may be mended later; but what is no audio may have any size
            with suppress(OSError):
                if parts[0].path.stat().st_size < MOST_BROKEN:
                    self._identify(parts[0])
            raise
        self._identify(parts[0])
        name = parts[0].name
        digest = self.digests.get(name) or sha256(parts[0].path)
        for part in parts:
            for row, signal in _clips(part, config):
                kind = gate.classify(signal) if gate else "speech"
                if kind == "speech":
                    yield {"file": name, "sha256": digest, **row}, signal
                else:
                    self._skip((name, row["start"], row["end"], kind))
                    note("read", [name])

    def _identify(self, part: audio.Source) -> None:
        """Note which bytes a file has, be they audio or not."""
        with suppress(OSError):
            self.digests[part.name] = sha256(part.path)

    def _skip(self, new: Stretch) -> None:
        """Note what is left out; what follows without a gap is one stretch."""
        if self.skipped:
            name, start, end, kind = self.skipped[-1]
            if (name, end, kind) == (new[0], new[1], new[3]):
                self.skipped[-1] = name, start, new[2], kind
                return
        self.skipped.append(new)

    def take(self, clips: list[Clip], scores: list[np.ndarray | str]) -> None:
        """Take what the teacher said of clips."""
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

    def finish(self, teacher: TeacherInfo) -> Labelled:
        """Return what became of the shard; a file is labelled whole or not."""
        errors = {
            name: f"audio cannot be scored: {audio.one_line(name)}: "
            f"from {start:.3f} s: {reason}"
            for name, (start, reason) in self.unscored.items()
        } | self.errors
        rows = [row for row in self.rows if row["file"] not in errors]
        for row in rows:
            row |= {"teacher": teacher.name, "licence": teacher.licence}
        rows.sort(key=lambda row: (row["file"], row["start"], row["end"]))
        labelled = {row["file"] for row in rows}
        return Labelled(
            self.task.shard.number,
            [source.key for source in self.task.shard.sources],
            rows,
            sorted(errors.items()),
            [stretch for stretch in self.skipped if stretch[0] not in errors],
            self.seconds,
            teacher,
            [entry for entry in self.digests.items() if entry[0] not in labelled],
        )


def _take(held: list[Clip], limit: float) -> list[Clip]:
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


Item = TypeVar("Item")


def _ahead(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Give items that a thread has made beforehand, at most a number of them."""
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(count)
    left = threading.Event()

    def put(more: bool, item: object) -> bool:
        while not left.is_set():
            try:
                made.put((more, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(True, item):
                    return
        except BaseException as error:
            put(False, error)
        else:
            put(False, None)

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            more, item = made.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        left.set()
