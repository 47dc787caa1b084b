"""Plans of the C99 against what emulated cores measure, and by hand."""

from __future__ import annotations

import dataclasses

import pytest
from test_export_streaming import student

from wav2small.cli.untrained import untrained
from wav2small.export.base.errors import ExportError
from wav2small.export.c99 import generate, outline
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.firmware_bench.plan import firmware as planning
from wav2small.firmware_bench.plan.firmware import plan_firmware
from wav2small.firmware_bench.run.emulation import emulate, result_and_stack
from wav2small.firmware_bench.run.measurement import prepare_code
from wav2small.firmware_bench.run.signals import voice
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import bundled, find_onnx
from wav2small.students import SMALL, STUDENTS

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_toolchain import cache, compiler_cache  # noqa: E402

__all__ = ["cache", "compiler_cache"]

pytestmark = pytest.mark.emulator

# two that no price was fitted to
UNTRAINED = {
    "wider": ("wav2small-rt", {"channels": 72, "filters": (12, 28)}),
    "narrow": ("wav2small-rt-mini", {"channels": 36, "n_mels": 28, "kernel": 5}),
    "paper": ("wav2small", {"channels": 10, "n_mels": 24}),
}


@pytest.fixture(scope="module")
def graphs() -> dict[str, IntegerGraph]:
    made = {name: read(find_onnx(name)) for name in bundled()}
    for title, (name, settings) in UNTRAINED.items():
        made[title] = read(untrained(name, settings, SMALL))
    return made


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33"])
@pytest.mark.parametrize("name", [*bundled(), *UNTRAINED])
def test_plan_against_measurement(name, core, graphs, tmp_path, cache):
    """RAM within 5 %, flash, instructions and cycles within 10 %."""
    model = graphs[name]
    generate(model, tmp_path)
    firmware = build(tmp_path, core, cache=cache)
    stages = outline(model).plan
    # behind the look-ahead, from where on as much is done in each hop
    hops = 2 * max(20, *(pool.pace.delay + 8 for pool in stages.pools))
    measured = emulate(firmware, voice(hops * stages.front.constants.hop_length))
    _, stack = result_and_stack(firmware, voice(8000), 37)
    code = plan_firmware(model)
    planned = code.on(core)
    assert planned is not None
    assert code.memory.state == measured.state_bytes
    ram = measured.data_bytes + measured.bss_bytes + max(stack, measured.stack_bytes)
    assert code.memory.state + planned.stack_bytes == pytest.approx(ram, rel=0.05)
    assert planned.flash_bytes == pytest.approx(measured.flash_bytes, rel=0.1)
    assert planned.instructions_per_second == pytest.approx(
        measured.instructions_per_second, rel=0.1
    )
    for ours, theirs in zip(
        planned.cycles_per_second, measured.cycles_per_second, strict=True
    ):
        assert ours == pytest.approx(theirs, rel=0.1)


def test_a_core_without_prices_has_no_plan():
    assert plan_firmware(student("wav2small-rt-mini")).on("cortex-m0") is None


def test_tables_are_what_is_written(tmp_path, cache):
    """Constants of a program are the tables and structs of the plan."""
    model = student("wav2small-rt-mini")
    generate(model, tmp_path)
    measured = emulate(build(tmp_path, "cortex-m4", cache=cache), voice(9000))
    assert plan_firmware(model).constant_bytes == pytest.approx(
        measured.constant_bytes, abs=64
    )


def test_more_work_costs_more():
    front = outline(student("wav2small-rt")).plan.front.constants
    (step, *_) = (
        s for s in outline(student("wav2small-rt")).steps if s.kernel == "dense"
    )
    amounts = planning.amounts(step, front)
    numbers = step.numbers
    assert amounts["dense columns bytes products"] == (
        numbers["outputs"] * numbers["columns_out"] * numbers["length"]
    )
    assert {name.split()[0] for name in amounts} == {"dense"}


@pytest.mark.parametrize(
    ("name", "most_macs"), [("wav2small-rt", 8e6), ("wav2small-rt-mini", 3e6)]
)
def test_work_of_students_that_stream(name, most_macs):
    made = plan_firmware(student(name))
    assert made.held_bytes_per_second == made.held_bytes(9) == 0
    assert made.macs_per_second <= most_macs
    config = STUDENTS[name].config
    (first, second), channels = config.filters, config.channels
    assert (config.n_mels, config.window_length) == (40, 512)
    rate = 16000 / config.hop_length
    # each second frame goes on behind the second convolution
    layers = rate * first * 9 * 20 + rate / 2 * (
        second * first * 9 * 10
        + channels * second * 10
        + len(config.dilations) * (config.kernel * channels + channels**2)
        + 2 * channels**2
        + channels
    )
    (front,) = (stage for stage in made.stages if stage.kind == "front end")
    assert made.macs_per_second == front.macs_per_second + layers
    assert rate * 512 * 5 < front.macs_per_second < rate * 512 * 20
    # two frames for the convolutions, half a window for the first of them
    late = 2 + 2 * (config.kernel // 2) * sum(config.dilations)
    assert made.look_ahead_seconds == (late * config.hop_length + 256) / 16000
    assert made.stages[0].rows_per_second == rate
    assert made.stages[-1].rows_per_second == rate / 2
    assert (
        plan_firmware(student(name), 8000).macs_per_second == made.macs_per_second / 2
    )


@pytest.mark.parametrize("name", ["wav2small", "wav2small-17k"])
def test_the_caller_holds_what_is_heard_twice(name, tmp_path):
    made = plan_firmware(student(name))
    assert made.held_bytes_per_second == 2 * 16000
    assert made.held_bytes(10) == 320_000
    assert made.held_bytes(0.50001) == 16_001
    assert made.macs_per_second > 62e6
    code = prepare_code(student(name), tmp_path, window_seconds=0.5)
    assert code.held_bytes == 16_000
    assert "32000" in (tmp_path / "wav2small.h").read_text()


def test_the_header_of_a_stream_holds_nothing(tmp_path):
    generate(student("wav2small-rt-mini"), tmp_path)
    text = (tmp_path / "wav2small.h").read_text()
    assert "caller holds no samples" in " ".join(text.replace("*", "").split())


def test_what_has_no_c99():
    with pytest.raises(ExportError):
        plan_firmware(student("mobilenetv3-small"))


def test_prices_are_data(monkeypatch):
    """A price of 0 for all leaves the tables."""
    made = plan_firmware(student("wav2small-rt-mini"))
    core = {"stack_bytes": 1, "code": {}, "work": {}}
    monkeypatch.setattr(
        planning, "PRICES", {"structs": {}, "cores": {"cortex-m4": core}}
    )
    planned = made.on("cortex-m4")
    assert planned is not None
    assert dataclasses.astuple(planned) == (1, made.tables_bytes, 0, (0, 0))
