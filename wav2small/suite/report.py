"""A report of the suite as text and as one page of HTML.

Formats what :func:`wav2small.suite.run_suite` found and computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from wav2small.export.base.document import (
    NOTHING,
    BarPart,
    Cell,
    Markup,
    bar,
    document,
    figure,
    heading,
    key,
    panels,
    paragraph,
    table,
)
from wav2small.export.base.drawings import scatter, stairs

from ..adv import DIMENSIONS
from ..metrics import concordance_cc
from .bench import Outcome
from .rows import CATEGORY


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
    for (group, name, kind), tests in _rows(report["tests"]):
        failed = [test for test in tests if test["passed"] is False]
        if failed:
            cells = ", ".join(f"{t['dimension']} {_value(t)}" for t in failed)
            lines.append(
                f"failed: {group}: {name}: {kind}: {cells} ({_limit(failed[0])})"
            )
    lines += [
        f"skipped: {entry['group']}: {entry['name']}: {entry['reason']}"
        for entry in report["skipped"]
    ]
    return "\n".join(lines)


def to_html(outcome: Outcome) -> str:
    """Format a report, with drawings, as one document that needs no other file."""
    report = outcome.report
    title = f"Test bench: {report['about'].get('model', 'model')}"
    return document(title, _parts(outcome))


def _parts(outcome: Outcome) -> Iterator[Markup]:
    report = outcome.report
    yield from _introduction(report)
    yield heading("Summary")
    rows: list[list[str | Cell]] = [
        [name, *(Cell(str(count), "n") for count in counts)]
        for name, *counts in summary(report)
    ]
    yield table("Summary", ("group", "passed", "failed", "skipped"), rows)
    yield heading("Agreement")
    yield panels(_scatters(outcome))
    yield heading("Distribution")
    yield panels(_distributions(outcome))
    colours = [*map(str, range(1, 1 + len(outcome.references))), "0"]
    names = [*outcome.references, "model, filled"]
    yield key(dict(zip(colours, names, strict=True)))
    yield from _groups(report["tests"])
    if report["skipped"]:
        columns = ("group", "name", "reason")
        skipped = [[entry[column] for column in columns] for entry in report["skipped"]]
        yield heading("Skipped")
        yield table("Skipped", ("group", "test", "reason"), skipped)


def _scatters(outcome: Outcome) -> Iterator[Markup]:
    """The model's scores over those of each reference."""
    for name, truth in outcome.references.items():
        for axis, dimension in enumerate(DIMENSIONS):
            known = ~np.isnan(truth[:, axis])
            t, p = truth[known, axis], outcome.scores[known, axis]
            caption = (
                f"{dimension}: CCC {concordance_cc(t, p):.3f}; to the right the score "
                f"by {name}, upwards by the model"
            )
            yield figure(scatter(caption, t.tolist(), p.tolist()), caption)


def _distributions(outcome: Outcome) -> Iterator[Markup]:
    """How many of the scores of model and references lie where."""
    series = [*outcome.references.values(), outcome.scores]
    for axis, dimension in enumerate(DIMENSIONS):
        lines = []
        for number, scores in enumerate(series, 1):
            values = scores[~np.isnan(scores[:, axis]), axis]
            counts = np.histogram(np.clip(values, 0, 1), np.linspace(0, 1, 11))[0]
            colour = str(number % len(series))
            lines.append((colour, (counts / max(len(values), 1)).tolist()))
        caption = f"{dimension}: share of clips by score"
        yield figure(stairs(caption, lines), caption)


def _introduction(report: dict[str, Any]) -> Iterator[Markup]:
    """Say what was tested, and how the figures are to be read."""
    settings, counts = report["settings"], report["summary"]
    yield paragraph(
        f"{counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped. {settings['clips']} clips, "
        f"{settings['robustness_clips']} of them for robustness, "
        f"seed {settings['seed']}."
    )
    yield table("What was tested", (), list(report["about"].items()))
    yield paragraph(
        "A score is unchanged where it moves by less than "
        f"{settings['unchanged_below']:g}. A sound reads as strong emotion in a "
        f"dimension where its score is at most {settings['strong_at'][0]:g} or at "
        f"least {settings['strong_at'][1]:g}. Fairness and the change of CCC refer "
        f"to the scores by {settings['reference']}. In brackets 95 % "
        "intervals by bootstrap over clips; the value alone decides. A bar is a "
        "share, and its mark the threshold. Figures without a threshold are for "
        "information.",
        "note",
    )


def _groups(tests: list[dict[str, Any]]) -> Iterator[Markup]:
    """Make a table of each group of tests, with its heading."""
    for group, members in groupby(tests, lambda test: test["group"]):
        tests_of_group = list(members)
        of_categories = all(t["dimension"] == CATEGORY for t in tests_of_group)
        columns = (CATEGORY,) if of_categories else DIMENSIONS
        rows: list[list[str | Cell]] = [
            [
                name,
                kind,
                Cell(_limit(cells[0]), "n"),
                *_cells(cells, columns),
                Cell(str(max(test["clips"] for test in cells)), "n"),
            ]
            for (_, name, kind), cells in _rows(tests_of_group)
        ]
        title = group[:1].upper() + group[1:]
        yield heading(title)
        header = ["test", "figure", "threshold", *columns, "clips"]
        yield table(title, header, rows)


def _rows(
    tests: list[dict[str, Any]],
) -> list[tuple[tuple[str, str, str], list[dict[str, Any]]]]:
    """Gather the dimensions of one figure, in the order of the figures."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for test in tests:
        key = test["group"], test["name"], test["figure"]
        rows.setdefault(key, []).append(test)
    return list(rows.items())


def _cells(tests: list[dict[str, Any]], columns: Sequence[str]) -> list[Cell]:
    found = {test["dimension"]: test for test in tests}
    cells = []
    for dimension in columns:
        test = found.get(dimension)
        if not test:
            cells.append(Cell("-", "n"))
            continue
        # a sign besides the colour, for people who cannot tell the colours apart
        kind, sign, colour = {
            True: ("n passed", "✓ ", "p"),
            False: ("n failed", "✗ ", "f"),
            None: ("n", "", "o"),
        }[test["passed"]]
        interval = test["interval"]
        note = "[{:.2f}, {:.2f}]".format(*interval) if interval else ""
        drawing = NOTHING
        if test["figure"].startswith("share ") and test["value"] is not None:
            drawing = bar([BarPart(colour, test["value"])], test["threshold"])
        cells.append(Cell(sign + _value(test), kind, drawing, note))
    return cells


def _value(test: dict[str, Any]) -> str:
    return "not defined" if test["value"] is None else f"{test['value']:.3f}"


def _limit(test: dict[str, Any]) -> str:
    if test["threshold"] is None:
        return ""
    sign = {">=": "≥", "<=": "≤"}[test["sense"]]
    return f"{sign} {test['threshold']:g}"
