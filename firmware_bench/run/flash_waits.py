"""Cycles for which a core waits for a chip's flash memory.

Instructions and constants of the model lie there. Each block that runs and each
constant that is read is followed, in the order of the program, through the chip's
caches, and without them. A bus brings a word in each cycle; a line is brought in reads
of ``read_bytes``, each of which waits.

Fewest cycles: reads of code go on while instructions run, as far as flash memory is not
busy; only the first line behind a jump is waited for in full. Most: nothing goes on
beside, a whole line is waited for, and a jump waits for the read as well that was begun
ahead. Where constants have no cache, each of them is read anew then, and the line of
code is lost to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wav2small.export.base.errors import BenchError

from ..cores import CORES
from ..flash import Cache, FlashReads
from .emulation import begin_signal, push_all, start_machine
from .toolchain import Firmware
from .unicorn import UnicornMachine

_AHEAD = 12
"""Bytes that a core fetches ahead of what it runs: three words."""


@dataclass(frozen=True)
class FlashWaits:
    """Cycles of waits for flash memory per second of audio; all derived."""

    with_caches: tuple[float, float]
    """From and to, with all caches of the chip."""

    without_caches: tuple[float, float]
    """From and to, with none: the line that was read last is at hand."""


class Lines:
    """Lines that are at hand, the one used last behind the others of its set."""

    def __init__(self, cache: Cache | None, read_bytes: int) -> None:
        """Begin with none.

        Args:
            cache: cache, None for the line alone that was read last
            read_bytes: bytes of such a line

        """
        self.line_bytes = cache.line_bytes if cache else read_bytes
        self.reads = self.line_bytes // read_bytes
        """Reads that bring a line."""
        self._ways = cache.ways if cache else 1
        count = cache.bytes // (cache.line_bytes * cache.ways) if cache else 1
        self._sets: list[list[int]] = [[] for _ in range(count)]

    def holds(self, address: int) -> bool:
        """Whether the line of an address is at hand."""
        line = address // self.line_bytes
        return line in self._sets[line % len(self._sets)]

    def misses(self, address: int) -> bool:
        """Use the line of an address; tell whether it had to be read."""
        line = address // self.line_bytes
        lines = self._sets[line % len(self._sets)]
        if lines and lines[-1] == line:
            return False
        missed = line not in lines
        if not missed:
            lines.remove(line)
        elif len(lines) == self._ways:
            del lines[0]
        lines.append(line)
        return missed


class FlashModel:
    """Waits of a program for one flash memory, with its caches or without."""

    def __init__(self, flash: FlashReads, caches: bool) -> None:
        """Begin with empty caches.

        Args:
            flash: flash memory
            caches: whether its caches are on

        """
        code = flash.shared_cache or flash.instruction_cache if caches else None
        data = flash.shared_cache or flash.data_cache if caches else None
        self.code = Lines(code, flash.read_bytes)
        shared = caches and flash.shared_cache is not None
        self.data = self.code if shared else Lines(data, flash.read_bytes)
        self._cached_data = data is not None
        self._one_bus = flash.shared_cache is not None
        self._wait = flash.wait_states
        # a shared cache is filled over a bus of one word, others beside the memory
        self._read_cycles = flash.read_bytes // 4 if shared else 1
        self.low = self.high = 0.0
        """Cycles of waits so far."""

    def _whole_line(self, lines: Lines) -> int:
        """Most cycles until a line is there and the core goes on."""
        return lines.reads * (self._wait + self._read_cycles) - 1

    def run(
        self,
        block: tuple[int, int, bool],
        cycles: float,
        reads: Sequence[int],
        jumped_from: int,
    ) -> None:
        """Follow a block of instructions.

        Args:
            block: address, bytes, and whether a jump led there
            cycles: fewest cycles that it takes without waits
            reads: addresses of constants that it reads
            jumped_from: end of the block before

        """
        address, size, jumped = block
        wait, code = self._wait, self.code
        if jumped and not all(
            code.holds(jumped_from + ahead) for ahead in (0, _AHEAD - 1)
        ):
            self.high += wait
        width = code.line_bytes
        starts = range(address // width * width, address + size, width)
        missed = [code.misses(start) for start in starts]
        count = sum(missed)
        self.high += count * self._whole_line(code)
        waits: float = self._constants(reads, size)
        busy = cycles + waits
        if jumped and missed[0]:
            waits += max(wait, count * (wait + 1) - busy)
        else:
            waits += max(0.0, (count - 1) * (wait + 1) - busy)
        self.low += waits

    def _constants(self, reads: Sequence[int], size: int) -> int:
        """Fewest cycles of waits for constants; the most are added.

        Args:
            reads: addresses of constants
            size: bytes of the block that reads them

        """
        count = sum(self.data.misses(address) for address in reads)
        self.high += count * self._whole_line(self.data) + len(reads) * self._one_bus
        if reads and not self._cached_data:
            # nobody says whether the line is kept, nor whether code's line is lost
            lost = min(len(reads), -(-size // 4))
            self.high += (len(reads) - count + lost) * self._wait
        return count * self._wait


def measure_flash_waits(
    firmware: Firmware,
    samples: np.ndarray,
    push_samples: int | None,
    flash: FlashReads,
) -> FlashWaits:
    """Waits for flash memory of the second half of a signal's pushes.

    Args:
        firmware: see :func:`wav2small.firmware_bench.run.emulation.emulate`
        samples: see there
        push_samples: see there
        flash: flash memory of the chip

    Raises:
        BenchError: as there, or if the core's emulator tells nothing of reads

    """
    if CORES[firmware.core].board:
        raise BenchError(
            f"waits for flash memory must be asked of a core that unicorn emulates, "
            f"got {firmware.core}: leave flash_reads out of the target"
        )
    machine = start_machine(firmware, counts=False)
    assert isinstance(machine, UnicornMachine)
    step, _ = begin_signal(machine, samples, push_samples)
    models = [FlashModel(flash, caches) for caches in (True, False)]
    count = -(-len(samples) // step)
    for number, _ in enumerate(push_all(machine, len(samples), step)):
        if number + 1 == count // 2:
            follower = _Follower(machine, models)
            machine.follow_flash(follower.block, follower.read)
    seconds = (len(samples) - count // 2 * step) / machine.facts().sampling_rate
    cached, bare = ((model.low / seconds, model.high / seconds) for model in models)
    return FlashWaits(cached, bare)


class _Follower:
    """Hands each block to models when its reads are known: at the next one."""

    def __init__(self, machine: UnicornMachine, models: Sequence[FlashModel]) -> None:
        self._image, self._models = machine.image, models
        self._reads: list[int] = []
        self._block: tuple[int, int, bool] | None = None
        self._end = 0
        self._jumped_from = 0

    def block(self, address: int, size: int) -> None:
        """A block begins."""
        if self._block is not None:
            cycles = self._image.fewest_cycles(self._block)
            for model in self._models:
                model.run(self._block, cycles, self._reads, self._jumped_from)
            self._reads.clear()
        self._jumped_from = self._end
        self._block = address, size, address != self._end
        self._end = address + size

    def read(self, address: int) -> None:
        """The block reads a constant."""
        self._reads.append(address)
