"""What a model takes from a battery, derived from cycles and from what makers publish.

A chip that runs for some of the time takes its current for that share of it:
cycles per second of audio, times the charge of a cycle. Makers measure it with
CoreMark or a loop, so that a model may take more or less. Sleep and radio come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

from .target import TARGETS, Target

AID_MICROAMPERES, AID_VOLTS = 1000, 1.25
"""What a hearing aid has for everything, from a zinc-air cell."""


@dataclass(frozen=True)
class Energy:
    """What a model takes on a chip, on average while it listens; all derived."""

    chip: str
    """Name of the chip."""

    microamperes: tuple[float, float]
    """Current at the chip's supply, from and to."""

    milliwatts: tuple[float, float]
    """Power, from and to: millijoules for each second of audio."""

    aid_share: tuple[float, float]
    """The same as a share of what a hearing aid has for everything, from and to."""

    source: str
    """Who says what the chip takes."""

    verified: bool
    """Whether the maker says it where we read it."""


def currents(core: str) -> list[Target]:
    """Chips with a core whose current and supply are known."""
    return [
        chip
        for chip in TARGETS.values()
        if chip.core == core and chip.nanoamperes_per_megahertz
    ]


def energy(chip: Target, cycles_per_second: tuple[float, float]) -> Energy:
    """Derive what a model takes on a chip.

    Args:
        chip: one of :func:`currents`
        cycles_per_second: cycles for each second of audio, from and to

    """
    charge, supply = chip.nanoamperes_per_megahertz, chip.supply_millivolts
    assert charge is not None and supply is not None
    low, high = (cycles * charge.value * 1e-9 for cycles in cycles_per_second)
    volts = supply.value / 1000
    budget = AID_MICROAMPERES * AID_VOLTS / volts
    return Energy(
        chip=chip.name,
        microamperes=(low, high),
        milliwatts=(low * volts / 1000, high * volts / 1000),
        aid_share=(low / budget, high / budget),
        source=charge.source,
        verified=charge.verified and supply.verified,
    )
