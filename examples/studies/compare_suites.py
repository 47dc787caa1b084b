"""Reports of ``evaluate --suite`` side by side, as a Markdown table.

    python examples/studies/compare_suites.py NAME=REPORT.json ...

Of shares that were unchanged, and of those that read as strong emotion,
the mean over a group's tests and, in brackets, the worst of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from wav2small.adv import DIMENSIONS

ROWS = (
    ("correctness: categories", "share in the expected range", "all"),
    ("robustness: small changes", "share unchanged", None),
    ("robustness: noise", "share unchanged", None),
    ("robustness: channel", "share unchanged", None),
    ("non-speech", "share strong, model alone", None),
)
"""Group, figure and test; all tests of the group where it is None."""


def cell(report: dict[str, Any], group: str, figure: str, test: str | None) -> str:
    """Return a group's figures: mean and worst of each dimension."""
    cells = []
    for name in DIMENSIONS:
        found = [
            entry
            for entry in report["tests"]
            if (entry["group"], entry["figure"]) == (group, figure)
            and entry["dimension"] == name
            and test in (None, entry["name"])
            and entry["passed"] is not None
        ]
        values = [entry["value"] for entry in found]
        if len(values) == 1:
            cells.append(f"{values[0]:.2f}")
            continue
        worst = max(values) if found[0]["sense"] == "<=" else min(values)
        cells.append(f"{sum(values) / len(values):.2f} ({worst:.2f})")
    return " / ".join(cells)


def compare(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of the table."""
    lines = [
        f"| A / D / V | {' | '.join(reports)} |",
        "|---" * (len(reports) + 1) + "|",
    ]
    for group, figure, test in ROWS:
        cells = [cell(report, group, figure, test) for report in reports.values()]
        title = f"{group.rpartition(': ')[2]}: {figure}"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    counts = []
    for report in reports.values():
        passed = [
            entry["passed"]
            for entry in report["tests"]
            if entry["passed"] is not None  # those without a threshold
        ]
        counts.append(f"{sum(passed)} of {len(passed)}")
    return [*lines, f"| tests passed | {' | '.join(counts)} |"]


def main() -> None:
    pairs = [argument.split("=", 1) for argument in sys.argv[1:]]
    reports = {name: json.loads(Path(path).read_text()) for name, path in pairs}
    print("\n".join(compare(reports)))


if __name__ == "__main__":
    main()
