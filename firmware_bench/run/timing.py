"""How many cycles an instruction of a core of Arm takes: from, to.

An instruction that is counted says little of the time that it takes:
a load waits or does not, a branch is taken or not.
So an instruction has an interval, and that of a program is the sum of them.
Code and data lie in memory that never waits;
where flash memory has wait states and no cache, more time is needed.

References:
    Arm DDI 0439, Cortex-M4 Technical Reference Manual, table 3-1 and 7-1.
    Arm DDI 0337, Cortex-M3 Technical Reference Manual, table 3-1.

"""

from __future__ import annotations

import re
from typing import NamedTuple

from wav2small.export.base.errors import BenchError

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

SOURCES = {
    "cortex-m3": "instruction timings of the Cortex-M3 Technical Reference Manual, "
    "Arm DDI 0337, memory without waits",
    "cortex-m4": "instruction timings of the Cortex-M4 Technical Reference Manual, "
    "Arm DDI 0439, memory without waits",
    "cortex-m7": "Arm publishes no instruction timings of the Cortex-M7: from two "
    "instructions at once, everywhere, to those of the Cortex-M4 one after the other, "
    "memory without waits",
    "cortex-m33": "no instruction timings of the Cortex-M33 were found: taken to be "
    "those of the Cortex-M4 Technical Reference Manual, Arm DDI 0439, memory without "
    "waits",
    "cortex-m55": "no instruction timings of the Cortex-M55 were found: two short "
    "instructions at once to those of the Cortex-M4 one after the other; vectors take "
    "1 cycle, as two overlap, to 2, as half of one goes at a time; memory without "
    "waits",
}
"""Where the intervals of each core are from."""

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
        core: name of :data:`SOURCES`
        mnemonic: its name, as a disassembler writes it
        operands: what follows the name

    Raises:
        BenchError: if there are no timings of the core

    """
    if core not in SOURCES:
        raise BenchError(
            f"core must be one of {', '.join(SOURCES)}, got '{core}': there are no "
            "timings of it"
        )
    name = mnemonic.partition(".")[0]
    if core == "cortex-m55" and (vector := _vector(name, operands)):
        return vector
    kind = _kind(name)
    low, high = _cycles(core, name, kind, operands)
    # two at once, at best
    twice = core in ("cortex-m7", "cortex-m55")
    return Instruction(kind, low / 2 if twice else low, high)


def _vector(name: str, operands: str) -> Instruction | None:
    """Those of vectors, which disassemblers take for a coprocessor's."""
    if name.startswith("ldc"):
        return Instruction("load", 1, 2)
    if name.startswith("stc"):
        return Instruction("store", 1, 2)
    if name.startswith(("cdp", "mcr", "mrc")) or re.search(r"\bq\d", operands):
        return Instruction("vector", 1, 2)
    # begin and end of a loop that the core counts, and nothing else
    return None if name else Instruction("branch", 0, 1 + _REFILL[1])


def _kind(name: str) -> str:
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


def _cycles(core: str, name: str, kind: str, operands: str) -> tuple[float, float]:
    if kind == "branch":
        if name in _CONDITIONAL:
            return 1, 1 + _REFILL[1]
        more = 2 if name.startswith("tb") else 1
        return more + _REFILL[0], more + _REFILL[1]
    if kind == "multiply":
        return _multiplication(name) if core == "cortex-m3" else (1, 1)
    if kind == "divide":
        return 2, 12
    if kind in ("load", "store"):
        low, high = _transfer(name, operands)
        if kind == "load" and "pc" in _targets(name, operands):
            return low + _REFILL[0], high + _REFILL[1]
        return low, high
    if name.startswith("v"):
        if name.startswith(("vdiv", "vsqrt")):
            return 14, 14
        return (3, 3) if name.startswith(_FLOAT_SUM) else (1, 2)
    if name.startswith("it"):
        return 0, 1  # may be folded into the one before
    first = operands.partition(",")[0]
    if first == "pc" and not name.startswith(("cmp", "cmn", "tst", "teq")):
        return 1 + _REFILL[0], 1 + _REFILL[1]
    return 1, 1


def _multiplication(name: str) -> tuple[int, int]:
    """Those of the Cortex-M3, which has no parallel multiplier."""
    if name.startswith(_LONG):
        return 3, 5
    if name.startswith(_LONG_SUM):
        return 4, 7
    return (2, 2) if name.startswith(_SUM) else (1, 1)


def _transfer(name: str, operands: str) -> tuple[int, int]:
    if name.startswith(_SEVERAL):
        count = 1 + operands.partition("{")[2].count(",")
        return 1 + count, 1 + count
    if name.startswith(_PAIRS):
        return 3, 3
    # one behind another goes without a wait
    return 1, 2


def _targets(name: str, operands: str) -> list[str]:
    """Registers that a load writes to."""
    if name.startswith(_SEVERAL):
        operands = operands.partition("{")[2].rstrip("}")
        return [part.strip() for part in operands.split(",")]
    return [operands.partition(",")[0]]
