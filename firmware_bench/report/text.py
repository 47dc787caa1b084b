"""A report as text, Markdown and JUnit XML.

Formats what :func:`wav2small.firmware_bench.bench.bench` found and computes nothing.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from wav2small.export.base import escape

VERDICTS = {True: "fits", False: "DOES NOT FIT", None: "not checked"}
"""What is said of each verdict."""
_LABELS = {
    "ram": "RAM",
    "realtime_factor": "real-time factor",
    "bits": "differing bits",
    "link": "linker",
    "push": "worst push",
    "result": "a result",
}
_UNITS = {"bytes": "B", "bits": "bit", "instructions": "instr."}
_MARKDOWN_STEPS = 200
"""Rows of a table; summaries and comments of a CI have a limit of bytes."""


def to_text(report: dict[str, Any]) -> str:
    """Format a report for a terminal."""
    lines = [_title(report), ""]
    summary = _summary(report)
    width = max(len(name) for name, _ in summary)
    lines += [f"{name:<{width}}  {value}" for name, value in summary]
    rows = _checks(report)
    header = ("target", "check", "needs", "limit", "verdict", "why")
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines.append("")
    for row in (header, *rows):
        cells = [
            text.rjust(width) if 1 < position < 4 else text.ljust(width)
            for position, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines += ["", *(f"{name}: {text}" for name, text in _left_out(report))]
    return "\n".join(lines)


def to_markdown(report: dict[str, Any]) -> str:
    """Format a report for a CI summary or a comment."""
    lines = [f"## {escape.markdown(_title(report))}", ""]
    lines += _table(("", ""), _summary(report))
    header = ("target", "check", "needs", "limit", "verdict", "why")
    lines += ["", *_table(header, _checks(report)), ""]
    steps = report["steps"]
    lines += ["<details><summary>Steps</summary>", ""]
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
        for step in steps[:_MARKDOWN_STEPS]
    ]
    columns = (
        "step",
        "name",
        "operators",
        "arithmetic",
        "output",
        "MAC",
        "weights, B",
        "live, B",
    )
    lines += _table(columns, rows)
    if len(steps) > _MARKDOWN_STEPS:
        lines += ["", f"{len(steps) - _MARKDOWN_STEPS} more steps are in the JSON."]
    lines += ["", "</details>", ""]
    for core in _cores(report):
        lines += _core_tables(core)
    for name, text in _left_out(report):
        lines += [f"{name[0].upper()}{name[1:]}: {escape.markdown(text)}.", ""]
    lines.pop()
    return "\n".join(lines) + "\n"


def to_junit(report: dict[str, Any]) -> str:
    """Format the checks as JUnit XML, one suite for each target.

    A check that failed is a failure,
    one that nobody asked for is skipped,
    and one that was asked for and could not be made is an error.
    """
    root = ElementTree.Element("testsuites", name=escape.line(_title(report)))
    for budget in report["budgets"]:
        name = escape.line(_target_name(budget))
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
            case = ElementTree.SubElement(
                suite, "testcase", classname=name, name=check["name"]
            )
            message = escape.line(
                f"needs {_amount(check, 'actual')} ({check['basis']}), "
                f"limit {_amount(check, 'limit')} ({check['source']})"
            )
            if check["passed"] is None:
                kind = "error" if check["asked"] else "skipped"
                ElementTree.SubElement(case, kind, message=message)
            elif not check["passed"]:
                ElementTree.SubElement(case, "failure", message=message)
            ElementTree.SubElement(case, "system-out").text = message
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _is_open(check: dict[str, Any], asked: bool) -> bool:
    return check["passed"] is None and check["asked"] is asked


def _title(report: dict[str, Any]) -> str:
    model, window = report["model"], report["window"]
    verdict = VERDICTS[report["fits"]].lower()
    return escape.line(f"{model['file']}, window of {window['seconds']:g} s: {verdict}")


def _summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    model, host = report["model"], report["host"]
    rows = [("file", f"{model['file_bytes']:,} B")]
    rows += _planned(report) if report["c99"]["plan"] else _whole(report)
    rows += _emulated(report)
    if host:
        memory = "memory not known"
        if host["memory_bytes"] is not None:
            memory = f"{host['memory_bytes'] / 2**20:.1f} MiB resident"
        rows.append(
            (
                "host",
                f"{1000 * host['median_seconds']:.2f} ms (median of {host['runs']}, "
                f"one thread), {memory}, onnxruntime {host['onnxruntime']}, "
                f"{escape.line(host['machine'])}",
            )
        )
    return rows


def _planned(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the C99 takes."""
    plan = report["c99"]["plan"]
    rows = [
        (
            "C99",
            f"{plan['state_bytes']:,} B state; {plan['macs_per_second'] / 1e6:.2f} M "
            "multiply-accumulates per second of audio; "
            f"look-ahead {plan['look_ahead_seconds']:.3g} s",
        )
    ]
    if plan["held_bytes"]:
        rows.append(
            (
                "",
                f"the caller holds {plan['held_bytes']:,} B of samples: "
                f"{plan['held_bytes_per_second']:,} B for each second of the window, "
                "which the model hears twice",
            )
        )
    for core in plan["cores"]:
        low, high = core["cycles_per_second"]
        rows.append(
            (
                "planned",
                f"{core['core']}: {core['ram_bytes']:,} B RAM, "
                f"{core['flash_bytes']:,} B flash, "
                f"{core['instructions_per_second'] / 1e6:.2f} M instructions, "
                f"{low / 1e6:.1f} to {high / 1e6:.1f} M cycles per second of audio",
            )
        )
    return rows


def _whole(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What an execution of the whole window takes where there is no C99."""
    arena, flash, compute = report["arena"], report["flash"], report["compute"]
    rows = [
        ("C99", escape.line(f"none: {report['c99']['reason']}")),
        (
            "arena",
            f"{arena['bytes']:,} B, {arena['schedule']} at once "
            f"(lower bound {arena['lower_bound_bytes']:,}, gap {arena['gap_bytes']:,})",
        ),
        (
            "flash",
            f"{flash['total_bytes']:,} B ({flash['stored_bytes']:,} constants, "
            f"{flash['generated_bytes']:,} generated tables, "
            f"{flash['structure_bytes']:,} graph)",
        ),
        (
            "work",
            f"{compute['macs_per_second'] / 1e6:.2f} M multiply-accumulates per second "
            f"of audio; per window {compute['integer_macs'] / 1e6:.2f} M in 8 bits, "
            f"{compute['float_macs'] / 1e6:.2f} M in floats",
        ),
    ]
    if compute["uncounted"]:
        rows.append(
            ("", "not known for " + escape.line(", ".join(compute["uncounted"])))
        )
    if compute["transforms"]:
        transforms = escape.line(", ".join(compute["transforms"]))
        rows.append(("", f"as a fast Fourier transform: {transforms}"))
    return rows


def _cores(report: dict[str, Any]) -> list[dict[str, Any]]:
    return report["firmware"]["cores"] if report["firmware"] else []


def _emulated(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for core in _cores(report):
        figures, results = core["figures"], len(core["signals"])
        low, high = core["cycles_per_second"]
        rows += [
            (
                core["core"],
                f"{core['differing_bits']} bits differ from the reference in {results} "
                f"results, golden vectors {core['golden_vectors']}",
            ),
            (
                "",
                f"{figures['ram']:,} B RAM ({core['state_bytes']:,} state, "
                f"{core['stack_bytes']:,} stack, {core['held_bytes']:,} samples held), "
                f"{figures['flash']:,} B flash ({core['constant_bytes']:,} constants)",
            ),
            (
                "",
                f"{figures['instructions'] / 1e6:.2f} M instructions per second of "
                f"audio, worst push {figures['push']:,} "
                f"({figures['push'] / core['mean_push']:.2f} of the mean), "
                f"a result {figures['result']:,}",
            ),
            (
                "",
                f"derived: {low / 1e6:.1f} to {high / 1e6:.1f} M cycles per second of "
                f"audio ({core['cycles_source']}); {core['compiler']}",
            ),
        ]
    if report["firmware"]:
        rows += [
            (entry["target"], f"planned alone: {entry['reason']}")
            for entry in report["firmware"]["planned"]
        ]
        left_out = len(report["firmware"]["signals_left_out"])
        if left_out:
            rows.append(("", f"{left_out} signals are too short for a result"))
    return [(escape.line(name), escape.line(text)) for name, text in rows]


def _core_tables(core: dict[str, Any]) -> list[str]:
    total = core["figures"]["instructions"]
    rows = [
        (
            layer["name"],
            f"{layer['instructions_per_second'] / 1e6:.3f}",
            f"{layer['instructions_per_second'] / total:.1%}",
        )
        for layer in core["layers"][:_MARKDOWN_STEPS]
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


def _left_out(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the figures leave out."""
    return [("not counted", "; ".join(report["not_counted"]))]


def _checks(report: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            escape.line(_target_name(budget)),
            _LABELS.get(check["name"], check["name"]),
            _amount(check, "actual"),
            _amount(check, "limit"),
            verdict_of(check),
            _why(check),
        )
        for budget in report["budgets"]
        for check in budget["checks"]
    ]


def verdict_of(check: dict[str, Any]) -> str:
    """Verdict of a check, marked where nobody verified its limit."""
    verdict = VERDICTS[check["passed"]]
    marked = check["passed"] is not None and not check["verified"]
    return f"{verdict}, unverified" if marked else verdict


def _why(check: dict[str, Any]) -> str:
    return escape.line(f"{check['basis']}; {check['source']}")


def _target_name(budget: dict[str, Any]) -> str:
    return str(budget["target"]["name"]) if budget["target"] else "given limits"


def _amount(check: dict[str, Any], key: str) -> str:
    value = check[key]
    if value is None:
        return "-"
    if check["unit"] == "1":
        return f"{value:.3g}"
    return f"{value:,.0f} {_UNITS[check['unit']]}"


def _shape(output: dict[str, Any]) -> str:
    return f"{output['dtype']} {'x'.join(map(str, output['shape']))}"


def _table(header: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [
        "| " + " | ".join(escape.markdown(cell) for cell in row) + " |"
        for row in (header, *rows)
    ]
    return [lines[0], "|---" * len(header) + "|", *lines[1:]]
