"""Read tables of which nothing is known, CSV and Parquet, within bounds.

A column that says a thing once and repeats it a billion times is a small file.
So what a table would take in memory is counted before it is there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav2small.export.base.reading import open_file

if TYPE_CHECKING:
    import pyarrow

MOST_COLUMNS = 1_000
"""Most columns of a table."""

MOST_ROWS = 20_000_000
"""Most rows of a table: years of speech."""

MOST_BYTES = 1 << 30
"""Most that a table may take in memory, in bytes, and a table of text on disk."""

MOST_LINE = 1 << 20
"""Longest line of a table of text, in letters."""


def read_csv(path: Path) -> Iterator[list[str]]:
    """Read the lines of a CSV file in UTF-8; those without a cell are left out.

    Raises:
        OSError: as of :func:`wav2small.export.base.reading.open_file`
        ValueError: if it is no such file or beyond bounds

    """
    with (
        open_file(path, most=MOST_BYTES) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text,
    ):
        reader = csv.reader(_lines(text), strict=True)
        try:
            for number, cells in enumerate(reader):
                if len(cells) > MOST_COLUMNS:
                    raise ValueError(f"its {len(cells)} columns are too many")
                if number > MOST_ROWS:
                    raise ValueError(f"it has more than {MOST_ROWS} rows")
                if cells:
                    yield cells
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise ValueError(f"a line has {MOST_LINE} letters or more")
        yield line


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, *, checksums: bool = False
) -> pyarrow.Table:
    """Read a Parquet file.

    Args:
        path: the file
        columns: which of its columns, each there once; all if None
        checksums: whether those of its pages are compared

    Raises:
        OSError: as of :func:`wav2small.export.base.reading.open_file`
        ValueError: if it is no such file or beyond bounds

    """
    import pyarrow
    import pyarrow.parquet

    with _as_value_errors(), open_file(path) as raw:
        stored = pyarrow.parquet.read_schema(raw)
        wanted = stored.names if columns is None else columns
        if lost := [name for name in wanted if stored.names.count(name) != 1]:
            raise ValueError(f"column {lost[0]!r} must be there once")
        schema = pyarrow.schema(map(stored.field, wanted), stored.metadata)
        texts = [field.name for field in schema if _is_text(field.type)]
        raw.seek(0)
        file = pyarrow.parquet.ParquetFile(
            raw, read_dictionary=texts, page_checksum_verification=checksums
        )
        _check_size(file.metadata)
        batches, size = [], 0
        for batch in file.iter_batches(1 << 16, columns=wanted, use_threads=False):
            size += sum(map(_expanded, batch.columns))
            if size > MOST_BYTES:
                raise ValueError(f"it takes more than {MOST_BYTES >> 20} MiB")
            batches.append(batch)
        rows = sum(map(len, batches))
        if rows != file.metadata.num_rows:
            raise ValueError(f"it has {rows} of {file.metadata.num_rows} rows")
        if not batches:
            return schema.empty_table()
        return pyarrow.Table.from_batches(batches).select(wanted).cast(schema)


def read_footer(path: Path) -> pyarrow.parquet.FileMetaData:
    """Read what a Parquet file says of itself, of its last bytes alone.

    Raises:
        OSError: as of :func:`wav2small.export.base.reading.open_file`
        ValueError: if it is no such file or beyond bounds

    """
    import pyarrow
    import pyarrow.parquet

    with _as_value_errors(), open_file(path) as raw:
        footer = pyarrow.parquet.read_metadata(raw)
        _check_size(footer)
        return footer


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Raise what Arrow says of a file's content as a ValueError of one line."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise
        raise ValueError(" ".join(str(error).split())) from error


def _is_text(kind: Any) -> bool:
    import pyarrow

    return pyarrow.types.is_string(kind) or pyarrow.types.is_binary(kind)


def _check_size(metadata: Any) -> None:
    """Refuse a file that states more than a table may have."""
    size = sum(
        metadata.row_group(group).total_byte_size
        for group in range(metadata.num_row_groups)
    )
    if metadata.num_columns > MOST_COLUMNS:
        raise ValueError(f"its {metadata.num_columns} columns are too many")
    if metadata.num_rows > MOST_ROWS or size > MOST_BYTES:
        raise ValueError(
            f"its {metadata.num_rows} rows or {size} bytes in memory are too many"
        )


def _expanded(column: pyarrow.Array) -> int:
    """Return what a column takes in bytes without its dictionary."""
    import pyarrow
    import pyarrow.compute as compute

    if not pyarrow.types.is_dictionary(column.type):
        return column.nbytes
    if not _is_text(column.type.value_type):
        return len(column) * 8
    lengths = compute.binary_length(column.dictionary)
    return compute.sum(compute.take(lengths, column.indices)).as_py() or 0
