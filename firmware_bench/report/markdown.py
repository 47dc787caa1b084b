"""A report as Markdown, for a CI summary or a comment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wav2small.export.base import escape

from .program import program_tables
from .rows import (
    CHECK_COLUMNS,
    check_rows,
    emulated_cores,
    left_out_rows,
    summary_rows,
    title,
)

_MOST_ROWS = 200
"""Rows of a table; summaries and comments of a CI have a limit of bytes."""

_STEP_COLUMNS = (
    "step",
    "name",
    "operators",
    "arithmetic",
    "output",
    "MAC",
    "weights, B",
    "live, B",
)


def to_markdown(report: dict[str, Any]) -> str:
    """Format a report for a CI summary or a comment."""
    lines = [f"## {escape.markdown(title(report))}", ""]
    lines += _table(("", ""), summary_rows(report))
    lines += ["", *_table(CHECK_COLUMNS, check_rows(report)), ""]
    if "program" in report:
        for name, columns, rows in program_tables(report):
            lines += _folded(name, columns, rows)
    else:
        lines += _steps(report["steps"])
        for core in emulated_cores(report):
            lines += _core_tables(core)
    for name, text in left_out_rows(report):
        lines += [f"{name[0].upper()}{name[1:]}: {escape.markdown(text)}.", ""]
    lines.pop()
    return "\n".join(lines) + "\n"


def _steps(steps: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            str(step["index"]),
            step["name"],
            " + ".join(step["operators"]),
            step["arithmetic"],
            ", ".join(_shape(output) for output in step["outputs"]),
            "?" if step["macs"] is None else f"{step['macs']:,}",
            f"{step['weight_bytes']:,}",
            f"{step['live_bytes']:,}",
        )
        for step in steps[:_MOST_ROWS]
    ]
    lines = ["<details><summary>Steps</summary>", "", *_table(_STEP_COLUMNS, rows)]
    if len(steps) > _MOST_ROWS:
        lines += ["", f"{len(steps) - _MOST_ROWS} more steps are in the JSON."]
    return [*lines, "", "</details>", ""]


def _core_tables(core: dict[str, Any]) -> list[str]:
    total = core["figures"]["instructions"]
    rows = [
        (
            layer["name"],
            f"{layer['instructions_per_second'] / 1e6:.3f}",
            f"{layer['instructions_per_second'] / total:.1%}",
        )
        for layer in core["layers"][:_MOST_ROWS]
    ]
    executed = sum(core["classes"].values())
    kinds = [
        (name, f"{count:,}", f"{count / executed:.1%}")
        for name, count in core["classes"].items()
    ]
    return [
        f"<details><summary>Instructions on {escape.markdown(core['core'])}</summary>",
        "",
        *_table(("layer", "M per second of audio", "share"), rows),
        "",
        *_table(("class", "instructions", "share"), kinds),
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


def _shape(output: dict[str, Any]) -> str:
    return f"{output['dtype']} {'x'.join(map(str, output['shape']))}"


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [
        "| " + " | ".join(escape.markdown(cell) for cell in row) + " |"
        for row in (header, *rows)
    ]
    return [lines[0], "|---" * len(header) + "|", *lines[1:]]
