"""Emulated cores against the reference, and counts against instructions by hand."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_export_streaming import Builder, signal, student

from wav2small.export.base.errors import BenchError
from wav2small.export.c99 import generate
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.rescale import Rescale
from wav2small.firmware_bench.cores import CORES as ALL_CORES
from wav2small.firmware_bench.run import emulation, image, machine
from wav2small.firmware_bench.run.emulation import (
    emulate,
    profile,
    result_and_stack,
    selftest,
    worst_slices,
)
from wav2small.firmware_bench.run.toolchain import GCC, ZIG, Firmware, build
from wav2small.firmware_bench.run.unicorn import UnicornMachine
from wav2small.models import find_onnx

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_toolchain import (  # noqa: E402
    CODE,
    cache,
    compiler_cache,
    needs_gcc,
    write,
)

__all__ = ["cache", "compiler_cache"]

pytestmark = pytest.mark.emulator

# the others have tests of their own
CORES = tuple(core for core, entry in ALL_CORES.items() if not entry.board)
ARM = tuple(core for core in CORES if not ALL_CORES[core].riscv)
# what is counted is written down: 2 * count + 3 instructions for a push
LISTED = """
#include "wav2small.h"
static volatile int32_t kept = 77, cleared;
__attribute__((naked)) int wav2small_push(wav2small_state *state,
                                          const int16_t *samples, size_t count)
{
    __asm volatile("mov r3, r2\\n 1: subs r3, #1\\n bne 1b\\n movs r0, #0\\n bx lr");
}
__attribute__((naked)) int wav2small_init(wav2small_state *state)
{
    __asm volatile("mul r1, r1, r1\\n udiv r1, r1, r1\\n ldr r1, [r0]\\n"
                   "str r1, [r0]\\n push {r4-r7}\\n pop {r4-r7}\\n"
                   "movs r0, #0\\n bx lr");
}
int wav2small_integers(wav2small_state *state, int32_t *integers)
{ integers[0] = kept++; integers[1] = --cleared; return 0; }
int wav2small_latest_integers(wav2small_state *state, int32_t *integers)
{ return 3; }
"""


def whole(model: IntegerGraph, samples: np.ndarray) -> tuple[int, ...]:
    return tuple(ReferenceModel(model).run(samples)[model.output].ravel().tolist())


def tiny() -> IntegerGraph:
    builder = Builder(3)
    for step in ("convolution", "table", "maximum", "residual"):
        getattr(builder, step)()
    builder.pool()
    return builder.build()


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    generate(student("wav2small-rt-mini"), folder)
    return folder


# -- bits --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_a_student_on_a_core(core, mini, cache):
    samples = signal(1, 8000)
    found = emulate(build(mini, core, cache=cache), samples)
    assert found.integers == whole(student("wav2small-rt-mini"), samples)
    assert found.core == core
    assert (found.samples, found.push_samples, len(found.pushes)) == (8000, 256, 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_latest_costs_at_most_30000_instructions(name, tmp_path, cache):
    generate(find_onnx(name), tmp_path)
    found = emulate(build(tmp_path, "cortex-m4", cache=cache), signal(1, 9000))
    assert 0 < found.latest <= 30_000


def test_c_of_other_tools_has_no_latest_scores(tmp_path, cache, monkeypatch):
    generate(tiny(), tmp_path)
    read = image.read_elf

    def without_latest(data, **options):
        elf = read(data, **options)
        names = {k: v for k, v in elf.symbols.items() if "latest_int" not in k}
        return dataclasses.replace(elf, symbols=names)

    monkeypatch.setattr(image, "read_elf", without_latest)
    found = emulate(build(tmp_path, "cortex-m4", cache=cache), signal(1, 9000))
    assert found.latest is None and found.result


BLOCKS = (32, 37, 48, 55, 64, 80, 81, 96, 128)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_no_push_takes_more_than_twice_the_mean_and_a_constant(name, tmp_path, cache):
    generate(find_onnx(name), tmp_path)
    firmware = build(tmp_path, "cortex-m4", cache=cache)
    samples = signal(1, 24000)
    # of all work, whatever each length of push had to do of it
    mean = emulate(firmware, samples[:12000]).instructions_per_second / 16000
    found = worst_slices(firmware, samples, BLOCKS)
    assert [entry.push_samples for entry in found] == list(BLOCKS)
    over = {
        entry.push_samples: entry.worst - 2 * mean * entry.push_samples
        for entry in found
    }
    assert max(over.values()) <= 21_000, over


@pytest.mark.parametrize(
    ("core", "optimisation"),
    [*((core, "-O2") for core in CORES), ("cortex-m4", "-O0"), ("cortex-m3", "-Os")],
)
def test_a_small_model_with_any_optimisation(core, optimisation, tmp_path, cache):
    model = tiny()
    generate(model, tmp_path)
    samples = signal(2, 1500)
    firmware = build(tmp_path, core, optimisation=optimisation, cache=cache)
    wanted = whole(model, samples)
    for size in (None, 37, 4000):
        found = emulate(firmware, samples, size)
        assert found.integers == wanted
        assert result_and_stack(firmware, samples, size) == (wanted, found.stack_bytes)


def with_weights(
    model: IntegerGraph, change: Callable[[np.ndarray], np.ndarray]
) -> IntegerGraph:
    """The same with other weights."""
    return dataclasses.replace(
        model,
        operators=tuple(
            dataclasses.replace(operator, weight=change(operator.weight))
            if isinstance(operator, Convolution | Linear)
            else operator
            for operator in model.operators
        ),
    )


def long_column(seed: int) -> IntegerGraph:
    """A layer of 640 numbers and one column behind the log-mel."""
    builder = Builder(seed)
    for shape in ((16, 1, 1, 1), (9, 16, 1, 40)):
        weight = builder.weight(*shape)
        factor = np.full(len(weight), 2.0**-7 / weight[0].size ** 0.5)
        rescale = Rescale.of(factor, 255.0 * 128 * weight[0].size + 999)
        bias = builder.generator.integers(-999, 999, len(weight))
        values = weight, bias, rescale, (1, 1), (0, 0, 0, 0), 1, (1, 1)
        builder.add(Convolution, [builder.last], builder.tensor(), *values)
    builder.shape = 9, 1
    builder.pool()
    return builder.build()


WEIGHTS = {
    "any": lambda weight: weight,
    "none of -128": lambda weight: np.maximum(weight, -127),
    "the largest": lambda weight: np.where(weight < 0, -127, 127).astype(np.int8),
    "4 bits": lambda weight: weight >> 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [ZIG, GCC])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("seed", range(4))
def test_lanes_of_any_geometry(seed, weights, compiler, tmp_path, cache):
    """Counts that 4 does not divide, and all kinds of weights."""
    if compiler == GCC:
        needs_gcc()
    if seed == 0:
        model = long_column(seed)
    else:
        builder = Builder(seed, hop_length=100)
        for step in ("convolution", "residual", "maximum", "convolution", "table"):
            getattr(builder, step)()
        builder.pool()
        model = builder.build()
    model = with_weights(model, WEIGHTS[weights])
    generate(model, tmp_path)
    samples = signal(seed, 4000 + seed)
    wanted = whole(model, samples)
    for level in ("-O0", "-O2"):
        firmware = build(
            tmp_path, "cortex-m4", compiler=compiler, optimisation=level, cache=cache
        )
        assert result_and_stack(firmware, samples, 333)[0] == wanted


def test_a_student_that_needs_the_level(tmp_path, cache):
    model = student("wav2small-17k")
    generate(model, tmp_path, "voice")
    samples = signal(3, 700)
    firmware = build(tmp_path, "cortex-m4", prefix="voice", cache=cache)
    found = emulate(firmware, samples)
    assert found.integers == whole(model, samples)
    # to measure takes something for each sample
    assert found.begin > 700


@pytest.mark.parametrize("core", CORES)
def test_golden_vectors(core, mini, cache, tmp_path):
    assert selftest(build(mini, core, selftest=True, cache=cache)) == 0


def test_golden_vector_that_differs(mini, cache, tmp_path):
    for path in mini.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    golden = tmp_path / "wav2small_golden.h"
    golden.write_text(golden.read_text().replace("{778, {", "{778, {1 + "))
    assert selftest(build(tmp_path, "cortex-m4", selftest=True, cache=cache)) == 3


# -- counts ------------------------------------------------------------------


def test_listed_instructions_of_risc_v(tmp_path, cache):
    blocks = {
        "mov r3, r2\\n 1: subs r3, #1\\n bne 1b\\n movs r0, #0\\n bx lr": (
            "mv t0, a2\\n 1: addi t0, t0, -1\\n bnez t0, 1b\\n li a0, 0\\n ret"
        ),
        "mul r1, r1, r1\\n udiv r1, r1, r1\\n ldr r1, [r0]\\n": (
            "mul a1, a1, a1\\n divu a1, a1, a1\\n lw a1, 0(a0)\\n"
        ),
        "str r1, [r0]\\n push {r4-r7}\\n pop {r4-r7}\\n": "sw a1, 0(a0)\\n",
        "movs r0, #0\\n bx lr": "li a0, 0\\n ret",
    }
    code = LISTED
    for arm, riscv in blocks.items():
        assert arm in code
        code = code.replace(arm, riscv)
    firmware = build(write(tmp_path, code), "rv32imac", cache=cache)
    found = emulate(firmware, np.zeros(10, np.int16))
    assert found.pushes == (11, 11, 7)
    # mul, divu, lw, sw, li, ret
    assert found.begin == 6
    # mv, addi, li; bnez, ret
    assert found.classes == {"other": 16, "branch": 13}
    # a branch takes 1 to 4 cycles, all else 1
    assert found.cycles[0] == (11, 11 + 3 * 5)


@pytest.mark.parametrize("core", ARM)
def test_listed_instructions(core, tmp_path, cache):
    firmware = build(write(tmp_path, LISTED), core, cache=cache)
    found = emulate(firmware, np.zeros(10, np.int16))
    assert found.pushes == (11, 11, 7)
    assert found.worst_push == 11
    assert found.begin == 8
    assert found.classes == {"other": 16, "branch": 13}
    assert found.functions == {"wav2small_push": 29}
    # the second half begins with the second of three pushes
    assert found.instructions_per_second == 18 * 16000 / 6
    # memory is as C expects it, at the start and not again
    assert found.integers == (77, -1)
    assert found.data_bytes == 8
    assert found.bss_bytes == 31 * 4 + 4
    assert found.ram_bytes == 8 + 128 + 16
    assert found.stack_bytes == 16
    assert found.flash_bytes == found.text_bytes + 8
    assert found.state_bytes == 31 * 4
    # the sampling rate, the hop's length and the number of scores; the vectors
    assert found.constant_bytes == 12 + 8
    assert emulate(firmware, np.zeros(8, np.int16), 8).pushes == (19,)
    core = emulation.start_machine(firmware)
    core.call("init", core.image.symbol("bench_state").address)
    assert core.image.shares(core.visits)[1] == {
        "load": 2,
        "other": 1,
        "store": 2,
        "branch": 1,
        "divide": 1,
        "multiply": 1,
    }


def test_single_instructions_agree(mini, cache):
    """Counts by blocks are those by instructions, but for those that are skipped."""
    import unicorn

    samples = signal(4, 640)
    firmware = build(mini, "cortex-m4", cache=cache)
    running = UnicornMachine(firmware)
    single: Counter[int] = Counter()
    depth: set[int] = set()

    def one(core: unicorn.Uc, address: int, _size: int, _data: object) -> None:
        single[address] += 1
        depth.add(core.reg_read(running.registers["stack"]))

    running.core.hook_add(unicorn.UC_HOOK_CODE, one)
    step, _ = emulation.begin_signal(running, samples, None)
    single.clear()
    blocks: Counter[image.Block] = Counter()
    for _ in emulation.push_all(running, len(samples), step):
        blocks.update(running.visits)
    by_block: Counter[int] = Counter()
    skippable: set[int] = set()
    for (start, size, _), count in blocks.items():
        code = bytes(running.core.mem_read(start, size))
        conditional = 0
        for address, _, mnemonic, _ in running.image.disassembler.disasm_lite(
            code, start
        ):
            by_block[address] += count
            if conditional:
                skippable.add(address)
                conditional -= 1
            if mnemonic.startswith("it"):
                conditional = len(mnemonic) - 1
    assert set(single) <= set(by_block)
    wrong = {key for key in by_block if by_block[key] != single[key]}
    assert wrong <= skippable
    assert all(single[key] < by_block[key] for key in wrong)
    found = emulate(firmware, samples)
    assert sum(found.pushes) == by_block.total()
    running.result(3)
    # paint does not show what is left free below the last number that is written
    assert (
        found.stack_bytes
        <= running.image.stack_top - min(depth)
        <= found.stack_bytes + 64
    )


def test_same_counts_each_time(mini, cache):
    firmware = build(mini, "cortex-m33", cache=cache)
    samples = signal(5, 3200)
    found = emulate(firmware, samples)
    assert emulate(firmware, samples) == found
    assert sum(found.functions.values()) == sum(found.pushes)
    assert sum(found.classes.values()) == sum(found.pushes)
    assert found.classes["multiply"] > 0.05 * sum(found.pushes)
    assert "wav2small_push" in found.functions


def test_figures_of_a_student(mini, cache):
    found = emulate(build(mini, "cortex-m4", cache=cache), signal(6, 8000))
    assert found.state_bytes == found.bss_bytes <= 8192
    assert found.data_bytes == 0
    assert 300 < found.stack_bytes < 700
    assert 0.4 * found.text_bytes < found.constant_bytes < found.text_bytes
    assert 1e6 < found.instructions_per_second < 16e6
    steady = found.instructions_per_second / 100
    assert found.result > found.worst_push > steady


def test_stages(mini, cache):
    samples = signal(7, 4096)
    plain = emulate(build(mini, "cortex-m4", cache=cache), samples)
    found = profile(build(mini, "cortex-m4", trace=True, cache=cache), samples)
    everything = sum(found.stages.values()) + found.rest
    assert found.seconds == 8 * 256 / 16000
    # to trace takes a little
    wanted = plain.instructions_per_second * found.seconds
    assert wanted < everything < 1.02 * wanted
    # cycles are those of the same instructions, and rows come as often as they do
    low, high = (
        sum(pair[i] for pair in found.cycles.values()) + found.rest_cycles[i]
        for i in (0, 1)
    )
    steady = [share * found.seconds for share in plain.cycles_per_second]
    assert steady[0] < low < 1.02 * steady[0]
    # where a function is left, what the next one waits for is not known any more
    assert 0.998 * steady[1] < high < 1.02 * steady[1]
    assert found.rows[0] == 8 and set(found.rows) == set(found.stages)
    # the front end, which is counted as other functions, is the first stage
    assert max(found.stages) < 30 and found.stages[0] > 0.1 * everything


# -- what goes wrong ---------------------------------------------------------


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.int16),
        np.zeros((2, 4), np.int16),
        np.zeros(4, np.float32),
        [1, 2, 3],
        np.broadcast_to(np.int16(0), (2**26 + 1,)),
    ],
)
def test_samples_of_another_kind(samples, tmp_path, cache):
    firmware = build(write(tmp_path), "cortex-m3", cache=cache)
    with pytest.raises(BenchError, match="must be a row of 1 to 67108864 int16, got"):
        emulate(firmware, samples)


def test_push_of_nothing(tmp_path, cache):
    firmware = build(write(tmp_path), "cortex-m3", cache=cache)
    with pytest.raises(BenchError, match="push_samples must be 1 or more, got 0"):
        emulate(firmware, np.zeros(4, np.int16), 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "integers[0] = state->sum; return 0;",
            "return 3;",
            "must suffice for a result, got 8: take more",
        ),
        ("state->sum = 5; return 0;", "return 4;", "init must succeed .* got status 4"),
        (
            "state->sum = 5;",
            "*(volatile int *)0 = 5;",
            "must return from wav2small_init, got .* at 0x8000",
        ),
        (
            "state->sum = 5;",
            "*(volatile int *)table = 5;",
            "must return from wav2small_init, got .*PROT",
        ),
        ("state->sum = 5;", 'for (;;) __asm volatile("");', "no end within 0\\.5 s"),
        ("state->sum = 5;", "__builtin_trap();", "got .* at 0x8000"),
        (
            "state->sum = 5;",
            "volatile char deep[2048]; for (int i = 0; i < 2048; ++i) deep[i] = 0;",
            "stack must fit into 2048 bytes, got more",
        ),
    ],
)
def test_firmware_that_goes_astray(old, new, message, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(machine, "MAX_SECONDS", 0.5)
    assert old in CODE
    folder = write(tmp_path, CODE.replace(old, new))
    firmware = build(folder, "cortex-m3", ram=2176, cache=cache)
    with pytest.raises(BenchError, match=message):
        emulate(firmware, np.zeros(8, np.int16))


def test_firmware_without_what_is_asked(tmp_path, cache):
    plain = build(write(tmp_path), "cortex-m3", cache=cache)
    samples = np.zeros(8, np.int16)
    with pytest.raises(BenchError, match="must have wav2small_selftest, got none"):
        selftest(plain)
    with pytest.raises(BenchError, match="must have bench_trace, got none"):
        profile(plain, samples)
    with pytest.raises(BenchError, match="must have bench_facts, got none"):
        emulate(build(tmp_path, "cortex-m3", selftest=True, cache=cache), samples)


@pytest.mark.parametrize("elf", [b"", b"no program", b"\x7fELF" + bytes(100)])
def test_no_program(elf, tmp_path, cache):
    plain = build(write(tmp_path), "cortex-m3", cache=cache)
    with pytest.raises(
        BenchError, match="program must be an ELF file for a Cortex-M, got"
    ):
        emulate(dataclasses.replace(plain, elf=elf), np.zeros(8, np.int16))


@pytest.mark.parametrize("package", ["unicorn", "capstone"])
def test_no_emulator(package, monkeypatch):
    for name in [package, *sys.modules]:
        if name.partition(".")[0] == package:
            monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    firmware = Firmware("cortex-m4", "wav2small", "none", (), b"")
    with pytest.raises(BenchError, match=rf"{package} must be .*small\[firmware]"):
        emulate(firmware, np.zeros(8, np.int16))
