"""Cycles of instructions against the tables of the manuals, read by hand."""

from __future__ import annotations

import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.run.timing import CLASSES, classify


@pytest.mark.parametrize(
    ("mnemonic", "operands", "kind", "low", "high"),
    [
        ("adds", "r0, r1, r2", "other", 1, 1),
        ("movw", "r0, #5", "other", 1, 1),
        ("ssat", "r0, #8, r1", "other", 1, 1),
        ("sxtb16", "r0, r1", "other", 1, 1),
        ("mov", "pc, r0", "other", 2, 4),
        ("cmp", "pc, r0", "other", 1, 1),
        ("ittt", "eq", "other", 0, 1),
        ("nop", "", "other", 1, 1),
        ("mul", "r0, r1, r2", "multiply", 1, 1),
        ("smlad", "r0, r1, r2, r3", "multiply", 1, 1),
        ("smlal", "r0, r1, r2, r3", "multiply", 1, 1),
        ("udiv", "r0, r1, r2", "divide", 2, 12),
        ("ldr.w", "r0, [r1, #4]", "load", 1, 2),
        ("ldrsb", "r0, [r1]", "load", 1, 2),
        ("ldr", "pc, [r1]", "load", 2, 5),
        ("ldrd", "r0, r1, [r2]", "load", 3, 3),
        ("ldm", "r0!, {r1, r2, r3}", "load", 4, 4),
        ("pop", "{r4, r5, r6, pc}", "load", 6, 8),
        ("pop", "{r4}", "load", 2, 2),
        ("strb", "r0, [r1]", "store", 1, 2),
        ("strd", "r0, r1, [r2]", "store", 3, 3),
        ("push", "{r4, r5, lr}", "store", 4, 4),
        ("b", "#0x100", "branch", 2, 4),
        ("bl", "#0x100", "branch", 2, 4),
        ("tbb", "[pc, r0]", "branch", 3, 5),
        ("bne", "#0x100", "branch", 1, 4),
        ("cbz", "r0, #0x100", "branch", 1, 4),
        ("bic", "r0, r1", "other", 1, 1),
        ("bfi", "r0, r1, #2, #3", "other", 1, 1),
        ("vadd.f32", "s0, s1, s2", "float", 1, 2),
        ("vmla.f32", "s0, s1, s2", "float", 3, 3),
        ("vdiv.f32", "s0, s1, s2", "float", 14, 14),
        ("vldr", "s0, [r0]", "load", 1, 2),
        ("vpush", "{s16, s17}", "store", 3, 3),
    ],
)
def test_cortex_m4(mnemonic, operands, kind, low, high):
    found = classify("cortex-m4", mnemonic, operands)
    assert found == (kind, low, high)
    assert found.kind in CLASSES
    assert classify("cortex-m33", mnemonic, operands) == found
    assert classify("cortex-m7", mnemonic, operands) == (kind, low / 2, high)


@pytest.mark.parametrize(
    ("mnemonic", "low", "high"),
    [("muls", 1, 1), ("mla", 2, 2), ("mls", 2, 2), ("umull", 3, 5), ("smlal", 4, 7)],
)
def test_cortex_m3_multiplies_in_steps(mnemonic, low, high):
    assert classify("cortex-m3", mnemonic, "") == ("multiply", low, high)


@pytest.mark.parametrize(
    ("mnemonic", "operands", "found"),
    [
        ("ldc", "p14, c1, [r1], #0x40", ("load", 1, 2)),
        ("stc", "p15, c0, [r6]", ("store", 1, 2)),
        ("cdp", "p15, #0xf, c0, c0, c2, #1", ("vector", 1, 2)),
        ("vmin.s32", "q0, q0, q1", ("vector", 1, 2)),
        # a loop that the core counts
        ("", "", ("branch", 0, 4)),
        ("vadd.f32", "s0, s1, s2", ("float", 0.5, 2)),
        ("smlad", "r0, r1, r2, r3", ("multiply", 0.5, 1)),
    ],
)
def test_cortex_m55(mnemonic, operands, found):
    assert classify("cortex-m55", mnemonic, operands) == found
    assert found[0] in CLASSES


@pytest.mark.parametrize(
    ("mnemonic", "found"),
    [
        ("c.add", ("other", 1, 1)),
        ("lui", ("other", 1, 1)),
        ("sltiu", ("other", 1, 1)),
        ("mulh", ("multiply", 1, 5)),
        ("remu", ("divide", 2, 36)),
        ("lbu", ("load", 1, 3)),
        ("c.lwsp", ("load", 1, 3)),
        ("sh", ("store", 1, 2)),
        ("c.swsp", ("store", 1, 2)),
        ("bgeu", ("branch", 1, 4)),
        ("c.bnez", ("branch", 1, 4)),
        ("jalr", ("branch", 1, 4)),
    ],
)
def test_risc_v(mnemonic, found):
    assert classify("rv32imac", mnemonic, "") == found


def test_unknown_core():
    with pytest.raises(
        BenchError, match=r"one of cortex-m3, .*got 'cfx': there are no"
    ):
        classify("cfx", "add", "")
