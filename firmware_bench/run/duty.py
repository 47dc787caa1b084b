"""What a model costs that listens all day: in speech, in pauses, and in noise.

A model that knows speech from other sounds runs little of itself where there is none.
The instructions of each part are measured; what a mix of them takes, and the current,
are derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wav2small.export.base.errors import BenchError

from .emulation import begin_signal, push_all, start_machine
from .toolchain import Firmware

MIX = {"speech": 0.3, "pause": 0.4, "noise": 0.3}
"""Shares of an hour with one partner, in a place that is not quiet."""


@dataclass(frozen=True)
class Current:
    """What a chip takes while it runs, as its maker says."""

    microamperes_per_megahertz: float
    """At the voltage."""

    volts: float
    """Supply."""

    source: str
    """Who says so."""


CURRENTS = {
    "nrf52840": Current(
        52,
        3.0,
        "Nordic, nRF52840 Product Specification, current consumption: CoreMark from "
        "flash at 64 MHz with the DC/DC converter, 3.3 mA",
    ),
}
"""Chips with a Cortex-M4 whose maker publishes it."""


@dataclass(frozen=True)
class DutyPart:
    """What one kind of sound takes."""

    instructions_per_second: float
    """Instructions of pushes per second of audio, of the signal's second half."""

    cycles_per_second: tuple[float, float]
    """Cycles of the same, from and to."""

    heard_share: float
    """Share of these pushes after which scores learn."""


def measure_duty(
    firmware: Firmware, signals: Mapping[str, np.ndarray]
) -> dict[str, DutyPart]:
    """Let a model that listens to speech alone hear signals, and count.

    Args:
        firmware: program with one state of a model that has the output ``speech``
        signals: by the kind of sound, int16 at the model's sampling rate

    Raises:
        BenchError: if the model does not know speech, or as
            :func:`wav2small.firmware_bench.run.emulation.emulate`

    """
    return {kind: _measure(firmware, samples) for kind, samples in signals.items()}


def _measure(firmware: Firmware, samples: np.ndarray) -> DutyPart:
    machine = start_machine(firmware)
    if f"{firmware.prefix}_listen" not in machine.image.symbols:
        raise BenchError(
            "model must have the output 'speech' to listen to speech alone, got none: "
            "choose wav2small-rt or wav2small-rt-mini"
        )
    step, _ = begin_signal(machine, samples, None)
    state = machine.image.symbol("bench_state").address
    machine.call("listen", state, 1)
    found = []
    for _ in push_all(machine, len(samples), step):
        counted = machine.instructions(), *machine.cycles()
        found.append((*counted, machine.call("hears", state)))
    half = np.array(found[len(found) // 2 :], float)
    per_second = machine.facts().sampling_rate / step
    instructions, low, high, heard = half.mean(axis=0)
    return DutyPart(
        instructions_per_second=instructions * per_second,
        cycles_per_second=(low * per_second, high * per_second),
        heard_share=heard,
    )


def mixed_instructions(
    parts: Mapping[str, DutyPart], mix: Mapping[str, float] = MIX
) -> float:
    """Instructions per second of audio of a mix; derived.

    Args:
        parts: what each kind of sound takes
        mix: share of the time of each kind, 1 in all

    """
    return sum(
        share * parts[kind].instructions_per_second for kind, share in mix.items()
    )


def mixed_current(
    parts: Mapping[str, DutyPart], current: Current, mix: Mapping[str, float] = MIX
) -> tuple[float, float]:
    """Microamperes of a mix, from and to, on a chip that sleeps when it is done.

    Derived: cycles that are derived from instructions, times what the maker says.
    What the chip takes while it sleeps is not in it.
    """
    low, high = (
        sum(share * parts[kind].cycles_per_second[end] for kind, share in mix.items())
        * current.microamperes_per_megahertz
        / 1e6
        for end in (0, 1)
    )
    return low, high
