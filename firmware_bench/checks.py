"""One figure against one limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from .run.measurement import FIGURES, Measurement
from .target import Figure, Target

REAL_TIME = 1.0
"""Limit of the real-time factor of a target if none was given."""

CHECKS = (
    "ram",
    "flash",
    "realtime_factor",
    "bits",
    "link",
    "push",
    "slice",
    "result",
    "latest",
    *(f"growth of {name}" for name in FIGURES),
)
"""Names of all checks."""


@dataclass(frozen=True)
class Check:
    """One figure against one limit."""

    name: Annotated[str, ("enum", CHECKS)]
    """One of :data:`CHECKS`; only the first three are made of a plan."""

    unit: Literal["bytes", "bits", "instructions", "1"]
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
    """Whether a primary source states the limit; if not, it decides all the same."""

    asked: bool = True
    """Whether the user asked: a target was named, or a limit was given."""


def check_memory(
    name: Literal["ram", "flash"],
    actual: int,
    basis: str,
    given: int | None,
    target: Target | None,
    *,
    missing: str = "",
) -> Check:
    """Hold a size against the limit that was given, or else the target's.

    Args:
        name: which memory
        actual: bytes that the model needs
        basis: where they are from
        given: limit in bytes
        target: target, None if there are limits alone
        missing: part that is not counted in the bytes, if there is one:
            then they can be too many, but not few enough

    """
    figure: Figure | None = getattr(target, f"{name}_bytes", None)
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


def check_speed(
    interval: tuple[float, float] | None,
    basis: str,
    problem: str,
    target: Target,
    limit: float | None,
) -> Check:
    """Hold the upper end of an interval of real-time factors against a limit.

    Args:
        interval: lower and upper end, None if not known
        basis: where the interval is from
        problem: why it is not known
        target: target
        limit: limit, None for :data:`REAL_TIME`

    """
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


def check_host_speed(actual: float | None, limit: float | None) -> Check:
    """Hold the real-time factor of this machine against a limit.

    Args:
        actual: what was measured, None if nothing was
        limit: limit, None if none was given

    """
    basis = "nothing" if actual is None else "measured on this machine"
    passed, source = None, "given limit"
    if limit is None:
        source = "not checked (no limit given)"
    elif actual is None:
        source = "not checked (neither target nor host measurement)"
    else:
        passed = actual <= limit
    asked = limit is not None
    return Check(
        "realtime_factor", "1", actual, limit, passed, source, basis, asked=asked
    )


def check_bits(measured: Measurement) -> Check:
    """Hold results on a core against the reference's, bit for bit."""
    differing = measured.differing_bits
    return Check(
        "bits",
        "bits",
        differing,
        0,
        differing == 0,
        "the reference's results",
        f"{len(measured.runs)} signals and the golden vectors on the emulated core",
    )


def check_link(
    overflow: Mapping[str, int], target: Target, ram: int | None, flash: int | None
) -> Check:
    """Check that the linker placed everything in the memories whose size is known.

    Args:
        overflow: bytes too many by region, ``RAM`` and ``FLASH``
        target: target
        ram: given limit in bytes
        flash: given limit in bytes

    """
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
        sum(overflow.values()),
        0,
        sum(overflow.get(region, 0) for region in sizes) == 0 if sizes else None,
        f"regions {listed}" if sizes else "not checked (no size known)",
        "bytes that the linker could not place",
        verified,
    )


def check_instructions(
    measured: Measurement, limits: Mapping[str, int | None]
) -> list[Check]:
    """Hold instructions against limits, by name of :data:`FIGURES`."""
    found = measured.figures
    return [
        Check(
            name,
            "instructions",
            found[name],
            limit,
            found[name] <= limit,
            "given limit",
            FIGURES[name],
        )
        for name, limit in limits.items()
        if limit is not None
    ]


def check_growth(
    measured: Measurement, baseline: Mapping[str, float], growth: float
) -> list[Check]:
    """Hold what was measured against an earlier report.

    Args:
        measured: what was measured now
        baseline: earlier figures by name of :data:`FIGURES`,
            empty if the earlier report does not have this core
        growth: share by which a figure may be above the earlier one

    """
    checks = []
    for name, actual in measured.figures.items():
        before = baseline.get(name)
        limit = None if before is None else before * (1 + growth)
        passed = None if limit is None else actual <= limit
        source = f"baseline of {before:,.0f} and {growth:.3g} of it" if before else ""
        checks.append(
            Check(
                f"growth of {name}",
                figure_unit(name),
                actual,
                limit,
                passed,
                source or "not checked (core is not in the baseline)",
                FIGURES[name],
            )
        )
    return checks


def unchecked(name: str, problem: str) -> Check:
    """Check of a core that could not be emulated.

    Args:
        name: name of the check
        problem: why the core was not emulated

    """
    source = f"not checked ({problem})"
    return Check(name, figure_unit(name), None, None, None, source, "nothing")


def figure_unit(name: str) -> Literal["bytes", "instructions"]:
    """Unit of one of :data:`FIGURES` or of its growth."""
    return "bytes" if name.endswith(("ram", "flash")) else "instructions"
