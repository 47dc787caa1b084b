"""One shard of labels as a Parquet file: its rows, and notes in its metadata.

The notes say which sources the rows come from, which files failed and why,
and what was left out.
Rows and notes have checksums, which are verified whenever they are read.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from wav2small.export.base import checksums
from wav2small.export.base.reading import parse_json, read_bytes

from ..adv import DIMENSIONS
from ..audio import METADATA
from ..errors import InputError
from ..tables import read_footer, read_parquet

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

VARIED = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("file", "start", "end")),
        pa.field("variation", pa.int32(), nullable=False),
        *(SCHEMA.field(name) for name in DIMENSIONS),
        pa.field("recipe", pa.string(), nullable=False),
    ]
)
"""Columns of a shard of variations: the labelled clip, the number of its variation,
the teacher's scores of that, and the SHA-256 of everything that determines it."""

SourceKey = tuple[str, float | None, float | None]
"""File, start and end of a source, as :attr:`wav2small.audio.Source.key`."""

Stretch = tuple[str, float, float, str]
"""File, start, end and kind of what was not labelled, e.g. ``silence``."""

_NUMBER = int | float

_NOTES: dict[str, tuple[Any, ...]] = {
    "errors": (str, str),
    "skipped": (str, _NUMBER, _NUMBER, str),
    "sources": (str, _NUMBER | None, _NUMBER | None),
    "unlabelled": (str, str),
}
"""Notes of a shard, each a list of entries of these types."""


def encode_shard(
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[tuple[str, str]],
    *,
    sources: Sequence[SourceKey] | None,
    skipped: Sequence[Stretch],
    unlabelled: Sequence[tuple[str, str]],
    schema: pa.Schema = SCHEMA,
) -> bytes:
    """Return the bytes of a shard's file; they follow from the arguments alone.

    Args:
        rows: values by column of the schema, missing ones are null
        errors: file and error line of each file that gave no row
        sources: what the shard is about, None for all of its files
        skipped: what was read and not labelled
        unlabelled: file and SHA-256 of files that gave no row
        schema: :data:`SCHEMA` or :data:`VARIED`

    """
    notes = {"errors": json.dumps(list(errors)), "skipped": json.dumps(skipped)}
    if sources is not None:
        notes["sources"] = json.dumps(sources)
    if unlabelled:
        notes["unlabelled"] = json.dumps(list(unlabelled))
    notes["sha256"] = _notes_sha256(notes)
    notes["seal"] = checksums.SEAL
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(notes))
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer, use_dictionary=False, write_statistics=False)
    return checksums.seal(buffer.getvalue())


def count_rows(path: Path) -> int:
    """Return the number of rows of a shard.

    Raises:
        InputError: if it is damaged

    """
    with _reading(path):
        return read_footer(path).num_rows


def read_notes(path: Path) -> dict[str, list[Any]]:
    """Return the notes of a shard by name, each a list of entries.

    Raises:
        InputError: if it is damaged

    """
    with _reading(path):
        stored = _checked_notes(read_footer(path).schema.to_arrow_schema())
        notes = {name: parse_json(text) for name, text in stored.items()}
        for name, kinds in _NOTES.items():
            for entry in notes.get(name, []):
                if not all(map(isinstance, entry, kinds)) or len(entry) != len(kinds):
                    raise ValueError(f"{entry} among {name}")
        return notes


def read_rows(
    path: Path, columns: list[str] | None = None, schema: pa.Schema = SCHEMA
) -> pa.Table:
    """Return the rows of a shard.

    Args:
        path: its file
        columns: names of the columns, all if None
        schema: what columns it must have

    Raises:
        InputError: if it is damaged

    """
    with _reading(path):
        table = read_parquet(path, columns, checksums=True)
        _checked_notes(table.schema)
        wanted = [schema.field(name) for name in columns or schema.names]
        if not table.schema.equals(pa.schema(wanted)):
            raise ValueError("not the columns of labels")
    return table.replace_schema_metadata(None)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Check a file's seal, and say in one line what is wrong with its content."""
    try:
        if not checksums.is_sealed(read_bytes(path)):
            raise ValueError("its checksum is another")
        yield
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"label shard is damaged: {path}: copy the labels again, or "
            "annotate with --overwrite"
        ) from error


def _checked_notes(schema: pa.Schema) -> dict[str, str]:
    """Return the notes of a shard's schema as JSON by name.

    Raises:
        ValueError: if their checksum is another
        KeyError: if some are missing

    """
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    notes = {name: metadata[name] for name in _NOTES if name in metadata}
    if _notes_sha256(notes) != metadata["sha256"] or "errors" not in notes:
        raise ValueError("checksum of the metadata")
    return notes


def _notes_sha256(notes: Mapping[str, str]) -> str:
    """Return the checksum of a shard's notes; that of errors alone is plain."""
    if list(notes) == ["errors"]:
        return hashlib.sha256(notes["errors"].encode()).hexdigest()
    # notes that were added later count only where they are
    names = [name for name in _NOTES if name != "unlabelled" or name in notes]
    text = json.dumps([notes.get(name) for name in names])
    return hashlib.sha256(text.encode()).hexdigest()
