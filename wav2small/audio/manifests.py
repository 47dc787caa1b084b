"""Tables of recordings: CSV and Parquet manifests."""

from __future__ import annotations

import itertools
import math
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.errors import one_line as reason

from ..adv import DIMENSIONS
from ..errors import InputError
from ..tables import read_csv, read_footer, read_parquet
from .containers import one_line
from .spellings import SpellingError, canonical

METADATA = ("speaker", "gender", "language", "emotion", "text", "split")
"""What a manifest may say of a recording."""

COLUMNS = (
    "file", "start", "end", "teacher", *METADATA, *DIMENSIONS,
    *(f"human_{name}" for name in DIMENSIONS),
)  # fmt: skip
"""All columns that are read; a table may have others."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a manifest; ``file`` is relative to its folder."""

    file: str
    start: float | None = None
    end: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    human: tuple[float, float, float] | None = None
    ratings: int = 0


def read_manifest(path: Path) -> list[Row]:
    """Read a table of recordings.

    Raises:
        InputError: if it has no column ``file``, or a value is wrong

    """
    columns, records = read_cells(path, column_name)
    if "file" not in columns:
        raise InputError(
            f"manifest must have a column 'file', got "
            f"{', '.join(columns) or 'nothing'}: {one_line(path)}: add it"
        )
    return list(parse_rows(path, columns, records, human=True))


def column_name(text: str) -> str:
    """Return what a column is called here; blanks and case do not matter."""
    name = text.strip().lower()
    return name if name in COLUMNS else text


def read_cells(
    path: Path, rename: Callable[[str], str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Read a table.

    Args:
        path: CSV or Parquet
        rename: gives a column's name here for its name in the file

    Returns:
        names of the columns, and the cells of each row by name

    Raises:
        InputError: if it cannot be read, or two columns have one name

    """
    try:
        if path.suffix.lower() == ".csv":
            lines = read_csv(path)
            columns = _unique(map(rename, next(lines, [])), path)
            return columns, [
                dict(itertools.zip_longest(columns, cells[: len(columns)]))
                for cells in lines
            ]
        stored = read_footer(path).schema.to_arrow_schema().names
        names = [(name, rename(name)) for name in stored]
        names = [(name, own) for name, own in names if own in COLUMNS]
        columns = _unique((own for _, own in names), path)
        table = read_parquet(path, [name for name, _ in names])
        import pyarrow

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
        return columns, table.rename_columns(columns).to_pylist()
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"table must be a file that can be read, got {error.strerror}: "
            f"{one_line(path)}: check the path"
        ) from error
    except (ValueError, OverflowError) as error:  # a date beyond the year 9999
        raise InputError(
            f"table cannot be read: {one_line(path)}: {reason(error)}: save it again"
        ) from error


def _unique(names: Iterable[str], path: Path) -> list[str]:
    found = list(names)
    for name in COLUMNS:
        if found.count(name) > 1:
            raise InputError(
                f"column must be there once, got '{name}' {found.count(name)} times: "
                f"{one_line(path)}: rename or remove the others"
            )
    return found


def merge_rows(rows: Sequence[Row], shown: str) -> Row:
    """Make one row of all rows about a recording.

    Scores are the mean over the rows that have any:
    a table may have a row for each rater.
    An emotion is the one that most rows name, none if there are several such.
    Of all else the first row that says it counts,
    but nobody can choose between two splits.

    Args:
        rows: of one file, start and end, at least one
        shown: the file, to name it

    Raises:
        InputError: if the rows are of different splits

    """
    if len(rows) == 1:
        return rows[0]
    first = rows[0]
    metadata: dict[str, str] = {}
    for row in rows:
        metadata = {**row.metadata, **metadata}
    splits = sorted({row.metadata["split"] for row in rows if "split" in row.metadata})
    if len(splits) > 1:
        raise InputError(
            f"split of a recording must be one, got {' and '.join(splits)}: "
            f"{one_line(shown)}: correct the tables"
        )
    named = (row.metadata.get("emotion") for row in rows)
    votes = Counter(emotion for emotion in named if emotion)
    if len(votes) > 1:
        (emotion, most), (_, next_) = votes.most_common(2)
        metadata["emotion"] = emotion
        if most == next_:
            del metadata["emotion"]
    rated = [row for row in rows if row.human]
    human = None
    if rated:
        scores = np.array([row.human for row in rated])
        given = ~np.isnan(scores)
        sums, counts = np.where(given, scores, 0).sum(0), given.sum(0)
        arousal, dominance, valence = (
            float(total / count) if count else math.nan
            for total, count in zip(sums, counts, strict=True)
        )
        human = arousal, dominance, valence
    ratings = sum(row.ratings for row in rated)
    return Row(first.file, first.start, first.end, metadata, human, ratings)


def parse_rows(
    path: Path, columns: Sequence[str], records: list[dict[str, Any]], *, human: bool
) -> Iterator[Row]:
    """Read the rows of a table.

    Args:
        path: the table, to name it
        columns: of :func:`read_cells`
        records: of :func:`read_cells`
        human: whether scores are those of humans; else they are left out

    Raises:
        InputError: if a value is wrong; the line names table and row

    """
    prefix = "human_" if "teacher" in columns else ""
    for number, record in enumerate(records, start=1):
        where = f"row {number} of {one_line(path)}"
        file = posixpath.normpath(cell_text(record["file"]) or ".")
        if file.startswith("//"):  # which normpath leaves as it is
            file = file[1:]
        if file.startswith("../") or file in (".", "..", "/") or "\0" in file:
            raise InputError(
                f"file must be an absolute path or one below the table's folder, got "
                f"'{cell_text(record['file'])}': {where}: move table or audio"
            )
        start = _seconds(record.get("start"), "start", where)
        end = _seconds(record.get("end"), "end", where)
        if end is None and not start:
            start = None
        if end is not None and end <= (start or 0.0):
            raise InputError(
                f"end must be behind start {start or 0.0} s, got {end} s: {where}"
            )
        try:
            metadata = {
                name: text
                for name in METADATA
                if (text := canonical(name, cell_text(record.get(name))))
            }
        except SpellingError as error:
            raise InputError(f"{error}: {where}") from error
        scores = tuple(
            _score(record.get(prefix + name), prefix + name, where) if human else None
            for name in DIMENSIONS
        )
        is_rated = any(score is not None for score in scores)
        arousal, dominance, valence = (
            math.nan if score is None else score for score in scores
        )
        human_scores = (arousal, dominance, valence) if is_rated else None
        yield Row(file, start, end, metadata, human_scores, int(is_rated))


def cell_text(value: object) -> str:
    """Return what a cell holds as text, without blanks around it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


_TIMEDELTA = re.compile(r"(?:(\d+) days? ?\+?)?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def _seconds(value: object, name: str, where: str) -> float | None:
    text = cell_text(value)
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
    text = cell_text(value)
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
