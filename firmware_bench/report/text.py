"""A report as text for a terminal.

Formats what :func:`wav2small.firmware_bench.bench.bench` found and computes nothing.
"""

from __future__ import annotations

from typing import Any

from .rows import CHECK_COLUMNS, check_rows, left_out_rows, summary_rows, title


def to_text(report: dict[str, Any]) -> str:
    """Format a report for a terminal."""
    lines = [title(report), ""]
    summary = summary_rows(report)
    width = max(len(name) for name, _ in summary)
    lines += [f"{name:<{width}}  {value}" for name, value in summary]
    rows = check_rows(report)
    widths = [
        max(map(len, column)) for column in zip(CHECK_COLUMNS, *rows, strict=True)
    ]
    lines.append("")
    for row in (CHECK_COLUMNS, *rows):
        cells = [
            text.rjust(width) if 1 < position < 4 else text.ljust(width)
            for position, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines += ["", *(f"{name}: {text}" for name, text in left_out_rows(report))]
    return "\n".join(lines)
