"""Write labels in formats that other programs read: CSV and audformat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from wav2small.export.base import escape
from wav2small.export.base.files import atomic_write

from ..adv import DIMENSIONS
from ..teachers.licence import RESEARCH, mark


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write rows as CSV, of which the first cell is the name of a file.

    Args:
        path: file to write
        columns: names of the columns
        rows: cells of each row; None becomes an empty field

    Raises:
        OSError: if it cannot be written

    """
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for name, *cells in rows:
            writer.writerow([escape.csv_path(name), *map(escape.csv_cell, cells)])
        text.detach()


def write_table_csv(path: Path, table: pa.Table) -> None:
    """Write a table of labels as CSV, some thousand rows at a time."""
    rows = (
        row
        for batch in table.to_batches(max_chunksize=10_000)
        for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
    )
    write_csv(path, table.column_names, rows)


def write_audformat(folder: Path, table: pa.Table, teacher: Mapping[str, str]) -> None:
    """Write a table of labels as an audformat database.

    It has one segmented table ``adv`` of the three scores by a machine rater.

    Args:
        folder: empty or missing
        table: all columns of the label store
        teacher: who scored, as the store states it

    Raises:
        OSError: if it cannot be written

    """
    table = table.select(["file", "start", "end", *DIMENSIONS])
    for index in (1, 2):
        # to the nanosecond, as pandas counts
        nanoseconds = np.round(table[index].to_numpy() * 1e9).astype(np.int64)
        table = table.set_column(
            index,
            table.column_names[index],
            pa.array(nanoseconds, pa.int64()).cast(pa.duration("ns")),
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "db.adv.parquet") as file:
        pa.parquet.write_table(table, file)
    with atomic_write(folder / "db.yaml") as file:
        file.write(_audformat_header(teacher).encode())


def _audformat_header(teacher: Mapping[str, str]) -> str:
    quoted = {key: escape.yaml(value) for key, value in teacher.items()}
    header = [
        "name: wav2small-labels",
        "source: wav2small annotate",
        # audformat's own mark, which programs that read the database may ask for
        f"usage: {'research' if mark(teacher) == RESEARCH else 'other'}",
        f"license: {quoted['licence']}",
        f"description: {escape.yaml('Scores by ' + teacher['name'])}",
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
    return "\n".join(header) + "\n"
