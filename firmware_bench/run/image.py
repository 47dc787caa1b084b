"""A linked firmware: its symbols, its sizes and the instructions in it."""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TypeAlias

from wav2small.export.base.errors import BenchError, BenchToolError

from ..cores import CORES
from .elf import Symbol, read_elf
from .pipeline import Cycles, ListedInstruction, block_cycles
from .timing import Instruction, classify
from .toolchain import RAM_ORIGIN, Firmware

Block: TypeAlias = tuple[int, int, bool]
"""Instructions that always run one after the other: address, bytes,
and whether a jump led there, False where nobody looked."""


class Disassembly:
    """Instructions of a program, and the names of its functions."""

    def __init__(
        self,
        core: str,
        segments: Sequence[tuple[int, bytes]],
        symbols: dict[str, Symbol],
    ) -> None:
        """Prepare to tell one instruction from another.

        Args:
            core: name of :data:`wav2small.firmware_bench.cores.CORES`
            segments: code by the address at which it runs
            symbols: names of the program

        Raises:
            BenchToolError: if the library is missing that reads instructions

        """
        capstone = load_library("capstone")
        self.core = core
        self.segments = segments
        self.symbols = symbols
        functions = sorted(
            (symbol.address & ~1, name)
            for name, symbol in symbols.items()
            if symbol.function
        )
        self._starts = [start for start, _ in functions]
        self._names = [name for _, name in functions]
        self.riscv = CORES[core].riscv
        kind = (
            (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)
            if self.riscv
            else (
                capstone.CS_ARCH_ARM,
                capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS,
            )
        )
        self.disassembler = capstone.Cs(*kind)
        self._blocks: dict[Block, tuple[Instruction, ...]] = {}
        self._cycles: dict[Block, Cycles] = {}

    def symbol(self, name: str) -> Symbol:
        """Find a name.

        Raises:
            BenchError: if the firmware does not have it

        """
        if name not in self.symbols:
            raise BenchError(
                f"firmware must have {name}, got none: build it for what is asked"
            )
        return self.symbols[name]

    def count_instructions(self, visits: Mapping[Block, int]) -> int:
        """Instructions that ran, from how often each block did."""
        return sum(count * len(self.decode(block)) for block, count in visits.items())

    def sum_cycles(self, visits: Mapping[Block, int]) -> tuple[float, float]:
        """Fewest and most cycles of what ran."""
        low = high = 0.0
        for block, count in visits.items():
            self.decode(block)
            cycles = self._cycles[block]
            jump = cycles.jump if block[2] else 0
            low += count * (cycles.low + jump)
            high += count * (cycles.high + jump)
        fewer, more = CORES[self.core].timing.error
        return low * fewer, high * more

    def fewest_cycles(self, block: Block) -> float:
        """Fewest cycles of a block, with the jump that leads to it."""
        self.decode(block)
        cycles = self._cycles[block]
        return cycles.low + (cycles.jump if block[2] else 0)

    def shares(
        self, visits: Mapping[Block, int]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Instructions by function and by class, the most first."""
        functions: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        for block, count in visits.items():
            instructions = self.decode(block)
            place = bisect_right(self._starts, block[0]) - 1
            name = self._names[place] if place >= 0 else "without a name"
            functions[name] += count * len(instructions)
            for instruction in instructions:
                classes[instruction.kind] += count
        return _most_first(functions), _most_first(classes)

    def decode(self, block: Block) -> tuple[Instruction, ...]:
        """Class and cycles of each instruction of a block."""
        if block not in self._blocks:
            lines = tuple(self._disassemble(block))
            self._blocks[block] = tuple(line.instruction for line in lines)
            self._cycles[block] = block_cycles(CORES[self.core].timing, lines)
        return self._blocks[block]

    def _disassemble(self, block: Block) -> Iterator[ListedInstruction]:
        address, size, _ = block
        code = self._code(address, size)
        start = 0
        while start < size:
            length = 4 if self._is_long(code[start : start + 2]) else 2
            one = code[start : start + length]
            decoded = self.disassembler.disasm_lite(one, address + start, 1)
            _, _, mnemonic, operands = next(decoded, (0, 0, "", ""))
            known = classify(self.core, mnemonic, operands)
            yield ListedInstruction(known, mnemonic, operands, address + start, length)
            start += length

    def _is_long(self, half: bytes) -> bool:
        """Whether an instruction that begins like this has two halves."""
        if self.riscv:
            return half[0] & 3 == 3
        return half[1] >> 3 in (0b11101, 0b11110, 0b11111)

    def _code(self, address: int, size: int) -> bytes:
        for origin, data in self.segments:
            start = address - origin
            if start >= 0 and start + size <= len(data):
                return data[start : start + size]
        raise BenchToolError(
            f"firmware must run its own code, got {address:#x}: "
            "check that it is built for this core"
        )


class Image(Disassembly):
    """What is known of a firmware of the bench without running it."""

    def __init__(self, firmware: Firmware) -> None:
        """Read a firmware.

        Args:
            firmware: program, see :func:`wav2small.firmware_bench.run.toolchain.build`

        Raises:
            BenchError: if it is no program that the bench has built
            BenchToolError: if the library is missing that reads instructions

        """
        load_library("capstone")  # what is missing is told before a file is blamed
        elf = read_elf(firmware.elf, riscv=CORES[firmware.core].riscv)
        loaded = [(part.address, part.data) for part in elf.segments if part.data]
        super().__init__(firmware.core, loaded, elf.symbols)
        self._sections = {part.name: part.bytes for part in elf.sections}
        self.stop = self.symbol("bench_stop").address
        self.stack_top = self.symbol("bench_stack").address
        self.stack_floor = self.symbol("bench_bss_end").address

    def sizes(self) -> tuple[int, int, int, int]:
        """Bytes of flash memory, the constants in it, data and cleared memory."""
        sizes = self._sections
        text = sizes[".text"] + sizes.get(".ARM.exidx", 0)
        constants = sum(
            symbol.size
            for symbol in self.symbols.values()
            if symbol.data and symbol.address < RAM_ORIGIN
        )
        return text, constants, sizes.get(".data", 0), sizes.get(".bss", 0)


def load_library(name: str) -> ModuleType:
    """Import a library that only the extra ``firmware`` brings.

    Raises:
        BenchToolError: if it is not installed

    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BenchToolError(
            f"{name.partition('.')[0]} must be installed to emulate, got none: "
            "pip install wav2small[firmware]"
        ) from error


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
