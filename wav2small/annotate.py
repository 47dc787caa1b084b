"""Annotation: a teacher scores audio, in batches, and nothing is lost."""

from __future__ import annotations

import fcntl
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from . import __version__, audio
from .adv import DIMENSIONS, SAMPLING_RATE
from .errors import InputError
from .files import atomic_write, sha256
from .labels import HUMAN, LabelStore
from .teachers import Teacher


@dataclass(frozen=True)
class AnnotateConfig:
    """How audio is cut and batched."""

    window_seconds: float = 10.0
    """Longest stretch that gets one label, in seconds.
    A longer recording is cut into windows of this length;
    the last two may be shorter, down to half of it."""

    min_seconds: float = 0.25
    """A shorter clip is an error, in seconds."""

    batch_seconds: float = 60.0
    """Audio that the teacher hears at a time, padding included, in seconds."""

    shard_files: int = 32
    """Files whose labels are written at a time."""


@dataclass(frozen=True)
class AnnotateReport:
    """What a run did."""

    files: int
    """Files of the corpus."""

    labelled: int
    """Rows of the store."""

    seconds: float
    """Audio scored in this run, in seconds."""

    errors: list[tuple[str, str]]
    """File and error of each file that gave no row, of this and earlier runs."""


def annotate(
    paths: Sequence[Path],
    out: Path,
    teacher: Teacher,
    *,
    config: AnnotateConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, float, int], None] | None = None,
) -> AnnotateReport:
    """Score all audio that paths stand for, into a label store.

    A file that cannot be used is an error of the report; the run goes on.
    A killed run that is resumed
    writes the bytes that an unbroken one would have written,
    and a corpus that has grown is added to.

    Args:
        paths: files, folders, manifests; see :func:`wav2small.audio.find`
        out: folder of the label store
        teacher: what scores
        config: how audio is cut and batched
        resume: go on with the store that is there
        overwrite: delete the store that is there
        progress: called with files done, files in all,
            seconds of audio done and errors so far

    Raises:
        InputError: if there is no audio, another run is writing,
            or the store is of another teacher, root or configuration

    """
    config = config or AnnotateConfig()
    root, sources = audio.find(paths)
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        wanted = {
            "root": str(root),
            "teacher": teacher.info.to_dict(),
            "config": asdict(config),
        }
        if resume and not overwrite and (out / "manifest.json").exists():
            store = LabelStore.open(out)
            store.remove_temporary()
            for key, value in wanted.items():
                if store.manifest[key] != value:
                    raise InputError(
                        f"{key} must be that of the labels in {out}, "
                        f"{store.manifest[key]}, got {value}: name another folder "
                        "or pass --overwrite"
                    )
        else:
            versions = {
                "wav2small": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "libsndfile": soundfile.__libsndfile_version__,
            }
            store = LabelStore.create(
                out, {**wanted, "versions": versions}, overwrite=overwrite
            )
        done = store.done_files()
        files = [
            (name, list(parts)) for name, parts in groupby(sources, lambda s: s.name)
        ]
        todo = [entry for entry in files if entry[0] not in done]
        failed = len(store.errors())
        finished, seconds = len(files) - len(todo), 0.0
        for first in range(0, len(todo), config.shard_files):
            rows: list[dict[str, Any]] = []
            errors: list[tuple[str, str]] = []
            for clips in _batches(
                todo[first : first + config.shard_files], errors, config
            ):
                scores = _score(teacher, [signal for _, signal in clips])
                for (row, signal), values in zip(clips, scores, strict=True):
                    row |= dict(zip(DIMENSIONS, map(float, values), strict=True))
                    rows.append(row)
                    seconds += len(signal) / SAMPLING_RATE
                if progress:
                    progress(finished, len(files), seconds, failed + len(errors))
            broken = {name for name, _ in errors}
            rows = [row for row in rows if row["file"] not in broken]
            for row in rows:
                row |= {"teacher": teacher.info.name, "licence": teacher.info.licence}
            rows.sort(key=lambda row: (row["file"], row["start"]))
            store.append(rows, sorted(errors))
            finished += len(todo[first : first + config.shard_files])
            failed += len(errors)
            if progress:
                progress(finished, len(files), seconds, failed)
        with atomic_write(out / "errors.csv") as file:
            file.write(_errors_csv(store.errors()))
        return AnnotateReport(len(files), len(store.table()), seconds, store.errors())


def _batches(
    files: Sequence[tuple[str, list[audio.Source]]],
    errors: list[tuple[str, str]],
    config: AnnotateConfig,
) -> Iterator[list[tuple[dict[str, Any], np.ndarray]]]:
    """Read the files of a shard and batch their clips.

    A batch is sorted by length and at most ``batch_seconds`` with its padding.
    Clips of a file that fails later may have been given already.
    """
    held: list[tuple[dict[str, Any], np.ndarray]] = []
    samples = 0
    limit = config.batch_seconds * SAMPLING_RATE
    for name, parts in files:
        try:
            digest = sha256(parts[0].path)
            for part in parts:
                for row, signal in _clips(part, config):
                    held.append(({"file": name, "sha256": digest, **row}, signal))
                    samples += len(signal)
                    if samples > 4 * limit:
                        batch = _take(held, limit)
                        samples -= sum(len(signal) for _, signal in batch)
                        yield batch
        except (audio.AudioError, OSError) as error:
            errors.append((name, " ".join(str(error).split())))
            held = [clip for clip in held if clip[0]["file"] != name]
            samples = sum(len(signal) for _, signal in held)
    while held:
        yield _take(held, limit)


def _take(held: list[Any], limit: float) -> list[Any]:
    """Remove and return the longest clips whose padded size is within a limit."""
    held.sort(key=lambda clip: len(clip[1]))
    count = max(1, min(len(held), int(limit // len(held[-1][1]))))
    batch = held[-count:]
    del held[-count:]
    return batch


def _clips(
    source: audio.Source, config: AnnotateConfig
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
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

    def cut(samples: int) -> tuple[dict[str, Any], np.ndarray]:
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
            f"audio is too short: {source.path}: {len(held) / SAMPLING_RATE:.3f} s, "
            f"at least {config.min_seconds:g} s are needed"
        )
    if len(held) > window:
        yield cut(len(held) // 2)
    if len(held):
        yield cut(len(held))


def _score(teacher: Teacher, signals: list[np.ndarray]) -> np.ndarray:
    scores = np.asarray(teacher.predict(signals))
    if scores.shape != (len(signals), 3) or not np.isfinite(scores).all():
        raise InputError(
            f"teacher must give 3 finite scores for each of {len(signals)} signals, "
            f"got {scores.shape} from {teacher.info.name}: check its weights"
        )
    return scores


def _errors_csv(errors: Sequence[tuple[str, str]]) -> bytes:
    import csv
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "error"])
    writer.writerows(errors)
    return text.getvalue().encode()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the kernel lets go when it dies."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"labels are being written by another run: {folder}: "
                "wait for it or name another folder"
            ) from error
        yield
