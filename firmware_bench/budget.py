"""Does it fit? A result with numbers, never an exception."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wav2small.export.base.errors import BenchError

from .plan.arena import ArenaPlan
from .plan.cost import Cost
from .plan.firmware import FirmwarePlan
from .run.host import HostMeasurement
from .run.measurement import Measurement
from .size import parse_size
from .target import CORES, Figure, Target

__all__ = [
    "FIGURES",
    "BudgetReport",
    "Check",
    "check_budget",
    "check_firmware",
    "combine",
    "derive_realtime_factor",
    "describe_ram",
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


REAL_TIME = 1.0
"""Real-time factor of a target that no limit was given for."""


@dataclass(frozen=True)
class Check:
    """One figure against one limit."""

    name: str
    """``ram``, ``flash``, ``realtime_factor``; of what was emulated also ``bits``,
    ``link``, ``push``, ``result`` and ``growth of`` each of :data:`FIGURES`."""

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

    verified: bool = True
    """Whether a primary source states the limit; one that it does not decides, too."""

    asked: bool = True
    """Whether somebody wants to know: a target was named, or a limit was given."""


@dataclass(frozen=True)
class BudgetReport:
    """All checks for one target, or for limits alone."""

    target: Target | None
    """Target, None if there are limits alone."""

    checks: tuple[Check, ...]
    """What was held against what."""

    @property
    def fits(self) -> bool | None:
        """Whether every check that was asked for passed.

        False if one failed; None if none failed and one could not be made.
        """
        return combine(check.passed for check in self.checks if check.asked)


def combine(verdicts: Iterable[bool | None]) -> bool | None:
    """Verdict of several: one that fails decides, then one that was not checked.

    Nothing at all is not checked.
    """
    found = set(verdicts)
    if False in found:
        return False
    return True if found == {True} else None


def estimate_realtime_factor(
    cost: Cost,
    target: Target,
    window_seconds: float,
    firmware: FirmwarePlan | None = None,
) -> tuple[float, float] | None:
    """Estimate seconds of work per second of audio on a target.

    With C99 by the prices of its stages,
    else by multiply-accumulates alone, with the core's interval of cycles for each.

    Args:
        cost: cost of one window
        target: the target
        window_seconds: length of the window in seconds
        firmware: plan of the C99, None if the model has none

    Returns:
        lower and upper end,
        None if the clock or the core is not known
        or an operation cannot be counted

    """
    if target.clock_hz is None:
        return None
    clock = target.clock_hz.value
    if firmware is not None:
        planned = firmware.on(target.core)
        if planned is None:
            return None
        low, high = planned.cycles_per_second
        return low / clock, high / clock
    core = CORES.get(target.core)
    if core is None or cost.uncounted:
        return None
    cycles = (
        cost.integer_macs * core.integer.low + cost.float_macs * core.floating.low,
        cost.integer_macs * core.integer.high + cost.float_macs * core.floating.high,
    )
    available = clock * window_seconds
    return cycles[0] / available, cycles[1] / available


def check_budget(
    arena: ArenaPlan,
    cost: Cost,
    window_seconds: float,
    *,
    host: HostMeasurement | None = None,
    firmware: FirmwarePlan | None = None,
    target: Target | None = None,
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
) -> BudgetReport:
    """Hold what a model is planned to need against what there is.

    A limit that is given takes the place of the target's.
    A figure of the target decides though nobody verified it, and is marked.
    The real-time factor of a target may be 1 if no other limit is given;
    the upper end of the estimate counts.
    Without a target its limit is held against what was measured on the host.

    Args:
        arena: activations of the whole window,
            which count where the model has no C99
        cost: cost of one window
        window_seconds: length of the window in seconds
        host: measurement on this machine, if there is one
        firmware: plan of the C99, None if the model has none
        target: target, None to check the limits alone
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of the real-time factor

    Raises:
        BenchError: if a limit is not above 0

    """
    _positive(ram=ram, flash=flash, realtime_factor=realtime_factor)
    if firmware is None:
        needed = (arena.size, "arena of the whole window, no C99")
        stored, exact = (cost.flash.total, "constants and graph, no code"), True
    else:
        needed = _planned_ram(firmware, target, window_seconds)
        stored, exact = _planned_flash(firmware, target)
    return BudgetReport(
        target,
        (
            _memory("ram", *needed, ram, target, target.ram_bytes if target else None),
            _memory(
                "flash",
                *stored,
                flash,
                target,
                target.flash_bytes if target else None,
                "" if exact else f"code on core {target.core if target else '?'}",
            ),
            _realtime(cost, window_seconds, host, target, realtime_factor, firmware),
        ),
    )


def describe_ram(state: int, stack: int, held: int) -> str:
    """What RAM consists of, in words."""
    parts = [f"{state:,} state", f"{stack:,} stack"]
    if held:
        parts.append(f"{held:,} samples that the caller holds")
    return " + ".join(parts)


def _planned_ram(
    firmware: FirmwarePlan, target: Target | None, window_seconds: float
) -> tuple[int, str]:
    planned = firmware.on(target.core) if target else None
    stack = planned.stack_bytes if planned else firmware.most_stack_bytes
    held = firmware.held_bytes(window_seconds)
    state = firmware.memory.state
    return state + stack + held, f"planned: {describe_ram(state, stack, held)}"


def _planned_flash(
    firmware: FirmwarePlan, target: Target | None
) -> tuple[tuple[int, str], bool]:
    """Bytes and what they are, and whether the code is among them."""
    if target is None:
        return (firmware.most_flash_bytes, "planned: code and constants"), True
    planned = firmware.on(target.core)
    if planned is None:
        return (firmware.constant_bytes, "planned: constants, no code"), False
    return (planned.flash_bytes, "planned: code and constants"), True


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
    max_result_instructions: int | None = None,
    baseline: Mapping[str, float] | None = None,
    growth: float = 0.01,
) -> BudgetReport:
    """Hold what was measured on an emulated core against what there is.

    Results have to be the reference's, bit for bit.
    Of limits the same is true as in :func:`check_budget`.

    Args:
        measured: what was measured on the target's core
        over: what the linker says,
            see :func:`wav2small.firmware_bench.run.measurement.link`
        target: target
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of the upper end of the real-time factor
        max_push_instructions: limit for the most expensive push
        max_result_instructions: limit for a result
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
        max_result_instructions=max_result_instructions,
    )
    if not (growth >= 0 and math.isfinite(growth)):
        raise BenchError(
            f"growth must be 0 or more, got {growth}: give a share, for instance 0.01"
        )
    differing = measured.differing_bits
    described = describe_ram(
        measured.ram_bytes - measured.stack_bytes - measured.held_bytes,
        measured.stack_bytes,
        measured.held_bytes,
    )
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
            "ram",
            measured.ram_bytes,
            f"measured: {described}",
            ram,
            target,
            target.ram_bytes,
        ),
        _memory(
            "flash",
            measured.flash_bytes,
            "measured: text and data",
            flash,
            target,
            target.flash_bytes,
        ),
        _derived(measured, target, realtime_factor),
    ]
    most = {"push": max_push_instructions, "result": max_result_instructions}
    found = figures(measured)
    checks += [
        Check(
            name,
            "instructions",
            found[name],
            limit,
            found[name] <= limit,
            "given limit",
            FIGURES[name],
        )
        for name, limit in most.items()
        if limit is not None
    ]
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
    """Bytes that the linker could not place in the regions whose size is known."""
    regions = (("RAM", ram, target.ram_bytes), ("FLASH", flash, target.flash_bytes))
    sizes = {}
    verified = True
    for region, given, figure in regions:
        if given is not None:
            sizes[region] = given
        elif figure is not None:
            sizes[region] = figure.value
            verified = verified and figure.verified
    listed = " and ".join(f"{region} {size:,} B" for region, size in sizes.items())
    return Check(
        "link",
        "bytes",
        sum(over.values()),
        0,
        sum(over.get(region, 0) for region in sizes) == 0 if sizes else None,
        f"regions {listed}" if sizes else "not checked (no size known)",
        "bytes that the linker could not place",
        verified,
    )


def _derived(measured: Measurement, target: Target, limit: float | None) -> Check:
    interval = derive_realtime_factor(measured, target)
    return _speed(interval, "derived", "clock not known", target, limit)


def _speed(
    interval: tuple[float, float] | None,
    basis: str,
    problem: str,
    target: Target,
    limit: float | None,
) -> Check:
    """The upper end of an interval against a limit, real time if none is given."""
    source = "real time, no other limit given" if limit is None else "given limit"
    wanted = REAL_TIME if limit is None else limit
    if interval is None or target.clock_hz is None:
        source = f"not checked ({problem})"
        return Check("realtime_factor", "1", None, wanted, None, source, "nothing")
    clock = target.clock_hz
    if not clock.verified:
        source += f"; unverified clock: {clock.source}"
    return Check(
        "realtime_factor",
        "1",
        interval[1],
        wanted,
        interval[1] <= wanted,
        source,
        f"{basis}, {interval[0]:.3g} to {interval[1]:.3g}",
        clock.verified,
    )


def _memory(
    name: str,
    actual: int,
    basis: str,
    given: int | None,
    target: Target | None,
    figure: Figure | None,
    missing: str = "",
) -> Check:
    """A size against a limit; where a part is missing it can only be too large."""
    asked = given is not None or target is not None
    verified = given is not None or figure is None or figure.verified
    limit: int | None = given
    source = "given limit"
    if given is None:
        limit = figure.value if figure else None
        source = figure.source if figure else "not checked (no limit known)"
        source = source if verified else f"unverified: {source}"
    passed = None if limit is None else actual <= limit
    if missing and passed:
        passed, source = None, f"not checked ({missing} not known)"
    return Check(name, "bytes", actual, limit, passed, source, basis, verified, asked)


def _realtime(
    cost: Cost,
    window_seconds: float,
    host: HostMeasurement | None,
    target: Target | None,
    limit: float | None,
    firmware: FirmwarePlan | None = None,
) -> Check:
    if target is not None:
        interval = estimate_realtime_factor(cost, target, window_seconds, firmware)
        problem = f"no estimate for core {target.core}"
        if firmware is None and cost.uncounted:
            problem = f"operations without a count: {len(cost.uncounted)}"
        elif target.clock_hz is None:
            problem = "clock not known"
        return _speed(interval, "estimate", problem, target, limit)
    actual = None if host is None else host.median_seconds / window_seconds
    basis = "nothing" if host is None else "measured on this machine"
    passed, source = None, "given limit"
    if limit is None:
        source = "not checked (no limit given)"
    elif actual is None:
        source = "not checked (neither target nor host measurement)"
    else:
        passed = actual <= limit
    return Check(
        "realtime_factor", "1", actual, limit, passed, source, basis,
        asked=limit is not None,
    )  # fmt: skip
