"""Annotation: a teacher scores audio, and nothing is lost."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from wav2small.export.base.files import claim, remove_folder
from wav2small.export.base.progress import Progress

from .. import __version__, audio
from ..config import AnnotateConfig, VariationConfig
from ..errors import InputError
from ..teachers.base import Teacher, TeacherInfo
from .collecting import Tally, append
from .engines import Engine, LabelShards, ThisProcess
from .shard import Shard
from .store import LabelStore
from .varied import FOLDER, add_variations
from .worker import Load

__all__ = ["AnnotateConfig", "AnnotateReport", "annotate"]

SHARDS = 1000
"""Shards of a large corpus: a kill costs a thousandth of the work."""

FEWEST, MOST = 32, 1000
"""Files of a shard, where their number is not given."""


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

    skipped: dict[str, float]
    """What the store leaves out, in seconds by kind, e.g. ``silence``."""

    skipped_share: float
    """What the store leaves out, as a share of all audio without errors, in 0..1."""

    averaged: int = 0
    """Recordings whose scores by humans are the mean of several rows of tables."""

    changed: int = 0
    """Files that have changed since they were labelled, and were labelled again."""

    variations: int = 0
    """Rows of variations."""


def annotate(
    paths: Sequence[Path],
    out: Path,
    teacher: Teacher | Load,
    *,
    config: AnnotateConfig | None = None,
    engine: Engine | None = None,
    variations: VariationConfig | None = None,
    noise: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AnnotateReport:
    """Score all audio below some paths and write a label store.

    A file that cannot be used becomes an error in the report, and the run goes on.
    A killed run that is resumed writes the bytes that an unbroken one would have
    written, whichever engine does the work.
    If the corpus has grown, the new files are added.
    Files that have changed since they were labelled are labelled again;
    to find them, every labelled file is read once and its SHA-256 compared.

    Args:
        paths: files, folders, manifests; see :func:`wav2small.audio.find`
        out: folder of the label store
        teacher: what scores, or a function that loads it
        config: how audio is cut and batched
        engine: where the work is done, in this process if None;
            others need a function as teacher
        variations: which variations of each clip are scored as well, if any
        noise: folder, file or manifest of noise recordings for them
        resume: go on with the store that is there
        overwrite: delete the store that is there
        progress: called with the files done, ``audio_seconds`` and ``errors``;
            by threads of an engine as well

    Raises:
        InputError: if there is no audio, another run is writing,
            the disk is full, the teacher is of no use,
            or the store is of another teacher, root or configuration

    """
    root, sources = audio.find(paths)
    files = [list(parts) for _, parts in groupby(sources, lambda s: s.name)]
    resume = resume and not overwrite and (out / "manifest.json").exists()
    with claim(out, "shards", FOLDER, f"{FOLDER}/shards"):
        earlier = LabelStore.open(out).manifest.get("config", {}) if resume else {}
        config = _settled(config or AnnotateConfig(), earlier, len(files))
        with (engine or ThisProcess()).start(teacher, config) as (info, label):
            store = _open(out, root, info, config, resume, overwrite)
            paths_by_name = {source.name: source.path for source in sources}
            changed = len(store.forget_changed(paths_by_name)) if resume else 0
            seconds, varied = _label(store, files, label, info, progress), None
            if variations:
                varied, more = add_variations(
                    store, variations, noise, label, info, progress
                )
                seconds += more
        averaged = sum(source.ratings > 1 for source in sources)
        return _report(store, varied, len(files), seconds, averaged, changed)


def _label(
    store: LabelStore,
    files: list[list[audio.Source]],
    label: LabelShards,
    teacher: TeacherInfo,
    progress: Progress | None,
) -> float:
    """Label the files that a store lacks; returns the audio scored in seconds."""
    todo = _unlabelled(store, files)
    finished = len(files) - len(todo)
    tally = Tally(progress, "annotate", len(files), finished, store.errors())
    plan = _plan(store, todo, store.manifest["config"]["shard_files"])
    for labelled in label(plan, tally.scored):
        append(store, labelled, teacher)
        tally.add(labelled)
    store.finish()
    return tally.seconds


def _report(
    store: LabelStore,
    varied: LabelStore | None,
    files: int,
    seconds: float,
    averaged: int,
    changed: int,
) -> AnnotateReport:
    skipped = store.skipped()
    left_out = sum(skipped.values())
    errors = dict(varied.errors()) if varied else {}
    return AnnotateReport(
        files=files,
        labelled=len(store),
        seconds=seconds,
        errors=sorted({**errors, **dict(store.errors())}.items()),
        skipped=skipped,
        skipped_share=left_out / (left_out + store.seconds()) if left_out else 0.0,
        averaged=averaged,
        changed=changed,
        variations=len(varied) if varied else 0,
    )


def _unlabelled(
    store: LabelStore, files: list[list[audio.Source]]
) -> list[list[audio.Source]]:
    """Return the sources of each file that a store lacks, without empty lists."""
    done = store.done()
    left = ([s for s in parts if not {s.key, s.name} & done] for parts in files)
    return [parts for parts in left if parts]


def _settled(
    config: AnnotateConfig, earlier: Mapping[str, Any], files: int
) -> AnnotateConfig:
    """Fill in what is left open, as in an earlier run or as the corpus needs it."""
    if config.batch_seconds is None:
        config = replace(config, batch_seconds=earlier.get("batch_seconds"))
    if config.shard_files is None:
        wanted = min(MOST, max(FEWEST, files // SHARDS))
        config = replace(config, shard_files=earlier.get("shard_files", wanted))
    return config


def _open(
    out: Path,
    root: Path,
    teacher: TeacherInfo,
    config: AnnotateConfig,
    resume: bool,
    overwrite: bool,
) -> LabelStore:
    """Open the store to resume, or make one."""
    if overwrite:
        remove_folder(out / FOLDER)
    wanted: dict[str, Any] = {"root": str(root), "teacher": teacher.to_dict()}
    if resume:
        store = LabelStore.open(out)
        # a setting that an earlier version did not state had the value
        # that is the default now
        stated = {**asdict(AnnotateConfig()), **store.manifest.get("config", {})}
        there = {**store.manifest, "config": stated}
        there["teacher"] = {**wanted["teacher"], **store.manifest["teacher"]}
        for key, value in {**wanted, "config": asdict(config)}.items():
            if there[key] != value:
                raise InputError(
                    f"{key} must be that of the labels in {out}, "
                    f"{there[key]}, got {value}: name another folder "
                    "or pass --overwrite"
                )
        return store
    versions = {
        "wav2small": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
    }
    manifest = {**wanted, "config": asdict(config), "versions": versions}
    return LabelStore.create(out, manifest, overwrite=overwrite)


def _plan(
    store: LabelStore, todo: list[list[audio.Source]], size: int
) -> Iterator[Shard]:
    """Divide files among the shards that are not there yet.

    All shards but the last are full.
    So wherever a run was killed,
    the rest of the corpus falls into the same shards with the same numbers.
    """
    there = set(store.numbers())
    free = (number for number in itertools.count() if number not in there)
    for first in range(0, len(todo), size):
        files = todo[first : first + size]
        yield Shard(next(free), tuple(itertools.chain.from_iterable(files)))
