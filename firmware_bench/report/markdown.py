"""A report as Markdown, for a CI summary or a comment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wav2small.export.base import escape

from .program import program_tables
from .rows import (
    CHECK_COLUMNS,
    CLASS_COLUMNS,
    LAYER_COLUMNS,
    STEP_COLUMNS,
    check_rows,
    class_rows,
    emulated_cores,
    layer_rows,
    left_out_rows,
    step_rows,
    summary_rows,
    title,
)

_MOST_ROWS = 200
"""Rows of a table; summaries and comments of a CI have a limit of bytes."""


def to_markdown(report: dict[str, Any]) -> str:
    """Format a report for a CI summary or a comment."""
    lines = [f"## {escape.markdown(title(report))}", ""]
    lines += _table(("", ""), summary_rows(report))
    lines += ["", *_table(CHECK_COLUMNS, check_rows(report)), ""]
    if "program" in report:
        for name, columns, rows in program_tables(report):
            lines += _folded(name, columns, rows)
    else:
        lines += _steps(report)
        for core in emulated_cores(report):
            lines += _core_tables(core)
    for name, text in left_out_rows(report):
        lines += [f"{name[0].upper()}{name[1:]}: {escape.markdown(text)}.", ""]
    lines.pop()
    return "\n".join(lines) + "\n"


def _steps(report: dict[str, Any]) -> list[str]:
    rows = step_rows(report, _MOST_ROWS)
    lines = ["<details><summary>Steps</summary>", "", *_table(STEP_COLUMNS, rows)]
    left = len(report["steps"]) - len(rows)
    if left:
        lines += ["", f"{left} more steps are in the JSON."]
    return [*lines, "", "</details>", ""]


def _core_tables(core: dict[str, Any]) -> list[str]:
    return [
        f"<details><summary>Instructions on {escape.markdown(core['core'])}</summary>",
        "",
        *_table(LAYER_COLUMNS, layer_rows(core, _MOST_ROWS)),
        "",
        *_table(CLASS_COLUMNS, class_rows(core)),
        "",
        "</details>",
        "",
    ]


def _folded(
    name: str, columns: tuple[str, ...], rows: Sequence[Sequence[str]]
) -> list[str]:
    shown = [[escape.line(cell) for cell in row] for row in rows[:_MOST_ROWS]]
    lines = [f"<details><summary>{escape.markdown(escape.line(name))}</summary>", ""]
    return [*lines, *_table(columns, shown), "", "</details>", ""]


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [
        "| " + " | ".join(escape.markdown(cell) for cell in row) + " |"
        for row in (header, *rows)
    ]
    return [lines[0], "|---" * len(header) + "|", *lines[1:]]
