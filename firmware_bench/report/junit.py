"""The checks of a report as JUnit XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from wav2small.export.base import escape

from .rows import amount, target_name, title


def to_junit(report: dict[str, Any]) -> str:
    """Format the checks as JUnit XML, one suite for each target.

    A check that failed is a failure,
    one that was not asked for is skipped,
    and one that was asked for and could not be made is an error.
    """
    root = ElementTree.Element("testsuites", name=escape.line(title(report)))
    for budget in report["budgets"]:
        name = escape.line(target_name(budget))
        checks = budget["checks"]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(checks)),
            failures=str(sum(check["passed"] is False for check in checks)),
            skipped=str(sum(_is_open(check, False) for check in checks)),
            errors=str(sum(_is_open(check, True) for check in checks)),
        )
        for check in checks:
            _add_case(suite, name, check)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _add_case(suite: ElementTree.Element, target: str, check: dict[str, Any]) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=target, name=check["name"]
    )
    message = escape.line(
        f"needs {amount(check, 'actual')} ({check['basis']}), "
        f"limit {amount(check, 'limit')} ({check['source']})"
    )
    if check["passed"] is None:
        kind = "error" if check["asked"] else "skipped"
        ElementTree.SubElement(case, kind, message=message)
    elif not check["passed"]:
        ElementTree.SubElement(case, "failure", message=message)
    ElementTree.SubElement(case, "system-out").text = message


def _is_open(check: dict[str, Any], asked: bool) -> bool:
    """Whether a check could not be made that was, or was not, asked for."""
    return check["passed"] is None and check["asked"] is asked
