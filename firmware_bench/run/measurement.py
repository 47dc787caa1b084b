"""Build a model's C code for a core, run it there and measure what it takes.

All but the cycles is measured on the instructions that will be shipped;
cycles are derived, see :mod:`wav2small.firmware_bench.run.timing`.
The stack of interrupts and of what calls the model is not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wav2small.export.c99 import generate, outline
from wav2small.export.c99.golden import min_samples
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.schedule import schedule

from ..cores import CORES
from ..plan import firmware as planning
from . import qemu, signals
from .duty import DutyCycle, measure_duty
from .emulation import (
    Emulation,
    Slice,
    emulate,
    profile,
    result_and_stack,
    selftest,
    worst_slices,
)
from .toolchain import ZIG, Firmware, NoRoomError, build

FIGURES = {
    "instructions": "instructions per second of audio",
    "push": "instructions of the worst push",
    "slice": "instructions of the worst push of 32 samples",
    "result": "instructions of a result",
    "latest": "instructions of the scores of what was heard completely",
    "ram": "bytes of RAM",
    "flash": "bytes of flash memory",
}
"""What a later report is compared with, by name."""

BLOCKS = (32, 64, 128)
"""Samples of the pushes of a hearing aid."""

REST = "samples that wait"
"""Name of what comes after the last layer."""

_ROOM = 1 << 28
_COUNTED_SECONDS = 0.5
_COUNTED_HOPS = 100
_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Signal:
    """A signal that firmware is run on."""

    name: str
    """Name in reports."""

    samples: np.ndarray = field(repr=False)
    """Shape ``(samples,)``, int16."""

    push_samples: int | None
    """Samples of a push, None for a hop of the model."""

    wanted: tuple[int, ...]
    """The reference's result."""


@dataclass(frozen=True)
class Code:
    """C code of a model, and the results that it has to compute."""

    folder: Path
    """Folder of the C code."""

    counted: Signal
    """Signal on which instructions are counted."""

    signals: tuple[Signal, ...]
    """Signals of which results are compared; the counted one is the first."""

    left_out: tuple[str, ...]
    """Names of signals that are too short for a result."""

    layers: tuple[str, ...]
    """Name of the layer of each stage."""

    hop_seconds: float
    """Seconds of audio of a hop."""

    held_bytes: int
    """Bytes of samples that the caller holds, see
    :attr:`wav2small.firmware_bench.plan.firmware.FirmwarePlan.held_bytes_per_second`."""

    speech: np.ndarray | None = field(default=None, repr=False)
    """What is heard as speech in the duty cycle, ``(samples,)``, int16;
    None if the model does not know speech or nobody gave audio."""


@dataclass(frozen=True)
class Run:
    """A result on a core beside the reference's."""

    signal: Signal
    """The signal."""

    differing_bits: int
    """Bits of the result that are not the reference's."""


@dataclass(frozen=True)
class Measurement:
    """What a model takes on a core."""

    core: str
    """Name of the core."""

    compiler: str
    """Compiler and its version."""

    flags: tuple[str, ...]
    """Flags of the compiler."""

    emulation: Emulation
    """Counts and sizes."""

    slices: tuple[Slice, ...]
    """The worst of short pushes, of :data:`BLOCKS` samples."""

    layers: Mapping[str, float]
    """Instructions per second of audio by layer, in the order of execution."""

    stack_bytes: int
    """Most of the stack that any signal took."""

    held_bytes: int
    """Bytes of samples that the caller holds."""

    runs: tuple[Run, ...]
    """Result of every signal."""

    golden: int
    """0 if the golden vectors agree, or the number of the first that does not."""

    duty: DutyCycle | None = None
    """What listening to speech alone takes, if there is speech to measure it with."""

    @property
    def differing_bits(self) -> int:
        """Bits that differ in any result; a golden vector that differs is one."""
        return sum(run.differing_bits for run in self.runs) + (self.golden != 0)

    @property
    def ram_bytes(self) -> int:
        """Static memory, the state among it, stack, and samples that are held."""
        static = self.emulation.data_bytes + self.emulation.bss_bytes
        return static + self.stack_bytes + self.held_bytes

    @property
    def flash_bytes(self) -> int:
        """Code, constants and initial values."""
        return self.emulation.flash_bytes

    @property
    def figures(self) -> dict[str, float]:
        """What a later report is compared with, by name of :data:`FIGURES`."""
        return {
            "instructions": self.emulation.instructions_per_second,
            "push": self.emulation.worst_push,
            "slice": self.slices[0].worst,
            "result": self.emulation.result,
            "latest": self.emulation.latest or 0,
            "ram": self.ram_bytes,
            "flash": self.flash_bytes,
        }


def prepare_code(
    model: IntegerGraph | str | Path,
    folder: str | Path,
    audio: Mapping[str, np.ndarray] | None = None,
    window_seconds: float = 1.0,
) -> Code:
    """Write the C code of a model and compute the results that it has to give.

    Args:
        model: exported int8 model
        folder: folder to write the C code into
        audio: further signals by name, int16 at the model's sampling rate
        window_seconds: longest signal of a model that normalises each signal,
            whose samples the caller holds

    Raises:
        ExportError: if the model has no C code
        OSError: if the folder cannot be written to

    """
    graph = model if isinstance(model, IntegerGraph) else read(model)
    generate(graph, folder)
    plan = schedule(graph)
    metadata = {entry.key: entry.value for entry in graph.model.metadata_props}
    rate = int(metadata.get("sampling_rate", "16000"))
    hop, least = plan.front.constants.hop_length, min_samples(plan)
    # the second half is counted, in which each hop has the same work to do
    settled = 2 * hop * max(pool.pace.delay + pool.pace.period for pool in plan.pools)
    length = max(
        round(_COUNTED_SECONDS * rate), _COUNTED_HOPS * hop, 4 * least, settled
    )
    voice = signals.voice(length)
    candidates = [
        ("voice", voice, None),
        ("voice in pushes of 37 samples", voice, 37),
        (
            "noise, half of it clipped, in one push",
            signals.clipped_noise(length),
            length,
        ),
        ("silence", signals.near_silence(length), None),
    ]
    candidates += [(name, samples, None) for name, samples in (audio or {}).items()]
    reference = ReferenceModel(graph)
    known = tuple(
        Signal(name, samples, push, _reference_result(reference, graph, samples))
        for name, samples, push in candidates
        if len(samples) >= least
    )
    return Code(
        folder=Path(folder),
        counted=known[0],
        signals=known,
        left_out=tuple(name for name, samples, _ in candidates if len(samples) < least),
        layers=tuple(step.label for step in outline(graph).steps),
        hop_seconds=hop / rate,
        held_bytes=planning.plan_firmware(graph, rate).held_bytes(window_seconds),
        speech=next(iter(audio.values())) if audio and graph.detector else None,
    )


def _reference_result(
    reference: ReferenceModel, graph: IntegerGraph, samples: np.ndarray
) -> tuple[int, ...]:
    return tuple(reference.run(samples)[graph.output].ravel().tolist())


def measure_firmware(
    code: Code,
    core: str,
    *,
    compiler: str = ZIG,
    cache: str | Path | None = None,
) -> Measurement:
    """Build the code for a core, run all signals on it and count.

    Args:
        code: what :func:`prepare_code` made
        core: name of :data:`wav2small.firmware_bench.cores.CORES`
        compiler: see :func:`wav2small.firmware_bench.run.toolchain.build`
        cache: folder for what was built before, by default one of the user's

    Raises:
        BenchError: if there is no compiler or emulator, or the firmware crashes

    """

    def program(*, trace: bool = False, selftest: bool = False) -> Firmware:
        return build(
            code.folder,
            core,
            compiler=compiler,
            trace=trace,
            selftest=selftest,
            cache=cache,
        )

    plain = program()
    counted = code.counted
    found = emulate(plain, counted.samples, counted.push_samples)
    runs = [Run(counted, _count_differing_bits(found.integers, counted.wanted))]
    stack = found.stack_bytes
    for signal in code.signals[1:]:
        integers, used = result_and_stack(plain, signal.samples, signal.push_samples)
        runs.append(Run(signal, _count_differing_bits(integers, signal.wanted)))
        stack = max(stack, used)
    # a shorter signal will do: the shares of layers vary less than the counts
    part = counted.samples[: 3 * len(counted.samples) // 5]
    stages = profile(program(trace=True), part, counted.push_samples)
    layers: dict[str, float] = {}
    for index, count in stages.stages.items():
        name = code.layers[index]
        layers[name] = layers.get(name, 0.0) + count / stages.seconds
    layers[REST] = stages.rest / stages.seconds
    duty = None if code.speech is None else measure_duty(plain, code.speech)
    return Measurement(
        core=core,
        compiler=plain.compiler,
        flags=plain.flags,
        emulation=found,
        slices=worst_slices(plain, counted.samples, BLOCKS),
        layers=layers,
        stack_bytes=stack,
        held_bytes=code.held_bytes,
        runs=tuple(runs),
        golden=selftest(program(selftest=True)),
        duty=duty,
    )


def _count_differing_bits(found: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    pairs = zip(found, wanted, strict=True)
    return sum(((one ^ other) & _BITS).bit_count() for one, other in pairs)


def find_overflow(
    code: Code,
    measured: Measurement,
    compiler: str = ZIG,
    *,
    ram: int | None,
    flash: int | None,
    cache: str | Path | None = None,
) -> dict[str, int]:
    """Bytes by which the code is too large for a chip, as the linker says.

    Memory for the measured stack and for what the caller holds is kept free.

    Args:
        code: what :func:`prepare_code` made
        measured: what was measured on the chip's core
        compiler: as of the measurement
        ram: bytes of RAM, None for as many as it takes
        flash: bytes of flash memory, None for as many as it takes
        cache: see :func:`measure_firmware`

    Returns:
        bytes too many by region, ``RAM`` and ``FLASH``; empty if it fits

    Raises:
        BenchError: if there is no compiler

    """
    try:
        build(
            code.folder,
            measured.core,
            compiler=compiler,
            ram=min(ram or _ROOM, _ROOM),
            flash=min(flash or _ROOM, _ROOM),
            stack=measured.stack_bytes + measured.held_bytes,
            cache=cache,
        )
    except NoRoomError as error:
        return error.over
    return {}


def why_not_emulated(core: str) -> str | None:
    """Why a core cannot be emulated, as a clause; None if it can."""
    if core not in CORES:
        return f"{core} is not emulated"
    problem = qemu.missing() if CORES[core].board else None
    return f"{core} is not emulated: {problem}" if problem else None
