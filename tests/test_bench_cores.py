"""Each core of the table: what is built for it, and what is known of it."""

from __future__ import annotations

import io

import pytest

from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.plan.firmware import PRICES
from wav2small.firmware_bench.run.toolchain import GCC, ZIG, build

pytest.importorskip("ziglang", reason="no ziglang: nothing is compiled for Arm")
elffile = pytest.importorskip(
    "elftools.elf.elffile", reason="no pyelftools: no program is read"
)

from test_bench_toolchain import (  # noqa: E402
    cache,
    compiler_cache,
    needs_gcc,
    write,
)

__all__ = ["cache", "compiler_cache"]


def attributes(elf: bytes) -> dict[str, int]:
    """What a program says of the core that it was built for."""
    section = elffile.ELFFile(io.BytesIO(elf)).get_section_by_name(".ARM.attributes")
    return {
        attribute.tag: attribute.value
        for part in section.iter_subsections()
        for group in part.iter_subsubsections()
        for attribute in group.iter_attributes()
    }


def test_programs_are_built_for_risc_v(tmp_path, cache):
    firmware = build(write(tmp_path), "rv32imac", cache=cache)
    file = elffile.ELFFile(io.BytesIO(firmware.elf))
    # EF_RISCV_RVC and nothing else: short instructions, no floats in registers
    assert (file["e_machine"], file.elfclass, file["e_flags"]) == ("EM_RISCV", 32, 1)


@pytest.mark.parametrize("compiler", [ZIG, GCC])
@pytest.mark.parametrize("core", [c for c in CORES if not CORES[c].riscv])
def test_programs_are_built_for_the_core(core, compiler, tmp_path, cache):
    if compiler == GCC:
        needs_gcc()
    entry = CORES[core]
    firmware = build(write(tmp_path), core, compiler=compiler, cache=cache)
    found = attributes(firmware.elf)
    assert found["TAG_CPU_ARCH"] == entry.architecture
    assert found["TAG_CPU_ARCH_PROFILE"] == ord("M")
    # what zig is told, what GCC is told and what is timed are the same core
    assert ("TAG_ABI_VFP_ARGS" in found) == ("eabihf" in entry.zig_target)
    assert ("TAG_ABI_VFP_ARGS" in found) == ("-mfloat-abi=hard" in entry.gcc_float)
    assert ("TAG_MVE_ARCH" in found) == entry.timing.vectors


@pytest.mark.parametrize("core", CORES)
def test_figures_have_a_source(core):
    entry = CORES[core]
    assert "without waits" in entry.timing.source
    if entry.estimate is not None:
        assert entry.estimate.source
        for interval in (entry.estimate.integer, entry.estimate.floating):
            assert 0 < interval.low <= interval.high


def test_every_core_of_arm_has_prices_to_plan_with():
    assert set(PRICES["cores"]) == {c for c in CORES if not CORES[c].riscv}
