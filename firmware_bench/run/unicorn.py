"""Cores that unicorn emulates, a library in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wav2small.export.base.errors import one_line

from ..cores import CORES
from . import machine
from .image import load_library
from .machine import PAINT, SAMPLES_ORIGIN, Machine
from .toolchain import RAM_ORIGIN, Firmware

_PAGE = 4096
_MOST_BLOCKS = 1 << 20
_SYSTEM = 0xE000E000
_COPROCESSORS = 0xE000ED88
_ARGUMENTS = ("first", "second", "third", "fourth")
_ARM = {
    "first": "UC_ARM_REG_R0",
    "second": "UC_ARM_REG_R1",
    "third": "UC_ARM_REG_R2",
    "fourth": "UC_ARM_REG_R3",
    "stack": "UC_ARM_REG_SP",
    "return": "UC_ARM_REG_LR",
    "next": "UC_ARM_REG_PC",
    "float": "UC_ARM_REG_FPEXC",
}
_RISCV = {
    "first": "UC_RISCV_REG_A0",
    "second": "UC_RISCV_REG_A1",
    "third": "UC_RISCV_REG_A2",
    "fourth": "UC_RISCV_REG_A3",
    "stack": "UC_RISCV_REG_SP",
    "return": "UC_RISCV_REG_RA",
    "next": "UC_RISCV_REG_PC",
}


def number_registers(core: str) -> dict[str, int]:
    """Number of each register in unicorn, by what the bench needs it for."""
    riscv = CORES[core].riscv
    constants = load_library(f"unicorn.{'riscv' if riscv else 'arm'}_const")
    names = _RISCV if riscv else _ARM
    return {role: getattr(constants, name) for role, name in names.items()}


class UnicornMachine(Machine):
    """A core that unicorn emulates."""

    def __init__(self, firmware: Firmware, counts: bool = True) -> None:
        """See :class:`wav2small.firmware_bench.run.machine.Machine`."""
        self._unicorn = load_library("unicorn")
        self.registers = number_registers(firmware.core)
        """Number of a register in unicorn, by what the bench needs it for."""
        super().__init__(firmware, counts)

    def _power_on(self) -> None:
        core = self._make_core()
        unicorn, segments = self._unicorn, self.image.segments
        executable = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        flash = min(address for address, _ in segments) // _PAGE * _PAGE
        end = max(address + len(data) for address, data in segments)
        core.mem_map(flash, _whole_pages(end - flash), executable)
        for address, data in segments:
            core.mem_write(address, data)
        ram_bytes = self.image.stack_top - RAM_ORIGIN
        core.mem_map(RAM_ORIGIN, _whole_pages(ram_bytes), self._writable)
        core.mem_write(RAM_ORIGIN, bytes([PAINT]) * ram_bytes)

    def _make_core(self) -> Any:
        """Make the core, with nothing but its own registers in its memory."""
        unicorn = self._unicorn
        if self.image.riscv:
            core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        else:
            mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
            core = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
            name = self.image.core.upper().replace("-", "_")
            arm = load_library("unicorn.arm_const")
            core.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_{name}"))
        self._writable = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
        if not self.image.riscv:
            core.mem_map(_SYSTEM, _PAGE, self._writable)
            # the floating point unit is off after a reset
            core.mem_write(_COPROCESSORS, (0xF << 20).to_bytes(4, "little"))
            core.reg_write(self.registers["float"], 1 << 30)
        self.core = core
        return core

    def _start_counting(self) -> None:
        visits = self.visits
        end = 0

        def count(core: Any, address: int, size: int, _data: object) -> None:
            nonlocal end
            block = address, size, address != end
            end = address + size
            if block in visits:
                visits[block] += 1
                return
            visits[block] = 1
            if len(visits) > _MOST_BLOCKS:  # code that writes code, without an end
                core.emu_stop()

        self.core.hook_add(self._unicorn.UC_HOOK_BLOCK, count)

    def follow_flash(
        self, block: Callable[[int, int], None], read: Callable[[int], None]
    ) -> None:
        """From now on, tell of each block and of each constant in flash memory.

        Args:
            block: called with address and bytes of a block that begins
            read: called with the address of a constant that the block reads

        """

        def begins(_core: Any, address: int, size: int, _data: object) -> None:
            block(address, size)

        def reads(
            _core: Any, _kind: int, address: int, _size: int, _value: int, _data: object
        ) -> None:
            read(address)

        unicorn = self._unicorn
        spans = [(start, start + len(data)) for start, data in self.image.segments]
        first, last = min(span[0] for span in spans), max(span[1] for span in spans)
        self.core.hook_add(unicorn.UC_HOOK_BLOCK, begins)
        self.core.hook_add(unicorn.UC_HOOK_MEM_READ, reads, None, first, last - 1)
        self.core.ctl_flush_tb()  # what was translated before calls no hooks

    def _execute(self, start: int, arguments: Sequence[int]) -> str:
        for role, argument in zip(_ARGUMENTS[: len(arguments)], arguments, strict=True):
            self.core.reg_write(self.registers[role], argument)
        self.core.reg_write(self.registers["stack"], self.image.stack_top)
        thumb = not self.image.riscv
        self.core.reg_write(self.registers["return"], self.return_address | thumb)
        timeout = int(machine.MAX_SECONDS * 1e6)
        try:
            self.core.emu_start(start, self.return_address & ~1, timeout=timeout)
        except self._unicorn.UcError as error:
            return one_line(error)
        return ""

    def register(self, number: int) -> int:
        """Content of register 0 or 15."""
        role = {0: "first", 15: "next"}[number]
        return int(self.core.reg_read(self.registers[role]))

    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory."""
        return bytes(self.core.mem_read(address, count))

    def write_samples(self, samples: bytes) -> None:
        """Put samples into memory, and leave room for a page after them."""
        room = _whole_pages(len(samples) + _PAGE)
        self.core.mem_map(SAMPLES_ORIGIN, room, self._writable)
        self.core.mem_write(SAMPLES_ORIGIN, samples)

    def trace(self, on_row: Callable[[int], None]) -> None:
        """See :meth:`wav2small.firmware_bench.run.machine.Machine.trace`."""
        mark = self.image.symbol("bench_trace").address & ~1

        def row_is_finished(core: Any, _address: int, size: int, _data: object) -> None:
            del self.visits[mark, size, True]
            on_row(core.reg_read(self.registers["first"]))
            self.visits.clear()

        hook = self._unicorn.UC_HOOK_BLOCK
        self.core.hook_add(hook, row_is_finished, None, mark, mark)


def _whole_pages(count: int) -> int:
    return -(-count // _PAGE) * _PAGE
