"""Does it fit? A result with numbers, never an exception."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .checks import (
    Check,
    check_bits,
    check_growth,
    check_host_speed,
    check_instructions,
    check_link,
    check_memory,
    check_speed,
)
from .cores import CORES
from .limits import Limits
from .plan.arena import ArenaPlan
from .plan.cost import Cost
from .plan.firmware import FirmwarePlan
from .run.flash_waits import FlashWaits
from .run.host import HostMeasurement
from .run.measurement import Measurement
from .target import Target

NO_LIMITS = Limits()
"""No limits beside those of a target."""


@dataclass(frozen=True)
class BudgetReport:
    """All checks for one target, or for limits alone."""

    target: Target | None
    """Target, None if there are limits alone."""

    checks: tuple[Check, ...]
    """What was held against what."""

    flash_waits: FlashWaits | None = None
    """Waits for the target's flash memory, None if not known."""

    @property
    def fits(self) -> bool | None:
        """Whether every check that was asked for passed.

        False if one failed; None if none failed and one could not be made.
        """
        return combine(check.passed for check in self.checks if check.asked)


def combine(verdicts: Iterable[bool | None]) -> bool | None:
    """Verdict of several: one that fails decides, then one that was not checked.

    The verdict of no checks at all is "not checked".
    """
    different = set(verdicts)
    if False in different:
        return False
    return True if different == {True} else None


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
    estimate = core.estimate if core else None
    if estimate is None or cost.uncounted:
        return None
    integer, floating = estimate.integer, estimate.floating
    low = cost.integer_macs * integer.low + cost.float_macs * floating.low
    high = cost.integer_macs * integer.high + cost.float_macs * floating.high
    available = clock * window_seconds
    return low / available, high / available


def check_budget(
    arena: ArenaPlan,
    cost: Cost,
    window_seconds: float,
    *,
    host: HostMeasurement | None = None,
    firmware: FirmwarePlan | None = None,
    target: Target | None = None,
    limits: Limits = NO_LIMITS,
) -> BudgetReport:
    """Hold what a model is planned to need against what there is.

    A given limit takes the place of the target's.
    A figure of the target decides even if nobody verified it, and is marked.
    The upper end of the estimated real-time factor counts.
    Without a target, the factor that was measured on this machine does.

    Args:
        arena: activations of the whole window,
            which count where the model has no C99
        cost: cost of one window
        window_seconds: length of the window in seconds
        host: measurement on this machine, if there is one
        firmware: plan of the C99, None if the model has none
        target: target, None to check the limits alone
        limits: given limits

    """
    missing = ""
    if firmware is None:
        ram = (arena.size, "arena of the whole window, no C99")
        flash = (cost.flash.total, "constants and graph, no code")
    else:
        ram = _planned_ram(firmware, target, window_seconds)
        flash = _planned_flash(firmware, target)
        if target and firmware.on(target.core) is None:
            missing = f"code on core {target.core}"
    if target is None:
        factor = None if host is None else host.median_seconds / window_seconds
        speed = check_host_speed(factor, limits.realtime_factor)
    else:
        speed = check_speed(
            estimate_realtime_factor(cost, target, window_seconds, firmware),
            "estimate",
            _why_no_estimate(cost, target, firmware),
            target,
            limits.realtime_factor,
        )
    checks = (
        check_memory("ram", *ram, limits.ram, target),
        check_memory("flash", *flash, limits.flash, target, missing=missing),
        speed,
    )
    return BudgetReport(target, checks)


def _why_no_estimate(cost: Cost, target: Target, firmware: FirmwarePlan | None) -> str:
    if firmware is None and cost.uncounted:
        return f"operations without a count: {len(cost.uncounted)}"
    if target.clock_hz is None:
        return "clock not known"
    return f"no estimate for core {target.core}"


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
    stack = planned.stack_bytes if planned else firmware.max_stack_bytes
    held = firmware.held_bytes(window_seconds)
    state = firmware.memory.state
    return state + stack + held, f"planned: {describe_ram(state, stack, held)}"


def _planned_flash(firmware: FirmwarePlan, target: Target | None) -> tuple[int, str]:
    """Bytes, and what they consist of."""
    if target is None:
        return firmware.max_flash_bytes, "planned: code and constants"
    planned = firmware.on(target.core)
    if planned is None:
        return firmware.constant_bytes, "planned: constants, no code"
    return planned.flash_bytes, "planned: code and constants"


def derive_realtime_factor(
    measured: Measurement, target: Target, waits: FlashWaits | None = None
) -> tuple[float, float] | None:
    """Seconds of work per second of audio, derived from instructions that were counted.

    Args:
        measured: what was measured on the target's core
        target: target
        waits: waits for its flash memory with all caches on, None for none

    Returns:
        lower and upper end, None if the clock is not known

    """
    if target.clock_hz is None:
        return None
    clock = target.clock_hz.value
    low, high = measured.emulation.cycles_per_second
    fewest, most = waits.with_caches if waits else (0.0, 0.0)
    return (low + fewest) / clock, (high + most) / clock


def check_firmware(
    measured: Measurement,
    overflow: Mapping[str, int],
    target: Target,
    *,
    limits: Limits = NO_LIMITS,
    baseline: Mapping[str, float] | None = None,
    flash_waits: FlashWaits | None = None,
) -> BudgetReport:
    """Hold what was measured on an emulated core against what there is.

    Results have to be the reference's, bit for bit.
    Limits are used as by :func:`check_budget`.

    Args:
        measured: what was measured on the target's core
        overflow: what the linker says,
            see :func:`wav2small.firmware_bench.run.measurement.find_overflow`
        target: target
        limits: given limits
        baseline: earlier figures of this core, see
            :data:`wav2small.firmware_bench.run.measurement.FIGURES`;
            None to compare with none
        flash_waits: waits for the target's flash memory, None if not known

    """
    described = describe_ram(
        measured.ram_bytes - measured.stack_bytes - measured.held_bytes,
        measured.stack_bytes,
        measured.held_bytes,
    )
    ram = (measured.ram_bytes, f"measured: {described}")
    flash = (measured.flash_bytes, "measured: text and data")
    checks = [
        check_bits(measured),
        check_link(overflow, target, limits.ram, limits.flash),
        check_memory("ram", *ram, limits.ram, target),
        check_memory("flash", *flash, limits.flash, target),
        check_speed(
            derive_realtime_factor(measured, target, flash_waits),
            "derived, waits for flash memory included" if flash_waits else "derived",
            "clock not known",
            target,
            limits.realtime_factor,
        ),
        *check_instructions(measured, limits.instructions),
    ]
    if baseline is not None:
        checks += check_growth(measured, baseline, limits.growth)
    return BudgetReport(target, tuple(checks), flash_waits)
