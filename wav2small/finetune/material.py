"""What a fine-tuning learns from: clips, what people say of them, and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.progress import Progress

from ..clips import Clips, decode_labels, identity, read_noises
from ..errors import InputError
from ..splits import split_dev
from .config import FinetuneConfig
from .parallel import Group
from .table import Ratings

Text = np.ndarray | Callable[[list[str]], np.ndarray]
"""Embeddings ``(rows, width)``, NaN in rows without a text;
or what makes them of texts, an empty text being none."""


@dataclass(frozen=True)
class Material:
    """Clips and what is known of them, and which of them are for what."""

    table: Ratings
    """What people say of each row."""

    clips: Clips
    """The audio of each row."""

    unreadable: int
    """Number of rows whose audio could not be read."""

    learned: np.ndarray
    """Rows that the network is trained on, shape ``(rows,)``."""

    dev: np.ndarray
    """Rows of other speakers, by which the best checkpoint is chosen."""

    audible: np.ndarray
    """Rows that the warm-up may hear, with a truth or without."""

    text: np.ndarray | None
    """Embeddings of what is said, ``(rows, width)``, NaN where there is none."""

    noises: list[np.ndarray]
    """Recordings that crops are mixed with."""

    def describe(self) -> dict[str, Any]:
        """Return what a checkpoint says of it, by which a resumed run knows it."""
        return {
            "train": len(self.learned),
            "dev": len(self.dev),
            "truth": self.table.origin,
            "sha256": _identity(self.table, self.text),
            "noise": identity(self.noises),
        }


def read_material(
    table: Ratings,
    folder: Path,
    config: FinetuneConfig,
    text: Text | None,
    noise: Path | None,
    group: Group,
    progress: Progress | None,
) -> Material:
    """Decode the clips of a table, split it, and embed what is said.

    Args:
        table: clips and what people say of them
        folder: where decoded clips go
        config: which share is kept for development
        text: embeddings of what is said, or what makes them
        noise: folder, file or manifest of noise recordings
        group: the processes that train together, of which one decodes
        progress: called while clips are decoded

    Raises:
        InputError: if audio or texts do not fit the table

    """
    clips, unreadable = _decode(table, folder, group, progress)
    readable = np.ones(len(clips), bool)
    readable[sorted(unreadable)] = False
    learned, dev, audible = _rows(table, readable, config)
    embedded, noises = _embed(text, table), read_noises(noise)
    return Material(
        table, clips, len(unreadable), learned, dev, audible, embedded, noises
    )


def _decode(
    table: Ratings, folder: Path, group: Group, progress: Progress | None
) -> tuple[Clips, set[int]]:
    """Decode in the first process; the others find what it has decoded."""
    if group.rank:
        group.wait()
    decoded = decode_labels(table.labels, table.root, folder, progress=progress)
    if not group.rank:
        group.wait()
    return decoded


def _rows(
    table: Ratings, readable: np.ndarray, config: FinetuneConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of training, of development, and those of the warm-up."""
    split = table.labels.metadata["split"]
    rated = table.rated & readable
    # rows without a truth are used neither for training nor for development
    parts = [
        part if known else "test" for part, known in zip(split, rated, strict=True)
    ]
    learned, dev = split_dev(
        table.with_split([part or "" for part in parts]).labels,
        config.dev_share,
        config.seed,
    )
    test = np.array([part == "test" for part in split])
    audible = np.setdiff1d(np.flatnonzero(readable & ~test), dev)
    return learned, dev, audible


def _embed(text: Text | None, table: Ratings) -> np.ndarray | None:
    """Return the embeddings of a table's rows, NaN where there is no text."""
    if text is None:
        return None
    count = len(table.truth)
    if callable(text):
        sentences = [words or "" for words in table.labels.metadata["text"]]
        embedded = np.array(text(sentences), np.float32)
        if embedded.ndim == 2 and len(embedded) == count:
            embedded[[not sentence for sentence in sentences]] = np.nan
    else:
        embedded = np.asarray(text, np.float32)
    if embedded.ndim != 2 or len(embedded) != count:
        raise InputError(
            f"text must be embeddings ({count} rows, width), got shape {embedded.shape}"
        )
    return embedded


def _identity(table: Ratings, text: np.ndarray | None) -> str:
    """Return the SHA-256 of what a run takes from its table."""
    labels = table.labels
    known = ("split", "speaker", "gender", "emotion")
    columns = [labels.names, *(labels.metadata[name] for name in known)]
    digest = hashlib.sha256(json.dumps(columns).encode())
    for part in (labels.starts, labels.ends, table.truth, text):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
