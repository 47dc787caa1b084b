"""The label store: shards of scores that survive a kill, and one manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from wav2small.export.base import checksums, escape
from wav2small.export.base.files import (
    LOCK,
    atomic_write,
    is_temporary,
    replace_file,
    sha256,
)
from wav2small.export.base.reading import parse_json, read_bytes, read_text

from ..adv import DIMENSIONS
from ..audio import METADATA
from ..audio.spellings import SpellingError, canonical
from ..errors import InputError
from ..tables import read_footer, read_parquet
from ..teachers.licence import RESEARCH, mark

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

    @property
    def told(self) -> list[dict[str, str | None]]:
        """What is known of each row, by name: the metadata row by row."""
        rows = zip(*self.metadata.values(), strict=True)
        return [dict(zip(self.metadata, row, strict=True)) for row in rows]


SourceKey = tuple[str, float | None, float | None]
"""File, start and end of a source, as :attr:`wav2small.audio.Source.key`."""

Stretch = tuple[str, float, float, str]
"""File, start, end and kind of what was not labelled, e.g. ``silence``."""


class LabelStore:
    """A directory of Parquet shards and ``manifest.json``.

    Each shard holds its rows and, in its metadata,
    the sources they come from,
    the errors of the files that gave none and what was left out,
    so that one rename says all about a share of the files.
    Shards may be written in any order.
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
            # the manifest is replaced at last:
            # where this is cut short, an unfinished store is left
            old = cls.open(folder)
            old._write_manifest({**old.manifest, "shards": 0})
            for path in reversed(old.shards()):
                path.unlink()
            for name in ("errors.csv", "skipped.csv"):
                (folder / name).unlink(missing_ok=True)
        elif not is_empty(folder):
            raise InputError(
                f"labels folder must be new or empty: {folder}: "
                "pass --resume or --overwrite, or name another"
            )
        store = cls(folder, {"format": FORMAT, "shards": 0, **manifest})
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            store._write_manifest(store.manifest)
        return store

    @classmethod
    def open(cls, folder: Path) -> LabelStore:
        """Open a store.

        Raises:
            InputError: if the folder is none, or of a newer format

        """
        path = Path(folder) / "manifest.json"
        try:
            text = read_text(path)
            manifest = parse_json(text)
            version, _ = manifest["format"], manifest["teacher"]["revision"]
            if version == FORMAT and text != _manifest_text(manifest):
                raise ValueError("its checksum is another")
        except OSError as error:
            raise InputError(
                f"labels must be a folder made by 'wav2small annotate': {folder}: "
                f"{path.name}: {error.strerror}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"label manifest is damaged, or of an earlier version: {path}: "
                "copy the labels again, or delete the folder and annotate anew"
            ) from error
        if version != FORMAT:
            raise InputError(
                f"labels must be of format {FORMAT}, got {version}: {folder}: "
                "update wav2small"
            )
        return cls(Path(folder), manifest)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        with atomic_write(self.folder / "manifest.json") as file:
            file.write(_manifest_text(manifest).encode())
        self.manifest = manifest

    def shards(self) -> list[Path]:
        """Return the shard files in their order."""
        return sorted(
            path
            for path in (self.folder / "shards").glob("part-*.parquet")
            if re.fullmatch(r"part-\d{5,}\.parquet", path.name)
        )

    def numbers(self) -> list[int]:
        """Return the numbers of the shards that are there."""
        return [int(path.stem[5:]) for path in self.shards()]

    def append(
        self,
        rows: Sequence[Mapping[str, Any]],
        errors: Sequence[tuple[str, str]],
        *,
        number: int | None = None,
        sources: Sequence[SourceKey] | None = None,
        skipped: Sequence[Stretch] = (),
        unlabelled: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write a shard.

        Args:
            rows: values by column of :data:`SCHEMA`, missing ones are null
            errors: file and error line of each file that gave no row
            number: that of the shard, the next one if None
            sources: what the shard is about;
                if None, all of each file of rows and errors
            skipped: what was heard and not labelled
            unlabelled: file and SHA-256 of each file that gave no row,
                as far as it could be read

        Raises:
            InputError: if it cannot be written

        """
        said = {"errors": json.dumps(list(errors)), "skipped": json.dumps(skipped)}
        if sources is not None:
            said["sources"] = json.dumps(sources)
        if unlabelled:
            said["unlabelled"] = json.dumps(list(unlabelled))
        said["sha256"] = _sha256(said)
        said["seal"] = checksums.SEAL
        table = pa.Table.from_pylist(list(rows), schema=SCHEMA.with_metadata(said))
        if number is None:
            number = max(self.numbers(), default=-1) + 1
        path = self.folder / "shards" / f"part-{number:05d}.parquet"
        with _writing(self.folder):
            path.parent.mkdir(exist_ok=True)
            buffer = io.BytesIO()
            pa.parquet.write_table(
                table, buffer, use_dictionary=False, write_statistics=False
            )
            replace_file(path, checksums.seal(buffer.getvalue()))

    def forget_changed(self, paths: Mapping[str, Path]) -> list[str]:
        """Forget the files whose bytes are no longer those that were labelled.

        They are then not :meth:`done`, and can be labelled again.

        Args:
            paths: where the files are, by name

        Returns:
            names of the files that were forgotten

        """
        known: dict[str, str] = {}
        for path, table in zip(
            self._paths(), self._tables(["file", "sha256"]), strict=True
        ):
            known.update(self._said(path).get("unlabelled", []))
            columns = (table[name].to_pylist() for name in ("file", "sha256"))
            known.update(zip(*columns, strict=True))

        def changed(name: str) -> bool:
            try:
                return sha256(paths[name]) != known[name]
            except OSError:  # what cannot be read now was read once
                return False

        names = sorted(known.keys() & paths.keys())
        with ThreadPoolExecutor(8) as pool:
            found = [
                name
                for name, other in zip(names, pool.map(changed, names), strict=True)
                if other
            ]
        if found:
            self._forget(set(found))
        return found

    def _forget(self, names: set[str]) -> None:
        # from now on it is unfinished: more of them may follow
        self._write_manifest({**self.manifest, "shards": 0})
        for path, table in zip(self._paths(), self._tables(), strict=True):
            entries = self._said(path)
            kept = {
                name: [tuple(entry) for entry in part if entry[0] not in names]
                for name, part in entries.items()
            }
            rows = [row for row in table.to_pylist() if row["file"] not in names]
            if len(rows) < len(table) or any(
                len(kept[name]) < len(part) for name, part in entries.items()
            ):
                self.append(
                    rows,
                    kept["errors"],
                    number=int(path.stem[5:]),
                    sources=kept.get("sources"),
                    skipped=kept.get("skipped", ()),
                    unlabelled=kept.get("unlabelled", ()),
                )

    def finish(self) -> None:
        """State that all shards are there, and list what gave no label.

        From now on a shard that goes missing is found.

        Raises:
            InputError: if it cannot be written

        """
        skipped = sorted(
            tuple(stretch)
            for path in self.shards()
            for stretch in self._said(path).get("skipped", [])
        )
        with _writing(self.folder):
            _write_csv(self.folder / "errors.csv", ["file", "error"], self.errors())
            if skipped:
                columns = ["file", "start", "end", "kind"]
                _write_csv(self.folder / "skipped.csv", columns, skipped)
            self._write_manifest({**self.manifest, "shards": len(self.shards())})

    def _paths(self) -> list[Path]:
        """Return the shards, all that there must be."""
        paths, numbers = self.shards(), set(self.numbers())
        for number in range(self.manifest.get("shards", 0)):
            if number not in numbers:
                raise InputError(
                    "label shard is missing: "
                    f"{self.folder}/shards/part-{number:05d}.parquet: "
                    "copy the labels again"
                )
        return paths

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            if not checksums.is_sealed(read_bytes(path)):
                raise ValueError("its checksum is another")
            yield
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise InputError(
                f"label shard is damaged: {path}: copy the labels again, or "
                "annotate with --overwrite"
            ) from error

    def _said(self, path: Path) -> dict[str, list[Any]]:
        """Return what a shard's metadata say."""
        with self._reading(path):
            said = _checked(read_footer(path).schema.to_arrow_schema())
            entries = {name: parse_json(text) for name, text in said.items()}
            for name, kinds in _SAID.items():
                for entry in entries.get(name, []):
                    if not all(map(isinstance, entry, kinds)) or len(entry) != len(
                        kinds
                    ):
                        raise ValueError(f"{entry} among {name}")
            return entries

    def _tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        for path in self._paths():
            with self._reading(path):
                table = read_parquet(path, columns, checksums=True)
                _checked(table.schema)
                wanted = [SCHEMA.field(name) for name in columns or SCHEMA.names]
                if not table.schema.equals(pa.schema(wanted)):
                    raise ValueError("not the columns of labels")
            yield table.replace_schema_metadata(None)

    def __len__(self) -> int:
        """Return the number of rows."""
        count = 0
        for path in self._paths():
            with self._reading(path):
                count += read_footer(path).num_rows
        return count

    def seconds(self) -> float:
        """Return how much audio the rows are about, in seconds."""
        return sum(
            float(np.sum(table["end"].to_numpy() - table["start"].to_numpy()))
            for table in self._tables(["start", "end"])
        )

    def skipped(self) -> dict[str, float]:
        """Return how much audio was heard and not labelled, in seconds by kind."""
        seconds: dict[str, float] = {}
        for path in self._paths():
            for _, start, end, kind in self._said(path).get("skipped", []):
                seconds[kind] = seconds.get(kind, 0.0) + end - start
        return dict(sorted(seconds.items()))

    def errors(self) -> list[tuple[str, str]]:
        """Return file and error of each file that gave no row, sorted."""
        errors: dict[str, str] = {}
        for path in self._paths():
            errors.update(self._said(path)["errors"])
        return sorted(errors.items())

    def done(self) -> set[SourceKey | str]:
        """Return the sources that need no work any more.

        A file whose name stands alone is done whatever its segments.
        """
        done: set[SourceKey | str] = set()
        for path in self._paths():
            said = self._said(path)
            if "sources" in said:
                done.update(map(tuple, said["sources"]))
            else:
                done.update(file for file, _ in said["errors"])
                with self._reading(path):
                    done.update(read_parquet(path, ["file"])["file"].to_pylist())
        return done

    def table(self) -> pa.Table:
        """Return all rows, sorted by file and start."""
        tables = list(self._tables())
        table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return table.sort_by([("file", "ascending"), ("start", "ascending")])

    def read(self) -> Labels:
        """Return all rows as arrays.

        Raises:
            InputError: if there is no row, a shard is damaged,
                or a split or gender is not understood

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
            metadata={name: self._column(table, name) for name in METADATA},
        )

    def _column(self, table: pa.Table, name: str) -> list[str | None]:
        """Return a column of metadata; an earlier version kept words as they were."""
        try:
            return [
                canonical(name, text) or None if text else None
                for text in table[name].to_pylist()
            ]
        except SpellingError as error:
            raise InputError(f"{error}: labels {self.folder}") from error

    def to_csv(self, path: Path) -> None:
        """Write all rows as CSV; a null is an empty field."""
        table = self.table()
        rows = (
            row
            for batch in table.to_batches(max_chunksize=10_000)
            for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
        )
        with _writing(path.parent):
            _write_csv(path, table.column_names, rows)

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
        table = self.table().select(["file", "start", "end", *DIMENSIONS])
        for index in (1, 2):
            # to the nanosecond, as pandas counts
            nanoseconds = np.round(table[index].to_numpy() * 1e9).astype(np.int64)
            table = table.set_column(
                index,
                table.column_names[index],
                pa.array(nanoseconds, pa.int64()).cast(pa.duration("ns")),
            )
        quoted = {key: escape.yaml(value) for key, value in self.teacher.items()}
        header = [
            "name: wav2small-labels",
            "source: wav2small annotate",
            # a mark of audformat's own: who reads the database may ask for it
            f"usage: {'research' if mark(self.teacher) == RESEARCH else 'other'}",
            f"license: {quoted['licence']}",
            f"description: {escape.yaml('Scores by ' + self.teacher['name'])}",
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
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / "db.adv.parquet") as file:
                pa.parquet.write_table(table, file)
            with atomic_write(folder / "db.yaml") as file:
                file.write(("\n".join(header) + "\n").encode())


def is_empty(folder: Path) -> bool:
    """Tell whether a folder is missing or holds a lock or unfinished files only."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        path.name == LOCK or is_temporary(path) for path in folder.iterdir()
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say in one line what the disk has against a file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"labels cannot be written: {folder}: {error.strerror or error}: "
            "what is there is whole; make room and go on with --resume"
        ) from error


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for file, *cells in rows:
            writer.writerow([escape.csv_path(file), *map(escape.csv_cell, cells)])
        text.detach()


def _manifest_text(manifest: Mapping[str, Any]) -> str:
    """Write a manifest with its own checksum; each byte follows from the content."""
    stated = {key: manifest[key] for key in manifest if key != "sha256"}
    text = json.dumps(stated, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    whole = {**stated, "sha256": digest}
    return json.dumps(whole, indent=2, sort_keys=True) + "\n"


def _checked(schema: pa.Schema) -> dict[str, str]:
    """Return the metadata of a shard's schema.

    Raises:
        ValueError: if their checksum is another
        KeyError: if some are missing

    """
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    said = {name: metadata[name] for name in _SAID if name in metadata}
    if _sha256(said) != metadata["sha256"] or "errors" not in said:
        raise ValueError("checksum of the metadata")
    return said


_NUMBER = int | float
_SAID: dict[str, tuple[Any, ...]] = {
    "errors": (str, str),
    "skipped": (str, _NUMBER, _NUMBER, str),
    "sources": (str, _NUMBER | None, _NUMBER | None),
    "unlabelled": (str, str),
}
"""What a shard says beside its rows: lists of entries of these types."""


def _sha256(said: Mapping[str, str]) -> str:
    """Return the checksum of a shard's metadata; one of errors alone is plain."""
    if list(said) == ["errors"]:
        return hashlib.sha256(said["errors"].encode()).hexdigest()
    # what came later counts where it is there
    names = [name for name in _SAID if name != "unlabelled" or name in said]
    text = json.dumps([said.get(name) for name in names])
    return hashlib.sha256(text.encode()).hexdigest()
