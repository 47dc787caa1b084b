"""An emulated core with a firmware in its memory, whatever emulates it.

What emulators do in their own ways is left to
:mod:`wav2small.firmware_bench.run.unicorn` and
:mod:`wav2small.firmware_bench.run.qemu`.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from wav2small.export.base.errors import BenchError, BenchToolError

from .image import Block, Image
from .toolchain import Firmware

MAX_SECONDS = 600.0
"""Time on this machine after which a call is given up."""

SAMPLES_ORIGIN = 0x60000000
"""Address at which the samples of a signal lie."""

PAINT = 0xA5
"""Value of each byte of RAM before the start, which shows what was written to."""

_R0, _PC = 0, 15
_TOO_SHORT = 3


class Facts(NamedTuple):
    """What a firmware says of its model."""

    sampling_rate: int
    """Samples per second."""

    hop_length: int
    """Samples of a hop."""

    scores: int
    """Numbers of a result."""


class Machine(ABC):
    """An emulated core with a firmware in its memory, started up."""

    def __init__(self, firmware: Firmware, counts: bool = True) -> None:
        """Load a firmware and start it up.

        Args:
            firmware: program, see :func:`wav2small.firmware_bench.run.toolchain.build`
            counts: whether to count the instructions, which makes it much slower

        Raises:
            BenchError: if there is no emulator or the firmware does not start

        """
        self.firmware = firmware
        self.counts = counts
        self.image = Image(firmware)
        self.visits: dict[Block, int] = {}
        """How often each block ran in the last call."""
        self.return_address = self.image.stop
        self._power_on()
        self._call_symbol("bench_reset")
        if counts:
            self._start_counting()

    # -- what each emulator does in its own way ------------------------------

    @abstractmethod
    def _power_on(self) -> None:
        """Make the core and its memory, with the program and the paint in it."""

    @abstractmethod
    def _start_counting(self) -> None:
        """From now on, count in ``visits`` how often each block runs."""

    @abstractmethod
    def _execute(self, start: int, arguments: Sequence[int]) -> str:
        """Let the core run until it stops; return what went wrong if that is known."""

    @abstractmethod
    def register(self, number: int) -> int:
        """Content of a register."""

    @abstractmethod
    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory."""

    @abstractmethod
    def write_samples(self, samples: bytes) -> None:
        """Put samples into memory, and leave room for a page after them."""

    @abstractmethod
    def trace(self, on_row: Callable[[int], None]) -> None:
        """From now on, call a function with the stage of each row that is finished.

        Then ``visits`` holds what ran since the row before.
        """

    # -- calls ---------------------------------------------------------------

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the model, named without its prefix; return its result.

        Raises:
            BenchError: if there is no such function
            BenchToolError: if it does not return

        """
        return self._call_symbol(f"{self.firmware.prefix}_{name}", *arguments)

    def _call_symbol(self, name: str, *arguments: int) -> int:
        self.visits.clear()
        start = self.image.symbol(name).address | (not self.image.riscv)
        problem = self._execute(start, arguments)
        address = self.register(_PC)
        if address != self.return_address & ~1:
            problem = problem or f"no end within {MAX_SECONDS:g} s"
            raise BenchToolError(
                f"firmware must return from {name}, got {problem} at {address:#x}: "
                "check that it is built for this core"
            )
        return self.register(_R0)

    def _call_checked(self, name: str, *arguments: int) -> None:
        """Call a function whose result is a status."""
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
        """Begin a signal.

        Args:
            samples: signal, shape ``(samples,)``, int16

        Returns:
            instructions that it took, those for the signal's level included

        """
        self.count = len(samples)
        # the level or the result is written after the samples
        self.spare = SAMPLES_ORIGIN + (2 * self.count + 7) // 8 * 8
        self.write_samples(samples.astype("<i2").tobytes())
        arguments = [self.image.symbol("bench_state").address]
        level_instructions = 0
        if f"{self.firmware.prefix}_measure" in self.image.symbols:
            self._call_checked("measure", SAMPLES_ORIGIN, self.count, self.spare)
            level_instructions = self.instructions()
            arguments.append(self.spare)
        self._call_checked("init", *arguments)
        return level_instructions + self.instructions()

    def push(self, start: int, count: int) -> None:
        """Push some of the samples."""
        state = self.image.symbol("bench_state").address
        self._call_checked("push", state, SAMPLES_ORIGIN + 2 * start, count)

    def result(self, scores: int) -> tuple[int, ...]:
        """Result of the samples so far, as integers."""
        state = self.image.symbol("bench_state").address
        self._call_checked("integers", state, self.spare)
        integers = self.read(self.spare, 4 * scores)
        return struct.unpack(f"<{scores}i", integers)

    def latest_instructions(self) -> int | None:
        """Instructions of the scores of what was heard completely.

        None if there are none yet, or for C of other tools, which has no such call.
        """
        if f"{self.firmware.prefix}_latest_integers" not in self.image.symbols:
            return None
        state = self.image.symbol("bench_state").address
        status = self.call("latest_integers", state, self.spare)
        return None if status == _TOO_SHORT else self.instructions()

    # -- what was found ------------------------------------------------------

    def facts(self) -> Facts:
        """Read what the firmware says of its model."""
        values = self.read(self.image.symbol("bench_facts").address, 12)
        return Facts(*struct.unpack("<3I", values))

    def instructions(self) -> int:
        """Instructions of the last call."""
        return self.image.count_instructions(self.visits)

    def cycles(self) -> tuple[float, float]:
        """Fewest and most cycles of the last call."""
        return self.image.sum_cycles(self.visits)

    def stack_bytes(self) -> int:
        """Bytes of the stack that any call wrote to."""
        floor = self.image.stack_floor
        memory = self.read(floor, self.image.stack_top - floor)
        untouched = len(memory) - len(memory.lstrip(bytes([PAINT])))
        if not untouched:
            raise BenchError(
                f"stack must fit into {len(memory)} bytes, got more: give more RAM"
            )
        return len(memory) - untouched
