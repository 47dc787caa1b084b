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

# Arm IHI 0045, addenda to the ABI: architecture, floating point in registers, vectors
ROWS = {
    "cortex-m3": (10, False, False),
    "cortex-m4": (13, True, False),
    "cortex-m7": (13, True, False),
    "cortex-m33": (17, True, False),
    "cortex-m55": (21, True, True),
}


def attributes(elf: bytes) -> dict[str, int]:
    """What a program says of the core that it was built for."""
    section = elffile.ELFFile(io.BytesIO(elf)).get_section_by_name(".ARM.attributes")
    return {
        attribute.tag: attribute.value
        for part in section.iter_subsections()
        for group in part.iter_subsubsections()
        for attribute in group.iter_attributes()
    }


def test_every_core_has_a_row():
    assert set(CORES) == set(ROWS)


@pytest.mark.parametrize("compiler", [ZIG, GCC])
@pytest.mark.parametrize("core", ROWS)
def test_programs_are_built_for_the_core(core, compiler, tmp_path, cache):
    if compiler == GCC:
        needs_gcc()
    architecture, hard_float, vectors = ROWS[core]
    firmware = build(write(tmp_path), core, compiler=compiler, cache=cache)
    found = attributes(firmware.elf)
    assert found["TAG_CPU_ARCH"] == architecture
    assert found["TAG_CPU_ARCH_PROFILE"] == ord("M")
    assert ("TAG_ABI_VFP_ARGS" in found) == hard_float
    assert ("TAG_MVE_ARCH" in found) == vectors == CORES[core].timing.vectors


@pytest.mark.parametrize("core", CORES)
def test_figures_have_a_source(core):
    entry = CORES[core]
    assert "without waits" in entry.timing.source
    if entry.estimate is not None:
        assert entry.estimate.source
        for interval in (entry.estimate.integer, entry.estimate.floating):
            assert 0 < interval.low <= interval.high


def test_every_core_has_prices_to_plan_with():
    assert set(PRICES["cores"]) == set(CORES)
