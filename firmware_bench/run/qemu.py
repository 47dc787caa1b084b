"""Boards that QEMU emulates, for cores that unicorn does not have.

The program is the one that would run on a chip:
nothing in it knows of the emulator, which is driven as a debugger drives a board.
Blocks of instructions are counted by a plugin of QEMU, ``startup/count.c``,
which the compiler from PyPI builds once,
so the counts are exact and the same each time.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import IO

import numpy as np

from wav2small.export.base.errors import BenchError, BenchToolError

from ..cores import CORES
from . import machine
from .machine import PAINT, SAMPLES_ORIGIN, Machine
from .toolchain import RAM_ORIGIN, Firmware, build_library

QEMU = "qemu-system-arm"
"""The emulator, which has to be installed."""

_MOST_BLOCKS = 1 << 16
_BLOCK = np.dtype([("address", "<u4"), ("bytes", "<u4"), ("count", "<u8")])
_STOP = 0x6FFFF000
"""Address that calls return to.

It is far from all code, because near a breakpoint QEMU runs slowly,
one instruction at a time.
"""
_ASTRAY = 0x6FFFE000
"""Address that exceptions lead to."""
_VECTORS = 16
_PACKET = 2000
_STATUS = 0x19
_THUMB = 1 << 24
_SP, _LR, _PC = 13, 14, 15


def missing() -> str | None:
    """What is missing to emulate with QEMU, as a clause; None if nothing is."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    if sys.platform != "linux":
        return f"{QEMU} is driven on Linux alone"
    return None


class QemuMachine(Machine):
    """An emulated board with a firmware in its memory, started up."""

    def __init__(self, firmware: Firmware, counts: bool = True) -> None:
        """See :class:`wav2small.firmware_bench.run.machine.Machine`."""
        super().__init__(firmware, counts)
        self.debugger.remove_breakpoint(self.return_address)
        self.return_address = _STOP

    def _power_on(self) -> None:
        board = CORES[self.firmware.core].board
        assert board is not None
        self._on_row: Callable[[int], None] | None = None
        self._mark = -1
        self.debugger = _Debugger(board.machine, self.counts)
        self._counts_before = np.zeros(_MOST_BLOCKS, np.uint64)
        vectors = (_ASTRAY | 1).to_bytes(4, "little") * _VECTORS
        self.debugger.write(0, vectors)
        for address, data in self.image.segments:
            self.debugger.write(address, data)
        ram_bytes = self.image.stack_top - RAM_ORIGIN
        self.debugger.write(RAM_ORIGIN, bytes([PAINT]) * ram_bytes)
        for address in (self.return_address, _STOP, _ASTRAY):
            self.debugger.set_breakpoint(address)

    def _start_counting(self) -> None:
        self._collect()
        self.visits.clear()

    def _execute(self, start: int, arguments: Sequence[int]) -> str:
        debugger = self.debugger
        for number, argument in enumerate(arguments):
            debugger.set_register(number, argument)
        debugger.set_register(_STATUS, _THUMB)
        debugger.set_register(_SP, self.image.stack_top)
        debugger.set_register(_LR, self.return_address | 1)
        debugger.set_register(_PC, start & ~1)
        while True:
            debugger.resume()
            self._collect()
            address = debugger.register(_PC)
            if address != self._mark:
                return "an exception" if address == _ASTRAY else ""
            # the function that marks a row does nothing: return from it at once
            assert self._on_row is not None
            self._on_row(debugger.register(0))
            self.visits.clear()
            debugger.set_register(_PC, debugger.register(_LR) & ~1)

    def _collect(self) -> None:
        """Add the blocks that ran since the last time to the visits."""
        if not self.counts:
            return
        blocks = self.debugger.blocks
        counts = np.array(blocks["count"])
        for i in np.flatnonzero(counts != self._counts_before).tolist():
            block = int(blocks["address"][i]), int(blocks["bytes"][i]), False
            count = int(counts[i] - self._counts_before[i])
            self.visits[block] = self.visits.get(block, 0) + count
        self._counts_before = counts

    def register(self, number: int) -> int:
        """Content of a register."""
        return self.debugger.register(number)

    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory."""
        return self.debugger.read(address, count)

    def write_samples(self, samples: bytes) -> None:
        """Put samples into memory."""
        self.debugger.write(SAMPLES_ORIGIN, samples)

    def trace(self, on_row: Callable[[int], None]) -> None:
        """See :meth:`wav2small.firmware_bench.run.machine.Machine.trace`."""
        self._on_row = on_row
        self._mark = self.image.symbol("bench_trace").address & ~1
        self.debugger.set_breakpoint(self._mark)


class _Debugger:
    """Drives QEMU as GDB would, over its standard input and output.

    References:
        GDB manual, appendix E, remote serial protocol.

    """

    def __init__(self, board: str, counts: bool) -> None:
        self._board = board
        problem = missing()
        if problem:
            raise BenchToolError(
                f"{QEMU} must be there to emulate this core, got none ({problem}): "
                "install it, or choose another target"
            )
        self.folder = tempfile.TemporaryDirectory()
        words = [QEMU, "-M", board, "-S", "-gdb", "stdio"]
        words += ["-display", "none", "-monitor", "none", "-serial", "none"]
        if counts:
            path = Path(self.folder.name) / "counts"
            with path.open("wb") as file:
                file.truncate(_MOST_BLOCKS * _BLOCK.itemsize)
            words += ["-plugin", f"file={_plugin()},counts={path}"]
            self.blocks = np.memmap(path, _BLOCK, "r")
        self._errors = (Path(self.folder.name) / "errors").open("w+b")
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        weakref.finalize(self, _end_process, self.process, self._errors, self.folder)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._input = self.process.stdin
        self._output = io.BufferedReader(self.process.stdout)  # type: ignore[type-var]
        # QEMU sets single registers only after it was asked which ones there are
        self._ask("qXfer:features:read:target.xml:0,800")

    def _ask(self, text: str) -> str:
        answer = self._answer(text)
        if answer is None:
            raise BenchToolError(
                f"{QEMU} must answer, got {self._first_error()}: check that it has "
                f"the board {self._board} and takes plugins"
            )
        return answer

    def _first_error(self) -> str:
        """First line that QEMU wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().split("\n")
        return f"'{lines[0][:120]}'" if lines[0] else "nothing"

    def _answer(self, text: str) -> str | None:
        """Answer to a packet, None if QEMU has ended."""
        data = text.encode()
        try:
            self._input.write(b"$%b#%02x" % (data, sum(data) & 255))
            while (byte := self._output.read(1)) != b"$":
                if not byte:
                    return None
            answer = b""
            while (byte := self._output.read(1)) != b"#":
                if not byte:
                    return None
                answer += byte
            self._output.read(2)
            self._input.write(b"+")
        except OSError:
            return None
        return answer.decode()

    def resume(self) -> None:
        """Let the core run to the next breakpoint."""
        timer = threading.Timer(machine.MAX_SECONDS, self.process.kill)
        timer.start()
        answer = self._answer("c")
        timer.cancel()
        if answer is None:
            raise BenchToolError(
                f"firmware must return within {machine.MAX_SECONDS:g} s, got no end "
                f"and {self._first_error()} from {QEMU}: check that it is built for "
                "this core"
            )

    def set_breakpoint(self, address: int) -> None:
        """Let the core stop before it runs the instruction at an address."""
        self._ask(f"Z1,{address & ~1:x},2")

    def remove_breakpoint(self, address: int) -> None:
        """Let the core no longer stop there."""
        self._ask(f"z1,{address & ~1:x},2")

    def register(self, number: int) -> int:
        """Content of a register."""
        return int.from_bytes(bytes.fromhex(self._ask(f"p{number:x}")), "little")

    def set_register(self, number: int, value: int) -> None:
        """Put a number into a register."""
        self._ask(f"P{number:x}={value.to_bytes(4, 'little').hex()}")

    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory; nothing where there is no memory."""
        parts = []
        for start in range(0, count, _PACKET):
            length = min(_PACKET, count - start)
            answer = self._ask(f"m{address + start:x},{length:x}")
            parts.append(b"" if answer[:1] == "E" else bytes.fromhex(answer))
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        part = b""
        for start in range(0, len(data), _PACKET):
            part = data[start : start + _PACKET]
            self._ask(f"M{address + start:x},{len(part):x}:{part.hex()}")
        # QEMU does not report that there is no memory: read the last part again
        last = address + len(data) - len(part)
        if self.read(last, len(part)) != part:
            raise BenchError(
                f"firmware must fit the board, got no memory at {last:#x}: "
                "choose a smaller model or signal"
            )


def _end_process(
    process: subprocess.Popen[bytes],
    errors: IO[bytes],
    folder: tempfile.TemporaryDirectory[str],
) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, errors):
        if pipe is not None:
            pipe.close()
    folder.cleanup()


def _plugin() -> Path:
    """Build the plugin that counts, for the version of QEMU."""
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True)
    number = re.search(r"version (\d+)", done.stdout)
    # from version 9 on, QEMU takes plugins of version 2 and later
    version = 2 if number and int(number[1]) >= 9 else 1
    source = resources.files(__package__) / "startup" / "count.c"
    defines = (f"-DVERSION={version}", f"-DMOST={_MOST_BLOCKS}")
    flags = ("-shared", "-fPIC", "-O2", *defines)
    return build_library({"library.c": source.read_bytes()}, flags, ".so")
