"""Run a firmware on an emulated core and count what it does.

Instructions are counted, not cycles: memory never waits and there are no caches.
The count is exact: the emulator reports each block of instructions that runs,
and the instructions of a block are counted once.
An instruction that is skipped by its condition counts as one that ran.
The same program and samples give the same counts each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wav2small.export.base.errors import BenchError

from ..cores import CORES
from .image import Block
from .machine import Machine
from .qemu import QemuMachine
from .toolchain import Firmware
from .unicorn import UnicornMachine

MOST_SAMPLES = 1 << 26
"""Most samples that a signal may have."""


@dataclass(frozen=True)
class Emulation:
    """What a firmware did."""

    core: str
    """Name of the core."""

    integers: tuple[int, ...]
    """Result at the end of the signal, bit for bit what the core computed."""

    samples: int
    """Samples of the signal."""

    sampling_rate: int
    """Samples per second."""

    push_samples: int
    """Samples of a push; the last one may have fewer."""

    pushes: tuple[int, ...]
    """Instructions of each push."""

    result: int
    """Instructions of the result at the end."""

    latest: int | None
    """Instructions of the scores of what was heard completely,
    None if that was nothing yet."""

    begin: int
    """Instructions of beginning a signal, its level included if it needs one."""

    functions: Mapping[str, int]
    """Instructions of all pushes by function, the most first."""

    classes: Mapping[str, int]
    """Instructions of all pushes by class,
    of :data:`wav2small.firmware_bench.run.timing.CLASSES`."""

    cycles: tuple[tuple[float, float], ...]
    """Cycles of each push, from and to, derived from its instructions,
    see :mod:`wav2small.firmware_bench.run.timing`."""

    result_cycles: tuple[float, float]
    """Cycles of the result."""

    stack_bytes: int
    """Most of the stack that was written to, by any of the calls."""

    state_bytes: int
    """The state, lines and scratch included."""

    text_bytes: int
    """Code and constants in flash memory."""

    constant_bytes: int
    """Constants alone, which are part of ``text_bytes``."""

    data_bytes: int
    """Initialised memory, which takes flash memory and RAM."""

    bss_bytes: int
    """Cleared memory, which takes RAM; the state is part of it."""

    @property
    def ram_bytes(self) -> int:
        """RAM in all: static memory and the stack that was used."""
        return self.data_bytes + self.bss_bytes + self.stack_bytes

    @property
    def flash_bytes(self) -> int:
        """Flash memory in all."""
        return self.text_bytes + self.data_bytes

    @property
    def worst_push(self) -> int:
        """Instructions of the most expensive push."""
        return max(self.pushes)

    @property
    def instructions_per_second(self) -> float:
        """Instructions of pushes per second of audio.

        Those of the signal's second half, as there is less to do at its start.
        """
        return self._per_second(self.pushes)

    @property
    def cycles_per_second(self) -> tuple[float, float]:
        """Cycles of the same pushes per second of audio, from and to."""
        low, high = zip(*self.cycles, strict=True)
        return self._per_second(low), self._per_second(high)

    def _per_second(self, pushes: Sequence[float]) -> float:
        skipped = len(pushes) // 2
        samples = self.samples - skipped * self.push_samples
        return sum(pushes[skipped:]) * self.sampling_rate / samples


@dataclass(frozen=True)
class Profile:
    """Where the instructions of the second half of all pushes go, by stage."""

    stages: Mapping[int, int]
    """Instructions by number of the stage, in the order of execution, 0 the front end.
    What comes before a row in a push counts to it."""

    rest: int
    """What comes after the last row of a push: buffering of samples."""

    rows: Mapping[int, int]
    """Rows that each of these stages made."""

    cycles: Mapping[int, tuple[float, float]]
    """Cycles of each of these stages, from and to."""

    rest_cycles: tuple[float, float]
    """Cycles of the rest."""

    seconds: float
    """Seconds of audio in these pushes."""


def emulate(
    firmware: Firmware, samples: np.ndarray, push_samples: int | None = None
) -> Emulation:
    """Push a signal into a model on an emulated core and ask for the result.

    Args:
        firmware: program with one state,
            see :func:`wav2small.firmware_bench.run.toolchain.build`
        samples: signal, shape ``(samples,)``, int16 at the model's sampling rate
        push_samples: samples of a push, by default one hop of the model

    Raises:
        BenchError: if the emulator is not installed, the signal is not of int16
            or too short for a result, or the firmware crashes

    """
    machine = start_machine(firmware)
    step, begin = begin_signal(machine, samples, push_samples)
    pushes: list[int] = []
    cycles: list[tuple[float, float]] = []
    total: Counter[Block] = Counter()
    for _ in push_all(machine, len(samples), step):
        pushes.append(machine.instructions())
        cycles.append(machine.cycles())
        total.update(machine.visits)
    facts = machine.facts()
    integers = machine.result(facts.scores)
    result, result_cycles = machine.instructions(), machine.cycles()
    functions, classes = machine.image.shares(total)
    text, constants, data, cleared = machine.image.sizes()
    return Emulation(
        core=firmware.core,
        integers=integers,
        samples=len(samples),
        sampling_rate=facts.sampling_rate,
        push_samples=step,
        pushes=tuple(pushes),
        result=result,
        latest=machine.latest_instructions(),
        begin=begin,
        functions=functions,
        classes=classes,
        cycles=tuple(cycles),
        result_cycles=result_cycles,
        stack_bytes=machine.stack_bytes(),
        state_bytes=machine.image.symbol("bench_state").size,
        text_bytes=text,
        constant_bytes=constants,
        data_bytes=data,
        bss_bytes=cleared,
    )


@dataclass(frozen=True)
class Slice:
    """The most that one push of a signal takes."""

    push_samples: int
    """Samples of a push."""

    worst: int
    """Instructions of the most expensive push."""

    mean: float
    """Instructions of all pushes of this length, for each of them."""


def worst_slices(
    firmware: Firmware, samples: np.ndarray, sizes: Sequence[int]
) -> tuple[Slice, ...]:
    """Push the second half of a signal in short pieces, a share of it in each length.

    Args:
        firmware: see :func:`emulate`
        samples: see :func:`emulate`; each share needs some hops
        sizes: samples of a push

    Raises:
        BenchError: as :func:`emulate`

    """
    machine = start_machine(firmware)
    begin_signal(machine, samples, None)
    half = len(samples) // 2
    machine.push(0, half)
    share = half // len(sizes)
    slices = []
    for number, size in enumerate(sizes):
        start = half + number * share
        pushes = []
        for place in range(start, start + share - size + 1, size):
            machine.push(place, size)
            pushes.append(machine.instructions())
        slices.append(Slice(size, max(pushes), sum(pushes) / len(pushes)))
    return tuple(slices)


def profile(
    firmware: Firmware, samples: np.ndarray, push_samples: int | None = None
) -> Profile:
    """Count the instructions of each stage of the streaming schedule.

    Args:
        firmware: program that was built with ``trace``;
            the few instructions for each row that tracing takes are counted as well
        samples: see :func:`emulate`
        push_samples: see :func:`emulate`

    Raises:
        BenchError: as :func:`emulate`, or if the firmware does not trace

    """
    machine = start_machine(firmware)
    step, _ = begin_signal(machine, samples, push_samples)
    sums: dict[int, np.ndarray] = {}
    rest = np.zeros(3)

    def add_row(stage: int) -> None:
        row = np.array([1, machine.instructions(), *machine.cycles()])
        sums[stage] = sums.get(stage, 0) + row

    machine.trace(add_row)
    count = -(-len(samples) // step)
    for i, _ in enumerate(push_all(machine, len(samples), step)):
        rest += (machine.instructions(), *machine.cycles())
        if i + 1 == count // 2:
            sums.clear()
            rest[:] = 0
    counted_samples = len(samples) - count // 2 * step
    stages = dict(sorted(sums.items()))
    return Profile(
        stages={stage: int(total[1]) for stage, total in stages.items()},
        rest=int(rest[0]),
        rows={stage: int(total[0]) for stage, total in stages.items()},
        cycles={stage: (total[2], total[3]) for stage, total in stages.items()},
        rest_cycles=(rest[1], rest[2]),
        seconds=counted_samples / machine.facts().sampling_rate,
    )


def result_and_stack(
    firmware: Firmware, samples: np.ndarray, push_samples: int | None = None
) -> tuple[tuple[int, ...], int]:
    """Result of a signal and the stack that it took, without counting: much faster.

    Args:
        firmware: see :func:`emulate`
        samples: see :func:`emulate`
        push_samples: see :func:`emulate`

    Returns:
        integers of the result, and bytes of the stack

    Raises:
        BenchError: as :func:`emulate`

    """
    machine = start_machine(firmware, counts=False)
    step, _ = begin_signal(machine, samples, push_samples)
    for _ in push_all(machine, len(samples), step):
        pass
    return machine.result(machine.facts().scores), machine.stack_bytes()


def selftest(firmware: Firmware) -> int:
    """Run the golden vectors on an emulated core.

    Args:
        firmware: program that was built with ``selftest``

    Returns:
        0, or the number of the first vector that differs, counted from 1

    Raises:
        BenchError: if the emulator is not installed
            or the firmware has no such test or crashes

    """
    return start_machine(firmware, counts=False).call("selftest")


def begin_signal(
    machine: Machine, samples: np.ndarray, push_samples: int | None
) -> tuple[int, int]:
    """Begin a signal; return samples of a push and instructions of the beginning."""
    if (
        not isinstance(samples, np.ndarray)
        or samples.dtype != np.int16
        or samples.ndim != 1
        or not 1 <= len(samples) <= MOST_SAMPLES
    ):
        shape = np.shape(samples)
        raise BenchError(
            f"samples must be a row of 1 to {MOST_SAMPLES} int16, got shape {shape} "
            f"of {getattr(samples, 'dtype', type(samples).__name__)}: convert them"
        )
    step = machine.facts().hop_length if push_samples is None else push_samples
    if step < 1:
        raise BenchError(f"push_samples must be 1 or more, got {step}: correct it")
    return step, machine.begin(samples)


def push_all(machine: Machine, count: int, step: int) -> Iterator[None]:
    """Push all samples of a signal that has begun; yield after each push.

    Args:
        machine: machine that :func:`begin_signal` was called with
        count: samples of the signal
        step: samples of a push

    """
    for start in range(0, count, step):
        machine.push(start, min(step, count - start))
        yield


def start_machine(firmware: Firmware, counts: bool = True) -> Machine:
    """Emulator of a firmware's core, started up.

    Args:
        firmware: program
        counts: whether to count instructions

    Raises:
        BenchError: if there is no emulator or the firmware does not start

    """
    if CORES[firmware.core].board:
        return QemuMachine(firmware, counts)
    return UnicornMachine(firmware, counts)
