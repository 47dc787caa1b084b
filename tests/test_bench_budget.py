import dataclasses

import numpy as np
import pytest

from wav2small.export.c99 import Memory
from wav2small.firmware_bench import budget
from wav2small.firmware_bench.budget import (
    check_firmware,
    combine,
    estimate_realtime_factor,
)
from wav2small.firmware_bench.checks import REAL_TIME
from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.limits import Limits
from wav2small.firmware_bench.plan import firmware as planning
from wav2small.firmware_bench.plan.arena import ArenaPlan
from wav2small.firmware_bench.plan.cost import Cost, Flash
from wav2small.firmware_bench.plan.firmware import FirmwarePlan
from wav2small.firmware_bench.run.emulation import Emulation, Slice
from wav2small.firmware_bench.run.host import HostMeasurement
from wav2small.firmware_bench.run.measurement import FIGURES, Measurement, Run, Signal
from wav2small.firmware_bench.target import Figure, Target

PLAN = ArenaPlan((), 1000, 1000, 16)
COST = Cost((), 1_000_000, 100_000, (), Flash(300, 150, 50))
HOST = HostMeasurement("here", "1.0", 30, 0.02, 0.01, None)


def target(verified=True, **changes):
    fields = {
        "clock_hz": Figure(10_000_000, "sheet", verified),
        "ram_bytes": Figure(1000, "sheet", verified),
        "flash_bytes": Figure(499, "sheet", verified),
        **changes,
    }
    return Target("t", changes.pop("core", "cortex-m4"), **fields)


def check_budget(*needed, host=None, firmware=None, target=None, **limits):
    return budget.check_budget(
        *needed, host=host, firmware=firmware, target=target, limits=Limits(**limits)
    )


def results(report):
    return [check.passed for check in report.checks]


def test_a_limit_that_is_just_met_fits():
    report = check_budget(PLAN, COST, 1.0, target=target())
    assert results(report) == [True, False, True]  # real time, unless asked for
    assert report.checks[2].limit == REAL_TIME == 1
    assert report.fits is False
    assert [check.actual for check in report.checks][:2] == [1000, 500]
    assert report.checks[0].source == "sheet"


def test_unverified_figures_decide_and_are_marked():
    report = check_budget(PLAN, COST, 1.0, target=target(False), realtime_factor=0.001)
    assert results(report) == [True, False, False]
    assert report.fits is False
    assert [check.verified for check in report.checks] == [False, False, False]
    assert [check.limit for check in report.checks] == [1000, 499, 0.001]
    assert report.checks[1].source == "unverified: sheet"


def test_given_limits_take_the_place_of_figures():
    report = check_budget(PLAN, COST, 1.0, target=target(False), ram=999, flash=500)
    assert results(report) == [False, True, True]
    assert report.checks[0].source == "given limit"
    assert [check.verified for check in report.checks] == [True, True, False]


def test_limits_alone():
    report = check_budget(PLAN, COST, 2.0, host=HOST, ram=1000, realtime_factor=0.01)
    assert results(report) == [True, None, True]
    assert report.checks[1].source == "not checked (no limit known)"
    assert report.checks[2].actual == 0.01
    assert report.checks[2].basis == "measured on this machine"
    # nobody asked for flash memory
    assert [check.asked for check in report.checks] == [True, False, True]
    assert report.fits is True
    assert check_budget(PLAN, COST, 2.0).fits is None  # nothing was asked
    slow = check_budget(PLAN, COST, 1.0, host=HOST, realtime_factor=0.0199)
    assert results(slow) == [None, None, False] and slow.fits is False
    blind = check_budget(PLAN, COST, 1.0, realtime_factor=1)
    assert results(blind) == [None, None, None] and blind.fits is None


def test_estimate_by_hand():
    low, high = estimate_realtime_factor(COST, target(), 2.0)
    core = CORES["cortex-m4"].estimate
    assert low == pytest.approx((core.integer.low + 0.1 * core.floating.low) / 20)
    assert high == pytest.approx((core.integer.high + 0.1 * core.floating.high) / 20)


def test_the_upper_end_decides():
    low, high = estimate_realtime_factor(COST, target(), 1.0)
    for limit, passed in ((high, True), ((low + high) / 2, False), (low / 2, False)):
        report = check_budget(PLAN, COST, 1.0, target=target(), realtime_factor=limit)
        assert report.checks[2].passed is passed
        assert report.checks[2].basis.startswith("estimate, ")


@pytest.mark.parametrize(
    ("chip", "cost", "reason"),
    [
        (target(clock_hz=None), COST, "clock not known"),
        (
            dataclasses.replace(target(), core="dsp"),
            COST,
            "no estimate for core dsp",
        ),
        (
            target(),
            dataclasses.replace(COST, uncounted=("FFT_3",)),
            "operations without a count: 1",
        ),
        (None, COST, "neither target nor host measurement"),
    ],
)
def test_no_estimate_is_said(chip, cost, reason):
    report = check_budget(PLAN, cost, 1.0, target=chip, realtime_factor=1, flash=999)
    assert report.fits is None  # what was asked is not known
    check = report.checks[2]
    assert (check.passed, check.actual) == (None, None)
    assert check.source == f"not checked ({reason})"


def test_unknown_memory_is_said():
    report = check_budget(PLAN, COST, 1.0, target=target(ram_bytes=None), flash=999)
    assert report.fits is None
    check = report.checks[0]
    assert (check.passed, check.limit) == (None, None)
    assert check.source == "not checked (no limit known)"


@pytest.mark.parametrize("clock", [64_000, 4_000_000])
def test_what_is_slower_than_real_time_fits_only_if_asked_for(clock):
    chip = target(clock_hz=Figure(clock, "sheet", True), flash_bytes=None)
    _, high = estimate_realtime_factor(COST, chip, 1.0)
    report = check_budget(PLAN, COST, 1.0, target=chip, flash=500)
    assert report.checks[2].passed is (high <= 1)
    assert report.fits is (high <= 1)
    asked = check_budget(PLAN, COST, 1.0, target=chip, flash=500, realtime_factor=99)
    assert asked.fits is True


def test_what_combine_says():
    assert combine([True, True]) is True
    assert combine([True, None]) is None
    assert combine([None, False, True]) is False
    assert combine([]) is None


# -- the plan of the C99 -----------------------------------------------------


def planned(**changes):
    fields = {
        "memory": Memory(40, 8, 10, 24),
        "tables_bytes": 300,
        "structs": {},
        "parts": frozenset(),
        "work": {"FRONT": 1000.0},
        "held_bytes_per_second": 0,
        "stages": (),
        "look_ahead_seconds": 0.1,
    }
    return FirmwarePlan(**{**fields, **changes})


PRICES = {
    "structs": {},
    "cores": {
        "cortex-m4": {
            "stack_bytes": 400,
            "code": {"always": 200},
            "work": {"FRONT": [10, 20, 30]},
        },
        "cortex-m3": {
            "stack_bytes": 900,
            "code": {"always": 250},
            "work": {"FRONT": [20, 30, 40]},
        },
    },
}


@pytest.fixture
def prices(monkeypatch):
    monkeypatch.setattr(planning, "PRICES", PRICES)


def test_the_plan_takes_the_place_of_the_arena(prices):
    report = check_budget(PLAN, COST, 1.0, firmware=planned(), target=target())
    # 88 of state, stack; code and tables; cycles
    assert [check.actual for check in report.checks] == [488, 500, 0.003]
    assert results(report) == [True, False, True]
    assert report.checks[0].basis == "planned: 88 state + 400 stack"


def test_samples_that_the_caller_holds_are_ram(prices):
    plan = planned(held_bytes_per_second=32000)
    report = check_budget(PLAN, COST, 1.5, firmware=plan, target=target(), ram=48487)
    assert report.checks[0].actual == 88 + 400 + 48000
    assert report.checks[0].passed is False
    assert "48,000 samples that the caller holds" in report.checks[0].basis


def test_limits_alone_take_the_core_that_needs_the_most(prices):
    report = check_budget(PLAN, COST, 1.0, firmware=planned(), ram=988, flash=550)
    assert [check.actual for check in report.checks][:2] == [988, 550]
    assert report.fits is True


def test_a_core_without_prices(prices):
    chip = dataclasses.replace(target(), core="cortex-m0")
    report = check_budget(PLAN, COST, 1.0, firmware=planned(), target=chip)
    # the state is known all the same; the code is not, nor how fast it runs
    assert results(report) == [True, None, None]
    assert report.fits is None
    assert "code on core cortex-m0" in report.checks[1].source
    assert report.checks[2].source == "not checked (no estimate for core cortex-m0)"
    # what is too large without the code is too large
    report = check_budget(PLAN, COST, 1.0, firmware=planned(), target=chip, flash=299)
    assert results(report) == [True, False, None] and report.fits is False


# -- what was measured -------------------------------------------------------


def emulation(**changes):
    fields = {
        "core": "cortex-m4",
        "integers": (1, 2, 3),
        "samples": 16000,
        "sampling_rate": 16000,
        "push_samples": 8000,
        "pushes": (3_000_000, 2_000_000),
        "result": 900,
        "latest": 90,
        "begin": 4,
        "functions": {},
        "classes": {},
        # half a second of the second push: 6 to 8 M cycles per second of audio
        "cycles": ((5e6, 5e6), (3e6, 4e6)),
        "result_cycles": (900.0, 1800.0),
        "stack_bytes": 100,
        "state_bytes": 700,
        "text_bytes": 480,
        "constant_bytes": 200,
        "data_bytes": 19,
        "bss_bytes": 701,
    }
    return Emulation(**{**fields, **changes})


def measurement(*, differing=0, golden=0, stack=280, held=0, **changes):
    signal = Signal("voice", np.zeros(4, np.int16), None, (1, 2, 3))
    runs = (Run(signal, 0), Run(signal, differing))
    found = emulation(**changes)
    slices = (Slice(32, 700_000, 600_000.0),)
    return Measurement(
        "cortex-m4", "cc", (), found, slices, {}, stack, held, runs, golden
    )


def check_all(measured=None, over=None, chip=None, baseline=None, **limits):
    report = check_firmware(
        measured or measurement(),
        over or {},
        chip or target(),
        limits=Limits(**limits),
        baseline=baseline,
    )
    return {check.name: check for check in report.checks}, report.fits


def test_measured_figures_are_those_that_count():
    checks, fits = check_all(realtime_factor=0.8, max_push_instructions=3_000_000)
    assert fits
    assert {name: check.actual for name, check in checks.items()} == {
        "bits": 0,
        "link": 0,
        "ram": 19 + 701 + 280,
        "flash": 499,
        "realtime_factor": 0.8,
        "push": 3_000_000,
    }
    assert all(check.passed is True for check in checks.values())
    assert checks["realtime_factor"].basis == "derived, 0.6 to 0.8"


@pytest.mark.parametrize(
    ("name", "changes", "limits"),
    [
        ("bits", {"differing": 1}, {}),
        ("bits", {"golden": 2}, {}),
        ("ram", {"stack": 281}, {}),
        ("ram", {}, {"ram": 999}),
        ("flash", {"text_bytes": 481}, {}),
        ("flash", {}, {"flash": 498}),
        ("realtime_factor", {}, {"realtime_factor": 0.799}),
        ("push", {}, {"max_push_instructions": 2_999_999}),
        ("slice", {}, {"max_slice_instructions": 699_999}),
        ("result", {}, {"max_result_instructions": 899}),
        ("latest", {}, {"max_latest_instructions": 89}),
    ],
)
def test_each_gate_closes(name, changes, limits):
    checks, fits = check_all(measurement(**changes), **limits)
    assert checks[name].passed is False
    assert not fits
    others = [check.passed for key, check in checks.items() if key != name]
    assert False not in others


def test_the_linkers_word():
    checks, fits = check_all(over={"RAM": 5, "FLASH": 3})
    assert (checks["link"].actual, checks["link"].passed, fits) == (8, False, False)
    assert checks["link"].source == "regions RAM 1,000 B and FLASH 499 B"
    # the size of a region that nobody verified decides, and is marked
    chip = target(flash_bytes=Figure(499, "hearsay", False))
    link = check_all(over={"FLASH": 3}, chip=chip)[0]["link"]
    assert (link.passed, link.verified) == (False, False)
    chip = target(ram_bytes=None, flash_bytes=None)
    checks, fits = check_all(over={"RAM": 5}, chip=chip)
    assert checks["link"].passed is None and fits is None
    assert checks["link"].source == "not checked (no size known)"


def test_unverified_clocks_decide_and_are_marked():
    checks, fits = check_all(chip=target(False), realtime_factor=0.01)
    assert checks["realtime_factor"].passed is False and fits is False
    assert checks["realtime_factor"].verified is False
    assert checks["realtime_factor"].source == "given limit; unverified clock: sheet"
    checks, fits = check_all(chip=target(clock_hz=None), realtime_factor=0.001)
    assert checks["realtime_factor"].source == "not checked (clock not known)"
    assert checks["realtime_factor"].actual is None and fits is None
    assert check_all()[0]["realtime_factor"].limit == REAL_TIME


def test_held_samples_count():
    checks, _ = check_all(measurement(held=40))
    assert checks["ram"].actual == 19 + 701 + 280 + 40
    assert checks["ram"].passed is False


def test_each_call_has_a_limit():
    checks, fits = check_all(
        max_push_instructions=3_000_000,
        max_slice_instructions=700_000,
        max_result_instructions=900,
        max_latest_instructions=90,
    )
    assert fits is True
    calls = [checks[name].actual for name in ("push", "slice", "result", "latest")]
    assert calls == [3_000_000, 700_000, 900, 90]


@pytest.mark.parametrize("name", FIGURES)
def test_growth(name):
    before = measurement().figures
    assert set(before) == set(FIGURES)
    checks, fits = check_all(baseline=before, growth=0)
    assert fits and checks[f"growth of {name}"].passed is True
    smaller = {**before, name: before[name] / 1.02}
    checks, fits = check_all(baseline=smaller, growth=0.021)
    assert fits and checks[f"growth of {name}"].actual == before[name]
    checks, fits = check_all(baseline=smaller, growth=0.019)
    assert not fits and checks[f"growth of {name}"].passed is False
    checks, fits = check_all(baseline={})
    # a comparison that was asked for and cannot be made is no success
    assert fits is None and checks[f"growth of {name}"].passed is None
    assert "not in the baseline" in checks[f"growth of {name}"].source
