"""The rows of a label store as arrays, which training and evaluation work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..adv import DIMENSIONS
from ..audio import METADATA
from ..audio.spellings import SpellingError, canonical
from ..errors import InputError
from .shard_file import HUMAN


@dataclass(frozen=True)
class Labels:
    """All rows of a store as arrays, sorted by file and start."""

    names: list[str]
    """File of each row, relative to the store's root."""

    starts: np.ndarray
    """Start of each row in seconds, shape ``(rows,)``."""

    ends: np.ndarray
    """End of each row in seconds, shape ``(rows,)``."""

    scores: np.ndarray
    """The teacher's scores, shape ``(rows, 3)``, float32."""

    human: np.ndarray
    """Scores by humans, shape ``(rows, 3)``, float32, NaN where unknown."""

    sha256: list[str]
    """SHA-256 of each row's file."""

    metadata: dict[str, list[str | None]]
    """Speaker, gender and so on, by column; None where unknown."""

    @classmethod
    def from_table(cls, table: pa.Table, folder: Path) -> Labels:
        """Take the rows of a label store's table.

        Args:
            table: all columns of :data:`.shard_file.SCHEMA`
            folder: folder of the store, which an error names

        Raises:
            InputError: if a split or gender is not understood

        """

        def matrix(names: Sequence[str]) -> np.ndarray:
            columns = [table[name].to_numpy().astype(np.float32) for name in names]
            return np.stack(columns, axis=1)

        return cls(
            names=table["file"].to_pylist(),
            starts=table["start"].to_numpy(),
            ends=table["end"].to_numpy(),
            scores=matrix(DIMENSIONS),
            human=matrix(HUMAN),
            sha256=table["sha256"].to_pylist(),
            metadata={
                name: _canonical_column(table, name, folder) for name in METADATA
            },
        )

    def take(self, rows: np.ndarray) -> Labels:
        """Return some of the rows, by their numbers ``(rows,)``."""
        return Labels(
            [self.names[row] for row in rows],
            self.starts[rows],
            self.ends[rows],
            self.scores[rows],
            self.human[rows],
            [self.sha256[row] for row in rows],
            {key: [col[row] for row in rows] for key, col in self.metadata.items()},
        )

    @classmethod
    def join(cls, parts: Sequence[Labels]) -> Labels:
        """Return the rows of at least one part, one after the other."""
        return cls(
            [name for part in parts for name in part.names],
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.human for part in parts]),
            [digest for part in parts for digest in part.sha256],
            {
                key: [value for part in parts for value in part.metadata[key]]
                for key in parts[0].metadata
            },
        )

    @property
    def metadata_rows(self) -> list[dict[str, str | None]]:
        """The metadata of each row, by column."""
        rows = zip(*self.metadata.values(), strict=True)
        return [dict(zip(self.metadata, row, strict=True)) for row in rows]


def _canonical_column(table: pa.Table, name: str, folder: Path) -> list[str | None]:
    """Return a column of metadata in the spelling of today.

    An earlier version stored words as they were in the manifest.
    """
    try:
        return [
            canonical(name, text) or None if text else None
            for text in table[name].to_pylist()
        ]
    except SpellingError as error:
        raise InputError(f"{error}: labels {folder}") from error
