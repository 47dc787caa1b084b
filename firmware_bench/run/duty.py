"""What a model costs that listens all day: in speech, in pauses and in noise.

A model that knows speech from other sounds runs little of itself where there is none.
The instructions of each sound are measured; what a mix of them takes, and the current,
are derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wav2small.export.base.errors import BenchError

from ..energy import currents, energy
from .emulation import begin_signal, push_all, start_machine
from .signals import clipped_noise, near_silence
from .toolchain import Firmware

MIX = {"speech": 0.3, "pause": 0.4, "noise": 0.3}
"""Shares of the time: an hour with one partner in a place that is not quiet."""

_SECONDS = 2


@dataclass(frozen=True)
class DutyPart:
    """What one kind of sound takes."""

    sound: str
    """``speech``, ``pause`` or ``noise``."""

    share: float
    """Share of the time that it has in the mix."""

    instructions_per_second: float
    """Instructions of pushes per second of audio, of the signal's second half."""

    cycles_per_second: tuple[float, float]
    """Cycles of the same, from and to."""

    heard_share: float
    """Share of these pushes after which scores learn."""


@dataclass(frozen=True)
class DutyCycle:
    """What a mix of sounds takes."""

    parts: Sequence[DutyPart]
    """What each of them takes."""

    instructions_per_second: float
    """Of the mix; derived."""

    chip: str | None
    """Chip whose current is known."""

    microamperes: tuple[float, float] | None
    """Current of the mix on it, from and to, the chip's sleep left out.

    Derived: cycles that are derived from instructions, times what its maker says."""

    source: str | None
    """Where the chip's current is from."""


def measure_duty(firmware: Firmware, speech: np.ndarray) -> DutyCycle:
    """Let a model that listens to speech alone hear a mix of sounds, and count.

    Args:
        firmware: program with one state of a model that has the output ``speech``
        speech: what somebody says, int16 at the model's sampling rate

    Raises:
        BenchError: if the model does not know speech, or as
            :func:`wav2small.firmware_bench.run.emulation.emulate`

    """
    rate = start_machine(firmware, counts=False).facts().sampling_rate
    sounds = {
        "speech": speech[: 2 * _SECONDS * rate],
        "pause": near_silence(_SECONDS * rate),
        "noise": clipped_noise(_SECONDS * rate),
    }
    parts = tuple(
        _measure_part(firmware, sound, samples) for sound, samples in sounds.items()
    )
    low, high = (
        sum(part.share * part.cycles_per_second[end] for part in parts)
        for end in (0, 1)
    )
    known = [energy(chip, (low, high)) for chip in currents(firmware.core)]
    first = known[0] if known else None
    return DutyCycle(
        parts=parts,
        instructions_per_second=sum(
            part.share * part.instructions_per_second for part in parts
        ),
        chip=first.chip if first else None,
        microamperes=first.microamperes if first else None,
        source=first.source if first else None,
    )


def _measure_part(firmware: Firmware, sound: str, samples: np.ndarray) -> DutyPart:
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
    instructions, low, high, heard = half.mean(axis=0).tolist()
    return DutyPart(
        sound=sound,
        share=MIX[sound],
        instructions_per_second=instructions * per_second,
        cycles_per_second=(low * per_second, high * per_second),
        heard_share=heard,
    )
