"""Does it fit? A result with numbers, never an exception."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .arena import ArenaPlan
from .cost import Cost
from .errors import BenchError
from .host import HostMeasurement
from .size import parse_size
from .target import CORES, Figure, Target

__all__ = [
    "BudgetReport",
    "Check",
    "check_budget",
    "estimate_realtime_factor",
    "parse_size",
]


@dataclass(frozen=True)
class Check:
    """One figure against one limit."""

    name: str
    """``ram``, ``flash`` or ``realtime_factor``."""

    unit: str
    """``bytes``, or ``1`` for a ratio."""

    actual: float | None
    """What the model needs, None if not known."""

    limit: float | None
    """What there is, None if not known."""

    passed: bool | None
    """Whether the model needs no more than there is, None if not checked."""

    source: str
    """Where the limit is from, and why nothing was checked."""

    basis: str
    """Where the actual figure is from."""


@dataclass(frozen=True)
class BudgetReport:
    """All checks for one target, or for limits alone."""

    target: Target | None
    """Target, None if there are limits alone."""

    checks: tuple[Check, ...]
    """RAM, flash and real-time factor."""

    @property
    def fits(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)


def estimate_realtime_factor(
    cost: Cost, target: Target, window_seconds: float
) -> tuple[float, float] | None:
    """Estimate seconds of work per second of audio on a target.

    Multiply-accumulates alone, with the core's interval of cycles for each:
    an estimate, to be replaced by a run on the core.

    Returns:
        lower and upper end,
        None if the clock or the core is not known
        or an operation cannot be counted

    """
    core = CORES.get(target.core)
    if core is None or target.clock_hz is None or cost.uncounted:
        return None
    cycles = (
        cost.integer_macs * core.integer.low + cost.float_macs * core.floating.low,
        cost.integer_macs * core.integer.high + cost.float_macs * core.floating.high,
    )
    available = target.clock_hz.value * window_seconds
    return cycles[0] / available, cycles[1] / available


def check_budget(
    plan: ArenaPlan,
    cost: Cost,
    window_seconds: float,
    *,
    host: HostMeasurement | None = None,
    target: Target | None = None,
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
) -> BudgetReport:
    """Hold what a model needs against what there is.

    A limit that is given takes the place of the target's.
    A figure of the target that is not verified decides nothing.
    The real-time factor has a limit only if one is given;
    with a target the upper end of the estimate counts,
    without one what was measured on the host.

    Args:
        plan: plan of the memory
        cost: cost of one window
        window_seconds: length of the window in seconds
        host: measurement on this machine, if there is one
        target: target, None to check the limits alone
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of the real-time factor

    Raises:
        BenchError: if a limit is not above 0

    """
    limits = {"ram": ram, "flash": flash, "realtime_factor": realtime_factor}
    for name, limit in limits.items():
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise BenchError(
                f"{name} must be above 0, got {limit}: give what the model may use"
            )
    return BudgetReport(
        target,
        (
            _memory(
                "ram",
                plan.size,
                "planned arena",
                ram,
                target.ram_bytes if target else None,
            ),
            _memory(
                "flash",
                cost.flash.total,
                "constants and graph",
                flash,
                target.flash_bytes if target else None,
            ),
            _realtime(cost, window_seconds, host, target, realtime_factor),
        ),
    )


def _memory(
    name: str, actual: int, basis: str, given: int | None, figure: Figure | None
) -> Check:
    limit: int | None
    if given is not None:
        limit, passed, source = given, actual <= given, "given limit"
    elif figure is None:
        limit, passed, source = None, None, "not checked (no limit known)"
    elif not figure.verified:
        limit, passed = figure.value, None
        source = f"not checked (unverified: {figure.source})"
    else:
        limit, passed, source = figure.value, actual <= figure.value, figure.source
    return Check(name, "bytes", actual, limit, passed, source, basis)


def _realtime(
    cost: Cost,
    window_seconds: float,
    host: HostMeasurement | None,
    target: Target | None,
    limit: float | None,
) -> Check:
    actual: float | None = None
    problem = "" if limit is not None else "no limit given"
    if target is None:
        basis = "host"
        if host is None:
            basis, problem = "nothing", "neither target nor host measurement"
        else:
            actual = host.median_seconds / window_seconds
            basis = "measured on this machine"
    else:
        interval = estimate_realtime_factor(cost, target, window_seconds)
        basis = "no estimate"
        if interval is not None:
            actual = interval[1]
            basis = f"estimate, {interval[0]:.3g} to {interval[1]:.3g}"
            if target.clock_hz and not target.clock_hz.verified:
                problem = f"unverified: {target.clock_hz.source}"
        elif cost.uncounted:
            problem = f"operations without a count: {len(cost.uncounted)}"
        elif target.clock_hz is None:
            problem = "clock not known"
        else:
            problem = f"no estimate for core {target.core}"
    passed = None
    if not problem and actual is not None and limit is not None:
        passed = actual <= limit
    source = f"not checked ({problem})" if problem else "given limit"
    return Check("realtime_factor", "1", actual, limit, passed, source, basis)
