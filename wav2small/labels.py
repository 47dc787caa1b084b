"""The label store: shards of scores that survive a kill, and one manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from .adv import DIMENSIONS
from .audio import METADATA
from .errors import InputError
from .files import atomic_write, is_temporary, remove_temporary

FORMAT = 1
"""Version of the store's format."""

HUMAN = tuple(f"human_{name}" for name in DIMENSIONS)
"""Columns of the scores by humans."""

SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("start", pa.float64(), nullable=False),
        pa.field("end", pa.float64(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in DIMENSIONS),
        pa.field("teacher", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in METADATA),
        *(pa.field(name, pa.float32()) for name in HUMAN),
    ]
)
"""Columns of a shard: file below the root, start and end in seconds,
scores in about 0..1, SHA-256 of the file's bytes, what a manifest said."""


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


class LabelStore:
    """A directory of Parquet shards and ``manifest.json``.

    Each shard holds its rows and, in its metadata,
    the errors of the files that gave none,
    so that one rename says all about a share of the files.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def teacher(self) -> dict[str, str]:
        """The teacher's name, revision, licence and training data."""
        return self.manifest["teacher"]

    @property
    def root(self) -> Path:
        """The folder that the rows' files are below."""
        return Path(self.manifest["root"])

    @classmethod
    def create(
        cls, folder: Path, manifest: Mapping[str, Any], *, overwrite: bool = False
    ) -> LabelStore:
        """Begin an empty store.

        Args:
            folder: missing or empty
            manifest: root, teacher and so on
            overwrite: empty the store that is there; files of others stay

        Raises:
            InputError: if the folder is a store or holds something else

        """
        if overwrite and not is_empty(folder):
            # from the end, and the manifest is replaced at last:
            # where this is cut short, a shorter store is left
            for path in reversed(cls.open(folder).shards()):
                path.unlink()
            (folder / "errors.csv").unlink(missing_ok=True)
        elif not is_empty(folder):
            raise InputError(
                f"labels folder must be new or empty: {folder}: "
                "pass --resume or --overwrite, or name another"
            )
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"format": FORMAT, **manifest}
        with atomic_write(folder / "manifest.json") as file:
            file.write((json.dumps(whole, indent=2, sort_keys=True) + "\n").encode())
        store = cls(folder, whole)
        store.remove_temporary()
        return store

    @classmethod
    def open(cls, folder: Path) -> LabelStore:
        """Open a store.

        Raises:
            InputError: if the folder is none, or of a newer format

        """
        path = Path(folder) / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version, _ = manifest["format"], manifest["teacher"]["revision"]
        except OSError as error:
            raise InputError(
                f"labels must be a folder made by 'wav2small annotate': {folder}: "
                f"{path.name}: {error.strerror}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"label manifest is damaged: {path}") from error
        if version != FORMAT:
            raise InputError(
                f"labels must be of format {FORMAT}, got {version}: {folder}: "
                "update wav2small"
            )
        return cls(Path(folder), manifest)

    def remove_temporary(self) -> None:
        """Remove what killed writers left; only for who writes alone."""
        remove_temporary(self.folder)
        remove_temporary(self.folder / "shards")

    def shards(self) -> list[Path]:
        """Return the shard files in their order."""
        return sorted(
            path
            for path in (self.folder / "shards").glob("part-*.parquet")
            if re.fullmatch(r"part-\d{5,}\.parquet", path.name)
        )

    def append(
        self, rows: Sequence[Mapping[str, Any]], errors: Sequence[tuple[str, str]]
    ) -> None:
        """Write the next shard.

        Args:
            rows: values by column of :data:`SCHEMA`, missing ones are null
            errors: file and error line of each file that gave no row

        """
        text = json.dumps(list(errors))
        schema = SCHEMA.with_metadata({"errors": text, "sha256": _sha256(text)})
        table = pa.Table.from_pylist(list(rows), schema=schema)
        shards = self.shards()
        number = int(shards[-1].stem[5:]) + 1 if shards else 0
        path = self.folder / "shards" / f"part-{number:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            # what a checksum does not cover is left out: a flipped bit is found
            pa.parquet.write_table(
                table,
                file,
                use_dictionary=False,
                write_page_checksum=True,
                write_statistics=False,
            )

    def _read(self) -> list[pa.Table]:
        tables = []
        for number, path in enumerate(self.shards()):
            if int(path.stem[5:]) != number:
                raise InputError(
                    f"label shard is missing: {path.parent}/part-{number:05d}.parquet: "
                    "copy the labels again"
                )
            try:
                table = pa.parquet.read_table(
                    path, partitioning=None, page_checksum_verification=True
                )
                metadata = table.schema.metadata
                errors = metadata[b"errors"].decode()
                if not table.schema.equals(SCHEMA):
                    raise ValueError("not the columns of labels")
                if _sha256(errors) != metadata[b"sha256"].decode():
                    raise ValueError("checksum of the errors")
                tables.append(table.replace_schema_metadata({"errors": errors}))
            except (
                OSError,
                ValueError,
                KeyError,
                TypeError,
                pa.ArrowException,
            ) as error:
                raise InputError(
                    f"label shard is damaged: {path}: copy the labels again, or "
                    "annotate with --overwrite"
                ) from error
        return tables

    def errors(self) -> list[tuple[str, str]]:
        """Return file and error of each file that gave no row, sorted."""
        return sorted(
            (file, error)
            for table in self._read()
            for file, error in json.loads(table.schema.metadata[b"errors"])
        )

    def done_files(self) -> set[str]:
        """Return the files that are labelled or in error."""
        done = {file for file, _ in self.errors()}
        for table in self._read():
            done.update(table["file"].to_pylist())
        return done

    def table(self) -> pa.Table:
        """Return all rows, sorted by file and start."""
        tables = [table.replace_schema_metadata(None) for table in self._read()]
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return table.sort_by([("file", "ascending"), ("start", "ascending")])

    def read(self) -> Labels:
        """Return all rows as arrays.

        Raises:
            InputError: if there is no row, or a shard is damaged

        """
        table = self.table()
        if not len(table):
            raise InputError(
                f"labels have no rows: {self.folder}: annotate audio first"
            )

        def matrix(names: Sequence[str]) -> np.ndarray:
            return np.stack(
                [table[name].to_numpy().astype(np.float32) for name in names], axis=1
            )

        return Labels(
            names=table["file"].to_pylist(),
            starts=table["start"].to_numpy(),
            ends=table["end"].to_numpy(),
            scores=matrix(DIMENSIONS),
            human=matrix(HUMAN),
            sha256=table["sha256"].to_pylist(),
            metadata={name: table[name].to_pylist() for name in METADATA},
        )

    def to_csv(self, path: Path) -> None:
        """Write all rows as CSV; a null is an empty field."""
        table = self.table()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.column_names)
        columns = [column.to_pylist() for column in table.columns]
        writer.writerows(zip(*columns, strict=True))
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def to_audformat(self, folder: Path) -> None:
        """Write the rows as an audformat database, ``audformat.Database.load``.

        One segmented table ``adv`` of the three scores by a machine rater;
        its files are relative to the store's root.

        Args:
            folder: made if it is not there

        Raises:
            InputError: if the folder holds anything

        """
        if not is_empty(folder):
            raise InputError(
                f"database folder must be new or empty: {folder}: name another"
            )
        folder.mkdir(parents=True, exist_ok=True)
        table = self.table()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "start", "end", *DIMENSIONS])
        for row in table.select(["file", "start", "end", *DIMENSIONS]).to_pylist():
            file, start, end, *scores = row.values()
            writer.writerow([file, _timedelta(start), _timedelta(end), *scores])
        quoted = {key: json.dumps(value) for key, value in self.teacher.items()}
        header = [
            "name: wav2small-labels",
            "source: wav2small annotate",
            "usage: other",
            f"license: {quoted['licence']}",
            f"description: {json.dumps('Scores by ' + self.teacher['name'])}",
            "meta:",
            *(f"  {key}: {value}" for key, value in quoted.items()),
            "raters:",
            "  teacher:",
            f"    description: {quoted['name']}",
            "    type: machine",
            "schemes:",
        ]
        for name in DIMENSIONS:
            header += [f"  {name}:", f"    description: {name}", "    dtype: float"]
            header += ["    minimum: 0", "    maximum: 1"]
        header += ["tables:", "  adv:", "    type: segmented", "    columns:"]
        for name in DIMENSIONS:
            header += [
                f"      {name}:",
                f"        scheme_id: {name}",
                "        rater_id: teacher",
            ]
        with atomic_write(folder / "db.adv.csv") as file:
            file.write(text.getvalue().encode())
        with atomic_write(folder / "db.yaml") as file:
            file.write(("\n".join(header) + "\n").encode())


def is_empty(folder: Path) -> bool:
    """Tell whether a folder is missing or holds a lock or unfinished files only."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        path.name == ".lock" or is_temporary(path) for path in folder.iterdir()
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _timedelta(seconds: float) -> str:
    """Write seconds as pandas does, to the nanosecond."""
    nanoseconds = round(seconds * 1e9)
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    whole, fraction = divmod(rest, 10**9)
    return f"{days} days {hours:02d}:{minutes:02d}:{whole:02d}.{fraction:09d}"
