"""Listening to speech alone, on cores of other makes: the same integers."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_export_speech import GRAPHS, NAMES, detector, with_detector
from test_export_streaming import signal

from wav2small.export.c99 import generate
from wav2small.export.integer.streaming.run import Stream
from wav2small.firmware_bench.run.duty import measure_duty
from wav2small.firmware_bench.run.emulation import emulate, start_machine
from wav2small.firmware_bench.run.toolchain import build

MACHINES = {
    "RISC-V": ("riscv64-linux-musl", "qemu-riscv64"),
    "big-endian": ("powerpc-linux-musleabi", "qemu-ppc"),
}
SAMPLES = signal(0, 24000)
STEP = 311
COVERED = range(30, 38)

PROGRAM = """
#include <stdio.h>
#include "wav2small.h"
static const int16_t samples[] = {%s};
static wav2small_state state;
int main(void)
{
    int32_t found[WAV2SMALL_SCORES];
    size_t at = 0, push = 0, count = sizeof samples / sizeof *samples;
    wav2small_init(&state);
    wav2small_listen(&state, 1);
    while (at < count) {
        const size_t size = (count - at < %d) ? count - at : %d;
        wav2small_cover(&state, push >= %d && push < %d);
        wav2small_push(&state, samples + at, size);
        at += size;
        push += 1;
        found[0] = -1;
        wav2small_speech(&state, found);
        printf("%%d %%ld\\n", wav2small_hears(&state), (long)found[0]);
    }
    wav2small_integers(&state, found);
    printf("%%ld %%ld %%ld\\n", (long)found[0], (long)found[1], (long)found[2]);
    return 0;
}
"""


def wanted(name: str) -> tuple[list[bool], list[int]]:
    """Whether it hears after each push, and the scores at the end."""
    stream = Stream(GRAPHS[name])
    stream.listen(speech_alone=True)
    hears = []
    for push, start in enumerate(range(0, len(SAMPLES), STEP)):
        stream.cover(push in COVERED)
        stream.push(SAMPLES[start : start + STEP])
        hears.append(stream.hears_speech)
    return hears, stream.integers().ravel().tolist()


@pytest.mark.emulator
@pytest.mark.parametrize("machine", MACHINES)
def test_other_processors(machine, tmp_path: Path):
    name = "wav2small-rt-mini"
    target, emulator = MACHINES[machine]
    pytest.importorskip("ziglang")
    if shutil.which(emulator) is None:
        pytest.skip(f"{emulator} is not installed (apt-get install qemu-user)")
    generate(GRAPHS[name], tmp_path)
    listed = ", ".join(map(str, SAMPLES.tolist()))
    bounds = (STEP, STEP, COVERED.start, COVERED.stop)
    (tmp_path / "program.c").write_text(PROGRAM % (listed, *bounds))
    sources = [tmp_path / "wav2small.c", tmp_path / "program.c"]
    compiler = [sys.executable, "-m", "ziglang", "cc", f"--target={target}", "-static"]
    program = tmp_path / "program"
    subprocess.run([*compiler, "-O2", "-o", program, *sources], check=True, timeout=900)
    done = subprocess.run(
        [emulator, program], capture_output=True, text=True, check=True, timeout=300
    )
    *pushes, scores = done.stdout.splitlines()
    hears, integers = wanted(name)
    assert [line.startswith("1") for line in pushes] == hears
    assert list(map(int, scores.split())) == integers
    assert set(hears) == {False, True}


@pytest.mark.emulator
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33"])
def test_cores_of_arm(name, core, tmp_path):
    pytest.importorskip("unicorn")
    generate(GRAPHS[name], tmp_path)
    machine = start_machine(build(tmp_path, core), counts=False)
    state = machine.image.symbol("bench_state").address
    machine.begin(SAMPLES)
    machine.call("listen", state, 1)
    found = []
    for push, start in enumerate(range(0, len(SAMPLES), STEP)):
        machine.call("cover", state, int(push in COVERED))
        machine.push(start, min(STEP, len(SAMPLES) - start))
        found.append(bool(machine.call("hears", state)))
    hears, integers = wanted(name)
    assert found == hears
    assert list(machine.result(3)) == integers


@pytest.mark.emulator
@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_no_speech_little_runs(name, tmp_path):
    pytest.importorskip("unicorn")
    layers = detector()
    layers[-1] = dataclasses.replace(layers[-1], bias=np.array([-1000.0]))
    generate(with_detector(name, layers), tmp_path)
    firmware = build(tmp_path, "cortex-m4")
    duty = measure_duty(firmware, SAMPLES[:8000])
    assert sum(part.share for part in duty.parts) == pytest.approx(1)
    costs = [part.instructions_per_second for part in duty.parts]
    assert [part.heard_share for part in duty.parts] == [0, 0, 0]
    assert (
        max(costs) <= 0.35 * emulate(firmware, SAMPLES[:8000]).instructions_per_second
    )
    assert min(costs) <= duty.instructions_per_second <= max(costs)
    low, high = duty.microamperes
    assert 52 * duty.instructions_per_second / 1e6 < low < high
