"""What a model takes on emulated cores, and that it is the same each time."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from test_export_streaming import Builder, signal, student

from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reference import ReferenceModel
from wav2small.firmware_bench.run import measurement as module
from wav2small.firmware_bench.run.measurement import (
    find_overflow,
    measure_firmware,
    prepare_code,
    why_not_emulated,
)

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_toolchain import cache, compiler_cache  # noqa: E402

__all__ = ["cache", "compiler_cache"]

pytestmark = pytest.mark.emulator


def small() -> IntegerGraph:
    builder = Builder(3)
    for step in ("convolution", "table", "maximum", "residual"):
        getattr(builder, step)()
    builder.pool()
    return builder.build()


def twice(folder: Path, layer: int) -> None:
    """Let the C code compute one layer two times."""
    path = next(folder.glob("wav2small.c"))
    code, found = re.subn(
        r"(?<=    default:\n)"
        r"( {8}compute\((?:WEIGHTS )?stage->kind.*?\);\n)(?= {8}break)",
        rf"\1        if ((stage - stages) == {layer}) {{ \1 }}\n",
        path.read_text(),
        flags=re.DOTALL,
    )
    assert found == 1
    path.write_text(code)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    return prepare_code(small(), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def measured(code, cache):
    return measure_firmware(code, "cortex-m4", cache=cache)


def test_signals_and_what_they_shall_give(tmp_path):
    model = small()
    audio = {"clip": signal(1, 3000), "short": np.zeros(0, np.int16)}
    made = prepare_code(model, tmp_path, audio)
    assert made.left_out == ("short",)
    assert [entry.name for entry in made.signals[-2:]] == ["silence", "clip"]
    assert made.counted is made.signals[0]
    reference = ReferenceModel(model)
    for entry in made.signals:
        wanted = reference.run(entry.samples)[model.output].ravel().tolist()
        assert entry.wanted == tuple(wanted)
    assert made.hop_seconds * 16000 == int(made.hop_seconds * 16000)
    assert (tmp_path / "wav2small.c").exists()


@pytest.mark.slow
def test_counts_are_the_same_three_times(code, measured, cache, tmp_path):
    # the last one is built anew
    for folder in (cache, tmp_path):
        other = measure_firmware(code, "cortex-m4", cache=folder)
        assert other.emulation == measured.emulation
        assert other.layers == measured.layers
        assert other.stack_bytes == measured.stack_bytes


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m7"])
def test_figures_belong_together(core, code, cache):
    found = measure_firmware(code, core, cache=cache)
    assert found.core == core
    assert found.differing_bits == found.golden == 0
    assert [run.signal for run in found.runs] == list(code.signals)
    emulation = found.emulation
    assert found.stack_bytes >= emulation.stack_bytes
    assert found.ram_bytes >= found.emulation.state_bytes + found.stack_bytes
    assert found.held_bytes == code.held_bytes == 0  # a stream
    assert found.flash_bytes == emulation.text_bytes + emulation.data_bytes
    assert set(found.layers) >= {"LogMel 1", "Convolution 1", module.REST}
    total = sum(found.layers.values())
    # layers are counted on a shorter signal, and to tell them apart takes a little
    assert total == pytest.approx(emulation.instructions_per_second, rel=0.1)
    low, high = emulation.cycles_per_second
    least = 0.5 if core == "cortex-m7" else 1
    assert least * emulation.instructions_per_second <= 1.01 * low
    assert low < high < 4 * emulation.instructions_per_second
    # the look-ahead costs most of a result
    assert 0 < emulation.latest < emulation.result / 4
    # a half of the instructions of all pushes, by another way
    assert sum(emulation.classes.values()) == sum(emulation.pushes)


def test_slower_code_is_seen_and_gives_the_same(code, cache, tmp_path):
    other = prepare_code(small(), tmp_path)
    twice(tmp_path, 1)
    before, after = (
        measure_firmware(entry, "cortex-m4", cache=cache) for entry in (code, other)
    )
    assert after.differing_bits == 0
    name = code.layers[1]
    # once more what the layer took, but for what it takes to call it
    ratio = after.layers[name] / before.layers[name]
    assert 1.4 < ratio < 2.1
    more = after.emulation.instructions_per_second
    assert more > 1.01 * before.emulation.instructions_per_second
    for layer in set(before.layers) - {name}:
        assert after.layers[layer] < 1.1 * before.layers[layer] + 1e4


def test_wrong_code_is_seen(cache, tmp_path):
    made = prepare_code(small(), tmp_path)
    path = tmp_path / "wav2small_model.h"
    text, found = re.subn(
        r"(\[\d+\] = \{\n\s+)(-?\d+),", lambda match: f"{match[1]}1,", path.read_text()
    )
    assert found
    path.write_text(text)
    wrong = measure_firmware(made, "cortex-m3", cache=cache)
    assert wrong.golden == 1
    assert sum(run.differing_bits for run in wrong.runs) > 0
    assert wrong.differing_bits > 1


def test_the_linker_agrees_with_what_was_measured(code, measured, cache):
    found = measured
    ram, flash = -(-found.ram_bytes // 8) * 8, found.flash_bytes
    fits = {"ram": ram, "flash": flash + 64}
    assert find_overflow(code, found, **fits, cache=cache) == {}
    assert find_overflow(code, found, ram=None, flash=None, cache=cache) == {}
    assert find_overflow(code, found, **{**fits, "ram": ram - 16}, cache=cache) == {
        "RAM": 16
    }
    over = find_overflow(code, found, ram=None, flash=flash // 2, cache=cache)
    assert over["FLASH"] == pytest.approx(flash / 2, abs=64)


def test_difference_in_bits():
    assert module._count_differing_bits((0, -1, 5), (0, -1, 5)) == 0
    assert module._count_differing_bits((1, -1, 4), (0, 0, 7)) == 1 + 32 + 2


def test_models_without_code(tmp_path):
    with pytest.raises(ExportError, match="must"):
        prepare_code(student("mobilenetv3-small"), tmp_path)


def test_cores_without_an_emulator(code, cache):
    assert why_not_emulated("cortex-m4") is None
    assert why_not_emulated("cfx") == "cfx is not emulated"
    with pytest.raises(BenchError, match="core must be one of"):
        measure_firmware(code, "cfx", cache=cache)
