"""What a model would cost on each chip, in words, from a report of the bench.

Formats what :func:`wav2small.firmware_bench.bench.bench` found and computes nothing
but shares.
"""

from __future__ import annotations

from typing import Any

_BASIS = {
    "planned": "Planned by the bench: the same C, prices of its stages.",
    "emulated": "Measured by the bench: the same C on an emulated core.",
    "arena": "Planned by the bench for the whole window: the model has no C.",
}


def chip_costs(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe each target of a report.

    Args:
        report: what the bench found

    Returns:
        for each target its name, facts (name and text) and where they come from

    """
    return [_describe(report, budget) for budget in report["budgets"]]


def _describe(report: dict[str, Any], budget: dict[str, Any]) -> dict[str, Any]:
    target = budget["target"]
    checks = {check["name"]: check for check in budget["checks"]}
    core = _core(report, target["core"], budget["basis"])
    facts = [
        ("RAM", _of(checks["ram"], "bytes")),
        ("Flash", _of(checks["flash"], "bytes")),
    ]
    clock = target["clock_hz"]
    if core:
        instructions, cycles = core["instructions"], core["cycles"]
        millions = f"{instructions / 1e6:.1f} M per second of audio"
        facts.append(("Instructions", millions))
    else:
        facts.append(("Instructions", "not known on this core"))
    if core and clock:
        low, high = (f"{100 * count / clock['value']:.0f}" for count in cycles)
        name = f"Busy at {clock['value'] / 1e6:g} MHz"
        facts.append((name, f"{low} to {high} % of the time"))
    facts += _current(target["name"], core["energy"] if core else [])
    facts += _duty_facts(report, target["core"], budget["basis"])
    return {
        "target": target["name"],
        "facts": facts,
        "basis": f"{target['core']}. {_BASIS[budget['basis']]} "
        "The layer of events is not in it.",
    }


def _duty_facts(report: dict[str, Any], name: str, basis: str) -> list[tuple[str, str]]:
    """What a model that listens to speech alone takes in a mix of sounds."""
    cores = report["firmware"]["cores"] if basis == "emulated" else []
    duty = next((core.get("duty") for core in cores if core["core"] == name), None)
    if not duty:
        return []
    mix = ", ".join(f"{part['share']:.0%} {part['sound']}" for part in duty["parts"])
    millions = f"{duty['instructions_per_second'] / 1e6:.1f} M in {mix}"
    facts = [("Speech alone", millions)]
    if duty["microamperes"]:
        low, high = duty["microamperes"]
        text = f"{low:.0f} to {high:.0f} uA on {duty['chip']}"
        facts.append(("Current, speech alone", text))
    return facts


def _current(target: str, chips: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the model takes on the target, or on the first chip with its core."""
    if not chips:
        return []
    chip = next((chip for chip in chips if chip["chip"] == target), chips[0])
    low, high = chip["microamperes"]
    mark = "" if chip["verified"] else ", unverified"
    return [("Current", f"{low:.0f} to {high:.0f} uA on {chip['chip']}{mark}")]


def _core(report: dict[str, Any], name: str, basis: str) -> dict[str, Any] | None:
    """Instructions, cycles and energy of a core, None if they are not known."""
    if basis == "emulated":
        for core in report["firmware"]["cores"]:
            if core["core"] == name:
                return {
                    "instructions": core["figures"]["instructions"],
                    "cycles": core["cycles_per_second"],
                    "energy": core["energy"],
                }
    plan = report["c99"]["plan"]
    for core in plan["cores"] if plan else ():
        if core["core"] == name:
            return {
                "instructions": core["instructions_per_second"],
                "cycles": core["cycles_per_second"],
                "energy": core["energy"],
            }
    return None


def _of(check: dict[str, Any], unit: str) -> str:
    """A quantity and its limit; what is not known is said."""
    actual, limit = check["actual"], check["limit"]
    text = "not known" if actual is None else f"{actual:,.0f}"
    if actual is not None and limit and check["passed"] is None:
        text = f"at least {text}"  # a part is known, and it is not too much
    return f"{text} of {limit:,.0f} {unit}" if limit else f"{text} {unit}"
