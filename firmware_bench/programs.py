"""Everything at once for a program that something else built: from ELF to a report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wav2small.export.base.errors import BenchError, one_line
from wav2small.export.base.reading import open_file, read_bytes

from .budget import NO_LIMITS, combine
from .checks import check_memory
from .cores import CORES
from .limits import Limits
from .report.baseline import load_program_baseline
from .report.program import (
    NOT_MEASURED,
    ProgramBudget,
    ProgramCheck,
    ProgramCore,
    ProgramReport,
    ReportedProgram,
    ReportedSection,
)
from .report.schema import to_json
from .run import elf as reading
from .run.program import (
    ProgramMachine,
    Sizes,
    check_core,
    in_ram,
    measure_sizes,
    native_core,
    understands,
)
from .target import DEFAULT_TARGETS, Target, load_target

UNKNOWN = "unknown core"
"""Name of the core of a program that does not say what it is built for."""


def is_program(path: str | Path) -> bool:
    """Whether a file is a program, an ELF file of any kind."""
    try:
        with open_file(path) as file:
            return file.read(len(reading.MAGIC)) == reading.MAGIC
    except (OSError, ValueError):
        return False


def bench_program(
    path: str | Path,
    *,
    calls: Sequence[str] = (),
    targets: Sequence[str | Path | Target] = (),
    limits: Limits = NO_LIMITS,
) -> dict[str, Any]:
    """Measure a program for a Cortex-M, whatever built it, and check budgets.

    RAM and flash are sizes of its sections.
    Functions that are named are called in this order, without arguments,
    on an emulated core of each target, and what they take is counted.

    Args:
        path: ELF file
        calls: names of functions; with none, the stack is not known,
            and RAM is checked only if the program keeps RAM for a stack
        targets: names, files or targets, each checked alone;
            if there is none, limits are checked on the core of the program,
            or if there is no limit either, the first generic target that runs it
        limits: limits beside those of the targets

    Returns:
        the report, as ``report/program.schema.json`` describes it

    Raises:
        BenchError: if the program cannot be used, a target is not known,
            or a function does not return
        BenchToolError: if there is no emulator

    """
    try:
        data = read_bytes(path, most=reading.MOST_BYTES)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"program must be a file that can be read, got {one_line(error)}"
        ) from error
    elf = reading.read_elf(data)
    sizes = measure_sizes(elf)
    native = native_core(elf)
    chosen = _choose_targets(elf, targets, limits)
    names = [entry.core if entry else native or UNKNOWN for entry in chosen]
    cores = {name: _run(elf, sizes, name, calls) for name in dict.fromkeys(names)}
    baseline = load_program_baseline(limits.baseline) if limits.baseline else None
    budgets = [
        _check(cores[name], sizes, target, limits, calls, baseline)
        for name, target in zip(names, chosen, strict=True)
    ]
    found = _describe(path, data, elf, sizes)
    fits = combine(budget.fits for budget in budgets)
    return to_json(
        ProgramReport(1, found, list(cores.values()), budgets, fits, NOT_MEASURED)
    )


def _describe(
    path: str | Path, data: bytes, elf: reading.Elf, sizes: Sizes
) -> ReportedProgram:
    """What a program is, whatever it is checked against."""
    return ReportedProgram(
        file=Path(path).name,
        sha256=hashlib.sha256(data).hexdigest(),
        file_bytes=len(data),
        built_for=native_core(elf),
        sections=[
            ReportedSection(part.name, part.address, part.bytes, _memory(part))
            for part in elf.sections
        ],
        sizes=sizes,
    )


def _choose_targets(
    elf: reading.Elf, targets: Sequence[str | Path | Target], limits: Limits
) -> Sequence[Target | None]:
    """Targets to check, None for limits alone."""
    if targets:
        return [
            entry if isinstance(entry, Target) else load_target(entry)
            for entry in targets
        ]
    if limits.of_memory_or_time or limits.max_call_instructions or limits.baseline:
        return [None]
    generic = map(load_target, DEFAULT_TARGETS)
    return [next((entry for entry in generic if understands(elf, entry.core)), None)]


def _memory(part: reading.Section) -> Any:
    if not in_ram(part):
        return "flash"
    return "flash and ram" if part.stored else "ram"


def _run(
    elf: reading.Elf, sizes: Sizes, core: str, calls: Sequence[str]
) -> ProgramCore:
    """Run functions on a core, if it can be emulated."""
    check_core(elf, core)
    problem = None
    if calls and (core not in CORES or CORES[core].board):
        problem = f"{core} is not emulated for programs of others"
    found, heap = [], 0
    if calls and not problem:
        machine = ProgramMachine(elf, core)
        found = [machine.run(name) for name in calls]
        heap = machine.heap_bytes()
    stack = max((call.stack_bytes for call in found), default=sizes.reserved_bytes)
    figures: dict[str, float] = {
        "ram": sizes.static_bytes + stack + heap,
        "flash": sizes.flash_bytes,
    }
    for call in found:
        figures[f"instructions of {call.function}"] = call.instructions
        figures[f"stack of {call.function}"] = call.stack_bytes
    return ProgramCore(core, found, heap, problem, figures)


def _check(
    core: ProgramCore,
    sizes: Sizes,
    target: Target | None,
    limits: Limits,
    calls: Sequence[str],
    baseline: Mapping[str, Mapping[str, float]] | None,
) -> ProgramBudget:
    """Hold what a program takes on a core against limits."""
    figures = core.figures
    ram, flash = int(figures["ram"]), int(figures["flash"])
    if core.calls:
        parts = f"{sizes.static_bytes:,} variables, stack and heap of the calls"
    else:
        parts = f"{sizes.static_bytes:,} variables, {sizes.reserved_bytes:,} reserved"
    missing = ""
    if calls and not core.calls:
        missing = "stack"
    elif not calls and not sizes.reserved_bytes:
        missing = "stack, as no function is called"
    memory = [
        check_memory(
            "ram", ram, f"sections: {parts}", limits.ram, target, missing=missing
        ),
        check_memory("flash", flash, "sections", limits.flash, target),
    ]
    checks = [ProgramCheck(**vars(entry)) for entry in memory]
    if limits.max_call_instructions:
        for name in calls:
            key = f"instructions of {name}"
            limit = limits.max_call_instructions
            checks.append(_limit(key, figures.get(key), limit, "given limit", core))
    before = None if baseline is None else baseline.get(core.core, {})
    if before is not None:
        wanted = [*figures, *(key for key in before if key not in figures)]
        for key in wanted:
            source, most = "core or figure is not in the baseline", None
            if key in before:
                most = before[key] * (1 + limits.growth)
                source = f"baseline of {before[key]:,.0f} and {limits.growth:.3g} of it"
            checks.append(
                _limit(f"growth of {key}", figures.get(key), most, source, core)
            )
    return ProgramBudget(
        target, combine(check.passed for check in checks if check.asked), checks
    )


def _limit(
    name: str, actual: float | None, limit: float | None, source: str, core: ProgramCore
) -> ProgramCheck:
    passed = None if actual is None or limit is None else actual <= limit
    if passed is None:
        why = core.not_emulated or "function was not called"
        source = f"not checked ({source if limit is None else why})"
    unit: Any = "instructions" if "instructions of" in name else "bytes"
    return ProgramCheck(name, unit, actual, limit, passed, source, "the program")
