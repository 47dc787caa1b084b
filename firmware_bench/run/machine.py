"""Run a firmware on an emulated core of Arm and count what it does.

Instructions are counted, not cycles: there are no waits for memory and no caches.
The count is exact: the emulator tells each block of instructions that runs,
and the instructions of a block are counted once.
An instruction that a condition skips is one that ran.
The same program and samples give the same counts each time.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from wav2small.export.base.errors import BenchError, BenchToolError, one_line

from .timing import Instruction, classify
from .toolchain import Firmware

MOST_SAMPLES = 1 << 26
"""Samples that a signal may have."""

SECONDS = 600.0
_PAGE = 4096
RAM = 0x20000000
SAMPLES = 0x60000000
_SYSTEM = 0xE000E000
_COPROCESSORS = 0xE000ED88
PAINT = 0xA5
_TOO_SHORT = 3


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
        heard = self.samples - skipped * self.push_samples
        return sum(pushes[skipped:]) * self.sampling_rate / heard


@dataclass(frozen=True)
class Profile:
    """Where the instructions of the second half of all pushes go, by stage."""

    stages: Mapping[int, int]
    """Instructions by number of the stage, in the order of execution, 0 the front end.
    A stage that makes no row, such as a pool, counts to the next that does."""

    rest: int
    """What comes after the last row of a push: pooling, and samples that wait."""

    rows: Mapping[int, int]
    """Rows that each of these stages made."""

    cycles: Mapping[int, tuple[float, float]]
    """Cycles of each of these stages, from and to."""

    rest_cycles: tuple[float, float]
    """Cycles of the rest."""

    seconds: float
    """Seconds of audio that were heard meanwhile."""


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
            or too short for a result, or the firmware goes astray

    """
    machine = _machine(firmware)
    step, begin = _begin(machine, samples, push_samples)
    pushes: list[int] = []
    cycles: list[tuple[float, float]] = []
    total: Counter[tuple[int, int]] = Counter()
    for _ in _pushes(machine, len(samples), step):
        pushes.append(machine.instructions())
        cycles.append(machine.cycles())
        total.update(machine.visits)
    sampling_rate, _, scores = machine.facts()
    integers = machine.result(scores)
    result_cycles = machine.cycles()
    functions, classes = machine.shares(total)
    text, constants, data, cleared = machine.sizes()
    return Emulation(
        core=firmware.core,
        integers=integers,
        samples=len(samples),
        sampling_rate=sampling_rate,
        push_samples=step,
        pushes=tuple(pushes),
        result=machine.instructions(),
        begin=begin,
        functions=functions,
        classes=classes,
        cycles=tuple(cycles),
        result_cycles=result_cycles,
        stack_bytes=machine.stack(),
        state_bytes=machine.symbols["bench_state"].size,
        text_bytes=text,
        constant_bytes=constants,
        data_bytes=data,
        bss_bytes=cleared,
    )


def profile(
    firmware: Firmware, samples: np.ndarray, push_samples: int | None = None
) -> Profile:
    """Count the instructions of each stage of the streaming schedule.

    Args:
        firmware: program that was built with ``trace``,
            which takes a few instructions for each row that are not left out
        samples: see :func:`emulate`
        push_samples: see :func:`emulate`

    Raises:
        BenchError: as :func:`emulate`, or if the firmware does not trace

    """
    machine = _machine(firmware)
    step, _ = _begin(machine, samples, push_samples)
    sums: dict[int, np.ndarray] = {}
    rest = np.zeros(3)

    def note(stage: int) -> None:
        now = np.array([1, machine.instructions(), *machine.cycles()])
        sums[stage] = sums.get(stage, 0) + now

    machine.trace(note)
    count = -(-len(samples) // step)
    for i, _ in enumerate(_pushes(machine, len(samples), step)):
        rest += (machine.instructions(), *machine.cycles())
        if i + 1 == count // 2:
            sums.clear()
            rest[:] = 0
    heard = len(samples) - count // 2 * step
    stages = dict(sorted(sums.items()))
    return Profile(
        stages={stage: int(found[1]) for stage, found in stages.items()},
        rest=int(rest[0]),
        rows={stage: int(found[0]) for stage, found in stages.items()},
        cycles={stage: (found[2], found[3]) for stage, found in stages.items()},
        rest_cycles=(rest[1], rest[2]),
        seconds=heard / machine.facts()[0],
    )


def answer(
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
    machine = _machine(firmware, counts=False)
    step, _ = _begin(machine, samples, push_samples)
    for _ in _pushes(machine, len(samples), step):
        pass
    return machine.result(machine.facts()[2]), machine.stack()


def selftest(firmware: Firmware) -> int:
    """Run the golden vectors on an emulated core.

    Args:
        firmware: program that was built with ``selftest``

    Returns:
        0, or the number of the first vector that differs, counted from 1

    Raises:
        BenchError: if the emulator is not installed
            or the firmware has no such test or goes astray

    """
    return _machine(firmware, counts=False).call("selftest")


def _begin(
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
    _, hop_length, _ = machine.facts()
    step = hop_length if push_samples is None else push_samples
    if step < 1:
        raise BenchError(f"push_samples must be 1 or more, got {step}: correct it")
    return step, machine.begin(samples)


def _pushes(machine: Machine, count: int, step: int) -> Iterator[None]:
    for start in range(0, count, step):
        machine.push(start, min(step, count - start))
        yield


def _machine(firmware: Firmware, counts: bool = True) -> Machine:
    """Emulator of a firmware's core, started up."""
    from . import qemu

    kind = qemu.Board if firmware.core in qemu.BOARDS else Machine
    return kind(firmware, counts)


@dataclass(frozen=True)
class _Symbol:
    value: int
    size: int
    function: bool
    constant: bool


class Machine:
    """An emulated core with a firmware in its memory, started up."""

    def __init__(self, firmware: Firmware, counts: bool = True) -> None:
        unicorn, capstone, elffile = _libraries()
        self.firmware = firmware
        self.counts = counts
        self.arm = unicorn.arm_const
        self.failure = unicorn.UcError
        try:
            self.elf = elffile.ELFFile(io.BytesIO(firmware.elf))
            table = self.elf.get_section_by_name(".symtab")
            self.symbols = {
                symbol.name: _Symbol(
                    symbol["st_value"],
                    symbol["st_size"],
                    symbol["st_info"]["type"] == "STT_FUNC",
                    symbol["st_info"]["type"] == "STT_OBJECT",
                )
                for symbol in table.iter_symbols()
                if symbol["st_shndx"] != "SHN_UNDEF"
            }
            needed = ("bench_stop", "bench_stack", "bench_bss_end")
            self.stop, self.top, self.floor = (
                self.symbols[name].value for name in needed
            )
        except Exception as error:  # pyelftools' have no common base class
            raise BenchError(
                f"firmware must be a program of the bench, got {one_line(error)}: "
                "build it with the toolchain"
            ) from error
        functions = sorted(
            (symbol.value & ~1, name)
            for name, symbol in self.symbols.items()
            if symbol.function
        )
        self.starts = [start for start, _ in functions]
        self.names = [name for _, name in functions]
        self.disassembler = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        self.blocks: dict[tuple[int, int], tuple[str, ...]] = {}
        self.intervals: dict[tuple[int, int], tuple[float, float]] = {}
        self.visits: dict[tuple[int, int], int] = {}
        self.block_hook = unicorn.UC_HOOK_BLOCK
        self._start(unicorn)
        self._run("bench_reset")
        if counts:
            self._count()

    def _segments(self) -> list[Any]:
        """What lies in flash memory."""
        segments = [part for part in self.elf.iter_segments() if part["p_filesz"]]
        return [part for part in segments if part["p_type"] == "PT_LOAD"]

    def _start(self, unicorn: ModuleType) -> None:
        core = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        model = self.firmware.core.upper().replace("-", "_")
        core.ctl_set_cpu_model(getattr(self.arm, f"UC_CPU_ARM_{model}"))
        executable = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        self.writable = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        loaded = self._segments()
        flash = min(part["p_paddr"] for part in loaded) // _PAGE * _PAGE
        end = max(part["p_paddr"] + part["p_filesz"] for part in loaded)
        core.mem_map(flash, _pages(end - flash), executable)
        for part in loaded:
            core.mem_write(part["p_paddr"], part.data())
        core.mem_map(RAM, _pages(self.top - RAM), self.writable)
        core.mem_write(RAM, bytes([PAINT]) * (self.top - RAM))
        core.mem_map(_SYSTEM, _PAGE, self.writable)
        # the unit for floating point is off after a reset
        core.mem_write(_COPROCESSORS, (0xF << 20).to_bytes(4, "little"))
        core.reg_write(self.arm.UC_ARM_REG_FPEXC, 1 << 30)
        self.core = core

    def _count(self) -> None:
        visits = self.visits

        def count(_core: Any, address: int, size: int, _data: object) -> None:
            key = address, size
            visits[key] = visits.get(key, 0) + 1

        self.core.hook_add(self.block_hook, count)

    # -- calls ---------------------------------------------------------------

    def _run(self, name: str, *arguments: int) -> int:
        """Call a function; return its result."""
        self.visits.clear()
        problem = self._execute(self.symbol(name).value | 1, arguments)
        place = self.register(15)
        if place != self.stop & ~1:
            problem = problem or f"no end within {SECONDS:g} s"
            raise BenchToolError(
                f"firmware must return from {name}, got {problem} at {place:#x}: "
                "check that it is built for this core"
            )
        return self.register(0)

    def _execute(self, start: int, arguments: Sequence[int]) -> str:
        """Let the core run until it stops; return what went wrong, if that is known."""
        arm = self.arm
        registers = (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2)
        for register, argument in zip(registers, arguments, strict=False):
            self.core.reg_write(register, argument)
        self.core.reg_write(arm.UC_ARM_REG_SP, self.top)
        self.core.reg_write(arm.UC_ARM_REG_LR, self.stop | 1)
        try:
            self.core.emu_start(start, self.stop & ~1, timeout=int(SECONDS * 1e6))
        except self.failure as error:
            return one_line(error)
        return ""

    def register(self, number: int) -> int:
        """What is in register R0 or R15."""
        arm = self.arm
        names = {0: arm.UC_ARM_REG_R0, 15: arm.UC_ARM_REG_PC}
        return int(self.core.reg_read(names[number]))

    def read(self, place: int, count: int) -> bytes:
        """Bytes of memory."""
        return bytes(self.core.mem_read(place, count))

    def hear(self, samples: bytes) -> None:
        """Put samples into memory, with room for a page behind them."""
        self.core.mem_map(SAMPLES, _pages(len(samples) + _PAGE), self.writable)
        self.core.mem_write(SAMPLES, samples)

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the model; return its result."""
        return self._run(f"{self.firmware.prefix}_{name}", *arguments)

    def _checked(self, name: str, *arguments: int) -> None:
        status = self.call(name, *arguments)
        if status == _TOO_SHORT:
            raise BenchError(
                f"samples must suffice for a result, got {self.count}: take more"
            )
        if status:
            raise BenchError(
                f"{name} must succeed on the core, got status {status}: check that the "
                "model takes such a signal"
            )

    def begin(self, samples: np.ndarray) -> int:
        """Begin a signal; return the instructions of it."""
        self.count = len(samples)
        # a level or the integers lie behind the samples
        self.spare = SAMPLES + (2 * self.count + 7) // 8 * 8
        self.hear(samples.astype("<i2").tobytes())
        arguments = [self.symbol("bench_state").value]
        before = 0
        if f"{self.firmware.prefix}_measure" in self.symbols:
            self._checked("measure", SAMPLES, self.count, self.spare)
            before = self.instructions()
            arguments.append(self.spare)
        self._checked("init", *arguments)
        return before + self.instructions()

    def push(self, start: int, count: int) -> None:
        """Push some of the samples."""
        state = self.symbol("bench_state").value
        self._checked("push", state, SAMPLES + 2 * start, count)

    def result(self, scores: int) -> tuple[int, ...]:
        """Result of the samples so far."""
        self._checked("integers", self.symbol("bench_state").value, self.spare)
        integers = self.read(self.spare, 4 * scores)
        return struct.unpack(f"<{scores}i", integers)

    def trace(self, note: Callable[[int], None]) -> None:
        """From now on, tell of each row its stage, the visits being what led to it."""
        place = self.symbol("bench_trace").value & ~1

        def tell(core: Any, _address: int, size: int, _data: object) -> None:
            del self.visits[place, size]
            note(core.reg_read(self.arm.UC_ARM_REG_R0))
            self.visits.clear()

        self.core.hook_add(self.block_hook, tell, None, place, place)

    # -- what is there -------------------------------------------------------

    def symbol(self, name: str) -> _Symbol:
        """Find a name of the firmware."""
        if name not in self.symbols:
            raise BenchError(
                f"firmware must have {name}, got none: build it for what is asked"
            )
        return self.symbols[name]

    def facts(self) -> tuple[int, int, int]:
        """Sampling rate, samples of a hop and number of scores."""
        values = self.read(self.symbol("bench_facts").value, 12)
        sampling_rate, hop_length, scores = struct.unpack("<3I", values)
        return sampling_rate, hop_length, scores

    def instructions(self) -> int:
        """Instructions of the last call."""
        return sum(
            count * len(self.kinds(*block)) for block, count in self.visits.items()
        )

    def cycles(self) -> tuple[float, float]:
        """Cycles of the last call, from and to."""
        low = high = 0.0
        for block, count in self.visits.items():
            self.kinds(*block)
            interval = self.intervals[block]
            low += count * interval[0]
            high += count * interval[1]
        return low, high

    def kinds(self, address: int, size: int) -> tuple[str, ...]:
        """Classes of the instructions of a block."""
        block = address, size
        if block not in self.blocks:
            found = tuple(self._decode(address, size))
            self.blocks[block] = tuple(entry.kind for entry in found)
            self.intervals[block] = (
                sum(entry.low for entry in found),
                sum(entry.high for entry in found),
            )
        return self.blocks[block]

    def _decode(self, address: int, size: int) -> Iterator[Instruction]:
        code = self.read(address, size)
        place = 0
        while place < size:
            # the first five bits tell long instructions from short ones
            length = 4 if code[place + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
            one = code[place : place + length]
            decoded = next(self.disassembler.disasm_lite(one, address + place, 1), None)
            yield classify(self.firmware.core, *(decoded[2:] if decoded else ("", "")))
            place += length

    def shares(
        self, visits: Mapping[tuple[int, int], int]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Instructions by function and by class, the most first."""
        functions: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        for (address, size), count in visits.items():
            kinds = self.kinds(address, size)
            name = self.names[bisect_right(self.starts, address) - 1]
            functions[name] += count * len(kinds)
            for kind in kinds:
                classes[kind] += count
        return _ordered(functions), _ordered(classes)

    def stack(self) -> int:
        """Bytes of the stack that were ever written to."""
        memory = self.read(self.floor, self.top - self.floor)
        untouched = len(memory) - len(memory.lstrip(bytes([PAINT])))
        if not untouched:
            raise BenchError(
                f"stack must fit into {len(memory)} bytes, got more: give more RAM"
            )
        return len(memory) - untouched

    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of flash memory, of constants in it, and of data and cleared memory."""
        sizes = {part.name: int(part["sh_size"]) for part in self.elf.iter_sections()}
        text = sizes[".text"] + sizes.get(".ARM.exidx", 0)
        constants = sum(
            symbol.size
            for symbol in self.symbols.values()
            if symbol.constant and symbol.value < RAM
        )
        return text, constants, sizes[".data"], sizes[".bss"]


def _pages(count: int) -> int:
    return -(-count // _PAGE) * _PAGE


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _libraries() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        import capstone
        import unicorn
        from elftools.elf import elffile
        from unicorn import arm_const  # noqa: F401
    except ImportError as error:
        raise BenchToolError(
            f"{error.name} must be installed to emulate, got none: "
            "pip install wav2small[firmware]"
        ) from error
    return unicorn, capstone, elffile
