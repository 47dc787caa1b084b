"""A core with vectors on QEMU, against the reference and against counts by hand."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from test_export_c99 import narrowed
from test_export_streaming import Builder, signal, student

from wav2small.export.base.errors import BenchError
from wav2small.export.c99 import generate
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reference import ReferenceModel
from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.run import machine as emulator
from wav2small.firmware_bench.run import qemu
from wav2small.firmware_bench.run.emulation import emulate, profile, result_and_stack
from wav2small.firmware_bench.run.measurement import (
    measure_firmware,
    prepare_code,
    why_not_emulated,
)
from wav2small.firmware_bench.run.toolchain import GCC, ZIG, Firmware, build

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_emulation import LISTED  # noqa: E402
from test_bench_toolchain import (  # noqa: E402
    CODE,
    cache,
    compiler_cache,
    needs_gcc,
    write,
)

__all__ = ["cache", "compiler_cache"]

pytestmark = pytest.mark.emulator

CORE = "cortex-m55"

emulated = pytest.mark.skipif(
    qemu.missing() is not None, reason=f"{qemu.missing()}: no Cortex-M55 is emulated"
)


def whole(model: IntegerGraph, samples: np.ndarray) -> tuple[int, ...]:
    return tuple(ReferenceModel(model).run(samples)[model.output].ravel().tolist())


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    generate(student("wav2small-rt-mini"), folder)
    return folder


# -- bits --------------------------------------------------------------------


@emulated
def test_a_student(mini, cache):
    samples = signal(1, 4000)
    firmware = build(mini, CORE, cache=cache)
    found = emulate(firmware, samples)
    assert found.integers == whole(student("wav2small-rt-mini"), samples)
    assert (found.core, found.samples, len(found.pushes)) == (CORE, 4000, 16)
    # vectors do the work, or the wrong kernels were compiled
    assert found.classes["vector"] > found.classes["multiply"] / 2
    assert sum(found.classes.values()) == sum(found.pushes)
    assert emulate(firmware, samples) == found
    assert result_and_stack(firmware, samples, 37)[0] == found.integers


@emulated
def test_vectors_take_fewer_instructions(mini, cache, tmp_path):
    """The same program, told that the core has none."""
    for path in mini.iterdir():
        data = path.read_bytes()
        if path.name == "wav2small.c":
            data = b"#undef __ARM_FEATURE_MVE\n" + data
        (tmp_path / path.name).write_bytes(data)
    samples = signal(2, 3200)
    with_vectors, without = (
        emulate(build(folder, CORE, cache=cache), samples)
        for folder in (mini, tmp_path)
    )
    assert with_vectors.integers == without.integers
    assert sum(with_vectors.pushes) < 0.8 * sum(without.pushes)


@emulated
@pytest.mark.parametrize(("seed", "compiler"), [(0, ZIG), (1, ZIG), (2, GCC), (3, GCC)])
def test_any_geometry(seed, compiler, cache, tmp_path):
    """Lengths that no vector divides, groups, outputs that are left, half bytes."""
    if compiler == GCC:
        needs_gcc()
    builder = Builder(seed, hop_length=100)
    for step in ("convolution", "residual", "maximum", "convolution", "table"):
        getattr(builder, step)()
    builder.pool()
    model = narrowed(builder.build()) if seed % 2 else builder.build()
    generate(model, tmp_path)
    firmware = build(tmp_path, CORE, compiler=compiler, cache=cache)
    samples = signal(seed, 4000 + seed)
    assert result_and_stack(firmware, samples, 333)[0] == whole(model, samples)


@emulated
def test_half_bytes(cache, tmp_path):
    model = narrowed(student("wav2small-rt"))
    generate(model, tmp_path)
    assert "FOUR_BY_FOUR_HALVES" in (tmp_path / "wav2small_model.h").read_text()
    samples = signal(5, 4000)
    firmware = build(tmp_path, CORE, cache=cache)
    assert result_and_stack(firmware, samples)[0] == whole(model, samples)


@pytest.mark.slow
@emulated
def test_measurement(cache, tmp_path):
    assert why_not_emulated(CORE) is None
    builder = Builder(3)
    for step in ("convolution", "table", "maximum", "residual"):
        getattr(builder, step)()
    builder.pool()
    code = prepare_code(builder.build(), tmp_path)
    measured = measure_firmware(code, CORE, cache=cache)
    assert measured.differing_bits == measured.golden == 0
    assert len(measured.runs) == 4
    assert 200 < measured.stack_bytes < 2048
    assert measured.emulation.bss_bytes >= measured.emulation.state_bytes
    # shares of layers are those of the whole, on another part of the signal
    assert sum(measured.layers.values()) == pytest.approx(
        measured.emulation.instructions_per_second, rel=0.1
    )


# -- counts and memory -------------------------------------------------------


@emulated
def test_counts_by_hand(tmp_path, cache):
    firmware = build(write(tmp_path, LISTED), CORE, cache=cache)
    found = emulate(firmware, np.zeros(10, np.int16), 4)
    assert found.pushes == (11, 11, 7)
    assert found.begin == 8
    assert found.integers == (77, -1)
    assert (found.data_bytes, found.stack_bytes) == (8, 16)
    assert found.functions == {"wav2small_push": 29}


@emulated
def test_stages(tmp_path, cache):
    generate(student("wav2small-rt-mini"), tmp_path)
    firmware = build(tmp_path, CORE, trace=True, cache=cache)
    samples = signal(3, 3200)
    found = profile(firmware, samples)
    assert next(iter(found.stages)) == 0
    # what marks a row takes a few instructions itself
    pushes = emulate(firmware, samples).pushes
    counted = sum(pushes[len(pushes) // 2 :])
    assert 0 <= counted - sum(found.stages.values()) - found.rest < 0.01 * counted


# -- what goes wrong ---------------------------------------------------------


@emulated
@pytest.mark.parametrize(
    ("new", "message"),
    [
        ('for (;;) __asm volatile("");', r"must return within 0\.5 s, got no end"),
        ("__builtin_trap();", "must return from wav2small_init, got an exception at"),
        (
            "volatile char deep[2048]; for (int i = 0; i < 2048; ++i) deep[i] = 0;",
            "stack must fit into 2048 bytes, got more",
        ),
    ],
)
def test_firmware_that_goes_astray(new, message, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(emulator, "MAX_SECONDS", 0.5)
    folder = write(tmp_path, CODE.replace("state->sum = 5;", new))
    firmware = build(folder, CORE, ram=2176, cache=cache)
    with pytest.raises(BenchError, match=message):
        emulate(firmware, np.zeros(8, np.int16))


@emulated
def test_memory_that_is_not_there(tmp_path, cache):
    board = qemu.QemuMachine(build(write(tmp_path), CORE, cache=cache))
    with pytest.raises(BenchError, match="fit the board, got no memory at 0xf0000000"):
        board.debugger.write(0xF0000000, b"1234")


@emulated
def test_board_that_is_not_there(tmp_path, cache, monkeypatch):
    entry = CORES[CORE]
    board = dataclasses.replace(entry.board, machine="no-board")
    monkeypatch.setitem(CORES, CORE, dataclasses.replace(entry, board=board))
    firmware = build(write(tmp_path), CORE, cache=cache)
    with pytest.raises(
        BenchError, match=r"must answer, got '.*unsupported machine.* check that"
    ):
        emulate(firmware, np.zeros(8, np.int16))


def test_without_the_emulator(tmp_path, cache, monkeypatch):
    firmware: Firmware = build(write(tmp_path), CORE, cache=cache)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = "qemu-system-arm is not installed"
    assert why_not_emulated(CORE) == f"{CORE} is not emulated: {reason}"
    with pytest.raises(
        BenchError, match="must be there to emulate this core, got none"
    ):
        emulate(firmware, np.zeros(8, np.int16))


def test_on_another_system(tmp_path, monkeypatch):
    program = tmp_path / qemu.QEMU
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert qemu.missing() == "qemu-system-arm is driven on Linux alone"
