"""audformat databases: tables of recordings, and the header that explains them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wav2small.export.base.reading import parse_yaml, read_text

from ..errors import InputError
from .containers import one_line
from .manifests import (
    METADATA,
    Row,
    cell_text,
    column_name,
    merge_rows,
    parse_rows,
    read_cells,
)
from .spellings import SpellingError, canonical

HEADER = "db.yaml"
"""Name of a database's header."""


def read_database(folder: Path) -> list[Row]:
    """Read the tables of an audformat database that are about files.

    Scores are left out, since they may be a machine's.

    Raises:
        InputError: if there is none, or one is wrong

    """
    header = _Header(folder)
    found: dict[tuple[str, float | None, float | None], list[Row]] = {}
    for path in header.files():
        for row in header.rows(path, human=False):
            found.setdefault((row.file, row.start, row.end), []).append(row)
    if not found:
        raise InputError(
            f"database must hold a CSV or Parquet table of files: {one_line(folder)}: "
            "save it with storage_format='parquet'"
        )
    rows = {key: merge_rows(parts, key[0]) for key, parts in found.items()}
    # where a file has segments,
    # a table of whole files only adds to what is known of them
    segmented = {file for file, start, end in rows if (start, end) != (None, None)}
    whole = {
        key[0]: row.metadata for key, row in rows.items() if key[1:] == (None, None)
    }
    return [
        Row(file, start, end, {**whole.get(file, {}), **row.metadata})
        for (file, start, end), row in rows.items()
        if (start, end) != (None, None) or file not in segmented
    ]


def read_database_table(path: Path) -> list[Row] | None:
    """Read one table of a database, scores included.

    Returns:
        None if the file is no table of a database

    """
    if not path.name.startswith("db.") or not (path.parent / HEADER).is_file():
        return None
    return _Header(path.parent).rows(path, human=True)


class _Header:
    """What ``db.yaml`` says of the tables beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / HEADER
        try:
            content = parse_yaml(read_text(path))
        except (OSError, ValueError) as error:
            raise InputError(
                f"header of a database must be YAML: {one_line(path)}: "
                f"{' '.join(str(error).split())[:120]}: save it again"
            ) from error
        self.content = content if isinstance(content, dict) else {}

    def entries(self, *keys: str) -> Mapping[Any, Any]:
        """Return what stands below keys; nothing if they are not there."""
        found: Any = self.content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def files(self) -> list[Path]:
        """Return the files of all tables, sorted.

        Raises:
            InputError: if one is of a format that is not read

        """
        folder = self.folder
        files = sorted([*folder.glob("db.*.csv"), *folder.glob("db.*.parquet")])
        lost = set(self.entries("tables")) - {file.stem[3:] for file in files}
        if lost:
            raise InputError(
                f"table must be CSV or Parquet, got no such file of "
                f"'{min(map(str, lost))}': {one_line(folder)}: save the database "
                "with storage_format='parquet'"
            )
        return files

    def rows(self, path: Path, *, human: bool) -> list[Row]:
        """Read a table, whose split and columns are explained by the header.

        A table that is not about audio has no rows.
        """
        name = path.stem[3:]
        schemes = {
            column: str(settings["scheme_id"])
            for column, settings in self.entries("tables", name, "columns").items()
            if isinstance(settings, Mapping) and "scheme_id" in settings
        }

        def rename(column: str) -> str:
            own = column_name(column)
            return own if own in METADATA else schemes.get(column, own)

        columns, records = read_cells(path, rename)
        if "file" not in columns:
            return []
        table_wide: dict[str, str] = {}
        if split := self.split_of(name):
            table_wide["split"] = split
        details = {
            column: self.details(schemes.get(column, column))
            for column in METADATA
            if column in columns
        }
        for record in records:
            for column, by_label in details.items():
                label = cell_text(record[column])
                for key, value in by_label.get(label, {}).items():
                    if key in METADATA and not cell_text(record.get(key)):
                        record[key] = value
            record.update(
                {k: v for k, v in table_wide.items() if not cell_text(record.get(k))}
            )
        return list(parse_rows(path, columns, records, human=human))

    def split_of(self, table: str) -> str | None:
        """Return the official split of a table, None if it has none."""
        split = self.entries("tables", table).get("split_id")
        if split is None:
            return None
        if not isinstance(split, str):
            raise InputError(
                f"split_id of table '{table}' must be a name, got {split}: "
                f"{one_line(self.folder / HEADER)}"
            )
        kind = str(self.entries("splits", split).get("type") or split)
        try:
            return canonical("split", kind if kind != "other" else str(split))
        except SpellingError as error:
            raise InputError(
                f"{error}: split of table '{table}' in {one_line(self.folder / HEADER)}"
            ) from error

    def details(self, scheme: str) -> dict[str, Mapping[str, Any]]:
        """Return what a scheme says of its labels, e.g. the gender of speakers."""
        labels = self.entries("schemes", scheme).get("labels")
        if isinstance(labels, Mapping):
            return {
                cell_text(label): details
                for label, details in labels.items()
                if isinstance(details, Mapping)
            }
        if not isinstance(labels, str):
            return {}
        files = [self.folder / f"db.{labels}.{end}" for end in ("csv", "parquet")]
        levels = list(self.entries("misc_tables", labels, "levels"))
        file = next((file for file in files if file.is_file()), None)
        if file is None or len(levels) != 1:
            return {}
        _, records = read_cells(file, lambda column: column)
        return {cell_text(record.get(levels[0])): record for record in records}
