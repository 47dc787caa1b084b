"""Cycles of instructions in a row, on cores whose pipeline is known.

What an instruction takes depends on the one before it: a load behind a load takes one
cycle, one whose address was just computed waits. Blocks of instructions are known, so
that most of these are known as well. A taken branch counts where it leads to, for it
takes as long as the pipeline needs for the first instruction there.

References:
    Arm DDI 0439, Cortex-M4 Technical Reference Manual, 3.3.1 to 3.3.3.
    Branches, and long instructions between words, as measured on chips:
    https://compendium.i-0.nl/docs/control-flow/branch_timing

"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..cores import Timing
from .timing import Instruction

_ONE_LOAD = re.compile(r"ldrs?[bh]?$")
_ONE_STORE = re.compile(r"str[bh]?$")
_SILENT = ("cmp", "cmn", "tst", "teq", "nop", "it", "str", "stm", "push", "vst")
"""How names of instructions begin that write no register of a core."""
_TWICE = ("smull", "umull", "smlal", "umlal", "umaal", "ldrd")
"""How names of instructions begin that write two."""
_JUMP = 1
"""Cycles until the pipeline is full again, if the first word is an instruction."""
_INDIRECT = 2
"""Most cycles that it takes longer where a register says where to."""
_SLOW_RUN = 3
"""Long instructions in a row, each across two words, that wait for their words."""


class ListedInstruction(NamedTuple):
    """An instruction where it stands."""

    instruction: Instruction
    """What is known of it alone."""

    name: str
    """Its name, as a disassembler writes it."""

    operands: str
    """What follows the name."""

    address: int
    """Where it lies."""

    size: int
    """Bytes, 2 or 4."""

    @property
    def across(self) -> bool:
        """Whether it lies in two words."""
        return self.size == 4 and self.address % 4 == 2

    @property
    def leaves(self) -> bool:
        """Whether it writes the program counter and is no branch."""
        return self.instruction.kind != "branch" and "pc" in _written(self)

    @property
    def address_registers(self) -> frozenset[str]:
        """Registers of the address that it loads from or stores to."""
        if "[" in self.operands:
            return _registers(self.operands.partition("[")[2].partition("]")[0])
        if "{" in self.operands and self.instruction.kind in ("load", "store"):
            return _registers(self.operands.partition("{")[0])
        return frozenset()

    @property
    def updates_base(self) -> bool:
        """Whether it moves the register of its address as well."""
        return "]!" in self.operands or "], " in self.operands

    @property
    def has_register_offset(self) -> bool:
        """Whether its address is the sum of two registers."""
        return len(self.address_registers) > 1


class Cycles(NamedTuple):
    """Cycles of a block."""

    low: float
    """Fewest, entered from the block before it in memory."""

    high: float
    """Most."""

    jump: float
    """What a jump to it adds, the one that leads here."""


def block_cycles(timing: Timing, lines: Sequence[ListedInstruction]) -> Cycles:
    """Cycles of a block of instructions that always run one after the other."""
    if timing.pipeline is None or not lines:
        low = sum(line.instruction.low for line in lines)
        return Cycles(low, sum(line.instruction.high for line in lines), 0)
    single = timing.pipeline == "one at a time"
    low = high = 0.0
    for i, line in enumerate(lines):
        before = lines[i - 1] if i else None
        after = lines[i + 1] if i + 1 < len(lines) else None
        fewest, most = _one(line, before) if single else _paired(line, after)
        low, high = low + fewest, high + most
    if not single:
        low -= _pairs(lines)
    return Cycles(low, high + _slow_runs(lines), _JUMP + lines[0].across)


def _one(
    line: ListedInstruction, before: ListedInstruction | None
) -> tuple[float, float]:
    """Cycles on a core that starts one instruction at a time."""
    name = line.name.partition(".")[0]
    load, store = _ONE_LOAD.match(name), _ONE_STORE.match(name)
    if line.leaves or not (load or store):
        return _alone(line, waits=_waits(line, before))
    waits = _waits(line, before)
    behind = before is not None and _may_be_followed(before)
    if behind and before is not None:
        behind = not _written(before) & line.address_registers
    if store:
        cycles = 1 if behind or not line.has_register_offset else 2
        return cycles + waits, cycles + waits
    low = 1 if behind else 2
    high = 2 if line.updates_base or "[pc" in line.operands else low
    return low + waits, high + ("[pc" in line.operands and not behind) + waits


def _paired(
    line: ListedInstruction, after: ListedInstruction | None
) -> tuple[float, float]:
    """Cycles on a core that starts two short instructions at once where it can."""
    name = line.name.partition(".")[0]
    if line.leaves or not _ONE_LOAD.match(name):
        low, high = _alone(line)
        if name.startswith(("ldm", "stm", "push", "pop", "ldrd", "strd")):
            low -= 1
        return (low, high) if not _ONE_STORE.match(name) else (1, 1)
    used = after is not None and _written(line) & _read(after)
    return 1, 2 if used else 1


def _alone(line: ListedInstruction, waits: int = 0) -> tuple[float, float]:
    """Cycles of what does not depend on its neighbours."""
    low, high = line.instruction.low, line.instruction.high
    if line.instruction.kind == "branch":
        direct = line.operands.startswith("#") or ", #" in line.operands
        table = 2 if line.name.startswith("tb") else 0
        return 1 + table, 1 + table + (0 if direct else _INDIRECT)
    if line.leaves:
        fewest = line.instruction.low - 1  # the jump counts where it leads to
        return fewest + waits, fewest + waits + _INDIRECT
    if line.name.startswith(("ldm", "stm", "push", "pop", "ldrd", "strd", "v")):
        return low + waits, high + waits
    return low, high


def _waits(line: ListedInstruction, before: ListedInstruction | None) -> int:
    """Cycles that an address waits for, which was computed just before."""
    if before is None or before.instruction.kind not in ("other", "multiply"):
        return 0
    return int(bool(_written(before) & line.address_registers))


def _may_be_followed(line: ListedInstruction) -> bool:
    """Whether a load or store behind it takes a cycle less."""
    plain = _ONE_LOAD.match(line.name.partition(".")[0])
    return bool(plain) and not line.updates_base and not line.leaves


def _pairs(lines: Sequence[ListedInstruction]) -> int:
    """Most pairs of short instructions that can start at once."""
    found = i = 0
    while i + 1 < len(lines):
        one, two = lines[i], lines[i + 1]
        memory = sum(x.instruction.kind in ("load", "store") for x in (one, two))
        free = not _written(one) & _read(two) and one.instruction.kind != "branch"
        if one.size == 2 and two.size == 2 and memory < 2 and free:
            found, i = found + 1, i + 1
        i += 1
    return found


def _registers(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\b(?:r\d+|sb|sl|fp|ip|sp|lr|pc)\b", text))


def _written(line: ListedInstruction) -> frozenset[str]:
    """Registers of the core that an instruction writes to."""
    if line.name.startswith(_SILENT) or line.instruction.kind == "branch":
        return frozenset()
    if "{" in line.operands:
        return _registers(line.operands.partition("{")[2])
    parts = line.operands.split(",")
    return _registers(",".join(parts[: 2 if line.name.startswith(_TWICE) else 1]))


def _read(line: ListedInstruction) -> frozenset[str]:
    """Registers that an instruction may read."""
    if line.name.startswith(("mov", "ldr", "sxt", "uxt", "mvn", "rbit", "rev")):
        return _registers(line.operands.partition(",")[2])
    if line.operands.count(",") >= 2 and not line.name.startswith(
        (*_SILENT, "smlal", "umlal", "umaal", "bfi", "movt")
    ):
        return _registers(line.operands.partition(",")[2])
    return _registers(line.operands)


def _slow_runs(lines: Sequence[ListedInstruction]) -> int:
    """How many runs of long instructions lie across words."""
    found = run = 0
    for line in lines:
        run = run + 1 if line.across else 0
        found += run == _SLOW_RUN
    return found
