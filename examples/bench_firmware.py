"""The bundled models in our C and in other tools for small cores, side by side.

    python examples/bench_firmware.py [DATA] [--models NAME ...]

The same model hears the same clips of one second:

* **C99**: what ``wav2small export --c99`` writes,
  on an emulated Cortex-M4 in pushes of one hop;
* **TensorFlow Lite Micro**: the arena that its own Python interpreter takes of its
  recording allocator, and what it answers.
  Its input is the log-mel map; the front end, code and stack come on top.
  Beside it the arena that :func:`wav2small.firmware_bench.plan.arena.plan_arena` finds
  for the tensors of the same file alone:
  a lower bound without the runtime's own structures;
* **emx-onnx-cgen**: C for the ONNX file, which computes in float,
  on the same emulated core as ours.
  What the file computes of constants, its Fourier transform, is folded before:
  a core that computes sines in double precision would do little else.
  Windows of .1 and .2 s run there, of which one of 1 s is extrapolated;
  on this machine it answers for 1 s;
* **onnxruntime** with default optimisations, without instructions of a small core.

Scores are compared with those of onnxruntime without optimisations.
The other tools are installed into environments of their own under ``runs/compare``,
which may be deleted at any time;
what cannot be installed or does not take a model is said in the table.
Exit code 1 if our C does not give the reference's bits.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from firmware_sweep import real_clips

from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.c99 import generate
from wav2small.export.integer.front_end.log_mel import log_mel
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.tflite import count_frames, write_tflite
from wav2small.firmware_bench.plan.arena import plan_arena
from wav2small.firmware_bench.plan.liveness import LiveRange
from wav2small.firmware_bench.run.emulation import Emulation, emulate
from wav2small.firmware_bench.run.toolchain import STACK_BYTES, build
from wav2small.models import bundled, find_onnx

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / "runs" / "compare"
PACKAGES = {
    "tflite-micro": "0.dev20261023182759",
    "emx-onnx-cgen": "1.4.0",
}
CORE = "cortex-m4"
RATE = 16000
WINDOWS = (1600, 3200)
"""Samples of the windows of emx-onnx-cgen that are emulated."""

LIMIT = 0.001
"""Scores that differ by more are counted."""

ZIG = (sys.executable, "-P", "-m", "ziglang", "cc", "-fno-sanitize=all")
LARGE = 1 << 27

# Only what the package brings along may be imported here.
MICRO = """
import json, sys
import numpy as np
from tflite_micro import runtime

model, inputs = sys.argv[1:]
interpreter = runtime.Interpreter.from_file(model, arena_size=1 << 25)
scores = []
for values in np.load(inputs):
    interpreter.set_input(values, 0)
    interpreter.invoke()
    scores.append(interpreter.get_output(0).reshape(-1).tolist())
interpreter.print_allocations()
print(json.dumps(scores))
"""

# Runs what has the functions of our C.
MAIN = """
#include "wav2small.h"
#include <stdio.h>
static wav2small_state state;
int main(void)
{
    static int16_t clip[16000];
    int32_t numbers[3];
    while (fread(clip, sizeof clip[0], 16000, stdin) == 16000) {
        size_t n;
#if NORMALISED
        wav2small_level level;
        if (wav2small_measure(clip, 16000, &level)) { return 1; }
        if (wav2small_init(&state, &level)) { return 1; }
#else
        if (wav2small_init(&state)) { return 1; }
#endif
        for (n = 0; n < 16000; n += 160) {
            if (wav2small_push(&state, clip + n, 160)) { return 1; }
        }
        if (wav2small_integers(&state, numbers)) { return 1; }
        printf("%ld %ld %ld\\n", (long)numbers[0], (long)numbers[1], (long)numbers[2]);
    }
    return 0;
}
"""

# What a freestanding core has of math.h and string.h; the functions are zig's.
MATH = """
#include <stddef.h>
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
float sqrtf(float x), logf(float x), expf(float x), fabsf(float x);
float fmaxf(float x, float y), fminf(float x, float y);
double sin(double x), cos(double x);
static inline float nearbyintf(float x)
{
    const float magic = (x < 0) ? -8388608.0f : 8388608.0f;
    volatile float sum = x + magic;
    return (fabsf(x) < 8388608.0f) ? sum - magic : x;
}
"""

# The functions of our C around one that takes a whole window.
WHOLE = """
int wav2small_init(wav2small_state *state);
int wav2small_push(wav2small_state *state, const int16_t *samples, size_t count);
int wav2small_integers(wav2small_state *state, int32_t *bits);
int wav2small_init(wav2small_state *state)
{
    state->count = 0;
    return 0;
}
int wav2small_push(wav2small_state *state, const int16_t *samples, size_t count)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        state->signal[0][state->count++] = (float)samples[i] / 32768.0f;
    }
    if (state->count == WINDOW) {
        network((const float (*)[WINDOW])state->signal, state->logits);
    }
    return 0;
}
int wav2small_integers(wav2small_state *state, int32_t *bits)
{
    int i;
    for (i = 0; i < 3; ++i) {
        union { float score; int32_t bits; } number;
        number.score = state->logits[0][i];
        bits[i] = number.bits;
    }
    return 0;
}
"""


class Failure(Exception):
    """Why a tool has no figures."""


@dataclass(frozen=True)
class Row:
    """Figures of one tool with one model."""

    model: str
    tool: str
    ram: str = "-"
    flash: str = "-"
    instructions: str = "-"
    scores: np.ndarray | None = None
    note: str = ""


class Arena(NamedTuple):
    """Memory that TensorFlow Lite Micro says it takes, in bytes."""

    total: int
    head: int
    """Tensors and scratch."""

    tail: int
    """Structures that stay, with pointers of this machine's width."""


# -- tools of others ---------------------------------------------------------


def install(package: str) -> Path:
    """Make the environment of a package, unless it is there; its programs."""
    folder = ENVIRONMENTS / f"{package}-{PACKAGES[package]}"
    stamp = folder / "installed"  # the last thing written
    if not stamp.exists():
        print(f"installing {package} ...", file=sys.stderr)
        run(sys.executable, "-m", "venv", "--clear", folder)
        wanted = f"{package}=={PACKAGES[package]}"
        python = folder / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", wanted, "numpy<3")
        stamp.touch()
    return folder / "bin"


def run(*command: str | Path, data: bytes = b"") -> tuple[str, str]:
    """Run a program; what it says on both of its outputs."""
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        lines = said.strip().splitlines() or [f"exit code {done.returncode}"]
        # a compiler's first error says more than its last line
        why = next((text for text in lines if "error:" in text), lines[-1])
        raise Failure(f"{Path(command[0]).name} failed: {' '.join(why.split())[:160]}")
    return done.stdout.decode(), said


def parse_arena(said: str) -> Arena:
    """Read what the recording allocator prints."""
    found = dict(re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", said))
    if set(found) != {"total", "head", "tail"}:
        raise Failure("tflite-micro did not tell its arena")
    return Arena(*(int(found[part]) for part in ("total", "head", "tail")))


def micro(model: Path, maps: np.ndarray) -> tuple[Arena, np.ndarray]:
    """Run a TFLite file in TensorFlow Lite Micro's interpreter."""
    python = install("tflite-micro") / "python"
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "maps.npy"
        np.save(inputs, maps)
        scores, said = run(python, "-I", "-c", MICRO, model, inputs)
    return parse_arena(said), np.array(json.loads(scores), np.float32)


def tensor_ranges(data: bytes) -> list[LiveRange]:
    """When which tensors of a TFLite file that are not constants are needed."""
    from ai_edge_litert import schema_py_generated as tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    steps = graph.OperatorsLength()
    inputs, outputs = (
        [int(index) for index in part]
        for part in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    )
    first = dict.fromkeys(inputs, 0)
    last = dict.fromkeys(inputs, 0)
    for step in range(steps):
        operator = graph.Operators(step)
        for index in map(int, operator.OutputsAsNumpy()):
            first[index] = last[index] = step
        for index in map(int, operator.InputsAsNumpy()):
            if index in first:
                last[index] = step
    last |= dict.fromkeys(outputs, steps - 1)
    widths = {
        tflite.TensorType.INT8: 1,
        tflite.TensorType.INT16: 2,
        tflite.TensorType.INT32: 4,
        tflite.TensorType.FLOAT32: 4,
    }
    return [
        LiveRange(
            name=tensor.Name().decode(),
            bytes=int(np.prod(tensor.ShapeAsNumpy())) * widths[tensor.Type()],
            first=begin,
            last=last[index],
        )
        for index, begin in first.items()
        for tensor in [graph.Tensors(index)]
    ]


def fold(model: Path, folded: Path) -> None:
    """Write a model with what it computes of constants as constants."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def write_window(model: Path, folder: Path, samples: int, *flags: str) -> None:
    """Write C of emx-onnx-cgen for a window, with the functions of ours."""
    generator = install("emx-onnx-cgen") / "emx-onnx-cgen"
    folder.mkdir()
    code = folder / "network.c"
    options = ("--large-weight-threshold", "0", "--color", "never", *flags)
    window = ("--model-name", "network", "--input-dim", f"time={samples}")
    run(generator, "compile", model, code, *options, *window)
    text = code.read_text()
    code.unlink()
    (folder / "wav2small.h").write_text(
        f"#include <stddef.h>\n#include <stdint.h>\n#define WINDOW {samples}\n"
        f"#define WAV2SMALL_SAMPLING_RATE {RATE}\n#define WAV2SMALL_HOP_LENGTH WINDOW\n"
        "#define WAV2SMALL_SCORES 3\ntypedef struct {\n    float signal[1][WINDOW];\n"
        "    float logits[1][3];\n    uint32_t count;\n} wav2small_state;\n"
        "#if !defined(__arm__)\n#define NORMALISED 0\n"
        "int wav2small_init(wav2small_state *);\n"
        "int wav2small_push(wav2small_state *, const int16_t *, size_t);\n"
        "int wav2small_integers(wav2small_state *, int32_t *);\n#endif\n"
    )
    (folder / "wav2small_config.h").write_text(MATH)
    (folder / "wav2small_model.h").write_text("")
    core = re.sub(r"#include <(math|string)\.h>", "", text)
    both = f'#if defined(__arm__)\n#include "wav2small_config.h"\n{core}\n#else\n'
    (folder / "wav2small.c").write_text(
        f'#include "wav2small.h"\n{both}{text}\n#endif\n{WHOLE}'
    )


# -- what is run here --------------------------------------------------------


def on_host(folder: Path, clips: np.ndarray, *flags: str) -> np.ndarray:
    """Integers of C that has our functions, compiled for this machine."""
    (folder / "host.c").write_text(MAIN)
    sources, program = (folder / "wav2small.c", folder / "host.c"), folder / "host"
    run(*ZIG, "-std=c99", "-O2", *flags, *sources, "-lm", "-o", program)
    said, _ = run(program, data=clips.astype("<i2").tobytes())
    return np.array([line.split() for line in said.splitlines()], np.int64)


def on_core(folder: Path, samples: np.ndarray, push: int | None = None) -> Emulation:
    """Run C that has our functions on the emulated core."""
    large = LARGE if push else 1 << 20
    stack = LARGE // 2 if push else STACK_BYTES
    cache = ENVIRONMENTS / "firmware"
    firmware = build(folder, CORE, ram=large, flash=large, stack=stack, cache=cache)
    return emulate(firmware, samples, push)


def work(emulation: Emulation) -> int:
    """Instructions of everything from the beginning of a signal to its result."""
    return emulation.begin + sum(emulation.pushes) + emulation.result


def extrapolate(windows: Sequence[int], figures: Sequence[int], to: int) -> int:
    """What a window would take that takes so much for two others, by a line."""
    (one, two), (less, more) = windows, figures
    return round(less + (more - less) * (to - one) / (two - one))


def ours(name: str, graph: IntegerGraph, clips: np.ndarray) -> Iterator[Row]:
    """Figures of our C."""
    normalised = front(graph).front_end.power_floor is not None
    reference = ReferenceModel(graph)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        generate(graph, folder)
        found = on_host(folder, clips, f"-DNORMALISED={int(normalised)}")
        wanted = np.stack([reference.run(c)[graph.output].reshape(-1) for c in clips])
        there = on_core(folder, clips[0])
        same = np.array_equal(found, wanted)
        same &= np.array_equal(there.integers, wanted[0])
        output = graph.tensors[graph.output]
        scores = (found - np.int64(output.zero_point)) * output.scale
        yield Row(
            name,
            "C99 of wav2small, any length",
            f"{there.ram_bytes:,}",
            f"{there.flash_bytes:,}",
            f"{work(there) / 1e6:.1f} M",
            scores.astype(np.float32),
            f"state {there.state_bytes:,}, stack {there.stack_bytes:,}; "
            + ("the reference's bits" if same else "DIFFERS from the reference"),
        )


def of_micro(name: str, graph: IntegerGraph, clips: np.ndarray) -> Iterator[Row]:
    """Figures of TensorFlow Lite Micro."""
    data = write_tflite(graph, count_frames(graph, RATE))
    size = f"{len(data):,} + kernels"
    entry = front(graph)
    maps = np.stack([log_mel(entry.front_end, clip) for clip in clips])
    maps = maps.reshape(len(clips), 1, -1, len(entry.front_end.mel), 1)
    plan = plan_arena(tensor_ranges(data))
    yield Row(
        name,
        "its tensors alone, 1 s",
        f"{plan.size:,}",
        note="computed, lower bound: without the runtime's own structures",
    )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model.tflite"
        file.write_bytes(data)
        arena, scores = micro(file, maps.astype(np.int8))
    yield Row(
        name,
        "TensorFlow Lite Micro, 1 s",
        f"{arena.total:,}",
        size,
        scores=scores,
        note=f"arena: {arena.head:,} of tensors and scratch, {arena.tail:,} of "
        "structures on a 64-bit machine; no front end, no stack",
    )


def of_emx(name: str, model: Path, clips: np.ndarray) -> Iterator[Row]:
    """Figures of emx-onnx-cgen."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(samples) for samples in (*WINDOWS, RATE)]
        folded = Path(place) / "folded.onnx"
        fold(model, folded)
        write_window(folded, folders[-1], RATE)
        bits = on_host(folders[-1], clips).astype(np.int32)
        runs = []
        for folder, samples in zip(folders, WINDOWS, strict=False):
            # all memory is the stack, which is painted
            write_window(folded, folder, samples, "--large-temp-threshold", "0")
            runs.append(on_core(folder, clips[0][:samples], samples))
    ram, instructions = (
        extrapolate(WINDOWS, figures, RATE)
        for figures in ([r.ram_bytes for r in runs], [work(r) for r in runs])
    )
    yield Row(
        name,
        "emx-onnx-cgen, 1 s",
        f"{ram:,}",
        f"{runs[-1].flash_bytes:,}",
        f"{instructions / 1e6:.1f} M",
        bits.view(np.float32).reshape(len(clips), -1),
        "extrapolated from "
        + " and ".join(
            f"{samples / RATE:g} s ({r.ram_bytes:,} B, {work(r) / 1e6:.1f} M)"
            for samples, r in zip(WINDOWS, runs, strict=True)
        ),
    )


def of_onnxruntime(model: Path, clips: np.ndarray, optimised: bool) -> np.ndarray:
    """Scores of onnxruntime."""
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    signals = clips.astype(np.float32) / 32768
    return np.concatenate([session.run(None, {"signal": s[None]})[0] for s in signals])


def front(graph: IntegerGraph) -> LogMel:
    (found,) = (o for o in graph.operators if isinstance(o, LogMel))
    return found


# -- the table ---------------------------------------------------------------


def compare(name: str, clips: np.ndarray) -> tuple[list[Row], np.ndarray]:
    """Rows of one model, and the scores that theirs are compared with."""
    model = find_onnx(name)
    graph = read(model)
    tools: Mapping[str, Callable[[], Iterator[Row]]] = {
        "C99 of wav2small": lambda: ours(name, graph, clips),
        "TensorFlow Lite Micro": lambda: of_micro(name, graph, clips),
        "emx-onnx-cgen": lambda: of_emx(name, model, clips),
    }
    rows: list[Row] = []
    for tool, figures in tools.items():
        print(f"{name}: {tool} ...", file=sys.stderr)
        try:
            rows.extend(figures())
        except (Failure, BenchError, ExportError) as error:
            print(f"{name}: {tool} is left out: {error}", file=sys.stderr)
            rows.append(Row(name, tool, note=f"LEFT OUT: {error}"))
    default = of_onnxruntime(model, clips, optimised=True)
    rows.append(Row(name, "onnxruntime, default", scores=default, note="this machine"))
    return rows, of_onnxruntime(model, clips, optimised=False)


def line(row: Row, truth: np.ndarray) -> str:
    """Row of the table."""
    differing = largest = "-"
    if row.scores is not None:
        off = np.abs(row.scores.astype(np.float64) - truth)
        differing = f"{(off > LIMIT).sum()} of {off.size}"
        largest = f"{off.max():.5f}"
    cells = (row.model, row.tool, row.ram, row.flash, row.instructions)
    return "| " + " | ".join((*cells, differing, largest, row.note)) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("WAV2SMALL_DATA")
    parser.add_argument("data", nargs="?", type=Path, default=data and Path(data))
    parser.add_argument("--models", nargs="+", default=list(bundled()))
    parser.add_argument("--clips", type=int, default=50)
    options = parser.parse_args(arguments)
    clips = np.stack(
        [np.resize(clip, RATE) for clip in real_clips(options.data, options.clips)]
    )
    lines = [
        f"| model | tool | RAM bytes | flash bytes | instructions for 1 s, {CORE} | "
        f"scores off by > {LIMIT} | most | notes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    agree = True
    for name in options.models:
        rows, truth = compare(name, clips)
        agree &= "DIFFERS" not in rows[0].note and rows[0].scores is not None
        lines += [line(row, truth) for row in rows]
    print("\n".join(lines))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
