import dataclasses

import pytest

from firmware_bench.arena import ArenaPlan
from firmware_bench.budget import check_budget, estimate_realtime_factor
from firmware_bench.cost import Cost, Flash
from firmware_bench.errors import BenchError
from firmware_bench.host import HostMeasurement
from firmware_bench.target import CORES, Figure, Target

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


def results(report):
    return [check.passed for check in report.checks]


def test_a_limit_that_is_just_met_fits():
    report = check_budget(PLAN, COST, 1.0, target=target())
    assert results(report) == [True, False, None]
    assert not report.fits
    assert [check.actual for check in report.checks][:2] == [1000, 500]
    assert report.checks[0].source == "sheet"


def test_unverified_figures_decide_nothing():
    report = check_budget(PLAN, COST, 1.0, target=target(False), realtime_factor=0.001)
    assert results(report) == [None, None, None]
    assert report.fits
    for check in report.checks:
        assert check.source == "not checked (unverified: sheet)"
    assert report.checks[1].limit == 499  # shown all the same


def test_given_limits_take_the_place_of_figures():
    report = check_budget(PLAN, COST, 1.0, target=target(False), ram=999, flash=500)
    assert results(report) == [False, True, None]
    assert report.checks[0].source == "given limit"


def test_limits_alone():
    report = check_budget(PLAN, COST, 2.0, host=HOST, ram=1000, realtime_factor=0.01)
    assert results(report) == [True, None, True]
    assert report.checks[1].source == "not checked (no limit known)"
    assert report.checks[2].actual == 0.01
    assert report.checks[2].basis == "measured on this machine"
    slow = check_budget(PLAN, COST, 1.0, host=HOST, realtime_factor=0.0199)
    assert results(slow) == [None, None, False] and not slow.fits


def test_estimate_by_hand():
    low, high = estimate_realtime_factor(COST, target(), 2.0)
    core = CORES["cortex-m4"]
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
    check = check_budget(PLAN, cost, 1.0, target=chip, realtime_factor=1).checks[2]
    assert (check.passed, check.actual) == (None, None)
    assert check.source == f"not checked ({reason})"


def test_unknown_memory_is_said():
    check = check_budget(PLAN, COST, 1.0, target=target(ram_bytes=None)).checks[0]
    assert (check.passed, check.limit) == (None, None)
    assert check.source == "not checked (no limit known)"


@pytest.mark.parametrize(
    "limits",
    [
        {"ram": 0},
        {"flash": -1},
        {"realtime_factor": 0.0},
        {"realtime_factor": float("nan")},
        {"realtime_factor": float("inf")},
    ],
)
def test_wrong_limits(limits):
    (name,) = limits
    with pytest.raises(BenchError, match=f"{name} must be above 0"):
        check_budget(PLAN, COST, 1.0, **limits)
