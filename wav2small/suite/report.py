"""A report of the suite as text and as one page of HTML.

Formats what :func:`wav2small.suite.run_suite` found and computes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from wav2small.export.base.escape import html as escape

from ..adv import DIMENSIONS
from .bench import Outcome
from .rows import CATEGORY

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 74rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid #ddd; padding: .22rem .55rem; text-align: left; }
th { background: #f4f4f4; }
.n { text-align: right; white-space: nowrap; }
.passed { background: #dcf0e5; } .failed { background: #f8dcda; }
small { color: #555; } img { max-width: 100%; }
"""


def summary(report: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    """Count passed, failed and skipped of each group, in their order."""
    entries = [*report["tests"], *report["skipped"]]
    names = list(dict.fromkeys(entry["group"] for entry in entries))
    return [
        (
            name,
            sum(t["passed"] is True for t in report["tests"] if t["group"] == name),
            sum(t["passed"] is False for t in report["tests"] if t["group"] == name),
            sum(entry["group"] == name for entry in report["skipped"]),
        )
        for name in names
    ]


def to_text(report: dict[str, Any]) -> str:
    """Format the counts by group, and what failed, for a terminal."""
    groups = summary(report)
    width = max(len(name) for name, *_ in groups)
    lines = [f"{'':<{width}} passed failed skipped"]
    for name, *counts in [*groups, ("all", *report["summary"].values())]:
        lines.append("{:<{}} {:6} {:6} {:7}".format(name, width, *counts))
    lines.append("")
    for (group, name, figure), tests in _rows(report["tests"]):
        failed = [test for test in tests if test["passed"] is False]
        if failed:
            cells = ", ".join(f"{t['dimension']} {_value(t)}" for t in failed)
            lines.append(
                f"failed: {group}: {name}: {figure}: {cells} ({_limit(failed[0])})"
            )
    lines += [
        f"skipped: {entry['group']}: {entry['name']}: {entry['reason']}"
        for entry in report["skipped"]
    ]
    return "\n".join(lines)


def to_html(outcome: Outcome) -> str:
    """Format a report, with pictures, as one page that needs no other file."""
    from .pictures import draw_distribution, draw_robustness, draw_scatter

    report = outcome.report
    title = escape(f"Test bench: {report['about'].get('model', 'model')}")
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{title}</h1>",
        *_introduction(report),
        "<h2>Summary</h2>",
        *_table(
            ["group", "passed", "failed", "skipped"],
            [
                [name, *(_Cell("n", str(count)) for count in counts)]
                for name, *counts in summary(report)
            ],
        ),
        "<h2>Agreement</h2>",
        _image(draw_scatter(outcome), "scores of the model over each reference"),
        "<h2>Distribution</h2>",
        _image(draw_distribution(outcome), "distribution of scores"),
        "<h2>Robustness</h2>",
        "<p>Green passed, red failed; the mark is the threshold.</p>",
        _image(draw_robustness(report), "share of scores unchanged under each change"),
        *_groups(report["tests"]),
    ]
    if report["skipped"]:
        keys = ("group", "name", "reason")
        rows = [[entry[key] for key in keys] for entry in report["skipped"]]
        parts += ["<h2>Skipped</h2>", *_table(["group", "test", "reason"], rows)]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _introduction(report: dict[str, Any]) -> list[str]:
    """Say what was tested, and how the figures are to be read."""
    settings, counts = report["settings"], report["summary"]
    return [
        f"<p><b>{counts['passed']} passed, {counts['failed']} failed</b>, "
        f"{counts['skipped']} skipped. {settings['clips']} clips, "
        f"{settings['robustness_clips']} of them for robustness, "
        f"seed {settings['seed']}.</p>",
        *_table([], [list(item) for item in report["about"].items()]),
        "<p>A score is unchanged where it moves by less than "
        f"{settings['unchanged_below']:g}. A sound reads as strong emotion in a "
        f"dimension where its score is at most {settings['strong_at'][0]:g} or at "
        f"least {settings['strong_at'][1]:g}. Fairness and the change of CCC refer "
        f"to the scores by {escape(settings['reference'])}. In brackets 95 % "
        "intervals by bootstrap over clips; the value alone decides. Figures "
        "without a threshold are for information.</p>",
    ]


def _groups(tests: list[dict[str, Any]]) -> list[str]:
    """Make a table of each group of tests, with its heading."""
    parts = []
    for group, members in groupby(tests, lambda test: test["group"]):
        tests_of_group = list(members)
        of_categories = all(t["dimension"] == CATEGORY for t in tests_of_group)
        columns = (CATEGORY,) if of_categories else DIMENSIONS
        rows: list[list[str | _Cell]] = [
            [
                name,
                figure,
                _Cell("n", _limit(cells[0])),
                *_cells(cells, columns),
                _Cell("n", str(max(test["clips"] for test in cells))),
            ]
            for (_, name, figure), cells in _rows(tests_of_group)
        ]
        header = ["test", "figure", "threshold", *columns, "clips"]
        parts.append(f"<h2>{escape(group[:1].upper() + group[1:])}</h2>")
        parts += _table(header, rows)
    return parts


def _rows(
    tests: list[dict[str, Any]],
) -> list[tuple[tuple[str, str, str], list[dict[str, Any]]]]:
    """Gather the dimensions of one figure, in the order of the figures."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for test in tests:
        key = test["group"], test["name"], test["figure"]
        rows.setdefault(key, []).append(test)
    return list(rows.items())


class _Cell(NamedTuple):
    """A cell with a style; its note is small."""

    style: str
    text: str
    note: str = ""


def _cells(tests: list[dict[str, Any]], columns: Sequence[str]) -> list[_Cell]:
    found = {test["dimension"]: test for test in tests}
    cells = []
    for dimension in columns:
        test = found.get(dimension)
        if not test:
            cells.append(_Cell("n", "-"))
            continue
        # a sign besides the colour, for people who cannot tell the colours apart
        kind, sign = {
            True: ("n passed", "✓ "),
            False: ("n failed", "✗ "),
            None: ("n", ""),
        }[test["passed"]]
        interval = test["interval"]
        note = "[{:.2f}, {:.2f}]".format(*interval) if interval else ""
        cells.append(_Cell(kind, sign + _value(test), note))
    return cells


def _table(header: list[str], rows: Sequence[Sequence[str | _Cell]]) -> list[str]:
    """Make a table of plain texts and of cells."""
    lines = ["<table>"]
    if header:
        lines.append("<tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr>")
    for row in rows:
        line = ""
        for cell in row:
            if isinstance(cell, str):
                line += f"<td>{escape(cell)}</td>"
            else:
                note = f" <small>{cell.note}</small>" if cell.note else ""
                line += f'<td class="{cell.style}">{escape(cell.text)}{note}</td>'
        lines.append(f"<tr>{line}</tr>")
    return [*lines, "</table>"]


def _image(png: bytes, text: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<p><img alt="{escape(text)}" src="data:image/png;base64,{data}"></p>'


def _value(test: dict[str, Any]) -> str:
    return "not defined" if test["value"] is None else f"{test['value']:.3f}"


def _limit(test: dict[str, Any]) -> str:
    if test["threshold"] is None:
        return ""
    sign = {">=": "≥", "<=": "≤"}[test["sense"]]
    return f"{sign} {test['threshold']:g}"
