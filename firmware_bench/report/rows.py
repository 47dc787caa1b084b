"""Rows of a report that text, Markdown and JUnit XML have in common."""

from __future__ import annotations

from typing import Any

from wav2small.export.base import escape

from .program import program_rows

VERDICTS = {True: "fits", False: "DOES NOT FIT", None: "not checked"}
"""Each verdict in words."""
_LABELS = {
    "ram": "RAM",
    "realtime_factor": "real-time factor",
    "bits": "differing bits",
    "link": "linker",
    "push": "worst push",
    "slice": "worst push of 32",
    "result": "a result",
    "latest": "latest scores",
}
CHECK_COLUMNS = ("target", "check", "needs", "limit", "verdict", "why")
"""Names of the columns of :func:`check_rows`."""
STEP_COLUMNS = (
    "step",
    "name",
    "operators",
    "arithmetic",
    "output",
    "MAC",
    "weights, B",
    "live, B",
)
"""Names of the columns of :func:`step_rows`."""
LAYER_COLUMNS = ("layer", "M per second of audio", "share")
"""Names of the columns of :func:`layer_rows`."""
CLASS_COLUMNS = ("class", "instructions", "share")
"""Names of the columns of :func:`class_rows`."""
RAM_PARTS = {
    "lines": "kept rows",
    "pools": "sums of the pooling",
    "front_end": "front end",
    "scratch": "scratch",
    "stack": "stack",
    "held": "samples that the caller holds",
}
"""What RAM of the C99 consists of, in words."""
_UNITS = {"bytes": "B", "bits": "bit", "instructions": "instr."}


def title(report: dict[str, Any]) -> str:
    """Model, window and verdict in one line."""
    verdict = VERDICTS[report["fits"]].lower()
    if "program" in report:
        return escape.line(f"{report['program']['file']}: {verdict}")
    model, window = report["model"], report["window"]
    return escape.line(f"{model['file']}, window of {window['seconds']:g} s: {verdict}")


def summary_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the model takes: names and values; an empty name continues a row."""
    if "program" in report:
        return program_rows(report)
    model, host = report["model"], report["host"]
    rows = [("file", f"{model['file_bytes']:,} B")]
    rows += _planned_rows(report) if report["c99"]["plan"] else _window_rows(report)
    rows += _emulated_rows(report)
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


def _planned_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
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
    measured = {core["core"] for core in emulated_cores(report)}
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
        if core["core"] not in measured:
            rows += _energy_rows(core.get("energy", []))
    return rows


def _window_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
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


def emulated_cores(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured on each emulated core."""
    return report["firmware"]["cores"] if report["firmware"] else []


def _emulated_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for core in emulated_cores(report):
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
                f"a result {figures['result']:,}, the latest {figures['latest']:,}",
            ),
            (
                "",
                "worst push of "
                + ", ".join(
                    f"{entry['push_samples']} samples {entry['worst']:,} "
                    f"({entry['worst'] / entry['mean']:.2f} of the mean)"
                    for entry in core["slices"]
                ),
            ),
            *_duty_rows(core["duty"]),
            (
                "",
                f"derived: {low / 1e6:.1f} to {high / 1e6:.1f} M cycles per second of "
                f"audio ({core['cycles_source']}); {core['compiler']}",
            ),
            *_energy_rows(core.get("energy", [])),
        ]
    rows += _flash_rows(report)
    if report["firmware"]:
        rows += [
            (entry["target"], f"planned alone: {entry['reason']}")
            for entry in report["firmware"]["planned"]
        ]
        left_out = len(report["firmware"]["signals_left_out"])
        if left_out:
            rows.append(("", f"{left_out} signals are too short for a result"))
    return [(escape.line(name), escape.line(text)) for name, text in rows]


def _flash_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Cycles from flash memory, of the targets whose memory is known."""
    rows = []
    for budget in report["budgets"]:
        flash = budget.get("flash")
        if flash is None:
            continue
        cached, bare = (
            "{:.1f} to {:.1f}".format(*(cycles / 1e6 for cycles in flash[key]))
            for key in ("cycles_with_caches", "cycles_without_caches")
        )
        mark = "" if flash["verified"] else "unverified: "
        text = (
            f"derived, from flash memory: {cached} M cycles per second of audio with "
            f"its caches, {bare} M without ({mark}{flash['source']})"
        )
        rows.append((target_name(budget), text))
    return rows


def _energy_rows(chips: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What chips take from a battery."""
    rows = []
    for chip in chips:
        (low, high), (least, most) = chip["milliwatts"], chip["aid_share"]
        amperes = "{:.0f} to {:.0f} uA".format(*chip["microamperes"])
        mark = "" if chip["verified"] else "unverified: "
        rows.append(
            (
                "",
                f"derived: {chip['chip']} {low:.2f} to {high:.2f} mJ per second of "
                f"audio, {amperes}, {least:.0%} to {most:.0%} of a hearing aid's 1 mA "
                f"at 1.25 V ({mark}{chip['source']})",
            )
        )
    return rows


def _duty_rows(duty: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What listening to speech alone takes."""
    if duty is None:
        return []
    parts = ", ".join(
        f"{part['sound']} {part['instructions_per_second'] / 1e6:.2f} "
        f"({part['heard_share']:.0%} heard)"
        for part in duty["parts"]
    )
    mix = ", ".join(f"{part['share']:.0%} {part['sound']}" for part in duty["parts"])
    derived = f"derived: {duty['instructions_per_second'] / 1e6:.2f} M in {mix}"
    if duty["microamperes"]:
        low, high = duty["microamperes"]
        derived += f"; {low:.0f} to {high:.0f} uA on {duty['chip']} ({duty['source']})"
    listening = f"listening to speech alone, M instructions per second: {parts}"
    return [("", listening), ("", derived)]


def left_out_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What the figures leave out."""
    return [("not counted", "; ".join(report["not_counted"]))]


def check_rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Checks of all targets, with the columns of :data:`CHECK_COLUMNS`."""
    return [
        (
            escape.line(target_name(budget)),
            _LABELS.get(check["name"], check["name"]),
            amount(check, "actual"),
            amount(check, "limit"),
            verdict_of(check),
            _why(check),
        )
        for budget in report["budgets"]
        for check in budget["checks"]
    ]


def verdict_of(check: dict[str, Any]) -> str:
    """Verdict of a check, marked if its limit is unverified."""
    verdict = VERDICTS[check["passed"]]
    marked = check["passed"] is not None and not check["verified"]
    return f"{verdict}, unverified" if marked else verdict


def _why(check: dict[str, Any]) -> str:
    return escape.line(f"{check['basis']}; {check['source']}")


def target_name(budget: dict[str, Any]) -> str:
    """Name of a target, or that there are limits alone."""
    return str(budget["target"]["name"]) if budget["target"] else "given limits"


def amount(check: dict[str, Any], key: str) -> str:
    """A number of a check with its unit; ``-`` if it is not known.

    Args:
        check: the check
        key: ``actual`` or ``limit``

    """
    value = check[key]
    if value is None:
        return "-"
    if check["unit"] == "1":
        return f"{value:.3g}"
    return f"{value:,.0f} {_UNITS[check['unit']]}"


def ram_check(budget: dict[str, Any]) -> dict[str, Any]:
    """Return the check of RAM of a budget."""
    (check,) = (check for check in budget["checks"] if check["name"] == "ram")
    return dict(check)


def ram_parts(report: dict[str, Any], budget: dict[str, Any]) -> dict[str, float]:
    """Bytes of each part of the RAM of the C99, which sum to what the check needs."""
    plan = report["c99"]["plan"]
    held = plan["held_bytes"]
    stack = ram_check(budget)["actual"] - plan["state_bytes"] - held
    return {**plan["state"], "stack": stack, "held": held}


def step_rows(report: dict[str, Any], most: int) -> list[tuple[str, ...]]:
    """Steps of the whole window, the first ones."""
    return [
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
        for step in report["steps"][:most]
    ]


def _shape(output: dict[str, Any]) -> str:
    return f"{output['dtype']} {'x'.join(map(str, output['shape']))}"


def layer_rows(core: dict[str, Any], most: int) -> list[tuple[str, str, str]]:
    """Instructions of each layer on an emulated core."""
    total = core["figures"]["instructions"]
    return [
        (
            layer["name"],
            f"{layer['instructions_per_second'] / 1e6:.3f}",
            f"{layer['instructions_per_second'] / total:.1%}",
        )
        for layer in core["layers"][:most]
    ]


def class_rows(core: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Kinds of instructions that were executed on an emulated core."""
    executed = sum(core["classes"].values())
    return [
        (name, f"{count:,}", f"{count / executed:.1%}")
        for name, count in core["classes"].items()
    ]
