"""Tables of recordings: CSV and Parquet manifests, audformat databases."""

from __future__ import annotations

import csv
import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..adv import DIMENSIONS
from ..errors import InputError
from .containers import one_line

METADATA = ("speaker", "gender", "language", "emotion", "text", "split")
"""What a manifest may say of a recording."""


@dataclass(frozen=True)
class Row:
    """A row of a manifest; ``file`` is relative to its folder."""

    file: str
    start: float | None = None
    end: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    human: tuple[float, float, float] | None = None


def read_database(folder: Path) -> list[Row]:
    """Read the tables of an audformat database that are of files.

    Scores are left out, since they may be a machine's.

    Raises:
        InputError: if there is none, or one is wrong

    """
    tables = sorted([*folder.glob("db.*.csv"), *folder.glob("db.*.parquet")])
    rows: dict[tuple[str, float | None, float | None], dict[str, str]] = {}
    for table in tables:
        columns, records = _read_table(table)
        if "file" not in columns:  # a table of something else than audio
            continue
        for row in _parse(table, columns, records, human=False):
            known = rows.setdefault((row.file, row.start, row.end), {})
            known.update({k: v for k, v in row.metadata.items() if k not in known})
    if not rows:
        raise InputError(
            f"database must hold a CSV or Parquet table of files: {one_line(folder)}: "
            "save it with storage_format='parquet'"
        )
    # where segments of a file are known,
    # tables of whole files only tell more of it
    segmented = {file for file, start, end in rows if (start, end) != (None, None)}
    return [
        Row(file, start, end, {**rows.get((file, None, None), {}), **metadata})
        for (file, start, end), metadata in rows.items()
        if (start, end) != (None, None) or file not in segmented
    ]


def read_manifest(path: Path) -> list[Row]:
    """Read a table of recordings.

    Raises:
        InputError: if it has no column ``file``, or a value is wrong

    """
    columns, records = _read_table(path)
    if "file" not in columns:
        raise InputError(
            f"manifest must have a column 'file', got "
            f"{', '.join(columns) or 'nothing'}: {one_line(path)}: add it"
        )
    return list(_parse(path, columns, records, human=True))


def _read_table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of a table's columns, and its rows."""
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restkey="", strict=True)
                return list(reader.fieldnames or []), list(reader)
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path, partitioning=None)
        wanted = {
            "file", "start", "end", "teacher", *METADATA, *DIMENSIONS,
            *(f"human_{name}" for name in DIMENSIONS),
        }  # fmt: skip
        table = table.select([n for n in table.column_names if n in wanted])
        for index, column in enumerate(table.schema):
            if pyarrow.types.is_duration(column.type):
                unit = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
                seconds = [
                    None if ticks is None else ticks / unit
                    for ticks in table[index].cast(pyarrow.int64()).to_pylist()
                ]
                table = table.set_column(
                    index, column.name, pyarrow.array(seconds, pyarrow.float64())
                )
        return table.column_names, table.to_pylist()
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's are of these
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"table cannot be read: {one_line(path)}: {reason}: save it again"
        ) from error


def _parse(
    path: Path, columns: Sequence[str], records: list[dict[str, Any]], *, human: bool
) -> Iterator[Row]:
    prefix = "human_" if "teacher" in columns else ""
    for number, record in enumerate(records, start=1):
        where = f"row {number} of {one_line(path)}"
        file = posixpath.normpath(_text(record["file"]) or ".")
        if file.startswith("../") or file in (".", "..", "/"):
            raise InputError(
                f"file must be an absolute path or one below the table's folder, got "
                f"'{_text(record['file'])}': {where}: move table or audio"
            )
        start = _seconds(record.get("start"), "start", where)
        end = _seconds(record.get("end"), "end", where)
        if end is None and not start:
            start = None
        if end is not None and end <= (start or 0.0):
            raise InputError(
                f"end must be behind start {start or 0.0} s, got {end} s: {where}"
            )
        metadata = {
            name: text for name in METADATA if (text := _text(record.get(name)))
        }
        scores = tuple(
            _score(record.get(prefix + name), prefix + name, where) if human else None
            for name in DIMENSIONS
        )
        known = any(score is not None for score in scores)
        arousal, dominance, valence = (
            math.nan if score is None else score for score in scores
        )
        yield Row(
            file, start, end, metadata, (arousal, dominance, valence) if known else None
        )


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


_TIMEDELTA = re.compile(r"(?:(\d+) days? ?\+?)?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def _seconds(value: object, name: str, where: str) -> float | None:
    text = _text(value)
    if text in ("", "NaT"):
        return None
    delta = _TIMEDELTA.fullmatch(text)
    try:
        if delta:
            days, hours, minutes = (int(part or 0) for part in delta.groups()[:3])
            seconds = 86400 * days + 3600 * hours + 60 * minutes + float(delta[4])
        elif text.endswith((" day", " days")):
            seconds = 86400.0 * float(text.split()[0])
        else:
            seconds = float(text)
        if not 0 <= seconds < math.inf:
            raise ValueError("out of range")
    except ValueError as error:
        raise InputError(
            f"{name} must be seconds or a time delta, at least 0, got '{text}': {where}"
        ) from error
    return round(seconds, 9)


def _score(value: object, name: str, where: str) -> float | None:
    text = _text(value)
    if not text or text.lower() == "nan":
        return None
    try:
        score = float(text)
        if not 0 <= score <= 1:
            raise ValueError("out of range")
    except ValueError as error:
        raise InputError(
            f"{name} must be in 0..1, got '{text}': {where}: "
            "scale it, a scale of 1..7 by (x - 1) / 6"
        ) from error
    return score
