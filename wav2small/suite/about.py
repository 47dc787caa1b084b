"""What a table says of clips beside their labels: accent, conditions and so on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..audio.manifests import cell_text, read_cells
from ..errors import InputError

COLUMNS = (
    "accent", "sentiment", "take", "condition", "age", "race", "ethnicity",
)  # fmt: skip
"""What the suite groups clips by and a label store has no column for:
``accent`` of the speaker, ``sentiment`` of the words,
``take`` (clips of one take are the same speech, recorded at the same time)
and its recording ``condition``, ``age`` in years, ``race``, ``ethnicity``."""


def read_about(table: Path, files: Sequence[Path]) -> dict[str, list[str | None]]:
    """Read what a table says of clips.

    Args:
        table: CSV or Parquet with a column ``file``, absolute or relative to
            the table's folder, and some of :data:`COLUMNS`
        files: file of each clip

    Returns:
        the columns that the table has, None where it says nothing of a clip

    Raises:
        InputError: if it has none of them, or says nothing of any clip

    """
    names, cells = read_cells(table, _column_name)
    found = [name for name in COLUMNS if name in names]
    if "file" not in names or not found:
        raise InputError(
            f"table must have a column file and some of {', '.join(COLUMNS)}, got "
            f"{', '.join(names) or 'nothing'}: {table}: add them"
        )
    rows = {
        os.path.abspath(table.parent / cell_text(row["file"])): row  # noqa: PTH100
        for row in cells
    }
    known = [rows.get(os.path.abspath(file), {}) for file in files]  # noqa: PTH100
    if not any(known):
        raise InputError(
            f"table must name files of the labels, got none of them: {table}: "
            "write their paths absolute or relative to it"
        )
    return {name: [cell_text(row.get(name)) or None for row in known] for name in found}


def _column_name(text: str) -> str:
    name = text.strip().lower()
    return name if name in ("file", *COLUMNS) else text
