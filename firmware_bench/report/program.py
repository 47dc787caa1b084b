"""The report of a program that something else built, as data and as rows of tables.

``program.schema.json`` is generated from these classes.
Sizes are bytes, counts are instructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wav2small.export.base import escape

from ..checks import Check
from ..run.program import Call, Sizes
from ..target import Target
from .model import Digest

NOT_MEASURED = (
    "stack of interrupts and of what calls the functions",
    "waits for memory and caches",
    "what startup code runs",
)
"""What the figures of a program leave out."""


@dataclass(frozen=True)
class ReportedSection:
    """A part of the program that takes memory."""

    name: str
    address: int
    bytes: int
    memory: Literal["flash", "ram", "flash and ram"]


@dataclass(frozen=True)
class ReportedProgram:
    """The file that was checked."""

    file: str
    sha256: Digest
    file_bytes: int
    built_for: str | None
    sections: Sequence[ReportedSection]
    sizes: Sizes


@dataclass(frozen=True)
class ProgramCheck(Check):
    """One figure against one limit; its name may hold that of a function."""

    name: str


@dataclass(frozen=True)
class ProgramBudget:
    """All checks for one target, or for limits alone."""

    target: Target | None
    fits: bool | None
    checks: Sequence[ProgramCheck]


@dataclass(frozen=True)
class ProgramCore:
    """What was measured on one core."""

    core: str
    calls: Sequence[Call]
    heap_bytes: int
    not_emulated: str | None
    figures: Mapping[str, float]


@dataclass(frozen=True)
class ProgramReport:
    """Report of a program that something else built.

    ``fits`` is false if a check failed,
    and null if none failed and one that was asked for could not be made.
    """

    schema_version: Literal[1]
    program: ReportedProgram
    cores: Sequence[ProgramCore]
    budgets: Sequence[ProgramBudget]
    fits: bool | None
    not_counted: Sequence[str]


def program_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What a program takes: names and values; an empty name continues a row."""
    program = report["program"]
    sizes = program["sizes"]
    rows = [
        ("file", f"{program['file_bytes']:,} B"),
        ("built for", program["built_for"] or "the program does not say"),
        (
            "sections",
            f"{sizes['flash_bytes']:,} B flash, {sizes['static_bytes']:,} B RAM, "
            f"{sizes['reserved_bytes']:,} B of RAM kept for stack and heap",
        ),
    ]
    for core in report["cores"]:
        if core["not_emulated"]:
            rows.append((core["core"], core["not_emulated"]))
        for call in core["calls"]:
            low, high = call["cycles"]
            rows.append(
                (
                    core["core"],
                    f"{call['function']}: {call['instructions']:,} instructions, "
                    f"{call['stack_bytes']:,} B stack; derived: {low:,.0f} to "
                    f"{high:,.0f} cycles",
                )
            )
        if core["heap_bytes"]:
            rows.append(("", f"{core['heap_bytes']:,} B of heap were written to"))
    return [(escape.line(name), escape.line(text)) for name, text in rows]


def program_tables(
    report: dict[str, Any],
) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Titles, columns and rows of what a summary does not show at once."""
    sections: list[tuple[str, ...]] = [
        (part["name"], f"{part['address']:#010x}", f"{part['bytes']:,}", part["memory"])
        for part in report["program"]["sections"]
    ]
    tables: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]
    tables = [("Sections", ("section", "address", "bytes", "memory"), sections)]
    for core in report["cores"]:
        for call in core["calls"]:
            total = call["instructions"] or 1
            rows: list[tuple[str, ...]] = [
                (name, f"{count:,}", f"{count / total:.1%}")
                for name, count in call["functions"].items()
            ]
            title = f"{call['function']} on {core['core']}"
            tables.append((title, ("function", "instructions", "share"), rows))
    return tables
