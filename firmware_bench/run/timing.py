"""How many cycles an instruction of an Arm core takes: fewest and most.

The time of an instruction depends on what happens around it:
a load may wait, a branch may be taken.
So each instruction has an interval, and a program has the sum of the intervals.
Code and data are taken to lie in memory that never waits;
flash memory with wait states and without a cache needs more time.
The manuals that the numbers come from stand in
:mod:`wav2small.firmware_bench.cores`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wav2small.export.base.errors import BenchError

from ..cores import CORES, Timing

CLASSES = (
    "multiply",
    "divide",
    "load",
    "store",
    "branch",
    "float",
    "vector",
    "other",
)
"""Kinds of instructions."""

_REFILL = (1, 3)
"""Cycles until a pipeline is full again behind a branch, P of the tables."""
_CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt")
_CONDITIONAL = frozenset(
    ("cbz", "cbnz", "bgt", "ble", *("b" + condition for condition in _CONDITIONS))
)
_BRANCHES = _CONDITIONAL | {"b", "bl", "bx", "blx", "tbb", "tbh"}
_MULTIPLY = ("mul", "mla", "mls", "sml", "smm", "smu", "uml", "umu", "uma")
_LONG = ("smull", "umull")
_LONG_SUM = ("smlal", "umlal", "umaal")
_SUM = ("mla", "mls")
_SEVERAL = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")
_PAIRS = ("ldrd", "strd")
_FLOAT_SUM = ("vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms")


class Instruction(NamedTuple):
    """What is known of an instruction without running it."""

    kind: str
    """One of :data:`CLASSES`."""

    low: float
    """Fewest cycles."""

    high: float
    """Most cycles."""


def classify(core: str, mnemonic: str, operands: str) -> Instruction:
    """Class and cycles of an instruction.

    Args:
        core: name of :data:`wav2small.firmware_bench.cores.CORES`
        mnemonic: its name, as a disassembler writes it
        operands: what follows the name

    Raises:
        BenchError: if there are no timings of the core

    """
    if core not in CORES:
        raise BenchError(
            f"core must be one of {', '.join(CORES)}, got '{core}': there are no "
            "timings of it"
        )
    timing = CORES[core].timing
    if CORES[core].riscv:
        return _riscv_instruction(mnemonic)
    name = mnemonic.partition(".")[0]
    if timing.vectors and (vector := _vector_instruction(name, operands)):
        return vector
    kind = _class_of(name)
    low, high = _cycles(timing, name, kind, operands)
    return Instruction(kind, low / 2 if timing.dual_issue else low, high)


def _riscv_instruction(mnemonic: str) -> Instruction:
    """Class and cycles of an instruction of RISC-V, short or long."""
    name = mnemonic.removeprefix("c.")
    if name.startswith("mul"):
        return Instruction("multiply", 1, 5)
    if name.startswith(("div", "rem")):
        return Instruction("divide", 2, 36)
    if re.match(r"(lb|lh|lw|lr)(u|sp|\b|\.)", name):
        return Instruction("load", 1, 3)
    if re.match(r"(sb|sh|sw|sc)(sp|\b|\.)", name):
        return Instruction("store", 1, 2)
    if re.match(r"(b(eq|ne|lt|ge|gt|le)|j|ret|call|tail)", name):
        return Instruction("branch", 1, 4)
    return Instruction("other", 1, 1)


def _vector_instruction(name: str, operands: str) -> Instruction | None:
    """Class and cycles of a vector instruction, None if it is another.

    The disassembler takes many of them for instructions of a coprocessor.
    """
    if name.startswith("ldc"):
        return Instruction("load", 1, 2)
    if name.startswith("stc"):
        return Instruction("store", 1, 2)
    if name.startswith(("cdp", "mcr", "mrc")) or re.search(r"\bq\d", operands):
        return Instruction("vector", 1, 2)
    # the disassembler has no name for the begin and the end of a counted loop
    return None if name else Instruction("branch", 0, 1 + _REFILL[1])


def _class_of(name: str) -> str:
    if name in _BRANCHES:
        return "branch"
    if name.startswith(_MULTIPLY):
        return "multiply"
    if name.startswith(("sdiv", "udiv")):
        return "divide"
    if name.startswith(("ldr", "ldm", "pop", "vldr", "vldm", "vpop")):
        return "load"
    if name.startswith(("str", "stm", "push", "vstr", "vstm", "vpush")):
        return "store"
    return "float" if name.startswith("v") else "other"


def _cycles(timing: Timing, name: str, kind: str, operands: str) -> tuple[float, float]:
    if kind == "branch":
        if name in _CONDITIONAL:
            return 1, 1 + _REFILL[1]
        more = 2 if name.startswith("tb") else 1
        return more + _REFILL[0], more + _REFILL[1]
    if kind == "multiply":
        return _slow_multiplication(name) if timing.slow_multiplier else (1, 1)
    if kind == "divide":
        return 2, 12
    if kind in ("load", "store"):
        low, high = _transfer_cycles(name, operands)
        if kind == "load" and "pc" in _written_registers(name, operands):
            return low + _REFILL[0], high + _REFILL[1]
        return low, high
    if name.startswith("v"):
        if name.startswith(("vdiv", "vsqrt")):
            return 14, 14
        return (3, 3) if name.startswith(_FLOAT_SUM) else (1, 2)
    if name.startswith("it"):
        return 0, 1  # the core may run it together with the one before
    first = operands.partition(",")[0]
    if first == "pc" and not name.startswith(("cmp", "cmn", "tst", "teq")):
        return 1 + _REFILL[0], 1 + _REFILL[1]
    return 1, 1


def _slow_multiplication(name: str) -> tuple[int, int]:
    """Cycles on the Cortex-M3, which multiplies long numbers in steps."""
    if name.startswith(_LONG):
        return 3, 5
    if name.startswith(_LONG_SUM):
        return 4, 7
    return (2, 2) if name.startswith(_SUM) else (1, 1)


def _transfer_cycles(name: str, operands: str) -> tuple[int, int]:
    if name.startswith(_SEVERAL):
        count = 1 + operands.partition("{")[2].count(",")
        return 1 + count, 1 + count
    if name.startswith(_PAIRS):
        return 3, 3
    # the second of two in a row does not wait
    return 1, 2


def _written_registers(name: str, operands: str) -> list[str]:
    """Registers that a load writes to."""
    if name.startswith(_SEVERAL):
        operands = operands.partition("{")[2].rstrip("}")
        return [part.strip() for part in operands.split(",")]
    return [operands.partition(",")[0]]
