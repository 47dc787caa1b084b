"""The label store: shards of scores, each whole even after a kill, and one manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wav2small.export.base.files import (
    LOCK,
    atomic_write,
    is_temporary,
    replace_file,
    sha256,
)

from ..errors import InputError
from .formats import write_audformat, write_csv, write_table_csv
from .labels import Labels
from .manifest import FORMAT, manifest_text, read_manifest
from .shard_file import (
    SCHEMA,
    SourceKey,
    Stretch,
    count_rows,
    encode_shard,
    read_notes,
    read_rows,
)


class LabelStore:
    """A directory of Parquet shards and ``manifest.json``.

    Each shard holds its rows and, in its metadata,
    the sources that they come from,
    the errors of the files that gave none, and what was left out.
    So a shard is complete as soon as its file has been renamed into place.
    Shards may be written in any order.
    """

    schema = SCHEMA
    """Columns of its shards."""

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
            # the manifest is replaced last,
            # so that an interruption leaves a store that counts as unfinished
            old = cls.open(folder)
            old.unfinish()
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
        return cls(Path(folder), read_manifest(Path(folder)))

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        with atomic_write(self.folder / "manifest.json") as file:
            file.write(manifest_text(manifest).encode())
        self.manifest = manifest

    def shards(self) -> list[Path]:
        """Return the shard files in their order."""
        found = (self.folder / "shards").glob("part-*.parquet")
        whole = [p for p in found if re.fullmatch(r"part-\d{5,}\.parquet", p.name)]
        return sorted(whole, key=lambda path: int(path.stem[5:]))

    def shard(self, number: int) -> Path:
        """Return the file of a shard, whether it is there or not."""
        return self.folder / "shards" / f"part-{number:05d}.parquet"

    def unfinish(self, **changes: Any) -> None:
        """State that shards are missing, and what else has changed."""
        self._write_manifest({**self.manifest, "shards": 0, **changes})

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
            skipped: stretches that were read and not labelled
            unlabelled: file and SHA-256 of each file that gave no row,
                as far as it could be read

        Raises:
            InputError: if it cannot be written

        """
        if number is None:
            number = max(self.numbers(), default=-1) + 1
        path = self.shard(number)
        content = encode_shard(
            rows,
            errors,
            sources=sources,
            skipped=skipped,
            unlabelled=unlabelled,
            schema=self.schema,
        )
        with _writing(self.folder):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, content)

    def forget_changed(self, paths: Mapping[str, Path]) -> list[str]:
        """Forget the files whose bytes are no longer those that were labelled.

        They are then not :meth:`done`, and can be labelled again.

        Args:
            paths: where the files are, by name

        Returns:
            names of the files that were forgotten

        """
        digests: dict[str, str] = {}
        for path in self._whole_shards():
            digests.update(read_notes(path).get("unlabelled", []))
            table = read_rows(path, ["file", "sha256"])
            columns = (table[name].to_pylist() for name in ("file", "sha256"))
            digests.update(zip(*columns, strict=True))

        def changed(name: str) -> bool:
            try:
                return sha256(paths[name]) != digests[name]
            except OSError:  # what cannot be read now was read once
                return False

        names = sorted(digests.keys() & paths.keys())
        with ThreadPoolExecutor(8) as pool:
            flags = list(pool.map(changed, names))
        forgotten = [name for name, flag in zip(names, flags, strict=True) if flag]
        if forgotten:
            self._forget(set(forgotten))
        return forgotten

    def _forget(self, names: set[str]) -> None:
        self.unfinish()  # until its files are labelled again
        for path in self._whole_shards():
            table, notes = read_rows(path, None, self.schema), read_notes(path)
            left = {
                name: [tuple(entry) for entry in entries if entry[0] not in names]
                for name, entries in notes.items()
            }
            rows = [row for row in table.to_pylist() if row["file"] not in names]
            if len(rows) < len(table) or any(
                len(left[name]) < len(entries) for name, entries in notes.items()
            ):
                self.append(
                    rows,
                    left["errors"],
                    number=int(path.stem[5:]),
                    sources=left.get("sources"),
                    skipped=left.get("skipped", ()),
                    unlabelled=left.get("unlabelled", ()),
                )

    def finish(self) -> None:
        """State that all shards are there, and list what gave no label.

        From then on a missing shard is noticed.

        Raises:
            InputError: if it cannot be written

        """
        skipped = sorted(
            tuple(stretch)
            for path in self.shards()
            for stretch in read_notes(path).get("skipped", [])
        )
        with _writing(self.folder):
            write_csv(self.folder / "errors.csv", ["file", "error"], self.errors())
            if skipped:
                columns = ["file", "start", "end", "kind"]
                write_csv(self.folder / "skipped.csv", columns, skipped)
            self._write_manifest({**self.manifest, "shards": len(self.shards())})

    def _whole_shards(self) -> list[Path]:
        """Return the shard files, and refuse a store that lacks one."""
        paths, numbers = self.shards(), set(self.numbers())
        for number in range(self.manifest.get("shards", 0)):
            if number not in numbers:
                raise InputError(
                    "label shard is missing: "
                    f"{self.folder}/shards/part-{number:05d}.parquet: "
                    "copy the labels again"
                )
        return paths

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(map(count_rows, self._whole_shards()))

    def seconds(self) -> float:
        """Return how much audio the rows are about, in seconds."""
        return sum(
            float(np.sum(table["end"].to_numpy() - table["start"].to_numpy()))
            for table in self._tables(["start", "end"])
        )

    def skipped(self) -> dict[str, float]:
        """Return how much audio was read and not labelled, in seconds by kind."""
        seconds: dict[str, float] = {}
        for path in self._whole_shards():
            for _, start, end, kind in read_notes(path).get("skipped", []):
                seconds[kind] = seconds.get(kind, 0.0) + end - start
        return dict(sorted(seconds.items()))

    def errors(self) -> list[tuple[str, str]]:
        """Return file and error of each file that gave no row, sorted."""
        errors: dict[str, str] = {}
        for path in self._whole_shards():
            errors.update(read_notes(path)["errors"])
        return sorted(errors.items())

    def done(self) -> set[SourceKey | str]:
        """Return the sources that need no work any more.

        A file whose name stands alone is done whatever its segments.
        """
        done: set[SourceKey | str] = set()
        for path in self._whole_shards():
            notes = read_notes(path)
            if "sources" in notes:
                done.update(map(tuple, notes["sources"]))
            else:  # as an earlier version wrote it
                done.update(file for file, _ in notes["errors"])
                done.update(read_rows(path, ["file"])["file"].to_pylist())
        return done

    def _tables(
        self, columns: list[str] | None = None, shards: Sequence[Path] | None = None
    ) -> Iterator[pa.Table]:
        paths = self._whole_shards() if shards is None else shards
        return (read_rows(path, columns, self.schema) for path in paths)

    def table(self, shards: Sequence[Path] | None = None) -> pa.Table:
        """Return the rows of some shards, of all if None, sorted by file and start."""
        tables = list(self._tables(shards=shards))
        table = pa.concat_tables(tables) if tables else self.schema.empty_table()
        return table.sort_by([("file", "ascending"), ("start", "ascending")])

    def chapters(self, hours: float) -> list[list[Path]]:
        """Divide the shards into chapters, what is held of a corpus at a time.

        Args:
            hours: audio of each chapter at least, but for the last one

        """
        chapters: list[list[Path]] = []
        paths, room = self._whole_shards(), 0.0
        for path, table in zip(paths, self._tables(["start", "end"]), strict=True):
            if room <= 0:
                chapters.append([])
                room = hours * 3600
            chapters[-1].append(path)
            seconds = table["end"].to_numpy() - table["start"].to_numpy()
            room -= float(np.sum(seconds, where=np.isfinite(seconds)))
        return chapters

    def read(self, shards: Sequence[Path] | None = None) -> Labels:
        """Return the rows of some shards as arrays.

        Args:
            shards: files of the shards, all if None

        Raises:
            InputError: if there is no row, a shard is damaged,
                or a split or gender is not understood

        """
        table = self.table(shards)
        if not len(table):
            raise InputError(
                f"labels have no rows: {self.folder}: annotate audio first"
            )

        return Labels.from_table(table, self.folder)

    def to_csv(self, path: Path) -> None:
        """Write all rows as CSV; a null is an empty field.

        Raises:
            InputError: if it cannot be written

        """
        with _writing(path.parent):
            write_table_csv(path, self.table())

    def to_audformat(self, folder: Path) -> None:
        """Write the rows as an audformat database, ``audformat.Database.load``.

        Its files are relative to the store's root.

        Args:
            folder: made if it is not there

        Raises:
            InputError: if the folder holds anything, or it cannot be written

        """
        if not is_empty(folder):
            raise InputError(
                f"database folder must be new or empty: {folder}: name another"
            )
        with _writing(folder):
            write_audformat(folder, self.table(), self.teacher)


def is_empty(folder: Path) -> bool:
    """Tell whether a folder is missing or holds a lock or unfinished files only."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(
        path.name == LOCK or is_temporary(path) for path in folder.iterdir()
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"labels cannot be written: {folder}: {error.strerror or error}: "
            "what is there is whole; make room and go on with --resume"
        ) from error
