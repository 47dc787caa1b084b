"""Run a firmware on a board that QEMU emulates, where unicorn has no such core.

The program is the same that would run on a chip:
nothing in it knows of the emulator, which is driven as a debugger would drive a board.
Blocks of instructions are counted by a plugin of QEMU, ``startup/count.c``,
which the compiler from PyPI builds once,
so the counts are exact and the same each time.

References:
    Arm DAI 0547, Corstone SSE-300 with Cortex-M55 for MPS3, memory map.
    GDB manual, appendix E, remote serial protocol.

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
from types import ModuleType
from typing import IO

import numpy as np

from wav2small.export.base.errors import BenchError, BenchToolError

from . import machine as emulate
from .machine import Machine
from .toolchain import Firmware, host_library

QEMU = "qemu-system-arm"
"""The emulator, which has to be installed."""

BOARDS = {"cortex-m55": "mps3-an547"}
"""Cores that are emulated by QEMU alone, and a board that has each."""

_MOST_BLOCKS = 1 << 16
_BLOCK = np.dtype([("address", "<u4"), ("bytes", "<u4"), ("count", "<u8")])
_STOP = 0x6FFFF000
"""Where calls return to, far from all code: next to it QEMU goes one by one."""
_ASTRAY = 0x6FFFE000
"""Where exceptions lead."""
_VECTORS = 16
_PACKET = 2000
_STATUS = 0x19
_THUMB = 1 << 24
_SP, _LR, _PC = 13, 14, 15


def missing() -> str | None:
    """What is not there to emulate with, None if all is."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed"
    if sys.platform != "linux":
        return f"{QEMU} is driven on Linux alone"
    return None


class Board(Machine):
    """An emulated board with a firmware in its memory, started up."""

    def __init__(self, firmware: Firmware, counts: bool = True) -> None:
        super().__init__(firmware, counts)
        self.debugger.pass_by(self.stop)
        self.stop = _STOP

    def _start(self, _unicorn: ModuleType) -> None:
        self.note: Callable[[int], None] | None = None
        self.mark = -1
        self.debugger = _Debugger(BOARDS[self.firmware.core], self.counts)
        self.seen = np.zeros(_MOST_BLOCKS, np.uint64)
        vectors = (_ASTRAY | 1).to_bytes(4, "little") * _VECTORS
        self.debugger.write(0, vectors)
        for part in self._segments():
            self.debugger.write(part["p_paddr"], part.data())
        paint = bytes([emulate.PAINT]) * (self.top - emulate.RAM)
        self.debugger.write(emulate.RAM, paint)
        for place in (self.stop, _STOP, _ASTRAY):
            self.debugger.stop_at(place)

    def _count(self) -> None:
        self._collect()
        self.visits.clear()

    def _execute(self, start: int, arguments: Sequence[int]) -> str:
        debugger = self.debugger
        for number, argument in enumerate(arguments):
            debugger.set(number, argument)
        debugger.set(_STATUS, _THUMB)
        debugger.set(_SP, self.top)
        debugger.set(_LR, self.stop | 1)
        debugger.set(_PC, start & ~1)
        while True:
            debugger.go()
            self._collect()
            place = debugger.get(_PC)
            if place != self.mark:
                return "an exception" if place == _ASTRAY else ""
            # what tells of a row does nothing, so that it is left at once
            assert self.note is not None
            self.note(debugger.get(0))
            self.visits.clear()
            debugger.set(_PC, debugger.get(_LR) & ~1)

    def _collect(self) -> None:
        """Add the blocks that ran since the last time to the visits."""
        if not self.counts:
            return
        blocks = self.debugger.blocks
        counts = np.array(blocks["count"])
        for i in np.flatnonzero(counts != self.seen).tolist():
            key = int(blocks["address"][i]), int(blocks["bytes"][i])
            count = int(counts[i] - self.seen[i])
            self.visits[key] = self.visits.get(key, 0) + count
        self.seen = counts

    def register(self, number: int) -> int:
        """What is in a register."""
        return self.debugger.get(number)

    def read(self, place: int, count: int) -> bytes:
        """Bytes of memory."""
        return self.debugger.read(place, count)

    def hear(self, samples: bytes) -> None:
        """Put samples into memory."""
        self.debugger.write(emulate.SAMPLES, samples)

    def trace(self, note: Callable[[int], None]) -> None:
        """From now on, tell of each row its stage, the visits being what led to it."""
        self.note = note
        self.mark = self.symbol("bench_trace").value & ~1
        self.debugger.stop_at(self.mark)


class _Debugger:
    """What GDB says to QEMU, over its standard input and output."""

    def __init__(self, board: str, counts: bool) -> None:
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
        self.said = (Path(self.folder.name) / "said").open("w+b")
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            bufsize=0,
        )
        weakref.finalize(self, _end, self.process, self.said, self.folder)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.to = self.process.stdin
        self.of = io.BufferedReader(self.process.stdout)  # type: ignore[type-var]
        # QEMU lets single registers be set only when it was asked which there are
        self._ask("qXfer:features:read:target.xml:0,800")

    def _ask(self, text: str) -> str:
        answer = self._answer(text)
        if answer is None:
            raise BenchToolError(
                f"{QEMU} must answer, got {self._words()}: check that it has the board "
                "mps3-an547 and takes plugins"
            )
        return answer

    def _words(self) -> str:
        """What QEMU said last."""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().split("\n")
        return f"'{lines[0][:120]}'" if lines[0] else "nothing"

    def _answer(self, text: str) -> str | None:
        """Answer to a packet, None if there is none any more."""
        data = text.encode()
        try:
            self.to.write(b"$%b#%02x" % (data, sum(data) & 255))
            while (byte := self.of.read(1)) != b"$":
                if not byte:
                    return None
            answer = b""
            while (byte := self.of.read(1)) != b"#":
                if not byte:
                    return None
                answer += byte
            self.of.read(2)
            self.to.write(b"+")
        except OSError:
            return None
        return answer.decode()

    def go(self) -> None:
        """Run to the next stop."""
        timer = threading.Timer(emulate.SECONDS, self.process.kill)
        timer.start()
        answer = self._answer("c")
        timer.cancel()
        if answer is None:
            raise BenchToolError(
                f"firmware must return within {emulate.SECONDS:g} s, got no end and "
                f"{self._words()} from {QEMU}: check that it is built for this core"
            )

    def stop_at(self, place: int) -> None:
        """Let the core stop before it runs what is there."""
        self._ask(f"Z1,{place & ~1:x},2")

    def pass_by(self, place: int) -> None:
        """Let the core no longer stop there."""
        self._ask(f"z1,{place & ~1:x},2")

    def get(self, number: int) -> int:
        """What is in a register."""
        return int.from_bytes(bytes.fromhex(self._ask(f"p{number:x}")), "little")

    def set(self, number: int, value: int) -> None:
        """Put a number into a register."""
        self._ask(f"P{number:x}={value.to_bytes(4, 'little').hex()}")

    def read(self, place: int, count: int) -> bytes:
        """Bytes of memory, none where there is no memory."""
        parts = []
        for start in range(0, count, _PACKET):
            some = min(_PACKET, count - start)
            answer = self._ask(f"m{place + start:x},{some:x}")
            parts.append(b"" if answer[:1] == "E" else bytes.fromhex(answer))
        return b"".join(parts)

    def write(self, place: int, data: bytes) -> None:
        """Put bytes into memory."""
        part = b""
        for start in range(0, len(data), _PACKET):
            part = data[start : start + _PACKET]
            self._ask(f"M{place + start:x},{len(part):x}:{part.hex()}")
        # QEMU does not tell that there is no memory
        behind = place + len(data) - len(part)
        if self.read(behind, len(part)) != part:
            raise BenchError(
                f"firmware must fit the board, got no memory at {behind:#x}: "
                "choose a smaller model or signal"
            )


def _end(
    process: subprocess.Popen[bytes],
    said: IO[bytes],
    folder: tempfile.TemporaryDirectory[str],
) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, said):
        if pipe is not None:
            pipe.close()
    folder.cleanup()


def _plugin() -> Path:
    """The plugin that counts, for the version of QEMU."""
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True)
    number = re.search(r"version (\d+)", said.stdout)
    # QEMU 9 takes no older plugins than those of version 2
    version = 2 if number and int(number[1]) >= 9 else 1
    source = resources.files(__package__) / "startup" / "count.c"
    flags = (f"-DVERSION={version}", f"-DMOST={_MOST_BLOCKS}")
    return host_library(source.read_bytes(), flags)
