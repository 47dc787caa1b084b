"""Run functions of any program for a Cortex-M on an emulated core.

Memory is what startup code would leave: variables have their first values,
and the rest is cleared. Neither that code nor the vector table is needed.
The stack lies apart from the program, painted, and with room to spare,
so that what a function takes of it can be seen.
The registers of a chip are no memory: a function that reads or writes them ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from wav2small.export.base.errors import BenchError
from wav2small.export.base.escape import line

from ..cores import CORES
from .elf import Elf, Section
from .image import Disassembly, load_library
from .machine import PAINT
from .unicorn import UnicornMachine, number_registers

ARCHITECTURES = {
    11: "cortex-m0",
    12: "cortex-m0",
    10: "cortex-m3",
    13: "cortex-m4",
    16: "cortex-m23",
    17: "cortex-m33",
    21: "cortex-m55",
}
"""Smallest core of each architecture, Tag_CPU_arch, from the oldest to the newest."""

_SRAM = range(0x20000000, 0x40000000)
_MOST_MEMORY = 1 << 26
_PAGE = 4096
_STACK = range(0x9FE00000, 0x9FF00000)
_RETURN = 0x9FF00000
_OWN = (range(_STACK.start, _RETURN + _PAGE), range(0xE0000000, 1 << 32))
"""What a program may not lie in: the end of external RAM, and the core's registers."""
_HEAP_BYTES = 1 << 16
_LOOP = b"\xfe\xe7"
"""An instruction that jumps to itself."""


@dataclass(frozen=True)
class Sizes:
    """What a program takes of a chip's memory before it runs."""

    flash_bytes: int
    """Code, constants and first values of variables."""

    static_bytes: int
    """RAM of variables and of code that runs there."""

    reserved_bytes: int
    """RAM that the linker keeps for stack and heap, in sections that are named so."""


@dataclass(frozen=True)
class Call:
    """What one call of a function took."""

    function: str
    """Its name in the program."""

    instructions: int
    """Instructions that ran, those of what it calls included."""

    cycles: tuple[float, float]
    """Cycles, from and to, derived from the instructions,
    see :mod:`wav2small.firmware_bench.run.timing`."""

    stack_bytes: int
    """The deepest byte of the stack that was written to."""

    functions: Mapping[str, int]
    """Instructions by function, the most first."""

    classes: Mapping[str, int]
    """Instructions by class."""


def in_ram(section: Section) -> bool:
    """Whether a part of a program takes RAM."""
    return section.writable or section.address in _SRAM


def is_reserved(section: Section) -> bool:
    """Whether a part is kept for stack or heap."""
    kept = "stack" in section.name.lower() or "heap" in section.name.lower()
    return kept and not section.stored and in_ram(section)


def measure_sizes(elf: Elf) -> Sizes:
    """Add up the parts of a program by the memory that they take."""
    ram = [part for part in elf.sections if in_ram(part)]
    return Sizes(
        flash_bytes=sum(part.bytes for part in elf.sections if part.stored),
        static_bytes=sum(part.bytes for part in ram if not is_reserved(part)),
        reserved_bytes=sum(part.bytes for part in ram if is_reserved(part)),
    )


def native_core(elf: Elf) -> str | None:
    """Smallest core that a program is built for, None if it does not say."""
    return ARCHITECTURES.get(elf.architecture or -1)


def understands(elf: Elf, core: str) -> bool:
    """Whether a core has the instructions of a program, as far as is known."""
    if core in CORES and CORES[core].riscv:
        return False
    order = list(ARCHITECTURES)
    own = elf.architecture
    if own not in ARCHITECTURES or core not in CORES:
        return True
    return order.index(CORES[core].architecture) >= order.index(own)


def check_core(elf: Elf, core: str) -> None:
    """Check that a core has the instructions of a program.

    Raises:
        BenchError: if the program is built for a newer architecture

    """
    if not understands(elf, core):
        raise BenchError(
            f"program must be built for {core} or an older core, got one for "
            f"{native_core(elf)}: choose another target"
        )


class ProgramMachine(UnicornMachine):
    """A core with a program in its memory, whoever built it."""

    def __init__(self, elf: Elf, core: str) -> None:
        """Put a program into the memory of a core.

        Args:
            elf: the program
            core: name of :data:`wav2small.firmware_bench.cores.CORES`

        Raises:
            BenchError: if its parts cannot lie in a memory
            BenchToolError: if there is no emulator

        """
        self._unicorn = load_library("unicorn")
        self.registers = number_registers(core)
        self.elf = elf
        parts = [(part.address, part.data) for part in elf.segments]
        parts += [(part.run_address, part.data) for part in elf.segments]
        self.image: Any = cast("Any", Disassembly(core, parts, elf.symbols))
        self.image.stack_floor, self.image.stack_top = _STACK.start, _STACK.stop
        self.counts = True
        self.visits = {}
        self.return_address = _RETURN
        self._touched = ""
        self._power_on()
        self._start_counting()

    def _power_on(self) -> None:
        core = self._make_core()
        unicorn = self._unicorn
        for start, count in _regions(self.elf):
            core.mem_map(start, count)
        core.mem_map(_STACK.start, len(_STACK), self._writable)
        core.mem_map(_RETURN, _PAGE)
        core.mem_write(_RETURN, _LOOP)
        for part in self.elf.segments:
            core.mem_write(part.address, part.data)
        # after what is stored, in case that a variable lies where something is stored
        for part in self.elf.segments:
            cleared = bytes(part.run_bytes - len(part.data))
            core.mem_write(part.run_address, part.data + cleared)
        for start, count in self._free():
            core.mem_write(start, bytes([PAINT]) * count)

        def touched(_core: Any, kind: int, address: int, *_: object) -> bool:
            does = "a jump to" if kind == unicorn.UC_MEM_FETCH_UNMAPPED else "use of"
            self._touched = f"{does} {address:#x}, no memory of the program,"
            return False

        core.hook_add(unicorn.UC_HOOK_MEM_INVALID, touched)

    def _free(self) -> list[tuple[int, int]]:
        """Where a heap may lie: what is reserved, and room behind all variables."""
        kept = [
            (part.address, part.bytes)
            for part in self.elf.sections
            if is_reserved(part)
        ]
        return [*kept, *_heap(self.elf)]

    def run(self, function: str) -> Call:
        """Call a function without arguments.

        What the calls before left in memory stays there.

        Raises:
            BenchError: if there is no such function, it does not return,
                or it touches what is no memory of the program

        """
        symbol = self.elf.symbols.get(function)
        if symbol is None or not symbol.address:
            raise BenchError(
                f"program must have the function '{line(function)}', got none of that "
                "name: look it up with nm, and keep it from being left out"
            )
        self._touched = ""
        self.visits.clear()
        self.core.mem_write(_STACK.start, bytes([PAINT]) * len(_STACK))
        problem = self._execute(symbol.address | 1, ())
        address = self.register(15)
        if address != _RETURN:
            problem = self._touched or problem or "no end"
            raise BenchError(
                f"function '{line(function)}' must return, got {line(problem)} at "
                f"{address:#x}: name one that needs no arguments and none of the "
                "chip's registers"
            )
        functions, classes = self.image.shares(self.visits)
        return Call(
            function, self.instructions(), self.cycles(), self.stack_bytes(),
            functions, classes,
        )  # fmt: skip

    def heap_bytes(self) -> int:
        """Bytes that the calls wrote to outside the program's variables."""
        paint = bytes([PAINT])
        return sum(len(self.read(*part).rstrip(paint)) for part in self._free())


def _heap(elf: Elf) -> list[tuple[int, int]]:
    """Room behind the last variable in RAM, start and bytes."""
    ends = [part.address + part.bytes for part in elf.sections if in_ram(part)]
    ends = [end for end in ends if end in _SRAM]
    if not ends:
        return []
    stored = [part.address for part in elf.segments if part.address >= max(ends)]
    most = min([max(ends) + _HEAP_BYTES, _SRAM.stop, *stored])
    return [(max(ends), most - max(ends))]


def _regions(elf: Elf) -> list[tuple[int, int]]:
    """Pages that a program lies in, as starts and bytes of whole regions.

    Raises:
        BenchError: if there are too many, or they lie where the bench has its own

    """
    spans = [(part.address, len(part.data)) for part in elf.segments]
    spans += [(part.run_address, part.run_bytes) for part in elf.segments]
    spans = sorted(span for span in [*spans, *_heap(elf)] if span[1])
    regions: list[tuple[int, int]] = []
    for start, count in spans:
        first, end = start // _PAGE * _PAGE, -(-(start + count) // _PAGE) * _PAGE
        if regions and first <= regions[-1][1]:
            first, end = regions[-1][0], max(end, regions[-1][1])
            regions.pop()
        regions.append((first, end))
    total = sum(end - start for start, end in regions)
    for start, end in regions:
        if any(start < own.stop and end > own.start for own in _OWN):
            raise BenchError(
                "program must leave the end of external RAM and the core's registers "
                f"alone, got a part at {start:#x}: check its link script"
            )
    if total > _MOST_MEMORY:
        raise BenchError(
            f"program must lie in at most {_MOST_MEMORY >> 20} MiB, got "
            f"{total >> 20} MiB: check its link script"
        )
    if not regions:
        raise BenchError("program must hold code, got none: link it again")
    return [(start, end - start) for start, end in regions]
