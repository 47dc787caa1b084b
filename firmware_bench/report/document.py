"""A report as one HTML file, for people.

Formats what :func:`wav2small.firmware_bench.bench.bench` found and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wav2small.export.base.document import (
    NOTHING,
    BarPart,
    Cell,
    Markup,
    bar,
    details,
    document,
    figure,
    heading,
    key,
    paragraph,
    table,
)
from wav2small.export.base.drawings import DrawnBlock, plane

from .program import program_tables
from .rows import (
    CHECK_COLUMNS,
    CLASS_COLUMNS,
    LAYER_COLUMNS,
    RAM_PARTS,
    STEP_COLUMNS,
    check_rows,
    class_rows,
    emulated_cores,
    layer_rows,
    left_out_rows,
    ram_check,
    ram_parts,
    step_rows,
    summary_rows,
    target_name,
    title,
)

_MOST_ROWS = 2000
"""Rows of a table, blocks of a drawing."""

_STYLES = {True: "passed", False: "failed", None: "open"}
_SIGNS = {True: "✓ ", False: "✗ ", None: "? "}
_COLOURS = {True: "p", False: "f", None: "o"}


def to_html(report: dict[str, Any]) -> str:
    """Format a report as a document that needs no other file."""
    return document(title(report), _parts(report))


def _parts(report: dict[str, Any]) -> Iterator[Markup]:
    yield table("What it takes", (), summary_rows(report))
    yield heading("Budgets")
    yield _checks(report)
    if "program" in report:
        for name, columns, rows in program_tables(report):
            yield details(name, table(name, columns, rows[:_MOST_ROWS]))
    else:
        yield from _model(report)
    for name, text in left_out_rows(report):
        yield paragraph(f"{name[0].upper()}{name[1:]}: {text}.", "note")


def _model(report: dict[str, Any]) -> Iterator[Markup]:
    """What is known of a model alone."""
    yield heading("RAM over time")
    if report["c99"]["plan"]:
        yield from _state(report)
    yield _arena(report)
    for core in emulated_cores(report):
        yield heading(f"Instructions per layer, {core['core']}")
        yield _layers(core)
        classes = table("Kinds of instructions", CLASS_COLUMNS, class_rows(core))
        yield details("Kinds of instructions", classes)
    steps = table("Steps", STEP_COLUMNS, step_rows(report, _MOST_ROWS))
    yield details(f"Steps of the whole window, {len(report['steps'])}", steps)


def _checks(report: dict[str, Any]) -> Markup:
    """Every check with its share of what there is; a mark stands at the limit."""
    checks = [check for budget in report["budgets"] for check in budget["checks"]]
    rows: list[list[str | Cell]] = []
    for check, row in zip(checks, check_rows(report), strict=True):
        target, name, needs, limit, verdict, why = row
        passed = check["passed"]
        shown = Cell(_SIGNS[passed] + verdict, _STYLES[passed], _share(check))
        rows.append([target, name, Cell(needs, "n"), Cell(limit, "n"), shown, why])
    return table("Budgets", CHECK_COLUMNS, rows)


def _share(check: dict[str, Any]) -> Markup:
    actual, limit = check["actual"], check["limit"]
    if actual is None or not limit:
        return NOTHING
    whole = max(limit, min(actual, 2 * limit)) * 1.02
    return bar([BarPart(_COLOURS[check["passed"]], actual / whole)], limit / whole)


def _state(report: dict[str, Any]) -> Iterator[Markup]:
    """What the C99 holds, which is the same at all times, for each target."""
    yield paragraph(
        "The C99 allocates nothing: what it holds is the same at all times."
    )
    checks = [ram_check(budget) for budget in report["budgets"]]
    most = max([1.0, *(check["actual"] or 0.0 for check in checks)])
    rows: list[list[str | Cell]] = []
    for budget, check in zip(report["budgets"], checks, strict=True):
        if check["actual"] is None:
            continue
        parts = ram_parts(report, budget)
        segments = [
            BarPart(str(number), parts[name] / most)
            for number, (name, _) in enumerate(RAM_PARTS.items())
        ]
        told = "; ".join(
            f"{text} {parts[name]:,.0f}" for name, text in RAM_PARTS.items()
        )
        total = f"{check['actual']:,.0f} B"
        rows.append(
            [target_name(budget), Cell(total, "n"), Cell(told, "", bar(segments))]
        )
    yield table("RAM of the C99", ("target", "RAM", "of which, B"), rows)
    yield key({str(n): text for n, text in enumerate(RAM_PARTS.values())})


def _arena(report: dict[str, Any]) -> Markup:
    """Where each tensor lies, and when, if the whole window is run at once."""
    arena, steps = report["arena"], report["steps"]
    blocks = [
        DrawnBlock(
            f"{block['name']}, {block['bytes']:,} B, "
            f"steps {block['first_step']} to {block['last_step']}",
            "0" if block["dtype"].startswith("int") else "1",
            block["first_step"],
            block["last_step"] + 1 - block["first_step"],
            block["offset"],
            block["bytes"],
        )
        for block in arena["blocks"][:_MOST_ROWS]
    ]
    caption = (
        f"The whole window at once, as a runtime with an arena holds it: {len(steps)} "
        f"steps from left to right, {arena['bytes']:,} B upwards; blue: integers, "
        f"orange: floats; line: lower bound, {arena['lower_bound_bytes']:,} B."
    )
    size = (len(steps), arena["bytes"])
    drawing = plane("Memory over time", blocks, size, arena["lower_bound_bytes"])
    return figure(drawing, caption)


def _layers(core: dict[str, Any]) -> Markup:
    counts = [layer["instructions_per_second"] for layer in core["layers"]]
    most = max([1.0, *counts])
    rows: list[list[str | Cell]] = [
        [name, Cell(millions, "n"), Cell(share, "n", bar([BarPart("0", count / most)]))]
        for (name, millions, share), count in zip(
            layer_rows(core, _MOST_ROWS), counts[:_MOST_ROWS], strict=True
        )
    ]
    total = f"{core['figures']['instructions'] / 1e6:,.3f}"
    rows.append(["all", Cell(total, "n"), Cell("100.0%", "n")])
    return table(f"Instructions on {core['core']}", LAYER_COLUMNS, rows)
