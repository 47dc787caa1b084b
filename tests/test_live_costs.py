"""What a model would cost on a chip, in words."""

from __future__ import annotations

from typing import Any

import pytest

from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.report.rows import _planned_rows, summary_rows
from wav2small.live.costs import chip_costs
from wav2small.models import find_onnx


@pytest.fixture
def report() -> dict[str, Any]:
    """A planned report whose core is said to be measured."""
    found = bench(
        find_onnx("wav2small-rt-mini"), targets=["generic-m4-64k"], host=False
    )
    found["budgets"][0]["basis"] = "emulated"
    core = {
        "core": "cortex-m4",
        "figures": {"instructions": 7.25e6},
        "cycles_per_second": [6.4e6, 12.8e6],
        "energy": [],
    }
    found["firmware"] = {"cores": [core]}
    return found


def test_what_was_measured_takes_the_place_of_the_plan(report: dict[str, Any]) -> None:
    (cost,) = chip_costs(report)
    facts = dict(cost["facts"])
    assert facts["Instructions"] == "7.2 M per second of audio"
    assert facts["Busy at 64 MHz"] == "10 to 20 % of the time"
    assert "Measured" in cost["basis"] and "Current" not in facts


def test_the_duty_cycle_and_its_current_are_said(report: dict[str, Any]) -> None:
    report["firmware"]["cores"][0]["duty"] = {
        "parts": [{"sound": "speech", "share": 0.3}, {"sound": "pause", "share": 0.7}],
        "instructions_per_second": 3.4e6,
        "chip": "nRF52840",
        "microamperes": [210.4, 290.6],
    }
    facts = dict(chip_costs(report)[0]["facts"])
    assert facts["Speech alone"] == "3.4 M in 30% speech, 70% pause"
    assert facts["Current, speech alone"] == "210 to 291 uA on nRF52840"


def test_a_plan_says_what_it_takes_from_a_battery() -> None:
    """3.3 mA at 64 MHz for as many cycles as are planned; hearsay is marked."""
    found = bench(
        find_onnx("wav2small-rt-mini"),
        targets=["generic-m4-64k", "apollo3b"],
        host=False,
    )
    generic, apollo = (dict(cost["facts"]) for cost in chip_costs(found))
    (core,) = found["c99"]["plan"]["cores"]
    low, high = (3300 / 64 * cycles / 1e6 for cycles in core["cycles_per_second"])
    assert generic["Current"] == f"{low:.0f} to {high:.0f} uA on nrf52840"
    assert apollo["Current"].endswith(" uA on apollo3b, unverified")
    rows = [text for _, text in summary_rows(found)]
    assert sum(f"{low:.0f} to {high:.0f} uA" in text for text in rows) == 1
    # what was measured takes the place of the plan
    rows = _planned_rows({**found, "firmware": {"cores": [{"core": core["core"]}]}})
    assert not any(" uA" in text for _, text in rows)


def test_a_plan_says_that_it_is_one() -> None:
    path = find_onnx("wav2small-rt-mini")
    (cost,) = chip_costs(bench(path, targets=["gap9"], host=False))
    assert "Planned" in cost["basis"]
    assert dict(cost["facts"])["Instructions"] == "not known on this core"
