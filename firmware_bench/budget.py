"""Does it fit? A result with numbers, never an exception."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wav2small.export.base.errors import BenchError

from .arena import ArenaPlan
from .cost import Cost
from .host import HostMeasurement
from .measure import Measurement
from .size import parse_size
from .streaming import StreamingPlan
from .target import CORES, Figure, Target

__all__ = [
    "FIGURES",
    "BudgetReport",
    "Check",
    "check_budget",
    "check_firmware",
    "derive_realtime_factor",
    "estimate_realtime_factor",
    "figures",
    "parse_size",
]


FIGURES = {
    "instructions": "instructions per second of audio",
    "push": "instructions of the worst push",
    "result": "instructions of a result",
    "ram": "bytes of RAM",
    "flash": "bytes of flash memory",
}
"""What is held against a baseline."""


@dataclass(frozen=True)
class Check:
    """One figure against one limit."""

    name: str
    """``ram``, ``flash``, ``realtime_factor``; of what was emulated also ``bits``,
    ``link``, ``push`` and ``growth of`` each of :data:`FIGURES`."""

    unit: str
    """``bytes``, ``bits``, ``instructions``, or ``1`` for a ratio."""

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
    """What was held against what."""

    @property
    def fits(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)


def estimate_realtime_factor(
    cost: Cost,
    target: Target,
    window_seconds: float,
    stream: StreamingPlan | None = None,
) -> tuple[float, float] | None:
    """Estimate seconds of work per second of audio on a target.

    Multiply-accumulates alone, with the core's interval of cycles for each:
    an estimate, to be replaced by a run on the core.

    Args:
        cost: cost of one window
        target: the target
        window_seconds: length of the window in seconds
        stream: plan that takes the window's place, all of it in integers

    Returns:
        lower and upper end,
        None if the clock or the core is not known
        or an operation cannot be counted

    """
    core = CORES.get(target.core)
    if core is None or target.clock_hz is None:
        return None
    if stream is not None:
        share = stream.macs_per_second / target.clock_hz.value
        return share * core.integer.low, share * core.integer.high
    if cost.uncounted:
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
    stream: StreamingPlan | None = None,
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
        stream: plan frame by frame, to be held against the limits in place of
            the window
        target: target, None to check the limits alone
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of the real-time factor

    Raises:
        BenchError: if a limit is not above 0

    """
    _positive(ram=ram, flash=flash, realtime_factor=realtime_factor)
    return BudgetReport(
        target,
        (
            _memory(
                "ram",
                plan.size
                if stream is None
                else stream.c99_bytes or stream.result_bytes,
                "planned arena" if stream is None else "planned stream, no stack",
                ram,
                target.ram_bytes if target else None,
            ),
            _memory(
                "flash",
                cost.flash.total,
                "constants and graph" if stream is None else "constants, no code",
                flash,
                target.flash_bytes if target else None,
            ),
            _realtime(cost, window_seconds, host, target, realtime_factor, stream),
        ),
    )


def derive_realtime_factor(
    measured: Measurement, target: Target
) -> tuple[float, float] | None:
    """Seconds of work per second of audio, derived from instructions that were counted.

    Returns:
        lower and upper end, None if the clock is not known

    """
    if target.clock_hz is None:
        return None
    low, high = measured.emulation.cycles_per_second
    return low / target.clock_hz.value, high / target.clock_hz.value


def check_firmware(
    measured: Measurement,
    over: Mapping[str, int],
    target: Target,
    *,
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
    max_push_instructions: int | None = None,
    baseline: Mapping[str, float] | None = None,
    growth: float = 0.01,
) -> BudgetReport:
    """Hold what was measured on an emulated core against what there is.

    Results have to be the reference's, bit for bit.
    Of limits the same is true as in :func:`check_budget`.

    Args:
        measured: what was measured on the target's core
        over: what the linker says, see :func:`wav2small.firmware_bench.measure.link`
        target: target
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of the upper end of the real-time factor
        max_push_instructions: limit for the most expensive push
        baseline: earlier figures by name of :data:`FIGURES`, None to compare none
        growth: share by which a figure may be above the baseline's

    Raises:
        BenchError: if a limit is not above 0 or the growth is below 0

    """
    _positive(
        ram=ram,
        flash=flash,
        realtime_factor=realtime_factor,
        max_push_instructions=max_push_instructions,
    )
    if not (growth >= 0 and math.isfinite(growth)):
        raise BenchError(
            f"growth must be 0 or more, got {growth}: give a share, for instance 0.01"
        )
    differing = measured.differing_bits
    checks = [
        Check(
            "bits",
            "bits",
            differing,
            0,
            differing == 0,
            "the reference's results",
            f"{len(measured.runs)} signals and the golden vectors on the emulated core",
        ),
        _link(over, target, ram, flash),
        _memory(
            "ram", measured.ram_bytes, "state, data and stack", ram, target.ram_bytes
        ),
        _memory(
            "flash", measured.flash_bytes, "text and data", flash, target.flash_bytes
        ),
        _derived(measured, target, realtime_factor),
    ]
    if max_push_instructions is not None:
        worst = measured.emulation.worst_push
        checks.append(
            Check(
                "push",
                "instructions",
                worst,
                max_push_instructions,
                worst <= max_push_instructions,
                "given limit",
                "worst push",
            )
        )
    if baseline is not None:
        checks += _growth(measured, baseline, growth)
    return BudgetReport(target, tuple(checks))


def figures(measured: Measurement) -> dict[str, float]:
    """What is held against a baseline, by name of :data:`FIGURES`."""
    emulation = measured.emulation
    return {
        "instructions": emulation.instructions_per_second,
        "push": emulation.worst_push,
        "result": emulation.result,
        "ram": measured.ram_bytes,
        "flash": measured.flash_bytes,
    }


def _growth(
    measured: Measurement, baseline: Mapping[str, float], growth: float
) -> list[Check]:
    checks = []
    for name, actual in figures(measured).items():
        unit = "bytes" if name in ("ram", "flash") else "instructions"
        before = baseline.get(name)
        limit = None if before is None else before * (1 + growth)
        passed = None if limit is None else actual <= limit
        source = f"baseline of {before:,.0f} and {growth:.3g} of it" if before else ""
        checks.append(
            Check(
                f"growth of {name}",
                unit,
                actual,
                limit,
                passed,
                source or "not checked (core is not in the baseline)",
                FIGURES[name],
            )
        )
    return checks


def _positive(**limits: float | None) -> None:
    for name, limit in limits.items():
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise BenchError(
                f"{name} must be above 0, got {limit}: give what the model may use"
            )


def _link(
    over: Mapping[str, int], target: Target, ram: int | None, flash: int | None
) -> Check:
    """Bytes that the linker could not place; only regions of verified size count."""
    regions = (("RAM", ram, target.ram_bytes), ("FLASH", flash, target.flash_bytes))
    sizes = {}
    for region, given, figure in regions:
        if given is not None:
            sizes[region] = given
        elif figure is not None and figure.verified:
            sizes[region] = figure.value
    listed = " and ".join(f"{region} {size:,} B" for region, size in sizes.items())
    return Check(
        "link",
        "bytes",
        sum(over.values()),
        0,
        sum(over.get(region, 0) for region in sizes) == 0 if sizes else None,
        f"regions {listed}" if sizes else "not checked (no verified size)",
        "bytes that the linker could not place",
    )


def _derived(measured: Measurement, target: Target, limit: float | None) -> Check:
    interval = derive_realtime_factor(measured, target)
    problem = "" if limit is not None else "no limit given"
    if interval is None or target.clock_hz is None:
        problem, basis = "clock not known", "nothing"
    else:
        basis = f"derived, {interval[0]:.3g} to {interval[1]:.3g}"
        if not target.clock_hz.verified:
            problem = f"unverified: {target.clock_hz.source}"
    actual = None if interval is None else interval[1]
    passed = None
    if not problem and actual is not None and limit is not None:
        passed = actual <= limit
    source = f"not checked ({problem})" if problem else "given limit"
    return Check("realtime_factor", "1", actual, limit, passed, source, basis)


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
    stream: StreamingPlan | None = None,
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
        interval = estimate_realtime_factor(cost, target, window_seconds, stream)
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
