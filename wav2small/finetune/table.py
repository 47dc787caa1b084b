"""What people say of clips: scores or categories, by speaker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wav2small.export.base.progress import Progress

from .. import audio
from ..annotation.labels import Labels
from ..annotation.store import LabelStore
from ..audio import METADATA
from ..clips import load_clips
from ..errors import InputError
from .norms import CATEGORIES, norm_score

GENDERS = ("unknown", "female", "male")
"""Genders by their number in a condition."""


def gender_number(name: str | None) -> int:
    """Return a gender's number in :data:`GENDERS`, that of unknown for another."""
    return GENDERS.index(name) if name in GENDERS else 0


@dataclass(frozen=True)
class Ratings:
    """Clips and what people say of them."""

    labels: Labels
    """File, start, end and metadata of each row; scores are those of humans."""

    root: Path
    """Folder that the files are below."""

    truth: np.ndarray
    """Arousal, dominance, valence, shape ``(rows, 3)``, float32,
    NaN in all three for rows that nobody has rated."""

    origin: str
    """``human`` or ``norms``: where the truth comes from."""

    averaged: int = 0
    """Rows whose truth is the mean of several rows of tables."""

    @property
    def speakers(self) -> np.ndarray:
        """Speaker of each row, the file where unknown."""
        column = self.labels.metadata["speaker"]
        pairs = zip(column, self.labels.names, strict=True)
        return np.array([speaker or name for speaker, name in pairs])

    @property
    def genders(self) -> np.ndarray:
        """Number of each row's gender in :data:`GENDERS`."""
        return np.array(
            [gender_number(name) for name in self.labels.metadata["gender"]]
        )

    def categories(self, names: Sequence[str]) -> np.ndarray:
        """Number of each row's emotion among names, -1 for another or none."""
        known = {name: number for number, name in enumerate(names)}
        return np.array(
            [known.get(name or "", -1) for name in self.labels.metadata["emotion"]]
        )

    @property
    def rated(self) -> np.ndarray:
        """Which rows have a truth, shape ``(rows,)``."""
        return ~np.isnan(self.truth).any(1)

    def with_split(self, split: Sequence[str]) -> Ratings:
        """Return the same table with another split of its rows."""
        metadata = dict(self.labels.metadata)
        metadata["split"] = list(split)
        return replace(self, labels=replace(self.labels, metadata=metadata))

    def with_truth(self, truth: np.ndarray) -> Ratings:
        """Return the same table with another truth."""
        return replace(self, truth=truth.astype(np.float32))


def read_table(path: Path, audio_root: Path | None = None) -> Ratings:
    """Read a manifest, or the humans' scores of a label store.

    Rows without a score take the norm of their category,
    if no row of the table has a score.
    What remains without a truth is unlabelled speech.

    Args:
        path: CSV or Parquet file as :func:`wav2small.audio.find` reads it,
            or a label store
        audio_root: where the audio is, if it was moved

    Raises:
        InputError: if it holds neither scores nor categories with a norm

    """
    averaged = 0
    if (path / "manifest.json").is_file():
        store = LabelStore.open(path)
        labels, root = store.read(), store.root
    else:
        root, sources = audio.find([path])
        averaged = sum(source.ratings > 1 for source in sources)
        human = np.array(
            [source.human or (np.nan,) * 3 for source in sources], np.float32
        )
        labels = Labels(
            names=[source.name for source in sources],
            starts=np.array([source.start or 0.0 for source in sources]),
            ends=np.array(
                [np.inf if source.end is None else source.end for source in sources]
            ),
            scores=human,
            human=human,
            sha256=[""] * len(sources),
            metadata={
                name: [source.metadata.get(name) for source in sources]
                for name in METADATA
            },
        )
    truth, origin = labels.human.copy(), "human"
    truth[np.isnan(truth).any(1)] = np.nan
    if np.isnan(truth).all():
        origin = "norms"
        for row, emotion in enumerate(labels.metadata["emotion"]):
            if emotion in CATEGORIES:
                truth[row] = norm_score(emotion)
    if np.isnan(truth).all():
        raise InputError(
            "labels must have columns arousal, dominance, valence in 0..1 or a column "
            f"emotion of {', '.join(CATEGORIES)}, got neither: {os.fspath(path)}"
        )
    return Ratings(labels, audio_root or root, truth, origin, averaged)


def read_clips(
    table: Ratings, progress: Progress | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read the clips of a table's rated rows.

    Args:
        table: whose clips
        progress: called after each row

    Returns:
        clips ``(time,)`` each, and their rows; what cannot be read is left out

    Raises:
        InputError: if none can be read

    """
    rows = np.flatnonzero(table.rated).tolist()
    signals, readable = load_clips(table.labels, rows, table.root, progress=progress)
    return signals, np.array(readable)


def speaker_folds(
    speakers: np.ndarray, genders: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Share speakers out among folds, those of a gender evenly.

    Args:
        speakers: speaker of each row, shape ``(rows,)``
        genders: gender of each row, same shape
        count: number of folds
        rng: source of the order

    Returns:
        fold of each row, ``0..count - 1``

    Raises:
        InputError: if there are fewer speakers than folds

    """
    names = np.unique(speakers)
    if not 2 <= count <= len(names):
        raise InputError(
            f"folds must be 2 to {len(names)}, the number of speakers, got {count}"
        )
    gender_of = dict(zip(speakers, genders, strict=True))
    order = sorted(rng.permutation(names).tolist(), key=lambda name: gender_of[name])
    fold_of = {name: position % count for position, name in enumerate(order)}
    return np.array([fold_of[name] for name in speakers])
